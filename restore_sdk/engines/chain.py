"""Both stages of a bundle into the store: built, validated on the golden vectors where there is a device, published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.engines.builder import Built, Progress, build_stage
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.engines.sidecar import EngineKey, Sidecar
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import DriftError, EngineError, ExecutionError, MissingDependencyError

#: Runs the golden vectors on plans by stage, before they are published: gives the figures, or raises DriftError.
Validator = Callable[[Bundle, Mapping[str, bytes], BuildPlan], Mapping[str, Any]]

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One stage's engine in the store; ``reused`` when it stood there already."""

    sidecar: Sidecar
    path: Path
    reused: bool


def build_chain(
    bundle: Bundle,
    plan: BuildPlan,
    store: EngineStore,
    *,
    validate: Validator | None = None,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> list[Outcome]:
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
        stored = {} if force else {name: each for name, key in keys.items() if (each := store.stored(key)) is not None}
        built: dict[str, Built] = {}
        for stage in bundle.stages:
            if stage.name not in stored:
                graph = bundle.read(bundle.file(stage.name, "fp16"))
                built[stage.name] = build_stage(plan.trt, graph, stage, plan.recipe, gpu=plan.gpu, progress=progress)
        validation: Mapping[str, Any] = {}
        if built and validate is not None and plan.gpu is not None:
            progress("running the golden vectors")
            try:  # while nobody else can see the fresh engines
                validation = validate(bundle, {stage: each.plan for stage, each in (stored | built).items()}, plan)
            except MissingDependencyError as error:
                _LOG.warning("the engines are not validated, whoever opens them runs the golden vectors: %s", error)
            except (DriftError, EngineError, ExecutionError) as error:
                if stored:  # of what was there, an engine may be the reason
                    command = store.build_command(
                        bundle, plan.trt.edition, plan.recipe.name, device=plan.gpu.index, force=True
                    )
                    error.hint = f"build all of them again: {command}"
                raise
        return [
            Outcome(engine.sidecar, engine.path, True)
            if (engine := stored.get(name)) is not None
            else _published(store, bundle, plan, key, built[name], validation)
            for name, key in keys.items()
        ]


def _published(
    store: EngineStore, bundle: Bundle, plan: BuildPlan, key: EngineKey, built: Built, validation: Mapping[str, Any]
) -> Outcome:
    sidecar = Sidecar(
        key=key,
        target=plan.recipe.name,
        bundle=bundle.name,
        plan_sha256=sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        tensors=built.tensors,
        precision=built.precision,
        validation=dict(validation),
        build=built.build,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    return Outcome(sidecar, store.publish(built.plan, sidecar).path, False)
