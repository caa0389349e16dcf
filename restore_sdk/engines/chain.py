"""Both stages of a bundle into the store: with which TensorRT and for which device is decided before anything is built;
what was built is validated on the golden vectors where there is a device, and then published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from restore_sdk._util.terminal import install_command
from restore_sdk.bundle import Bundle
from restore_sdk.engines.builder import Built, Progress, build_stage
from restore_sdk.engines.driver import DeviceFacts, device_facts
from restore_sdk.engines.edition import Edition, TensorRT, host_platform, load, require_driver
from restore_sdk.engines.recipe import Recipe, load_recipe, recipe_for_device
from restore_sdk.engines.sidecar import EngineKey, Sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine, graph_sha256
from restore_sdk.errors import (
    DeviceError,
    DriftError,
    EngineError,
    ExecutionError,
    InputError,
    MissingDependencyError,
)

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


#: Runs the golden vectors on plans by stage, before they are published: returns the figures, or raises DriftError.
Validator = Callable[[Bundle, Mapping[str, bytes], BuildPlan], Mapping[str, Any]]


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
        return BuildPlan(recipe, trt, _optional_gpu(recipe, trt, device))
    try:
        gpu = device_facts(device)
    except DeviceError as error:
        message = f"target {recipe.name} is built on the GPU that it is for: {error.message}"
        raise DeviceError(message, f"build it on such a host; {error.hint}") from error
    if gpu.compute_capability not in recipe.compute_capabilities:
        raise DeviceError(
            f"target {recipe.name} is for compute capability {' '.join(recipe.compute_capabilities)}, GPU {device} "
            f"here is {gpu.name} ({gpu.compute_capability}), and TensorRT builds only for the GPU that it runs on",
            "build it on a host with such a GPU; for this one: restore-sdk build",
        )
    trt = load(recipe.edition)
    require_driver(trt, gpu)
    return BuildPlan(recipe, trt, gpu)


def build_chain(
    bundle: Bundle,
    plan: BuildPlan,
    store: EngineStore,
    *,
    validate: Validator | None = None,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> list[StoredEngine]:
    """Build the engines of every stage, or take those that the store has; published once all are built and valid.

    Models may share a stage: an engine of it that was built for another one is taken, and validated with the new one.

    One build runs at a time in a store: two at once would spoil each other's measurements, and a second process that
    wants the same engines takes those of the first. ``validate`` runs on fresh engines that are for the GPU at hand.

    Raises:
        BuildError: see :func:`restore_sdk.engines.builder.build_stage`.
        DriftError: the engines compute something else than the reference; nothing was published.
        OutputError, EngineError (integrity): the store cannot be used.
    """
    with store.lock("build", lambda _: progress("waiting for another build on this host")):
        keys = {stage.name: plan.key(bundle, stage.name) for stage in bundle.stages}
        engines = {} if force else {name: each for name, key in keys.items() if (each := store.stored(key)) is not None}
        built: dict[str, Built] = {}
        for stage in bundle.stages:
            if stage.name not in engines:
                graph = bundle.read(bundle.file(stage.name, "fp16"))
                built[stage.name] = build_stage(plan.trt, graph, stage, plan.recipe, gpu=plan.gpu, progress=progress)
        validation: Mapping[str, Any] = {}
        if built and validate is not None and plan.gpu is not None:
            progress("running the golden vectors")
            try:  # while nobody else can see the fresh engines
                validation = validate(bundle, {stage: each.plan for stage, each in (engines | built).items()}, plan)
            except MissingDependencyError as error:
                _LOG.warning("the engines are not validated, whoever opens them runs the golden vectors: %s", error)
            except (DriftError, EngineError, ExecutionError) as error:
                if engines:  # of what was there, an engine may be the reason
                    edition, recipe, device = plan.trt.edition, plan.recipe.name, plan.gpu.index
                    command = store.build_command(bundle, edition, recipe, device=device, force=True)
                    error.hint = f"build all of them again: {command}"
                raise
        for name, new in built.items():
            sidecar = Sidecar(
                key=keys[name],
                target=plan.recipe.name,
                bundle=bundle.name,
                plan_sha256=sha256(new.plan).hexdigest(),
                plan_bytes=len(new.plan),
                precision=new.precision,
                validation=dict(validation),
                build=new.build,
                created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
            engines[name] = store.publish(new.plan, sidecar)
        return [engines[name] for name in keys]


def _optional_gpu(recipe: Recipe, trt: TensorRT, device: int) -> DeviceFacts | None:
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
