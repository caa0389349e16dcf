"""The manifest of a model bundle, schema version 2: its types, the contract it must state, reading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from restore_sdk._util.terminal import escape
from restore_sdk.errors import BundleError
from restore_sdk.imaging.image import MASKED_ABOVE, MODEL_SIZE

#: A manifest is a few kilobytes; one of this size is an attack or an accident.
MAX_MANIFEST_BYTES = 1024 * 1024

#: No single file of a bundle comes near this.
MAX_FILE_BYTES = 1024 * 1024 * 1024

#: What every bundle of this schema states, and what :mod:`restore_sdk.imaging.image` does.
CONTRACT: dict[str, Any] = {
    "schema": 2,
    "size": MODEL_SIZE,
    "mask": {"hole_above": MASKED_ABOVE, "polarity": "white is hole"},
}

#: The stages in order: name, inputs, outputs.
STAGE_CONTRACT = (
    ("edge", ("image", "mask"), ("completed_edges",)),
    ("repair", ("image", "mask", "completed_edges"), ("restored",)),
)
PRECISIONS = ("fp32", "fp16")

#: Graphs that a bundle may hold besides: some convolutions in 8-bit integers.
OPTIONAL_PRECISIONS = ("int8",)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HINT = "use a bundle that was exported for this version of restore-sdk"

Precision = Literal["fp32", "fp16", "int8"]
Text = Annotated[str, Meta(max_length=200)]
#: Counts are written as JSON numbers and shown as floats: what does not fit into 63 bits is none.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]

#: By name the type of a tensor, as in ``"uint8"``, and its shape without the batch.
Tensors = Mapping[str, tuple[str, tuple[str | int, ...]]]


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor at a stage's edge, first axis ``"batch"``: ``uint8`` in 0..255, NHWC or NHW; ``face`` gives floats."""

    name: str
    dtype: str
    layout: str
    shape: tuple[str | int, ...]
    range: tuple[int, int]


def tensor_contract(name: str) -> TensorSpec:
    """The one form that a tensor of this name may have."""
    if name in ("image", "restored"):
        return TensorSpec(name, "uint8", "NHWC", ("batch", MODEL_SIZE, MODEL_SIZE, 3), (0, 255))
    return TensorSpec(name, "uint8", "NHW", ("batch", MODEL_SIZE, MODEL_SIZE), (0, 255))


#: The stages that a bundle may hold besides, computed by ONNX Runtime alone: their inputs and outputs. ``damage`` takes
#: pictures of any size of which 16 is a divisor, and gives 255 where damage is certain. ``face`` gives how sure it is
#: of a face, 0..1, the middle of the face's frame (x, y), and the frame's side, in sides of the picture.
EXTRA_STAGES: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
    "damage": (
        (TensorSpec("image", "uint8", "NHWC", ("batch", "height", "width", 3), (0, 255)),),
        (TensorSpec("damage", "uint8", "NHW", ("batch", "height", "width"), (0, 255)),),
    ),
    "face": (
        (tensor_contract("image"), tensor_contract("mask")),
        (TensorSpec("face", "float", "NC", ("batch", 4), (-1, 2)),),
    ),
}


class StageSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One stage of the model: its graphs by precision, its tensors, its cost."""

    name: str
    files: dict[Precision, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Count
    macs: Count
    max_activation: Annotated[float, Meta(gt=-1e300, lt=1e300)] | None = None

    def mismatch(self, inputs: Tensors, outputs: Tensors) -> str:
        """How the tensors of a graph or an engine differ from the stage's; empty where they are the same."""
        for found, specs in ((inputs, self.inputs), (outputs, self.outputs)):
            expected = {spec.name: (spec.dtype, spec.shape[1:]) for spec in specs}
            if found != expected:
                return f"{dict(sorted(found.items()))}, its manifest says {expected}"
        return ""


class FileSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of the bundle must be."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """The file of the golden vectors, the arrays in it, and what computed them."""

    file: str
    arrays: tuple[str, ...] = ("image", "mask", "completed_edges", "restored")
    reference: str = "pytorch float32"


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A manifest that was read and found valid."""

    schema: int = CONTRACT["schema"]
    name: Text
    version: Text
    size: int = MODEL_SIZE
    mask: dict[str, Any] = field(default_factory=lambda: dict(CONTRACT["mask"]))
    stages: tuple[StageSpec, ...]
    damage: StageSpec | None = None
    face: StageSpec | None = None
    files: dict[str, FileSpec]
    golden: Golden
    training: dict[str, Any]
    quality: dict[str, Any]
    created: Text

    @property
    def extras(self) -> tuple[StageSpec, ...]:
        """Those of :data:`EXTRA_STAGES` that the bundle has."""
        return tuple(stage for name in EXTRA_STAGES if (stage := getattr(self, name)) is not None)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest strictly.

    Raises:
        BundleError (manifest): no JSON, a missing, unknown or mistyped key, another schema, file names that leave the
            folder, or another mask or tensor contract than this version's.
    """
    try:
        root = msgspec.json.decode(data, type=dict[str, Any])
        for key, expected in CONTRACT.items():
            if (value := root.get(key)) != expected or isinstance(value, bool):
                raise ValueError(f"{key} is {repr(value)[:160]}, this version has {expected}")
        manifest = msgspec.convert(root, Manifest)
        _check(manifest)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BundleError(f"the manifest is not valid: {escape(error)[:400]}", _HINT, reason="manifest") from error
    return manifest


def _check(manifest: Manifest) -> None:
    """What types cannot say."""
    for name in ("name", "version", "created"):  # shown on terminals and in logs
        if not getattr(manifest, name).isprintable():
            raise ValueError(f"{name!r} has characters that are not printable")
    if len(manifest.stages) != len(STAGE_CONTRACT):
        raise ValueError(f"it has {len(manifest.stages)} stages, expected edge and repair")
    for stage, (name, inputs, outputs) in zip(manifest.stages, STAGE_CONTRACT, strict=True):
        if stage.name != name:
            raise ValueError(f"stage name is {stage.name[:80]!r}, expected {name}")
        for label, found, expected in (("inputs", stage.inputs, inputs), ("outputs", stage.outputs, outputs)):
            if found != tuple(map(tensor_contract, expected)):
                raise ValueError(f"{name} {label} are {str(found)[:160]}, this version has other ones")
        if not set(PRECISIONS) <= set(stage.files):
            raise ValueError(f"stage {name} must name an fp32 and an fp16 file")
    for name, tensors in EXTRA_STAGES.items():
        if (extra := getattr(manifest, name)) is None:
            continue
        if extra.name != name or (extra.inputs, extra.outputs) != tensors:
            raise ValueError(f"its {name} stage has another name or other tensors than this version's")
        if "fp32" not in extra.files:
            raise ValueError(f"its {name} stage must name an fp32 file")
    # A bare name: no folder, no drive, no leading dot, so that it cannot leave the bundle.
    for name in manifest.files:
        if not _PLAIN_NAME.fullmatch(name) or name == "manifest.json":
            raise ValueError(f"it names a file that a bundle cannot hold: {name[:120]!r}")
    graphs = (name for stage in (*manifest.stages, *manifest.extras) for name in stage.files.values())
    for name in (manifest.golden.file, *graphs):
        if name not in manifest.files:
            raise ValueError(f"it uses {name[:120]!r} but does not list it under files")
