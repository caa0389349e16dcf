"""Does this host compute what the model's reference computed? Golden vectors through a runtime."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.errors import DriftError, InputError
from restore_sdk.imaging.image import HOLE_ABOVE, canny_edges
from restore_sdk.imaging.quality import drift_psnr
from restore_sdk.runtime.golden import GATES, golden_results
from restore_sdk.runtime.select import Runtime, open_runner


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one output is from the reference over all golden images, in dB (infinite: equal)."""

    mean_db: float
    worst_db: float
    worst_image: int

    def to_json(self) -> dict[str, Any]:
        """JSON types; ``null`` for infinite."""
        return {
            "mean_db": None if math.isinf(self.mean_db) else round(self.mean_db, 2),
            "worst_db": None if math.isinf(self.worst_db) else round(self.worst_db, 2),
            "worst_image": self.worst_image,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify` found.

    Attributes:
        images: number of golden images.
        restored: drift of the repair stage's output. ``completed_edges``: of the edge stage's.
        canny_equal: share of pixels, 0..1, at which this host's Canny edges are those of the golden inputs.
        min_psnr: the gate in dB for the worst image. ``min_mean``: for the mean over all of them.
        runtime: facts about the runner.
    """

    images: int
    restored: Drift
    completed_edges: Drift
    canny_equal: float
    min_psnr: float
    min_mean: float
    runtime: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether no image of either output is beyond the gate."""
        both = (self.restored, self.completed_edges)
        return all(drift.worst_db >= self.min_psnr and drift.mean_db >= self.min_mean for drift in both)

    def require(self) -> None:
        """Raise :class:`DriftError` unless it passed."""
        if self.passed:
            return
        name, drift = min(
            (("restored image", self.restored), ("completed edges", self.completed_edges)),
            key=lambda pair: pair[1].worst_db,
        )
        raise DriftError(
            f"{name} {drift.worst_image} is {drift.worst_db:.1f} dB from the reference, "
            f"{drift.mean_db:.1f} dB on average; the gate is {self.min_psnr:g} dB, {self.min_mean:g} dB on average",
            "do not use this runtime here; report the output of: restore-sdk doctor --json",
        )


def verify(
    bundle: Bundle,
    runtime: Runtime = "auto",
    *,
    min_psnr: float | None = None,
    device: int = 0,
    cuda_graph: bool = False,
) -> Verification:
    """Run a bundle's golden vectors through a runtime, and check every file of the bundle.

    Args:
        min_psnr: least PSNR in dB of every image; ``None`` is the gate of the runtime's precision, see
            :data:`restore_sdk.runtime.golden.GATES`.
        cuda_graph: on TensorRT, run them as one CUDA graph.

    Returns the figures whether they pass or not: see :attr:`Verification.passed` and :meth:`Verification.require`.

    Raises:
        BundleError, MissingDependencyError, EngineNotBuiltError, DeviceError, ExecutionError: it could not run.
    """
    if min_psnr is not None and not math.isfinite(min_psnr):
        raise InputError(f"the gate is {min_psnr} dB", "pass a number")
    bundle.verify_files()
    golden = bundle.golden()
    runner, _ = open_runner(runtime, bundle, device=device, slots=1, threads=None, cuda_graph=cuda_graph)
    try:
        results = golden_results(runner, golden)
        facts = runner.info()
    finally:
        runner.close()
    min_mean, worst = GATES[facts["precision"]]
    if min_psnr is None:
        min_psnr = worst
    else:
        min_mean = min_psnr
    canny = [canny_edges(image, mask > HOLE_ABOVE) for image, mask in zip(golden["image"], golden["mask"], strict=True)]
    return Verification(
        images=len(results),
        restored=_drift(golden["restored"], [result.restored for result in results]),
        completed_edges=_drift(golden["completed_edges"], [result.completed_edges for result in results]),
        canny_equal=float(np.mean(np.stack(canny) == golden["edges"])),
        min_psnr=min_psnr,
        min_mean=min_mean,
        runtime=facts,
    )


def _drift(reference: NDArray[np.uint8], results: list[NDArray[np.uint8]]) -> Drift:
    values = drift_psnr(reference, np.concatenate(results))
    return Drift(float(values.mean()), float(values.min()), int(values.argmin()))
