"""Both stages of a bundle into the store: built, validated on the golden vectors where there is a device, published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.engines.builder import Progress, build_stage
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.engines.sidecar import EngineKey, Sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import DriftError, EngineError, ExecutionError, MissingDependencyError, OutOfMemoryError

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
    wants the same engines takes those of the first.

    Args:
        validate: run where the engines are for the GPU at hand; engines that it refuses are not published.
        force: build even when the store has the engines.

    Raises:
        BuildError: see :func:`restore_sdk.engines.builder.build_stage`.
        DriftError: the engines compute something else than the reference; nothing was published.
        OutputError, EngineError (integrity): the store cannot be used.
    """
    with store.lock("build", lambda _: progress("waiting for another build on this host")):
        return _Chain(bundle, plan, store, validate, progress).run(force=force)


@dataclass(frozen=True, slots=True)
class _Chain:
    bundle: Bundle
    plan: BuildPlan
    store: EngineStore
    validate: Validator | None
    progress: Progress

    def run(self, *, force: bool) -> list[Outcome]:
        keys = {stage.name: self.plan.key(self.bundle, stage.name) for stage in self.bundle.stages}
        stored = {} if force else self._stored(keys)
        if stored.keys() == keys.keys() and self._validated_here(stored.values()):
            return [Outcome(engine.sidecar, engine.path, True) for engine in stored.values()]
        engines = {name: (engine.plan, engine.sidecar) for name, engine in stored.items()}
        engines |= self._built(keys, keys.keys() - stored.keys())
        try:
            engines = self._validated(engines)
        except OutOfMemoryError as error:  # that says nothing of the engines
            if stored.keys() != keys.keys():
                raise
            _LOG.warning("the engines in the store are not validated, their first user does it: %s", error)
            return [Outcome(engine.sidecar, engine.path, True) for engine in stored.values()]
        except (DriftError, EngineError, ExecutionError) as error:
            if not stored:
                raise
            # building again mends what a hint to build again was given for
            _LOG.warning("the engines in the store are built again: %s", error)
            engines |= self._built(keys, stored.keys())
            stored = {}
            engines = self._validated(engines)
        return [self._published(*engines[name], stored.get(name)) for name in keys]

    def _stored(self, keys: Mapping[str, EngineKey]) -> dict[str, StoredEngine]:
        """By stage the engines that are there and whole."""
        found = {}
        for stage, key in keys.items():
            sidecar = self.store.lookup(key)
            if sidecar is not None:
                with suppress(FileNotFoundError, EngineError):
                    found[stage] = self.store.read(sidecar)
        return found

    def _validated_here(self, engines: Iterable[StoredEngine]) -> bool:
        """Whether there is nothing to run the golden vectors on, or they passed on this very device before."""
        gpu = self.plan.gpu
        if gpu is None or self.validate is None:
            return True
        here = gpu.model, gpu.cuda, self.plan.trt.version
        return all(engine.sidecar.verified_on(*here) for engine in engines)

    def _built(self, keys: Mapping[str, EngineKey], names: Iterable[str]) -> dict[str, tuple[bytes, Sidecar]]:
        chosen = set(names)
        return {
            stage.name: self._build(stage, keys[stage.name]) for stage in self.bundle.stages if stage.name in chosen
        }

    def _build(self, stage: StageSpec, key: EngineKey) -> tuple[bytes, Sidecar]:
        plan, graph = self.plan, self.bundle.read(self.bundle.file(stage.name, "fp16"))
        built = build_stage(plan.trt, graph, stage, plan.recipe, gpu=plan.gpu, progress=self.progress)
        return built.plan, Sidecar(
            key=key,
            target=plan.recipe.name,
            bundle=self.bundle.name,
            plan_sha256=sha256(built.plan).hexdigest(),
            plan_bytes=len(built.plan),
            tensors=built.tensors,
            precision=built.precision,
            verified=False,
            verification={"status": "not run", "reason": "no GPU of this kind where it was built"},
            build=built.build,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _validated(self, engines: dict[str, tuple[bytes, Sidecar]]) -> dict[str, tuple[bytes, Sidecar]]:
        """The golden vectors on the engines, while nobody else can see the fresh ones."""
        if self.plan.gpu is None or self.validate is None:
            return engines
        self.progress("running the golden vectors")
        try:
            figures = self.validate(self.bundle, {stage: data for stage, (data, _) in engines.items()}, self.plan)
        except MissingDependencyError as error:
            _LOG.warning("the engines are not validated, their first user runs the golden vectors: %s", error)
            reason = {"status": "not run", "reason": error.message}
            return {stage: (data, replace(sidecar, verification=reason)) for stage, (data, sidecar) in engines.items()}
        return {stage: (data, sidecar.marked(figures)) for stage, (data, sidecar) in engines.items()}

    def _published(self, data: bytes, sidecar: Sidecar, stored: StoredEngine | None) -> Outcome:
        """A fresh engine into the store; of one that was there, what it was validated on."""
        if stored is None:
            return Outcome(sidecar, self.store.publish(data, sidecar).path, False)
        if sidecar.verification.get("status") != "passed":
            return Outcome(stored.sidecar, stored.path, True)
        if sidecar != stored.sidecar:
            self.store.note_verified([stored], sidecar.verification)
        return Outcome(sidecar, stored.path, True)
