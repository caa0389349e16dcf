"""Both stages of a bundle into the store: built, proven on the golden vectors where there is a device, published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.builder import build_stage
from restore_sdk.engines.monitor import Watch
from restore_sdk.engines.order import Order
from restore_sdk.engines.sidecar import EngineKey, Sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import (
    BuildCancelledError,
    DriftError,
    EngineError,
    ExecutionError,
    MissingDependencyError,
    OutOfMemoryError,
)

#: Takes the stage, the done share (0..1) and what is going on.
StageProgress = Callable[[str, float, str], None]

#: Runs the golden vectors on plans by stage, before they are published: gives the figures, or raises DriftError.
Prover = Callable[[Bundle, Mapping[str, bytes], Order], Mapping[str, Any]]

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One stage's engine in the store; ``reused`` when it stood there already."""

    sidecar: Sidecar
    path: Path
    reused: bool


def build_chain(
    bundle: Bundle,
    order: Order,
    store: EngineStore,
    *,
    prove: Prover | None = None,
    force: bool = False,
    watch: Watch | None = None,
    progress: StageProgress | None = None,
) -> list[Outcome]:
    """Build the engines of every stage, or take those that the store has; published once all are built and proven.

    Models may share a stage: an engine of it that was built for another one is taken, and proven with the new one.

    One build runs at a time in a store: two at once would spoil each other's measurements, and a second process that
    wants the same engines takes those of the first.

    Args:
        prove: run where the engines are for the GPU at hand; engines that it refuses are not published.
        force: build even when the store has the engines.
        watch: ends building and waiting early.

    Raises:
        BuildError: see :func:`restore_sdk.engines.builder.build_stage`.
        DriftError: the engines compute something else than the reference; nothing was published.
        OutputError, EngineIntegrityError: the store cannot be used.
    """
    watch = watch or Watch()
    keys = {stage.name: order.key(bundle, stage.name) for stage in bundle.stages}

    def poll(waited: float) -> None:
        if progress is not None:
            progress("", 0.0, f"waiting for another build on this host ({waited:.0f} s)")
        if watch.over:
            raise BuildCancelledError("gave up waiting for another build on this host", "try again when it is done")

    def fresh(names: Set[str]) -> dict[str, tuple[bytes, Sidecar]]:
        return {
            stage.name: _build(bundle, stage, keys[stage.name], order, store, watch, progress)
            for stage in bundle.stages
            if stage.name in names
        }

    with store.lock("build", poll):
        stored = {} if force else _stored(store, keys)
        if stored and len(stored) == len(keys):
            right = _still_right(bundle, order, store, list(stored.values()), prove, progress)
            if right is not None:
                paths = [engine.path for engine in stored.values()]
                return [Outcome(sidecar, path, True) for sidecar, path in zip(right, paths, strict=True)]
            stored = {}
        plans = {name: (engine.plan, engine.sidecar) for name, engine in stored.items()}
        plans |= fresh(keys.keys() - stored.keys())
        try:
            plans = _proven(bundle, order, plans, prove, progress)
        except (DriftError, EngineError, ExecutionError) as error:
            if not stored or isinstance(error, OutOfMemoryError):  # that says nothing of the engines
                raise
            _LOG.warning("the engines in the store are built again: %s", error)
            plans |= fresh(stored.keys())
            stored = {}
            plans = _proven(bundle, order, plans, prove, progress)
        return [_published(store, *plans[name], stored.get(name)) for name in keys]


def _build(
    bundle: Bundle,
    stage: StageSpec,
    key: EngineKey,
    order: Order,
    store: EngineStore,
    watch: Watch,
    progress: StageProgress | None,
) -> tuple[bytes, Sidecar]:
    graph = bundle.read(bundle.file(stage.name, "fp16"))
    shown = None if progress is None else lambda share, phase: progress(stage.name, share, phase)
    built = build_stage(order.trt, graph, stage, order.recipe, gpu=order.gpu, store=store, watch=watch, progress=shown)
    sidecar = Sidecar(
        key=key,
        target=order.recipe.name,
        bundle=bundle.name,
        plan_sha256=sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        tensors=built.tensors,
        precision=built.precision,
        precision_source=built.precision_source,
        verified=False,
        verification={"status": "not run", "reason": "no GPU of this kind where it was built"},
        build=built.build,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    return built.plan, sidecar


def _still_right(
    bundle: Bundle,
    order: Order,
    store: EngineStore,
    stored: list[StoredEngine],
    prove: Prover | None,
    progress: StageProgress | None,
) -> list[Sidecar] | None:
    """The sidecars of engines that the store has, if they will do: on those for the GPU at hand the golden vectors
    passed before, or do now. Where not, ``None``: building again mends what a hint to build again was given for.
    """
    sidecars = [engine.sidecar for engine in stored]
    if order.gpu is None or prove is None:
        return sidecars
    here = order.gpu.model, order.gpu.cuda, order.trt.version
    if all(sidecar.verified_on(*here) for sidecar in sidecars):
        return sidecars
    if progress is not None:
        progress("", 1.0, "golden vectors on the engines in the store")
    try:
        figures = prove(bundle, {engine.sidecar.key.stage: engine.plan for engine in stored}, order)
    except (MissingDependencyError, OutOfMemoryError) as error:  # says nothing of the engines
        _LOG.warning("the engines in the store are unproven, their first user runs the golden vectors: %s", error)
        return sidecars
    except (DriftError, EngineError, ExecutionError) as error:
        _LOG.warning("the engines in the store are built again: %s", error)
        return None
    store.note_verified(stored, figures)
    return [sidecar.marked(figures) for sidecar in sidecars]


def _proven(
    bundle: Bundle,
    order: Order,
    plans: dict[str, tuple[bytes, Sidecar]],
    prove: Prover | None,
    progress: StageProgress | None,
) -> dict[str, tuple[bytes, Sidecar]]:
    """The golden vectors on the fresh engines, while nobody else can see them."""
    if order.gpu is None or prove is None:
        return plans
    if progress is not None:
        progress("", 1.0, "golden vectors")
    try:
        figures = prove(bundle, {stage: plan for stage, (plan, _) in plans.items()}, order)
    except MissingDependencyError as error:
        _LOG.warning("engines published unproven, their first user runs the golden vectors: %s", error)
        reason = {"status": "not run", "reason": error.message}
        return {stage: (plan, replace(sidecar, verification=reason)) for stage, (plan, sidecar) in plans.items()}
    return {stage: (plan, sidecar.marked(figures)) for stage, (plan, sidecar) in plans.items()}


def _stored(store: EngineStore, keys: Mapping[str, EngineKey]) -> dict[str, StoredEngine]:
    """By stage the engines that are there and whole."""
    found = {}
    for stage, key in keys.items():
        sidecar = store.lookup(key)
        if sidecar is not None:
            with suppress(FileNotFoundError, EngineError):
                found[stage] = store.read(sidecar)
    return found


def _published(store: EngineStore, plan: bytes, sidecar: Sidecar, stored: StoredEngine | None) -> Outcome:
    """A fresh engine into the store; of one that was there, what it was proven on."""
    if stored is None:
        return Outcome(sidecar, store.publish(plan, sidecar).path, False)
    if sidecar.verification.get("status") != "passed":
        return Outcome(stored.sidecar, stored.path, True)
    if sidecar != stored.sidecar:
        store.note_verified([stored], sidecar.verification)
    return Outcome(sidecar, stored.path, True)
