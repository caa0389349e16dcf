"""The gate that a runtime must pass before it serves: golden vectors, computed once by the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.errors import DriftError
from restore_sdk.imaging.quality import drift_psnr
from restore_sdk.runtime.base import Inference, StageRunner

#: Least PSNR in dB against the float32 reference by the precision that a runtime computes in: over all golden images on
#: average, and of the worst one. bfloat16 has 8 bits of significand, where half precision has 11; with
#: ``int8`` some convolutions are in 8-bit integers, the rest in bfloat16.
GATES = {"fp32": (60.0, 60.0), "fp16": (60.0, 55.0), "bf16": (55.0, 45.0), "int8": (50.0, 45.0)}

#: The gate of a built engine, which computes in half precision.
MIN_MEAN_DB, MIN_WORST_DB = GATES["fp16"]


def golden_results(runner: StageRunner, golden: dict[str, NDArray[np.uint8]]) -> list[Inference]:
    """The golden inputs through a runner, one image at a time."""
    return [
        runner.infer(*(golden[name][index : index + 1] for name in ("image", "mask", "edges")))
        for index in range(len(golden["image"]))
    ]


def require_golden(
    runner: StageRunner, bundle: Bundle, *, min_mean_db: float = MIN_MEAN_DB, min_worst_db: float = MIN_WORST_DB
) -> dict[str, Any]:
    """Run the golden vectors and compare both stages' outputs with the reference.

    Returns:
        The figures, of JSON types: ``{"images", "restored": {"mean_db", "worst_db"}, "completed_edges": {...}}``, with
        ``None`` for an output without any difference.

    Raises:
        DriftError: an output is beyond the gate; names the output, the figures and the gate.
    """
    golden = bundle.golden()
    results = golden_results(runner, golden)
    figures: dict[str, Any] = {"images": len(results)}
    for name in ("restored", "completed_edges"):
        mean, worst = drift(golden[name], [getattr(result, name) for result in results])
        if not (mean >= min_mean_db and worst >= min_worst_db):  # so written that a NaN does not pass
            raise DriftError(
                f"{name} is {mean:.1f} dB from the reference on average, {worst:.1f} dB at worst; "
                f"the gate is {min_mean_db:g} and {min_worst_db:g} dB",
                "do not use this engine; build it again, and report the output of: restore-sdk doctor --json",
            )
        figures[name] = {"mean_db": _finite(mean), "worst_db": _finite(worst)}
    return figures


def drift(reference: NDArray[np.uint8], results: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Mean and worst PSNR in dB, over images; infinite where all are equal."""
    values = drift_psnr(reference, np.concatenate(results))
    return float(values.mean()), float(values.min())


def _finite(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None
