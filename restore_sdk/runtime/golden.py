"""The gate that a runtime must pass before it serves: golden vectors, computed once by the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.errors import DriftError
from restore_sdk.imaging.quality import Drift
from restore_sdk.runtime.base import INPUTS, OUTPUTS, StageRunner

#: Least PSNR in dB against the float32 reference by the precision that a runtime computes in: pooled over all golden
#: images, and of the worst one. bfloat16 has 8 bits of significand, where half precision has 11; with
#: ``int8`` some convolutions are in 8-bit integers, the rest in bfloat16.
GATES = {"fp32": (60.0, 60.0), "fp16": (60.0, 55.0), "bf16": (55.0, 45.0), "int8": (50.0, 45.0)}

#: What completed edges are allowed below that, but in float32: the edge map chooses between neighbours by steep steps,
#: so that rounding moves a line by a pixel here and there, which the restored picture hardly shows.
EDGES_ALLOWANCE = 10.0


def gate_of(output: str, precision: str) -> tuple[float, float]:
    """Least PSNR in dB of an output, pooled and of the worst image."""
    pooled_db, worst_db = GATES[precision]
    less = EDGES_ALLOWANCE if output == "completed_edges" and precision != "fp32" else 0.0
    return pooled_db - less, worst_db - less


def golden_drift(runner: StageRunner, golden: dict[str, NDArray[np.uint8]]) -> dict[str, Drift]:
    """The golden inputs through a runner, one image at a time: the drift of both stages' outputs."""
    results = [
        runner.infer(*(golden[name][index : index + 1] for name in INPUTS)) for index in range(len(golden["image"]))
    ]
    return {
        name: Drift().add(golden[name], np.concatenate([getattr(result, name) for result in results]))
        for name in OUTPUTS
    }


def require_golden(runner: StageRunner, bundle: Bundle) -> dict[str, Any]:
    """Hold a built engine, which computes in half precision, to the gate; returns the figures, of JSON types.

    Raises:
        DriftError: an output is beyond the gate; names the output, the figures and the gate.
    """
    found = golden_drift(runner, bundle.golden())
    for name, drift in found.items():
        pooled_db, worst_db = gate_of(name, "fp16")
        if not drift.within(pooled_db, worst_db):
            raise DriftError(
                f"{name} is {drift} from the reference; the gate is {pooled_db:g} and {worst_db:g} dB",
                "do not use this engine; build it again, and report the output of: restore-sdk doctor --json",
            )
    return {"images": found["restored"].pictures, **{name: drift.to_json() for name, drift in found.items()}}
