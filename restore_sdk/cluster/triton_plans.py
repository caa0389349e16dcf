"""Which built engines of the store a Triton repository takes: one a stage and compute capability, of one TensorRT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from restore_sdk.bundle import Bundle
from restore_sdk.engines.sidecar import Sidecar
from restore_sdk.engines.store import EngineStore, graph_sha256
from restore_sdk.errors import EngineError


class Plans(NamedTuple):
    """Plans that one server can serve.

    Attributes:
        data: by stage and compute capability, as in ``{"edge": {"8.6": ...}, "repair": {"8.6": ...}}``; under ``""``
            a plan for more than one.
        version: of the TensorRT that built them all.
        max_batch: the largest batch that each of them takes.
        unverified: stages with a plan on which the golden vectors never ran: Triton runs none.
        version_compatible: whether one of them was built to load in later versions, which the server must be told.
    """

    data: Mapping[str, Mapping[str, bytes]]
    version: str
    max_batch: int
    unverified: list[str]
    version_compatible: bool


def choose_plans(bundle: Bundle, store: EngineStore, version: str | None = None) -> Plans:
    """The plans of a bundle: one for each stage and compute capability, the newest where there are several.

    Args:
        version: take only plans of this TensorRT, as in ``"10.13.3.9"``; needed where the store holds several.

    Raises:
        EngineError (not-built): no plan of a stage, or of a stage for a device that the other stage has one for.
        EngineError (incompatible): plans of several versions of TensorRT, or of several models of GPU that Triton
            cannot tell apart.
        EngineError (integrity): a plan is not what was stored.
    """
    build = store.build_command(bundle, "tensorrt")
    candidates = {stage.name: _candidates(bundle, store, stage.name, version, build) for stage in bundle.stages}
    # before any is left out: which one a server has, only its user knows
    kinds = {(plan.key.version, plan.key.cuda, plan.key.platform) for plans in candidates.values() for plan in plans}
    if len(kinds) > 1:
        found = ", ".join(sorted(" ".join(filter(None, kind)) for kind in kinds))
        several = len({version for version, _, _ in kinds}) > 1
        raise EngineError(
            f"the store holds plans of several TensorRTs, and a server has one: {found}",
            "pass --tensorrt VERSION" if several else "keep each in a store of its own: restore-sdk build --store DIR",
            reason="incompatible",
        )
    chosen = {stage: _by_capability(plans) for stage, plans in candidates.items()}
    everywhere = {capability for plans in chosen.values() for capability in plans}
    for stage, plans in chosen.items():
        if missing := sorted(everywhere - set(plans)):
            devices = ", ".join(capability or "any device" for capability in missing)
            message = f"stage {stage} has no plan for {devices}, and another stage has one"
            raise EngineError(message, f"build it: {build}", reason="not-built")
    every = [plan for plans in chosen.values() for plan in plans.values()]
    try:
        data = {stage: {cc: store.read(plan).plan for cc, plan in plans.items()} for stage, plans in chosen.items()}
    except FileNotFoundError as error:
        raise EngineError(
            f"a plan is gone: {error.filename}", "run: restore-sdk engines verify", reason="integrity"
        ) from error
    return Plans(
        data,
        every[0].key.version,
        min(plan.key.max_batch for plan in every),
        [stage for stage, plans in chosen.items() if not all(plan.verified for plan in plans.values())],
        any(plan.key.version_compatible for plan in every),
    )


def _candidates(bundle: Bundle, store: EngineStore, stage: str, version: str | None, build: str) -> list[Sidecar]:
    graph = graph_sha256(bundle, stage)
    every = [entry.sidecar for entry in store.entries() if entry.sidecar is not None]
    ours = [sidecar for sidecar in every if (sidecar.key.stage, sidecar.key.onnx_sha256) == (stage, graph)]
    plans = [sidecar for sidecar in ours if sidecar.key.edition == "tensorrt" and sidecar.key.min_batch == 1]
    if fitting := [plan for plan in plans if version in (None, plan.key.version)]:
        return fitting
    if plans:
        why = f"of TensorRT {version}, but of {', '.join(sorted({plan.key.version for plan in plans}))}"
    elif ours:
        why = "that Triton can serve: those that are there are of TensorRT for RTX, or for larger batches only"
    else:
        why = f"of {bundle.name}"
    message = f"{store.root} holds no plan of stage {stage} {why}"
    raise EngineError(message, f"build it on the GPU that will serve: {build}", reason="not-built")


def _by_capability(plans: Iterable[Sidecar]) -> dict[str, Sidecar]:
    """The newest plan for each capability; one for many devices stands under ``""``."""
    found: dict[str, Sidecar] = {}
    for plan in sorted(plans, key=lambda plan: (plan.created, plan.key.digest)):
        for capability in ("",) if plan.key.hardware == "ampere_plus" else plan.key.compute_capabilities:
            before = found.get(capability, plan).key.device_name
            if before != plan.key.device_name:
                devices = f"{before or 'any'} and for {plan.key.device_name or 'any'}"
                raise EngineError(
                    f"plans of stage {plan.key.stage} for {devices} share the compute capability {capability}, by "
                    "which Triton chooses",
                    "keep those of the GPU that will serve in a store of their own: restore-sdk build --store DIR",
                    reason="incompatible",
                )
            found[capability] = plan
    return dict(sorted(found.items()))
