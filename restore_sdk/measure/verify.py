"""Does this host compute what the model's reference computed? Golden vectors through a runtime."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from restore_sdk.bundle import Bundle
from restore_sdk.errors import InputError
from restore_sdk.imaging.quality import Drift
from restore_sdk.runtime import Runtime
from restore_sdk.runtime.golden import gate_of, golden_drift
from restore_sdk.runtime.select import open_runner


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify` found: by output the drift and its gate, least PSNR in dB pooled over all images and of the
    worst one; and facts about the runner."""

    drift: dict[str, Drift]
    gates: dict[str, tuple[float, float]]
    runtime: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether both outputs are within their gates."""
        return all(drift.within(*self.gates[name]) for name, drift in self.drift.items())


def verify(
    bundle: Bundle, runtime: Runtime = "auto", *, min_psnr: float | None = None, device: int = 0
) -> Verification:
    """Run a bundle's golden vectors through a runtime, and check every file of the bundle.

    Returns the figures whether they pass or not: see :attr:`Verification.passed`. ``min_psnr`` is the least PSNR in dB,
    pooled and of every image; ``None``: the gate of the runtime's precision (:data:`restore_sdk.runtime.golden.GATES`).

    Raises:
        InputError: ``min_psnr`` is no finite number. The rest as :func:`restore_sdk.runtime.select.open_runner`.
    """
    if min_psnr is not None and not math.isfinite(min_psnr):
        raise InputError(f"the gate is {min_psnr} dB", "pass a number")
    bundle.verify_files()
    golden = bundle.golden()
    runner, _ = open_runner(runtime, bundle, device=device, slots=1, threads=None)
    try:
        drift, facts = golden_drift(runner, golden), runner.info()
    finally:
        runner.close()
    asked = None if min_psnr is None else (min_psnr, min_psnr)
    return Verification(drift, {name: asked or gate_of(name, facts["precision"]) for name in drift}, facts)
