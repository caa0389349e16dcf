"""Killed at every line: run by ``test_command.py`` in a process of its own, since it forks.

Restores a folder with the real code but for the model, which a runner that inverts pictures stands for. A child is
killed by SIGKILL at its 1st, 2nd, 3rd ... executed line of the files that write, until one gets through; after each
kill the folder is looked at, and a second child, killed elsewhere or not at all, goes on. Then all that once more, but
into a folder that is full of results made with other settings, which are replaced. Prints how many moments there were.
A kill undoes nothing that was written, synced or not, so syncing is left out here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore_sdk import RestoreEngine, RestoreOptions
from restore_sdk.bundle import Bundle
from restore_sdk.folder import PhotoSettings, restore_folder
from restore_sdk.runtime.base import Inference
from tests.killing import survives

WRITERS = {"journal.py", "disk.py"}
NAMES = ("a.bmp", "sub/b.bmp")
OLD, NEW = PhotoSettings(), PhotoSettings(options=RestoreOptions(dilate=1))


class Inverting:
    """Stands for the model."""

    slots, max_batch = 1, 8

    def infer(self, images: Any, masks: Any) -> Inference:
        return Inference(np.where(masks[..., None] > 127, 255 - images, images), masks, 0.0, 0.0)

    def info(self) -> dict[str, Any]:
        return {"runtime": "double", "bundle": {}}

    def close(self) -> None:
        pass


class Run:
    """A folder, and what its results are."""

    def __init__(self, place: Path) -> None:
        self.source, self.mask, self.target, self.full = (place / name for name in ("in", "mask.png", "out", "full"))
        for seed, name in enumerate(NAMES):
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(self.source / name), np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8))
        mask = np.zeros((40, 30), np.uint8)
        mask[10:20, 10:20] = 255
        cv2.imwrite(str(self.mask), mask)
        self.expected = {}
        for settings in (OLD, NEW):
            self.restore(settings)
            self.expected[settings] = {name: (self.target / name).read_bytes() for name in NAMES}
            if settings is OLD:
                shutil.copytree(self.target, self.full)
        assert self.expected[OLD] != self.expected[NEW]

    def restore(self, settings: PhotoSettings = NEW) -> None:
        """One run, as the command makes it."""
        restore_folder(
            self.source,
            self.mask,
            self.target,
            settings,
            bundle=Bundle.load(),
            open_engine=lambda: RestoreEngine(runtime=Inverting()),
            workers=1,
        )

    def published(self) -> dict[str, tuple[int, int]]:
        """New results, with what tells one file from another; else only whole old ones may be there."""
        found = {}
        for name in NAMES:
            if (path := self.target / name).exists():
                data = path.read_bytes()
                assert data in (self.expected[OLD][name], self.expected[NEW][name]), f"{name} is half a file"
                if data == self.expected[NEW][name]:
                    found[name] = (path.stat().st_ino, path.stat().st_mtime_ns)
        return found

    def kill_at_every_line(self, *, replacing: bool) -> int:
        """The second run of every third folder is killed too. Returns how many moments there were."""
        moments = 0
        while True:
            shutil.rmtree(self.target)
            if replacing:
                shutil.copytree(self.full, self.target)
            through = survives(self.restore, WRITERS, moments + 1)
            kept = self.published()
            if moments % 3 == 0:
                survives(self.restore, WRITERS, 1 + moments * 7 % 211)
                kept |= self.published()
            assert survives(self.restore, WRITERS, 0)
            after = self.published()
            assert sorted(after) == sorted(NAMES), after
            assert {name: after[name] for name in kept} == kept, "something was done twice"
            assert set(os.listdir(self.target / ".restore-sdk")) <= {"lock"}, "unfinished files are left"
            log = [json.loads(line) for line in (self.target / "restore-sdk.jsonl").read_text().splitlines()]
            assert log[-1]["event"] == "summary"
            assert log[-1]["restored"] + log[-1]["resumed"] == len(NAMES)
            if through:
                return moments
            moments += 1


if __name__ == "__main__":
    os.fsync = lambda _: None
    run = Run(Path(sys.argv[1]))
    before = {name: (run.source / name).read_bytes() for name in NAMES}
    print(*(run.kill_at_every_line(replacing=replacing) for replacing in (False, True)))
    assert {name: (run.source / name).read_bytes() for name in NAMES} == before
