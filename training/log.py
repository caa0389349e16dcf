"""The log of a run: ``log.jsonl``, one line a record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from restore_sdk._util.atomic import write_file


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
