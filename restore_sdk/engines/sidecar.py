"""What a built engine is: the key it is stored under, the sidecar beside its plan, the host that may load it."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from restore_sdk.errors import EngineIncompatibleError, EngineIntegrityError

SCHEMA = 1

#: ``tensorrt``: data-centre GPUs and Jetson, built where it runs. ``tensorrt_rtx``: consumer GPUs, built anywhere.
Flavour = Literal["tensorrt", "tensorrt_rtx"]

#: Which GPUs a plan runs on: the very device model it was built on, every device of its compute capabilities, or
#: every device from Ampere (8.0) on.
Hardware = Literal["device", "capability", "ampere_plus"]

_STAGE = re.compile(r"[a-z0-9_]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

#: Names of what lies in a store: sidecars, all that an engine has, timing caches, and what an interrupted write leaves.
_NAME = r"[a-z0-9_]{1,40}\.[0-9a-f]{24}"
SIDECAR_NAME = re.compile(rf"{_NAME}\.json")
_ENGINE = re.compile(rf"{_NAME}(\.json|\.[0-9a-f]{{16}}\.plan)")
_TIMING = re.compile(r"tensorrt(_rtx)?-[a-z0-9.-]+\.timing")
_PART = re.compile(r"\.([a-z0-9_]{1,40}\.[0-9a-f]|tensorrt(_rtx)?-)[a-z0-9.-]*\.[0-9a-f]{12}\.part")

_REBUILD = "build the engine again: restore-sdk build"

#: What may not fit, the more telling later.
_KINDS = ("flavour", "version", "CUDA", "platform", "capability", "device")


def host_platform() -> str:
    """Operating system and processor, such as ``linux-x86_64``: plans hold host code."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return f"{sys.platform}-{machine}"


def is_of_store(name: str, *, timing: bool) -> bool:
    """Whether a file of this name is part of an engine or of an interrupted write; with ``timing``, a cache as well."""
    forms = (_ENGINE, _PART, _TIMING) if timing else (_ENGINE, _PART)
    return any(form.fullmatch(name) for form in forms)


