"""Every error that the SDK raises on purpose: one tree, and each error says what to do next.

Errors of other libraries are mapped where the SDK calls them; the original stays reachable as ``__cause__``.
"""

from __future__ import annotations


class RestoreError(Exception):
    """Base of all errors of this SDK; ``hint`` says what to do next, ``reason`` tells the variants of a failure apart:
    one of the words that the class names, or empty."""

    def __init__(self, message: str, hint: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[RestoreError], tuple[str, str, str]]:
        return type(self), (self.message, self.hint, self.reason)


class MissingDependencyError(RestoreError, ImportError):
    """A package that this feature needs is not installed, or cannot be imported."""


class BundleError(RestoreError):
    """The model bundle cannot be used: missing, unreadable, or not runnable.

    ``integrity``: a file of it is not the one that its manifest names. ``manifest``: the manifest breaks the schema, or
    describes another contract. ``absent``: it is whole, and has no such stage or graph.
    """


class EngineError(RestoreError):
    """A built inference engine cannot be used.

    ``not-built``: there is none for this model and device. ``incompatible``: there is one, but for another device,
    library version or model. ``integrity``: it, or its sidecar, is not what was written: torn, altered, swapped, or
    writable by others.
    """


class BuildError(RestoreError):
    """Building an engine failed.

    ``parse``: the builder cannot read the ONNX graph. ``precision``: the engine does not have the precision that was
    asked for. ``memory``: memory or workspace ran out.
    """


class InputError(RestoreError, ValueError):
    """What the caller handed in cannot be used."""


class ImageError(InputError):
    """The image has a form, type or size that is not accepted."""


class MaskError(InputError):
    """The mask has a form, type or content that is not accepted."""


class ShapeError(InputError):
    """Image, mask or batch do not fit each other."""


class OutputError(RestoreError):
    """A result cannot be written where it was asked for."""


class DeviceError(RestoreError):
    """The device that was asked for does not exist or cannot be used."""


class ExecutionError(RestoreError):
    """A runtime failed while it computed."""


class OutOfMemoryError(ExecutionError):
    """A runtime ran out of memory; ``photo``: there is none for a photograph of this size, smaller ones may do."""


class DriftError(RestoreError):
    """A runtime computes something else than the reference, beyond the gate."""


class ClosedError(RestoreError):
    """The engine was closed, or was carried into another process by a fork."""
