"""Recipes: what to build for which GPU, in small TOML files; the shipped ones lie in ``targets/``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from restore_sdk._util.terminal import escape
from restore_sdk.engines.edition import Edition
from restore_sdk.engines.sidecar import Hardware
from restore_sdk.errors import InputError

#: The shipped recipes.
TARGETS = Path(__file__).resolve().parent / "targets"

Batch = Annotated[int, Meta(ge=1, le=64)]
Capability = Annotated[str, Meta(pattern=r"^[1-9][0-9]?\.[0-9]\Z")]


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How to build both stages for a kind of GPU.

    Attributes:
        compute_capabilities: of the GPUs that the engines are for, as in ``("8.6",)``.
        opt_batch, max_batch: images a run: the number to be fastest at, and the most; the least is 1.
        workspace_mib: most workspace in MiB that a layer may use.
        optimization_level: 0 (quick to build) to 5 (searches longest).
        hardware: ``"device"`` or ``"capability"``, see :data:`restore_sdk.engines.sidecar.Hardware`; TensorRT for RTX
            always builds for whole compute capabilities.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,49}\Z")]
    description: str
    edition: Edition
    compute_capabilities: Annotated[tuple[Capability, ...], Meta(min_length=1)]
    opt_batch: Batch = 1
    max_batch: Batch = 4
    workspace_mib: Annotated[int, Meta(ge=0, le=1 << 20)] = 1024
    optimization_level: Annotated[int, Meta(ge=0, le=5)] = 3
    hardware: Hardware = "device"

    def __post_init__(self) -> None:
        if self.max_batch < self.opt_batch:
            raise ValueError("max_batch is less than opt_batch")
        if self.edition == "tensorrt_rtx" and self.hardware != "capability":
            raise ValueError('TensorRT for RTX builds hardware = "capability" only')
        ascending = sorted(set(self.compute_capabilities), key=lambda text: tuple(map(int, text.split("."))))
        msgspec.structs.force_setattr(self, "compute_capabilities", tuple(ascending))


def names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in TARGETS.glob("*.toml"))


def load_recipe(target: str) -> Recipe:
    """The shipped recipe of this name, or the one in a ``.toml`` file; raises :class:`InputError`."""
    path, shipped = Path(target), ", ".join(names())
    if not target.endswith(".toml"):
        if target.lower() not in names():
            raise InputError(f"there is no target {target!r}", f"take one of {shipped}, or name a .toml file")
        path = TARGETS / f"{target.lower()}.toml"
    try:
        root = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}", f"take one of {shipped}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {error}", "see the shipped recipes for the form") from error
    return parse_recipe(root, path.stem.lower())


def parse_recipe(root: Mapping[str, Any], name: str) -> Recipe:
    """A recipe from a parsed TOML file, whose name is the file's; raises :class:`InputError`."""
    fields = [field for field in Recipe.__struct_fields__ if field != "name"]
    try:
        if "name" in root:
            raise ValueError("its file gives its name")
        return msgspec.convert({"name": name, **root}, Recipe)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise InputError(
            f"the recipe {name!r} is not valid: {escape(error)}", f"a recipe has: {', '.join(fields)}"
        ) from error


def recipe_for_device(edition: Edition, compute_capability: str) -> Recipe:
    """The recipe for the GPU at hand: the usual values, and an engine for this very device."""
    return Recipe(
        name=f"sm{compute_capability.replace('.', '')}" + ("-rtx" if edition == "tensorrt_rtx" else ""),
        description="the GPU at hand",
        edition=edition,
        compute_capabilities=(compute_capability,),
        hardware="capability" if edition == "tensorrt_rtx" else "device",
    )
