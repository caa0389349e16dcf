"""The model bundle: a folder that holds everything a host needs to run the model.

    manifest.json   what the model is: stages, tensors, file hashes, training data, measured quality
    edge.onnx       edge stage for CPU runtimes; edge.fp16.onnx for TensorRT
    repair.onnx     repair stage, likewise with repair.fp16.onnx
    weights-*.bin   weights that these share, as ONNX external data; the name says the file's hash
    damage.onnx     in some bundles: the stage that proposes the mask; face.onnx: the one that frames faces
    *.int8.onnx     in some bundles: the stages with convolutions in 8-bit integers, for CPUs
    golden.npz      inputs with the reference's outputs

A file is read when it is needed, once, and its SHA-256 is checked on the very bytes that are then handed on. A graph is
handed on with its weights in it: one that would have a runtime read another file is refused.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.disk import read_plain
from restore_sdk.bundle.manifest import MAX_MANIFEST_BYTES, OPTIONAL_PRECISIONS, Manifest, StageSpec, parse_manifest
from restore_sdk.bundle.onnxfile import self_contained
from restore_sdk.errors import BundleError

_SHIPPED = Path(__file__).resolve().parent / "models"

#: The bundles inside the wheel, by name. ``default`` paints a face that looks like a photograph, also where nothing of
#: it is left; ``faithful`` keeps closest to the truth (PSNR, SSIM, L1), and is soft where it cannot know.
SHIPPED = {name: _SHIPPED / name for name in ("default", "faithful")}
DEFAULT_BUNDLE = SHIPPED["default"]

#: Golden vectors are a handful of 256 x 256 images; anything near this size is not one.
MAX_GOLDEN_BYTES = 256 * 1024 * 1024

GET_ANOTHER = "get the bundle again, or export it again with: python -m export"

_NAMES = f"pass one of {', '.join(SHIPPED)}, or the folder that holds manifest.json"
_MAKE_INT8 = (
    "take faithful, which has them, or add them in a checkout: "
    "python -m export int8 --bundle BUNDLE --faces FOLDER --out NEW_BUNDLE"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model bundle on disk whose manifest was read and found valid."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Open a bundle: a string that is a name of :data:`SHIPPED` means that one inside the wheel, ``None`` the
        default; anything else is a folder (one of such a name is ``"./faithful"`` or a ``Path``).

        Reads the manifest only; every other file is read, and its hash checked, by :meth:`read`.

        Raises:
            BundleError: there is no bundle at ``path``.
            BundleError (manifest): the manifest breaks the schema, or describes another contract than this version's.
        """
        source: Any = "default" if path is None else path
        if not isinstance(source, str | os.PathLike) or not os.fspath(source):
            raise BundleError(f"{path!r} names no bundle", _NAMES)
        shipped = SHIPPED.get(source) if isinstance(source, str) else None
        folder = shipped or Path(source)
        if not os.path.isdir(folder):
            if shipped:
                raise BundleError(f"this installation holds no {source} bundle", "reinstall restore-sdk")
            raise BundleError(f"no bundle at {folder}: not a folder", _NAMES)
        data = _read_plain(folder, "manifest.json", MAX_MANIFEST_BYTES)
        return cls(folder, parse_manifest(data))

    @property
    def name(self) -> str:
        """Name and version, as in ``restore-face 1.0``."""
        return f"{self.manifest.name} {self.manifest.version}"

    @property
    def address(self) -> str:
        """What :meth:`load` opens it by, from any folder; a shipped one also where the package lies elsewhere."""
        names = {folder: name for name, folder in SHIPPED.items()}
        return names.get(self.path) or str(self.path.absolute())

    @property
    def fingerprint(self) -> str:
        """Tells this model from any other, whatever their names: a hash of its files' hashes."""
        hashes = sorted(f"{name} {spec.sha256}" for name, spec in self.manifest.files.items())
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """The stages in the order in which they run."""
        return self.manifest.stages

    @property
    def damage(self) -> StageSpec:
        """The stage that proposes a mask; raises :class:`BundleError` (absent) where the bundle has none."""
        if self.manifest.damage is None:
            hint = "mark it by hand, or take the bundle default or faithful; to add the stage: docs/training.md"
            raise BundleError(f"bundle {self.name} has no stage that finds damage", hint, reason="absent")
        return self.manifest.damage

    def facts(self) -> dict[str, Any]:
        """Name, version, date, size and cost of the model, of JSON types."""
        manifest = self.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "created": manifest.created,
            "size": manifest.size,
            "parameters": sum(stage.parameters for stage in manifest.stages),
            "macs": sum(stage.macs for stage in manifest.stages),
        }

    def file(self, stage: str, precision: str) -> str:
        """Name of the file that holds a stage's graph in ``"fp32"``, ``"fp16"`` or, in some bundles, ``"int8"``."""
        for spec in self.stages:
            if spec.name == stage and precision in spec.files:
                return spec.files[precision]
        hint = _MAKE_INT8 if precision in OPTIONAL_PRECISIONS else GET_ANOTHER
        raise BundleError(f"bundle {self.name} has no {precision} graph of stage {stage!r}", hint, reason="absent")

    def read(self, name: str) -> bytes:
        """Bytes of one file of the bundle, after their SHA-256 was found to be the manifest's; of a graph, with the
        weights in it that lie in another file of the bundle.

        Raises:
            BundleError (integrity): the file is missing, no plain file, or not the one that the manifest names; or
                it is a graph with tensors outside the bundle.
        """
        data = self.checked(name)
        if any(name in stage.files.values() for stage in (*self.stages, *self.manifest.extras)):
            try:
                data = self_contained(data, self._weights)
            except ValueError as error:
                raise _integrity_error(f"{name} is no graph that a bundle may hold: {error}") from error
        return data

    def checked(self, name: str) -> bytes:
        """Bytes of one file as it lies there, their SHA-256 being the manifest's; raises as ``read``."""
        spec = self.manifest.files.get(name)
        if spec is None:
            raise _integrity_error(f"the bundle's manifest does not list {name!r}")
        data = _read_plain(self.path, name, spec.bytes)
        if len(data) != spec.bytes or hashlib.sha256(data).hexdigest() != spec.sha256:
            raise _integrity_error(f"{name} is not the file that the bundle's manifest names")
        return data

    def _weights(self, name: str) -> bytes:
        """A file of weights by the name that a graph has for it. The name holds the hash, so that the graph's own hash
        tells its weights from any others."""
        spec = self.manifest.files.get(name)
        if spec is None or name != weights_name(spec.sha256):
            raise ValueError("a tensor of it is kept in another file")
        return self.checked(name)

    def golden(self) -> dict[str, NDArray[np.uint8]]:
        """The golden vectors: arrays ``image``, ``mask`` and the reference's outputs.

        Returns:
            ``uint8`` arrays by tensor name, N along the first axis, shaped as the stages take and give them.
        """
        name = self.manifest.golden.file
        data = self.read(name)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_GOLDEN_BYTES:
                    raise _integrity_error(f"{name} unpacks to more than {MAX_GOLDEN_BYTES} bytes")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                golden: dict[str, NDArray[Any]] = {key: arrays[key] for key in arrays.files}
        except BundleError:
            raise
        except Exception as error:  # zipfile, zlib, lzma, numpy and its parser of headers each have their own
            raise _integrity_error(f"{name} is no archive of plain arrays: {error}") from error
        self.check_golden(golden)
        return golden

    def verify_files(self) -> None:
        """Read every file that the manifest lists and check its hash."""
        for name in self.manifest.files:
            self.read(name)

    def check_golden(self, golden: Mapping[str, NDArray[Any]]) -> None:
        """Raise :class:`BundleError` when arrays are missing, or not shaped as the stages' tensors."""
        tensors = {tensor.name: tensor for spec in self.stages for tensor in (*spec.inputs, *spec.outputs)}
        missing = sorted(set(tensors) - set(golden))
        if missing:
            raise _integrity_error(f"golden vectors lack {', '.join(missing)}")
        count = len(golden["image"]) if golden["image"].ndim else 0
        for key, tensor in tensors.items():
            array = golden[key]
            if count == 0 or array.dtype != np.uint8 or array.shape != (count, *tensor.shape[1:]):
                raise _integrity_error(
                    f"golden vector {key} is {array.dtype} {array.shape}, not uint8 (N, {tensor.shape[1:]})"
                )


def _integrity_error(message: str) -> BundleError:
    return BundleError(message, GET_ANOTHER, reason="integrity")


def weights_name(sha256: str) -> str:
    """How a file of weights that graphs share is called."""
    return f"weights-{sha256[:16]}.bin"


def _read_plain(folder: Path, name: str, limit: int) -> bytes:
    path = folder / name
    try:
        return read_plain(path, limit)
    except FileNotFoundError as error:
        raise _integrity_error(f"the bundle lacks {name}: {path}") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", "check the file's permissions") from error
    except ValueError as error:
        raise _integrity_error(f"{path} {error}") from error
