"""The reference networks, their losses, data and trainer, and the evaluation: ``python -m training``."""
