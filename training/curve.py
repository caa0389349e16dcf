"""The curve of a run: the losses of each part over the images that it has seen."""

from __future__ import annotations

from pathlib import Path

from training.config import PARTS
from training.data import DataError
from training.log import RunLog


def plot(log: RunLog, out: Path) -> None:
    """Draw a log as a picture, a panel a part; its losses on a logarithmic scale, smoothed over nine records.

    Raises :class:`DataError` where there is nothing to draw, or ``out`` does not end as a picture.
    """
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not log.path.is_file():
        raise DataError(f"{log.path} does not exist. Name the --out folder of a run.")
    records = log.records()
    parts = [part for part in PARTS if any(record["stage"] == part for record in records)]
    if not parts:
        raise DataError(f"{log.path} is empty: the run has not logged anything yet.")
    figure, axes = pyplot.subplots(len(parts), 1, figsize=(9, 3.2 * len(parts)), squeeze=False)
    for axis, part in zip(axes[:, 0], parts, strict=True):
        mine = [record for record in records if record["stage"] == part]
        for name in sorted({name for record in mine for name in record} - {"stage", "images", "time", "pace"}):
            images, values = zip(*((each["images"], each[name]) for each in mine if name in each), strict=True)
            kernel = np.ones(min(9, len(values))) / min(9, len(values))
            smooth = np.convolve(np.abs(values), kernel, mode="valid")
            axis.plot(images[len(images) - len(smooth) :], smooth, label=name, linewidth=1)
        axis.set(title=part, xlabel="images seen", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(out, dpi=90)
    except ValueError as error:
        raise DataError(f"{out} does not end in a picture format. Use .png or .svg.") from error
    finally:
        pyplot.close(figure)
