"""From trained weights to a model bundle: one ONNX graph a stage and its FP16 twin, gates, golden vectors, manifest."""

from restore_sdk.errors import RestoreError


class ExportError(RestoreError):
    """The export cannot be done."""


class GateError(ExportError):
    """A check that every released model must pass did not; nothing was written."""
