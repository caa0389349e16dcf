"""Measurements that need the checkout: the PyTorch reference, peers, budgets, large photographs, the service."""

from pathlib import Path

#: The root of the checkout.
ROOT = Path(__file__).resolve().parent.parent
