"""Recipes: what to build for which GPU, in small TOML files; the shipped ones lie in ``targets/``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from restore_sdk.engines.rebuild import TARGETS
from restore_sdk.engines.sidecar import Flavour, Hardware
from restore_sdk.errors import InputError

MAX_BATCH = 64
_CAPABILITY = re.compile(r"[1-9]\d?\.\d")
_PLATFORM = re.compile(r"[a-z0-9]+-[a-z0-9_]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build both stages for a kind of GPU.

    Attributes:
        name: what ``--target`` takes; lower case.
        description: one line for people.
        flavour: which TensorRT builds it.
        compute_capabilities: of the GPUs that the engines are for, as in ``("8.6",)``.
        opt_batch, max_batch: images a run: the number to be fastest at, and the most; the least is 1.
        workspace_mib: most scratch memory in MiB that a layer may use.
        optimization_level: 0 (quick to build) to 5 (searches longest).
        hardware: ``"device"``, ``"capability"`` or ``"ampere_plus"``, see :data:`restore_sdk.engines.sidecar.Hardware`.
            TensorRT for RTX always builds for whole compute capabilities.
        version_compatible: engines load in later TensorRT versions of the same major (TensorRT only).
        platforms: operating systems and processors it is for, as in ``("linux-aarch64",)``; empty: any.
    """

    name: str
    description: str
    flavour: Flavour
    compute_capabilities: tuple[str, ...]
    opt_batch: int = 1
    max_batch: int = 4
    workspace_mib: int = 1024
    optimization_level: int = 3
    hardware: Hardware = "device"
    version_compatible: bool = False
    platforms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values: Mapping[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for field, least, most in (
            ("opt_batch", 1, MAX_BATCH),
            ("max_batch", self.opt_batch, MAX_BATCH),
            ("workspace_mib", 0, 1 << 20),
            ("optimization_level", 0, 5),
        ):
            value = values[field]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                self._refuse(f"{field} is {value!r}, expected a whole number from {least} to {most}")
        for field, allowed in (("flavour", get_args(Flavour)), ("hardware", get_args(Hardware))):
            if values[field] not in allowed:
                self._refuse(f"{field} is {values[field]!r}, expected one of {', '.join(allowed)}")
        for field, kind in (("name", str), ("description", str), ("version_compatible", bool)):
            if not isinstance(values[field], kind):
                self._refuse(f"{field} is {values[field]!r}, expected {'text' if kind is str else 'true or false'}")
        lists = (("compute_capabilities", _CAPABILITY, "8.6"), ("platforms", _PLATFORM, "linux-x86_64"))
        for field, form, example in lists:
            if not all(isinstance(item, str) and form.fullmatch(item) for item in values[field]):
                self._refuse(f'{field} must be a list such as ["{example}"]')
        if not _NAME.fullmatch(self.name):
            self._refuse("its name must be lower case letters, digits, '.', '_' and '-'")
        if not self.compute_capabilities:
            self._refuse("compute_capabilities is empty")
        if self.flavour == "tensorrt_rtx" and (self.hardware != "capability" or self.version_compatible):
            self._refuse('TensorRT for RTX builds hardware = "capability" without version_compatible only')
        numeric = sorted(set(self.compute_capabilities), key=lambda text: tuple(map(int, text.split("."))))
        object.__setattr__(self, "compute_capabilities", tuple(numeric))

    def _refuse(self, why: str) -> None:
        raise InputError(f"the recipe {self.name!r} is not sound: {why}", "mend the recipe, or take one of: " + _list())


def names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in TARGETS.glob("*.toml"))


def load_recipe(target: str) -> Recipe:
    """The shipped recipe of this name, or the one in a ``.toml`` file.

    Raises:
        InputError: there is none, or it is not sound.
    """
    path = Path(target) if target.endswith(".toml") else TARGETS / f"{target.lower()}.toml"
    if not target.endswith(".toml") and target.lower() not in names():
        raise InputError(f"there is no target {target!r}", f"take one of {_list()}, or name a .toml file")
    try:
        with path.open("rb") as file:
            root = tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}", f"take one of {_list()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}", "see the shipped recipes for the form") from error
    return parse_recipe(root, path.stem.lower())


def parse_recipe(root: Mapping[str, Any], name: str) -> Recipe:
    """A recipe from a parsed TOML file; its name is the file's.

    Raises:
        InputError: an unknown or missing field, or a value out of its range.
    """
    known = {field.name for field in fields(Recipe)} - {"name"}
    unknown, missing = set(root) - known, {"description", "flavour", "compute_capabilities"} - set(root)
    if unknown or missing:
        why = f"unknown {', '.join(sorted(unknown))}" if unknown else f"without {', '.join(sorted(missing))}"
        raise InputError(f"the recipe {name!r} is not sound: {why}", f"a recipe has: {', '.join(sorted(known))}")
    values = dict(root)
    for key in ("compute_capabilities", "platforms"):
        if key in values:
            if not isinstance(values[key], list):
                raise InputError(f"the recipe {name!r} is not sound: {key} is no list", "see the shipped recipes")
            values[key] = tuple(values[key])
    return Recipe(name=name, **values)


def recipe_for_device(flavour: Flavour, compute_capability: str) -> Recipe:
    """The recipe for the GPU at hand: the usual values, and an engine for this very device."""
    return Recipe(
        name=f"sm{compute_capability.replace('.', '')}" + ("-rtx" if flavour == "tensorrt_rtx" else ""),
        description="the GPU at hand",
        flavour=flavour,
        compute_capabilities=(compute_capability,),
        hardware="capability" if flavour == "tensorrt_rtx" else "device",
    )


def _list() -> str:
    return ", ".join(names())
