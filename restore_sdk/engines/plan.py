"""What to build, with which TensorRT, on which device: decided before anything is built."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from restore_sdk._util.terminal import install_command
from restore_sdk.bundle import Bundle
from restore_sdk.engines.driver import DeviceFacts, device_facts
from restore_sdk.engines.edition import Edition, TensorRT, host_platform, load, require_driver
from restore_sdk.engines.recipe import Recipe, load_recipe, recipe_for_device
from restore_sdk.engines.sidecar import EngineKey
from restore_sdk.engines.store import graph_sha256
from restore_sdk.errors import DeviceError, InputError

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build that can be done here; ``gpu`` is the device at hand where the engines are for it."""

    recipe: Recipe
    trt: TensorRT
    gpu: DeviceFacts | None

    def key(self, bundle: Bundle, stage: str) -> EngineKey:
        """The key under which the engine of a stage is stored."""
        recipe, local = self.recipe, self.gpu if self.trt.edition == "tensorrt" else None
        return EngineKey(
            stage=stage,
            onnx_sha256=graph_sha256(bundle, stage),
            opt_batch=recipe.opt_batch,
            max_batch=recipe.max_batch,
            workspace_mib=recipe.workspace_mib,
            optimization_level=recipe.optimization_level,
            edition=self.trt.edition,
            version=self.trt.version,
            platform=host_platform(),
            hardware=recipe.hardware,
            compute_capabilities=(local.compute_capability,) if local else recipe.compute_capabilities,
            device_name=local.model if local and recipe.hardware == "device" else "",
            cuda=self.trt.cuda,
        )


def prepare(target: str | Recipe | None = None, edition: Edition | None = None, device: int = 0) -> BuildPlan:
    """Decide on a build: of a named or given recipe, or for ``None`` for the GPU at hand.

    Raises:
        InputError: no such target or edition, or the two contradict each other.
        DeviceError: there is no GPU and the build needs one, the target is for another, or its driver is too old.
        MissingDependencyError: the edition is not installed.
    """
    recipe = load_recipe(target) if isinstance(target, str) else target
    if recipe is None:
        gpu = device_facts(device)
        trt = load(edition)
        recipe = recipe_for_device(trt.edition, gpu.compute_capability)
        _require_capabilities(trt, recipe, gpu.name)
        require_driver(trt, gpu)
        return BuildPlan(recipe, trt, gpu)
    if edition not in (None, recipe.edition):
        raise InputError(f"target {recipe.name} is built with {recipe.edition}, not {edition}", "leave out --edition")
    if recipe.edition == "tensorrt_rtx":
        trt = load(recipe.edition)
        _require_capabilities(trt, recipe, f"target {recipe.name}")
        return BuildPlan(recipe, trt, _gpu_to_try(recipe, trt, device))
    try:
        gpu = device_facts(device)
    except DeviceError as error:
        what = f"target {recipe.name} is built on the GPU that it is for: {error.message}"
        raise DeviceError(what, f"build it on such a host; {error.hint}") from error
    if gpu.compute_capability not in recipe.compute_capabilities:
        raise DeviceError(
            f"target {recipe.name} is for compute capability {' '.join(recipe.compute_capabilities)}, GPU {device} "
            f"here is {gpu.name} ({gpu.compute_capability}), and TensorRT builds only for the GPU that it runs on",
            "build it on a host with such a GPU; for this one: restore-sdk build",
        )
    trt = load(recipe.edition)
    require_driver(trt, gpu)
    return BuildPlan(recipe, trt, gpu)


def _gpu_to_try(recipe: Recipe, trt: TensorRT, device: int) -> DeviceFacts | None:
    """The GPU to try engines on that are built ahead of time; none is needed."""
    try:
        gpu = device_facts(device)
        if gpu.compute_capability not in recipe.compute_capabilities:
            return None
        require_driver(trt, gpu)
    except DeviceError as error:
        if device:  # it was named
            raise
        _LOG.info("no GPU here to try the engines on: %s", error.message)
        return None
    return gpu


def _require_capabilities(trt: TensorRT, recipe: Recipe, what: str) -> None:
    """Raise :class:`DeviceError` where TensorRT for RTX does not build for all that a recipe names."""
    missing = [capability for capability in recipe.compute_capabilities if capability not in trt.ahead_of_time]
    if trt.edition == "tensorrt_rtx" and missing:
        raise DeviceError(
            f"{trt.label} does not build for compute capability {' '.join(missing)} ({what}), "
            f"only for {' '.join(trt.ahead_of_time)}",
            f"data-centre GPUs and Jetson take TensorRT: {install_command('tensorrt')}",
        )
