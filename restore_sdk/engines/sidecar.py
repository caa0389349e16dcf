"""What a built engine is: the key it is stored under, and the sidecar beside its plan."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from restore_sdk._util.terminal import escape
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import Edition, TensorRT, host_platform
from restore_sdk.errors import EngineError

SCHEMA = 3

#: Which GPUs a plan runs on: the very device model it was built on, or every device of its compute capabilities.
Hardware = Literal["device", "capability"]

#: The hint of an error about an engine where the bundle is not known; callers that know it replace the hint.
BUILD_AGAIN = "build it again: restore-sdk build"


class EngineKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides what a built engine is: two builds of one key are interchangeable.

    Attributes:
        onnx_sha256: of the FP16 graph that was built.
        opt_batch, max_batch, workspace_mib, optimization_level, hardware: as in the recipe.
        edition, version, cuda: of the TensorRT that built it, see :class:`restore_sdk.engines.edition.TensorRT`.
        platform: see :func:`restore_sdk.engines.edition.host_platform`.
        compute_capabilities: those it was built for, ascending, as in ``("8.6", "8.9")``.
        device_name: the device that it was built on; empty unless ``hardware`` is ``"device"``.
    """

    stage: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,40}\Z")]  # a part of file names
    onnx_sha256: str
    opt_batch: int
    max_batch: int
    workspace_mib: int
    optimization_level: int
    edition: Edition
    version: str
    platform: str
    hardware: Hardware
    compute_capabilities: tuple[str, ...]
    device_name: str = ""
    cuda: str = ""

    @property
    def digest(self) -> str:
        """24 hexadecimal characters that identify the key in file names."""
        return _sha256(msgspec.to_builtins(self))[:24]

    def mismatch(self, trt: TensorRT, gpu: DeviceFacts) -> tuple[str, str, str] | None:
        """The first property that does not fit this host (what, the engine's, the host's), or ``None``."""
        if self.edition != trt.edition:
            return "TensorRT edition", self.edition, trt.edition
        if self.version != trt.version:
            return f"{self.edition} version", self.version, trt.version
        if self.cuda and trt.cuda and self.cuda != trt.cuda:
            return f"CUDA that {self.edition} is for", self.cuda, trt.cuda
        if self.platform != host_platform():
            return "platform", self.platform, host_platform()
        if gpu.compute_capability not in self.compute_capabilities:
            return "compute capability", " ".join(self.compute_capabilities), gpu.compute_capability
        if self.hardware == "device" and self.device_name != gpu.model:
            return "device", self.device_name, gpu.model
        return None


class Sidecar(Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON file beside a plan.

    Attributes:
        target: name of the recipe that it was built from. ``bundle``: name and version of the model.
        plan_sha256, plan_bytes: of the plan, checked before a byte of it reaches TensorRT.
        precision: number of layers of the strongly typed network that compute in each floating-point type.
        validation: what the golden vectors gave where it was built, with ``device``, ``driver_cuda`` and ``tensorrt``
            (its version); empty where they did not run. Whoever opens it runs them again.
        build: seconds, the log's summary, memory figures and the like; free.
        created: ISO date and time.
    """

    key: EngineKey
    target: str
    bundle: str
    plan_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    plan_bytes: int
    precision: dict[str, int]
    validation: dict[str, Any]
    build: dict[str, Any]
    created: str

    @property
    def plan_file(self) -> str:
        """Name of the plan's file; another build of the same key has another name, so readers never see a mixture."""
        return f"{self.key.stage}.{self.key.digest}.{self.plan_sha256[:16]}.plan"

    @property
    def file(self) -> str:
        """Name of the sidecar's file."""
        return f"{self.key.stage}.{self.key.digest}.json"

    def to_json(self) -> dict[str, Any]:
        """JSON types, without the checksum that :func:`dump_sidecar` adds."""
        return {"schema": SCHEMA, **msgspec.to_builtins(self)}


def dump_sidecar(sidecar: Sidecar) -> bytes:
    """The sidecar as a JSON file that carries a checksum over itself, so that an edited one is noticed."""
    root = sidecar.to_json()
    return (json.dumps({**root, "checksum": _sha256(root)}, indent=2, allow_nan=False) + "\n").encode()


def parse_sidecar(data: bytes, name: str) -> Sidecar:
    """Read a sidecar strictly; ``name`` is its file name, which must be the one that its key gives.

    Raises:
        EngineError (integrity): no JSON, another schema, a missing, unknown or mistyped field, edited, or renamed.
    """
    try:
        root = json.loads(data)
        if not isinstance(root, dict) or root.get("schema") != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        if root.pop("checksum", None) != _sha256(root):
            raise ValueError("its content does not match its checksum: it was edited or damaged")
        root.pop("schema")
        sidecar = msgspec.convert(root, Sidecar)
        if sidecar.file != name:
            raise ValueError(f"its key belongs to {sidecar.file}")
    except (ValueError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise EngineError(f"sidecar {name} is not valid: {escape(error)}", BUILD_AGAIN, reason="integrity") from error
    return sidecar


def _sha256(root: Any) -> str:
    text = json.dumps(root, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
