"""Every error that the SDK raises on purpose: one tree, and each error says what to do next.

    RestoreError
    ├── MissingDependencyError        (also an ImportError)
    ├── BundleError
    │   ├── BundleIntegrityError
    │   └── BundleManifestError
    ├── EngineError
    │   ├── EngineNotBuiltError
    │   ├── EngineIncompatibleError
    │   └── EngineIntegrityError
    ├── BuildError
    │   ├── BuildParseError
    │   ├── BuildPrecisionError
    │   ├── BuildProfileError
    │   ├── BuildOutOfMemoryError
    │   └── BuildCancelledError
    ├── InputError                    (also a ValueError)
    │   ├── ImageError
    │   ├── MaskError
    │   ├── ShapeError
    │   └── FaceModelError
    ├── OutputError
    ├── DeviceError
    ├── ExecutionError
    │   └── OutOfMemoryError
    │       └── PhotoMemoryError
    ├── DriftError
    └── ClosedError

Errors of other libraries are mapped where the SDK calls them; the original stays reachable as ``__cause__``.
"""

from __future__ import annotations


class RestoreError(Exception):
    """Base of all errors of this SDK; ``hint`` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[RestoreError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class MissingDependencyError(RestoreError, ImportError):
    """A package that this feature needs is not installed, or cannot be imported."""


class BundleError(RestoreError):
    """The model bundle cannot be used: missing, unreadable, or not runnable."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is not the file that its manifest names."""


class BundleManifestError(BundleError):
    """The manifest of the bundle breaks the schema, or describes another contract."""


class EngineError(RestoreError):
    """A built inference engine cannot be used."""


class EngineNotBuiltError(EngineError):
    """No engine was built for this model and this device."""


class EngineIncompatibleError(EngineError):
    """An engine exists, but for another device, library version or model."""


class EngineIntegrityError(EngineError):
    """A stored engine, or its sidecar, is not what was written: torn, altered, swapped, or writable by others."""


class BuildError(RestoreError):
    """Building an engine failed."""


class BuildParseError(BuildError):
    """The builder cannot read the ONNX graph."""


class BuildPrecisionError(BuildError):
    """The built engine does not have the precision that was asked for."""


class BuildProfileError(BuildError):
    """The graph has inputs of open size and no range of sizes was given for them."""


class BuildOutOfMemoryError(BuildError):
    """The builder ran out of memory or workspace."""


class BuildCancelledError(BuildError):
    """The build was interrupted, or took longer than it was allowed; nothing was written."""


class InputError(RestoreError, ValueError):
    """What the caller handed in cannot be used."""


class ImageError(InputError):
    """The image has a form, type or size that is not accepted."""


class MaskError(InputError):
    """The mask has a form, type or content that is not accepted."""


class ShapeError(InputError):
    """Image, mask or batch do not fit each other."""


class FaceModelError(InputError):
    """The face detector model that was named is not there, not the one expected, or no such model."""


class OutputError(RestoreError):
    """A result cannot be written where it was asked for."""


class DeviceError(RestoreError):
    """The device that was asked for does not exist or cannot be used."""


class ExecutionError(RestoreError):
    """A runtime failed while it computed."""


class OutOfMemoryError(ExecutionError):
    """A runtime ran out of memory while it computed."""


class PhotoMemoryError(OutOfMemoryError):
    """There is no memory for a photograph of this size; smaller ones may do."""


class DriftError(RestoreError):
    """A runtime computes something else than the reference, beyond the gate."""


class ClosedError(RestoreError):
    """The engine was closed, or was carried into another process by a fork."""
