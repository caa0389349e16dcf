"""The curve of a run: losses, and validation PSNR by bucket, over images seen."""

from __future__ import annotations

import json
from pathlib import Path

from training.config import STAGES
from training.data import DataError


def plot(log: Path, out: Path) -> None:
    """Draw ``log.jsonl`` as a picture, a row a stage. Raises :class:`DataError` where there is nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not log.is_file():
        raise DataError(f"{log} does not exist. Name the --out folder of a run.")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    stages = [stage for stage in STAGES if any(record["stage"] == stage for record in records)]
    if not stages:
        raise DataError(f"{log} is empty: the run has not logged anything yet.")
    figure, axes = pyplot.subplots(len(stages), 2, figsize=(12, 4 * len(stages)), squeeze=False)
    for row, stage in enumerate(stages):
        mine = [record for record in records if record["stage"] == stage]
        names = sorted({name for record in mine for name in record} - {"stage", "images", "time"})
        for name in names:
            points = [(record["images"], record[name]) for record in mine if name in record]
            validation = name.startswith("val_")
            axes[row, int(validation)].plot(
                *zip(*points, strict=True), label=name.removeprefix("val_"), marker="o" if validation else ""
            )
        for axis, title in zip(axes[row], ("training losses", "validation"), strict=True):
            axis.set(title=f"{stage}: {title}", xlabel="images seen")
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(fontsize=8)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
