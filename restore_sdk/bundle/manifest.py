"""The manifest of a model bundle, schema version 1: its types, the contract it must state, reading and writing it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from restore_sdk.errors import BundleManifestError
from restore_sdk.imaging.image import CANNY_HIGH, CANNY_LOW, CANNY_SIGMA, HOLE_ABOVE, MODEL_SIZE

SCHEMA = 1

#: A manifest is a few kilobytes; one of this size is an attack or an accident.
MAX_MANIFEST_BYTES = 1024 * 1024

#: No single file of a bundle comes near this.
MAX_FILE_BYTES = 1024 * 1024 * 1024

#: What every bundle of this schema states, and what :mod:`restore_sdk.imaging.image` does.
MASK_CONTRACT = {"hole_above": HOLE_ABOVE, "polarity": "white is hole"}
CANNY_CONTRACT = {"sigma": CANNY_SIGMA, "low": CANNY_LOW, "high": CANNY_HIGH}

#: The stages in order: name, inputs, outputs.
STAGE_CONTRACT = (
    ("edge", ("image", "mask", "edges"), ("completed_edges",)),
    ("repair", ("image", "mask", "completed_edges"), ("restored",)),
)
PRECISIONS = ("fp32", "fp16")

#: Graphs that a bundle may hold besides: some convolutions in 8-bit integers.
OPTIONAL_PRECISIONS = ("int8",)

#: Counts are written as JSON numbers and shown as floats: what does not fit into 63 bits is none.
_MAX_COUNT = 2**63 - 1

#: Longest name, version or date.
_MAX_TEXT = 200

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HINT = "use a bundle that was exported for this version of restore-sdk"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor at a stage's edge: ``uint8`` in 0..255, layout NHWC or NHW, first axis ``"batch"``."""

    name: str
    dtype: str
    layout: str
    shape: tuple[str | int, ...]
    range: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """As in the manifest."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "layout": self.layout,
            "shape": list(self.shape),
            "range": list(self.range),
        }


def tensor_contract(name: str) -> TensorSpec:
    """The one form that a tensor of this name may have."""
    if name in ("image", "restored"):
        return TensorSpec(name, "uint8", "NHWC", ("batch", MODEL_SIZE, MODEL_SIZE, 3), (0, 255))
    return TensorSpec(name, "uint8", "NHW", ("batch", MODEL_SIZE, MODEL_SIZE), (0, 255))


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of the model: its graphs by precision, its tensors, its cost."""

    name: str
    files: Mapping[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    macs: int
    max_activation: float | None


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and found sound."""

    name: str
    version: str
    size: int
    stages: tuple[StageSpec, ...]
    files: Mapping[str, FileSpec]
    golden: str
    training: Mapping[str, Any]
    quality: Mapping[str, Any]
    created: str


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest strictly.

    Raises:
        BundleManifestError: no JSON, a missing or mistyped key, an unknown schema, file names that leave the folder,
            or another mask, Canny or tensor contract than this version's.
    """
    try:
        return _manifest(json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise BundleManifestError(f"the manifest is no sound JSON: {error}", _HINT) from error


def _manifest(root: Any) -> Manifest:
    if not isinstance(root, dict):
        raise BundleManifestError("the manifest is no JSON object", _HINT)
    if root.get("schema") != SCHEMA or isinstance(root.get("schema"), bool):
        raise BundleManifestError(
            f"the manifest has schema {_shown(root.get('schema'))}, this version reads {SCHEMA}", _HINT
        )
    _same("size", root.get("size"), MODEL_SIZE)
    _same("mask", root.get("mask"), MASK_CONTRACT)
    _same("canny", root.get("canny"), CANNY_CONTRACT)
    files = {_plain(name): _file(name, entry) for name, entry in _get(root, "files", dict).items()}
    golden = _plain(_get(_get(root, "golden", dict), "file", str))
    stages = tuple(_stage(entry, contract) for entry, contract in zip(_stage_list(root), STAGE_CONTRACT, strict=True))
    for name in (golden, *(name for stage in stages for name in stage.files.values())):
        if name not in files:
            raise BundleManifestError(f"the manifest uses {name!r} but does not list it under files", _HINT)
    return Manifest(
        name=_text(root, "name"),
        version=_text(root, "version"),
        size=MODEL_SIZE,
        stages=stages,
        files=MappingProxyType(files),
        golden=golden,
        training=MappingProxyType(_get(root, "training", dict)),
        quality=MappingProxyType(_get(root, "quality", dict)),
        created=_text(root, "created"),
    )


def sealed_manifest(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """``manifest.json`` of a bundle of these files, whatever files ``manifest`` names.

    Raises :class:`BundleManifestError` where a reader would refuse it.
    """
    named = {key: FileSpec(hashlib.sha256(data).hexdigest(), len(data)) for key, data in files.items()}
    data = dump_manifest(replace(manifest, files=named))
    parse_manifest(data)
    return data


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON, such that :func:`parse_manifest` gives back the same."""
    root = {
        "schema": SCHEMA,
        "name": manifest.name,
        "version": manifest.version,
        "size": manifest.size,
        "mask": MASK_CONTRACT,
        "canny": CANNY_CONTRACT,
        "stages": [
            {
                "name": stage.name,
                "files": dict(stage.files),
                "inputs": [tensor.to_json() for tensor in stage.inputs],
                "outputs": [tensor.to_json() for tensor in stage.outputs],
                "parameters": stage.parameters,
                "macs": stage.macs,
                "max_activation": stage.max_activation,
            }
            for stage in manifest.stages
        ],
        "files": {name: asdict(spec) for name, spec in manifest.files.items()},
        "golden": {
            "file": manifest.golden,
            "arrays": ["image", "mask", "edges", "completed_edges", "restored"],
            "reference": "pytorch float32",
        },
        "training": dict(manifest.training),
        "quality": dict(manifest.quality),
        "created": manifest.created,
    }
    try:
        text = json.dumps(root, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleManifestError(f"the manifest cannot be written as JSON: {error}", "use plain numbers") from error
    return (text + "\n").encode()


def _stage_list(root: Mapping[str, Any]) -> list[Any]:
    stages = _get(root, "stages", list)
    if len(stages) != len(STAGE_CONTRACT):
        raise BundleManifestError(f"the manifest has {len(stages)} stages, expected edge and repair", _HINT)
    return stages


def _stage(entry: Any, contract: tuple[str, tuple[str, ...], tuple[str, ...]]) -> StageSpec:
    if not isinstance(entry, dict):
        raise BundleManifestError("a stage in the manifest is no object", _HINT)
    name, inputs, outputs = contract
    _same("stage name", entry.get("name"), name)
    tensors_in = tuple(tensor_contract(tensor) for tensor in inputs)
    tensors_out = tuple(tensor_contract(tensor) for tensor in outputs)
    _same(f"{name} inputs", entry.get("inputs"), [tensor.to_json() for tensor in tensors_in])
    _same(f"{name} outputs", entry.get("outputs"), [tensor.to_json() for tensor in tensors_out])
    files = _get(entry, "files", dict)
    if not set(PRECISIONS) <= set(files) <= {*PRECISIONS, *OPTIONAL_PRECISIONS}:
        raise BundleManifestError(
            f"stage {name} must name an fp32 and an fp16 file, may name an int8 file, not {_shown(sorted(files))}",
            _HINT,
        )
    peak = entry.get("max_activation")
    if peak is not None and (isinstance(peak, bool) or not isinstance(peak, int | float) or not abs(peak) < 1e300):
        raise BundleManifestError(f"stage {name}: max_activation must be a finite number or null", _HINT)
    return StageSpec(
        name=name,
        files=MappingProxyType({precision: _plain(file) for precision, file in files.items()}),
        inputs=tensors_in,
        outputs=tensors_out,
        parameters=_count(entry, "parameters"),
        macs=_count(entry, "macs"),
        max_activation=None if peak is None else float(peak),
    )


def _file(name: str, entry: Any) -> FileSpec:
    if not isinstance(entry, dict):
        raise BundleManifestError(f"files[{name!r}] is no object", _HINT)
    digest, size = _get(entry, "sha256", str), _count(entry, "bytes")
    if not _SHA256.fullmatch(digest) or size > MAX_FILE_BYTES:
        raise BundleManifestError(f"files[{name!r}] has no sound sha256 and size", _HINT)
    return FileSpec(digest, size)


def _plain(name: Any) -> str:
    """A bare file name: no folder, no drive, no leading dot, so that it cannot leave the bundle."""
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name) or name == "manifest.json":
        raise BundleManifestError(f"the manifest names a file that a bundle cannot hold: {_shown(name)}", _HINT)
    return name


def _get(root: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = root.get(key)
    if not isinstance(value, kind):
        raise BundleManifestError(f"the manifest's {key!r} is missing or no {kind.__name__}", _HINT)
    return value


def _text(root: Mapping[str, Any], key: str) -> str:
    """Text that is shown on terminals and in logs: nothing in it may steer one, or break a line."""
    value = _get(root, key, str)
    if not value.isprintable() or len(value) > _MAX_TEXT:
        raise BundleManifestError(f"the manifest's {key!r} is too long or has characters that are not printable", _HINT)
    return value


def _count(root: Mapping[str, Any], key: str) -> int:
    value = root.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise BundleManifestError(f"the manifest's {key!r} is missing or no count", _HINT)
    return value


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise BundleManifestError(f"the manifest's {what} is {_shown(found)}, this version has {expected}", _HINT)


def _shown(value: Any) -> str:
    """What stands there, for a message: short, and nothing in it that would steer a terminal."""
    return repr(value)[:160]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
