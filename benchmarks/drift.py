"""How far every runtime and precision is from PyTorch in float32, over the golden vectors or a folder of faces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import TorchRunner
from export.drift import damaged
from export.stages import Probe, batches, stack
from restore_sdk.bundle import Bundle
from restore_sdk.errors import RestoreError
from restore_sdk.imaging.image import MASKED_ABOVE
from restore_sdk.imaging.quality import Drift
from restore_sdk.measure.bench import NAMED, run_name
from restore_sdk.measure.timing import Progress
from restore_sdk.runtime import Runtime
from restore_sdk.runtime.base import StageRunner
from restore_sdk.runtime.golden import OUTPUTS
from restore_sdk.runtime.select import open_runner
from training.data import find_images
from training.protocol import read_faces, read_mask


def golden_probes(bundle: Bundle) -> list[Probe]:
    """The bundle's golden inputs."""
    golden = bundle.golden()
    rows = zip(golden["image"], golden["mask"], strict=True)
    return [Probe(f"golden {number}", *row) for number, row in enumerate(rows)]


def face_probes(faces: Path, masks: Path | None, limit: int | None) -> list[Probe]:
    """Photographs of a folder, an even choice of at most ``limit``, each with a mask of the other or random damage.

    Raises:
        training.data.DataError: a folder has no image, or one that cannot be read.
    """
    return damaged(dict(read_faces(faces, limit)), [read_mask(path) for path in find_images(masks)] if masks else [])


def measure(
    bundle: Bundle, runtimes: Sequence[Runtime], probes: Sequence[Probe], progress: Progress = lambda line: None
) -> dict[str, Any]:
    """Run all probes through the reference and through every runtime; none named: through all that open here.

    Returns:
        JSON types. ``pictures``; ``masked``: least and largest share; ``absent``: what does not open, and why;
        ``drift``: by what ran, ``restored`` and ``completed_edges``, each as
        :meth:`restore_sdk.imaging.quality.Drift.to_json`, with ``worst``, the name of the picture.
    """
    reference = TorchRunner(bundle)
    runners: dict[str, StageRunner] = {}
    absent: list[dict[str, str]] = []
    with ExitStack() as opened:
        for name in dict.fromkeys(runtimes or NAMED):
            try:
                runner, _ = open_runner(name, bundle, device=0, slots=1, threads=None)
            except RestoreError as error:
                if runtimes:  # asked for by name: it is measured, or that is an error
                    raise
                absent.append({"runtime": name, "why": error.message, "hint": error.hint})
                continue
            opened.callback(runner.close)
            runners[run_name(runner.info())] = runner
        found = {name: {output: Drift() for output in OUTPUTS} for name in runners}
        for number, batch in enumerate(batches(probes)):
            progress(f"drift: batch {number + 1}")
            inputs = stack(batch)
            right = reference.infer(*inputs)
            for name, runner in runners.items():
                for i in range(0, len(batch), runner.max_batch):
                    some = slice(i, i + runner.max_batch)
                    ours = runner.infer(*(np.ascontiguousarray(each[some]) for each in inputs))
                    for output, drift in found[name].items():
                        drift.add(getattr(right, output)[some], getattr(ours, output))
    shares = [float((probe.mask > MASKED_ABOVE).mean()) for probe in probes]
    return {
        "pictures": len(probes),
        "masked": [round(min(shares), 4), round(max(shares), 4)],
        "absent": absent,
        "drift": {
            name: {out: {**drift.to_json(), "worst": probes[drift.worst_picture].name} for out, drift in each.items()}
            for name, each in found.items()
        },
    }


def describe(figures: dict[str, Any]) -> list[str]:
    """The figures for people."""
    low, high = figures["masked"]
    lines = [f"{figures['pictures']} pictures, {low:.1%} to {high:.1%} masked"]
    for name, each in figures["drift"].items():
        restored = each["restored"]
        pooled, worst = (
            "equal" if (db := restored[f"{key}_db"]) is None else f"{db:.2f} dB" for key in ("pooled", "worst")
        )
        lines.append(f"{name:<24} {pooled:>9}, worst {worst:>9} ({restored['worst']})")
    return [*lines, *(f"not here: {each['runtime']}: {each['why']}" for each in figures["absent"])]
