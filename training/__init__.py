"""The reference networks, their losses, data and trainer, and the evaluation: ``python -m training``."""

from restore_sdk.errors import RestoreError


class TrainingError(RestoreError):
    """Data, settings or a checkpoint cannot be used; the message says what to do next, too."""

    def __init__(self, message: str, hint: str = "", reason: str = "") -> None:
        super().__init__(message, hint, reason)