@dataclass(frozen=True, slots=True)
class Host:
    """What would load an engine: a TensorRT and a device.

    Attributes:
        flavour, version: the TensorRT that is imported, its version in full, as in ``"10.16.1.11"``.
        compute_capability: of the device, as in ``"8.6"``.
        device_name: as the driver gives it, as in ``"NVIDIA A10"``.
        platform: see :func:`host_platform`.
        cuda: major version of the CUDA that this TensorRT is for, as in ``"13"``; empty where that cannot be told.
        index: of the device, for the command in a hint.
    """

    flavour: Flavour
    version: str
    compute_capability: str
    device_name: str
    platform: str = field(default_factory=host_platform)
    cuda: str = ""
    index: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class EngineKey:
    """All that decides what a build gives; two builds of one key are interchangeable.

    Attributes:
        stage: ``"edge"`` or ``"repair"``.
        onnx_sha256: of the graph that was built.
        min_batch, opt_batch, max_batch: the optimisation profile.
        workspace_mib: most scratch memory in MiB that a layer may ask for.
        optimization_level: 0..5.
        flavour, version, platform: of the TensorRT that built it, see :class:`Host`.
        hardware: which devices it runs on.
        compute_capabilities: those it was built for, ascending, as in ``("8.6", "8.9")``.
        device_name: the device that it was built on; empty unless ``hardware`` is ``"device"``.
        version_compatible: loads in later versions of the same major, too.
        cuda: of the TensorRT that built it, see :class:`Host`.
    """

    stage: str
    onnx_sha256: str
    min_batch: int
    opt_batch: int
    max_batch: int
    workspace_mib: int
    optimization_level: int
    flavour: Flavour
    version: str
    platform: str
    hardware: Hardware
    compute_capabilities: tuple[str, ...]
    device_name: str = ""
    version_compatible: bool = False
    cuda: str = ""

    @property
    def digest(self) -> str:
        """24 hexadecimal characters that stand for the whole key in file names."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()[:24]

    def loads_in(self, version: str | None) -> bool:
        """Whether a TensorRT of the engine's flavour and this version loads it; ``None``: there is none."""
        return version is not None and (
            self.version == version or (self.version_compatible and _newer(self.version, version))
        )

    def mismatch(self, host: Host) -> tuple[str, str, str] | None:
        """The first thing in which the engine does not fit the host (what, the engine's, the host's), or ``None``."""
        if self.flavour != host.flavour:
            return "TensorRT flavour", self.flavour, host.flavour
        if not self.loads_in(host.version):
            return f"{self.flavour} version", self.version, host.version
        if self.cuda and host.cuda and self.cuda != host.cuda:
            return f"CUDA that {self.flavour} is for", self.cuda, host.cuda
        if self.platform != host.platform:
            return "platform", self.platform, host.platform
        if self.hardware == "ampere_plus":
            if _numbers(host.compute_capability) < (8, 0):
                return "compute capability", "8.0 or later", host.compute_capability
        elif host.compute_capability not in self.compute_capabilities:
            return "compute capability", " ".join(self.compute_capabilities), host.compute_capability
        if self.hardware == "device" and self.device_name != host.device_name:
            return "device", self.device_name, host.device_name
        return None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor at the engine's edge; ``-1`` in ``shape`` is the batch axis."""

    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What stands in the JSON file beside a plan.

    Attributes:
        key: see :class:`EngineKey`.
        target: name of the recipe that it was built from, as ``restore-sdk build --target`` takes it.
        bundle: name and version of the model.
        plan_sha256, plan_bytes: of the plan, checked before a byte of it reaches TensorRT.
        tensors: inputs, then outputs.
        precision: measured, not asked for: number of layers that compute in each floating-point type.
        precision_source: ``"network"`` where there was no device to load the engine on, else ``"engine"``.
        verified: whether the golden vectors ran on this engine and passed, somewhere: see :meth:`verified_on`.
        verification: ``{"status": "not run"}`` or ``"passed"`` with the figures, ``device``, ``driver_cuda`` and
            ``tensorrt`` (its version).
        build: seconds, the log's summary, memory figures and the like; free.
        created: ISO date and time.
    """

    key: EngineKey
    target: str
    bundle: str
    plan_sha256: str
    plan_bytes: int
    tensors: tuple[Tensor, ...]
    precision: Mapping[str, int]
    precision_source: Literal["network", "engine"]
    verified: bool
    verification: Mapping[str, Any]
    build: Mapping[str, Any]
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
        return {"schema": SCHEMA, **asdict(self)}

    def verified_on(self, device: str, driver_cuda: str, tensorrt: str) -> bool:
        """Whether the golden vectors passed on a device of this name, with a driver for this CUDA and this TensorRT.

        Where not (built ahead of time, copied here, a driver for another CUDA since, or a newer TensorRT that loads it
        too), the runtime runs them before it serves and calls ``EngineStore.mark_verified``.
        """
        passed_on = tuple(self.verification.get(name) for name in ("device", "driver_cuda", "tensorrt"))
        return self.verified and passed_on == (device, driver_cuda, tensorrt)

    def marked(self, verification: Mapping[str, Any]) -> Sidecar:
        """The same with the golden vectors passed."""
        return replace(self, verified=True, verification={"status": "passed", **verification})


def dump_sidecar(sidecar: Sidecar) -> bytes:
    """The sidecar as a JSON file that carries a checksum over itself, so that an edited one is noticed."""
    root = sidecar.to_json()
    root["checksum"] = hashlib.sha256(_canonical(root)).hexdigest()
    return (json.dumps(root, indent=2, allow_nan=False) + "\n").encode()


def parse_sidecar(data: bytes, name: str) -> Sidecar:
    """Read a sidecar strictly; ``name`` is its file name, which must be the one that its key gives.

    Raises:
        EngineIntegrityError: no JSON, another schema, a missing or mistyped field, edited, or renamed.
    """
    try:
        root = json.loads(data)
        if not isinstance(root, dict) or root.get("schema") != SCHEMA:
            raise ValueError(f"not of schema {SCHEMA}")
        checksum = root.pop("checksum", None)
        if checksum != hashlib.sha256(_canonical(root)).hexdigest():
            raise ValueError("its content does not match its checksum: it was edited or damaged")
        root.pop("schema")
        key = dict(root.pop("key"))
        key["compute_capabilities"] = tuple(key["compute_capabilities"])
        tensors = tuple(Tensor(**{**entry, "shape": tuple(entry["shape"])}) for entry in root.pop("tensors"))
        sidecar = Sidecar(key=EngineKey(**key), tensors=tensors, **root)
        _check_types(sidecar)
        if sidecar.key.flavour not in get_args(Flavour) or sidecar.key.hardware not in get_args(Hardware):
            raise ValueError(f"it is for {sidecar.key.flavour!r} on {sidecar.key.hardware!r}, unknown here")
        if sidecar.file != name:
            raise ValueError(f"its key belongs to {sidecar.file}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EngineIntegrityError(f"the engine's sidecar {name} is not sound: {error}", _REBUILD) from error
    return sidecar


def _check_types(sidecar: Sidecar) -> None:
    """Raise :class:`TypeError` where JSON held another type than the field's."""
    kinds: dict[str, type] = {"verification": dict, "precision": dict, "build": dict}
    for part in (sidecar, sidecar.key):
        for item in fields(part):
            # Annotations are text here; what is neither listed nor a number is text, or was made by the caller.
            kind = kinds.get(item.name, {"int": int, "str": str, "bool": bool}.get(str(item.type)))
            value = getattr(part, item.name)
            if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
                raise TypeError(f"{item.name} is {value!r}")
    if not _STAGE.fullmatch(sidecar.key.stage):  # a part of file names
        raise TypeError(f"stage is {sidecar.key.stage!r}")
    texts = all(isinstance(capability, str) for capability in sidecar.key.compute_capabilities)
    if not texts or not _SHA256.fullmatch(sidecar.plan_sha256):
        raise TypeError("plan_sha256 or compute_capabilities is of another form")


def _canonical(root: Mapping[str, Any]) -> bytes:
    return json.dumps(root, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _newer(built: str, running: str) -> bool:
    """Whether ``running`` is of the same major version as ``built`` and not older."""
    return _numbers(built)[:1] == _numbers(running)[:1] and _numbers(running) >= _numbers(built)


def refusal(sidecars: Iterable[Sidecar], wanted: str, bundle: str, host: Host, command: str) -> EngineIncompatibleError:
    """The error for the engine that comes nearest to fitting; ``wanted`` is the graph's hash, ``bundle`` its name."""

    def nearness(sidecar: Sidecar) -> tuple[bool, int]:
        found = sidecar.key.mismatch(host)
        rank = len(_KINDS) if found is None else next(i for i, kind in enumerate(_KINDS) if kind in found[0])
        return sidecar.key.onnx_sha256 == wanted, rank

    best = max(sidecars, key=nearness)
    if best.key.onnx_sha256 != wanted:
        what, built, here = "model", f"{best.bundle} ({best.key.onnx_sha256[:12]})", f"{bundle} ({wanted[:12]})"
    else:
        what, built, here = best.key.mismatch(host) or ("", "", "")
    return EngineIncompatibleError(
        f"the engine of stage {best.key.stage} does not fit: {what} of the engine {built}, here {here}",
        f"build one for this host: {command}",
    )
