"""The log of a run, ``log.jsonl``, one line a record; and its curve."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from restore_sdk._util.disk import write_file
from training.config import PARTS
from training.data import DataError


class RunLog:
    """``log.jsonl`` in a run's folder: the stage, the images seen, the seconds since the epoch, and figures."""

    def __init__(self, out: Path) -> None:
        self.path = out / "log.jsonl"

    def write(self, stage: str, images: int, figures: dict[str, float]) -> None:
        """Append one record."""
        with self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, "images": images, "time": round(time.time(), 1), **figures}) + "\n")

    def truncate(self, stage: str, images: int) -> None:
        """Forget what was logged after the checkpoint that a run goes on from: it is about to happen again."""
        if not self.path.exists():
            return
        kept = [record for record in self.records() if record["stage"] != stage or record["images"] <= images]
        write_file(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def records(self) -> list[dict[str, Any]]:
        """All of them, but for one that was half written when the run was killed."""
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]


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
