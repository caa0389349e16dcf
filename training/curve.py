"""The curve of a run: losses, and validation PSNR by bucket, over images seen."""

from __future__ import annotations

from pathlib import Path

from training.config import PARTS
from training.data import DataError
from training.log import RunLog


def plot(log: RunLog, out: Path) -> None:
    """Draw a log as a picture, a row a stage. Raises :class:`DataError` where there is nothing to draw, or ``out`` does
    not end as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not log.path.is_file():
        raise DataError(f"{log.path} does not exist. Name the --out folder of a run.")
    records = log.records()
    stages = [stage for stage in PARTS if any(record["stage"] == stage for record in records)]
    if not stages:
        raise DataError(f"{log.path} is empty: the run has not logged anything yet.")
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
    try:
        figure.savefig(out, dpi=110)
    except ValueError as error:
        raise DataError(f"{out} does not end in a picture format. Use .png or .svg.") from error
