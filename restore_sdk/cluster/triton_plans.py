"""Which built engines of the store a Triton repository takes: one a stage and compute capability, of one TensorRT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from restore_sdk.bundle import Bundle
from restore_sdk.engines.sidecar import Sidecar
from restore_sdk.engines.store import EngineStore, graph_sha256
from restore_sdk.errors import EngineIncompatibleError, EngineIntegrityError, EngineNotBuiltError

#: Key of a plan that runs on more than the devices of one compute capability.
ANY = ""


@dataclass(frozen=True, slots=True)
class Plans:
    """Plans that one server can serve.

    Attributes:
        data: by stage and compute capability, as in ``{"edge": {"8.6": ...}, "repair": {"8.6": ...}}``.
        version: of the TensorRT that built them all.
        max_batch: the largest batch that each of them takes.
        unproven: stages with a plan on which the golden vectors never ran: Triton runs none.
        version_compatible: whether one of them was built to load in later versions, which the server must be told.
    """

    data: Mapping[str, Mapping[str, bytes]]
    version: str
    max_batch: int
    unproven: tuple[str, ...] = ()
    version_compatible: bool = False


def choose_plans(bundle: Bundle, store: EngineStore, version: str | None = None) -> Plans:
    """The plans of a bundle: one for each stage and compute capability, the newest where there are several.

    Args:
        version: take only plans of this TensorRT, as in ``"10.13.3.9"``; needed where the store holds several.

    Raises:
        EngineNotBuiltError: no plan of a stage, or of a stage for a device that the other stage has one for.
        EngineIncompatibleError: plans of several versions of TensorRT, or of several models of GPU that Triton cannot
            tell apart.
        EngineIntegrityError: a plan is not what was stored.
    """
    candidates = {stage.name: _candidates(bundle, store, stage.name, version) for stage in bundle.stages}
    # before any is left out: which one a server has, only its user knows
    kinds = {(plan.key.version, plan.key.cuda, plan.key.platform) for plans in candidates.values() for plan in plans}
    if len(kinds) > 1:
        found = ", ".join(sorted(" ".join(filter(None, kind)) for kind in kinds))
        several = len({version for version, _, _ in kinds}) > 1
        raise EngineIncompatibleError(
            f"the store holds plans of several TensorRTs, and a server has one: {found}",
            "pass --tensorrt VERSION" if several else "keep each in a store of its own: restore-sdk build --store DIR",
        )
    chosen = {stage: _by_capability(plans) for stage, plans in candidates.items()}
    first, *rest = chosen
    for other in rest:
        for one, two in ((first, other), (other, first)):
            missing = sorted(set(chosen[one]) - set(chosen[two]))
            if missing:
                devices = ", ".join(capability or "any device" for capability in missing)
                raise EngineNotBuiltError(
                    f"stage {two} has no plan for {devices}, and stage {one} has one",
                    f"build it: {store.build_command(bundle, 'tensorrt')}",
                )
    every = [plan for plans in chosen.values() for plan in plans.values()]
    try:
        data = {stage: {cc: store.read(plan).plan for cc, plan in plans.items()} for stage, plans in chosen.items()}
    except FileNotFoundError as error:
        raise EngineIntegrityError(f"a plan is gone: {error.filename}", "run: restore-sdk engines verify") from error
    return Plans(
        data,
        every[0].key.version,
        min(plan.key.max_batch for plan in every),
        tuple(stage for stage, plans in chosen.items() if not all(plan.verified for plan in plans.values())),
        any(plan.key.version_compatible for plan in every),
    )


def _candidates(bundle: Bundle, store: EngineStore, stage: str, version: str | None) -> list[Sidecar]:
    graph = graph_sha256(bundle, stage)
    ours = [
        entry.sidecar
        for entry in store.entries()
        if entry.sidecar is not None and entry.sidecar.key.stage == stage and entry.sidecar.key.onnx_sha256 == graph
    ]
    plans = [s for s in ours if s.key.edition == "tensorrt" and s.key.min_batch == 1]
    fitting = [plan for plan in plans if version in (None, plan.key.version)]
    if not fitting:
        if plans:
            why = f"of TensorRT {version}, but of {', '.join(sorted({plan.key.version for plan in plans}))}"
        elif ours:
            why = "that Triton can serve: those that are there are of TensorRT for RTX, or for larger batches only"
        else:
            why = f"of {bundle.name}"
        raise EngineNotBuiltError(
            f"{store.root} holds no plan of stage {stage} {why}",
            f"build it on the GPU that will serve: {store.build_command(bundle, 'tensorrt')}",
        )
    return fitting


def _by_capability(plans: Iterable[Sidecar]) -> dict[str, Sidecar]:
    """The newest plan for each capability; one for many devices stands under :data:`ANY`."""
    found: dict[str, Sidecar] = {}
    for plan in sorted(plans, key=lambda plan: (plan.created, plan.key.digest)):
        for capability in (ANY,) if plan.key.hardware == "ampere_plus" else plan.key.compute_capabilities:
            before = found.get(capability)
            if before is not None and before.key.device_name != plan.key.device_name:
                raise EngineIncompatibleError(
                    f"plans of stage {plan.key.stage} for {before.key.device_name or 'any'} and for "
                    f"{plan.key.device_name or 'any'} share the compute capability {capability}, by which Triton "
                    "chooses",
                    "keep those of the GPU that will serve in a store of their own: restore-sdk build --store DIR",
                )
            found[capability] = plan
    return dict(sorted(found.items()))
