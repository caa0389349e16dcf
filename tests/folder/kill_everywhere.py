"""Killed at every line: run by ``test_kill.py`` in a process of its own, since it forks.

Restores a folder with the real plan, ledger and batch and a double of the model that turns pictures around. A child
is killed by SIGKILL at its 1st, 2nd, 3rd ... executed line of the files that write, until one gets through; after each
kill the folder is looked at, and a second child, killed elsewhere or not at all, goes on. Then all that once more, but
into a folder that is full of results made with other settings, which are replaced. Prints how many moments there were.
A kill undoes nothing that was written, synced or not, so syncing is left out here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from restore_sdk.folder.batch import Batch, Outcome
from restore_sdk.folder.jobs import LOG_NAME, STATE_NAME, Job, find_jobs
from restore_sdk.folder.ledger import open_ledger
from restore_sdk.folder.progress import Progress
from restore_sdk.folder.work import Done
from tests.killing import survives

WRITERS = {"ledger.py", "batch.py", "atomic.py", "lock.py"}
NAMES = ("a.png", "sub/b.png")


#: What the double adds to a result, by the settings that a run has.
OLD, NEW = b"old", b"new"


def restore(source: Path, target: Path, settings: bytes) -> None:
    """One run, as the command makes it."""

    def double(jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Stands for the model: a result is the photograph's bytes backwards, and the settings."""
        for job in jobs:
            yield job, Done(job.photo.read_bytes()[::-1] + settings, job.stamp())

    with open_ledger(target, {"bundle": settings.decode()}) as ledger:
        Batch(find_jobs(source, None, target), ledger).run(double, Progress(None, 0))


def run(source: Path, target: Path, kill_at: int, settings: bytes = NEW) -> bool:
    """Restore in a child that is killed at its ``kill_at``-th line; whether it got through all the same."""
    return survives(lambda: restore(source, target, settings), WRITERS, kill_at)


def published(source: Path, target: Path) -> dict[str, tuple[int, int]]:
    """New results that are there, with what tells one file from another; else only whole old ones may be there."""
    found = {}
    for path in target.rglob("*"):
        name = path.relative_to(target).as_posix()
        if path.is_file() and not name.startswith(STATE_NAME) and name != LOG_NAME:
            whole = (source / name).read_bytes()[::-1]
            assert path.read_bytes() in (whole + OLD, whole + NEW), f"{name} is half a file"
            if path.read_bytes() == whole + NEW:
                found[name] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def kill_at_every_line(source: Path, target: Path, *, replacing: bool) -> int:
    """Kill at every moment; the second run of every third folder is killed too. Returns how many moments there were."""
    moments = 0
    while True:
        shutil.rmtree(target, ignore_errors=True)
        if replacing:
            assert run(source, target, 0, OLD)
        through = run(source, target, moments + 1)
        kept = published(source, target)
        if moments % 3 == 0:
            run(source, target, 1 + moments * 7 % 211)
            kept |= published(source, target)
        assert run(source, target, 0)
        after = published(source, target)
        assert sorted(after) == sorted(NAMES), after
        assert {name: after[name] for name in kept} == kept, "something was done twice"
        assert os.listdir(target / STATE_NAME) == ["lock"], "unfinished files are left"
        log = [json.loads(line) for line in (target / LOG_NAME).read_text().splitlines()]
        assert log[-1]["event"] == "summary"
        assert log[-1]["restored"] + log[-1]["resumed"] == len(NAMES)
        if through:
            return moments
        moments += 1


def main(folder: Path) -> None:
    """Into an empty folder, then into a full one."""
    source, target = folder / "in", folder / "out"
    for number, name in enumerate(NAMES):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(hashlib.sha256(name.encode()).digest() * (50 + number))
    before = {name: (source / name).read_bytes() for name in NAMES}
    moments = [kill_at_every_line(source, target, replacing=replacing) for replacing in (False, True)]
    assert {name: (source / name).read_bytes() for name in NAMES} == before
    print(*moments)


if __name__ == "__main__":
    os.fsync = lambda _: None
    main(Path(sys.argv[1]))
