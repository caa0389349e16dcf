"""Killed at every line while it writes: run by ``test_faults.py`` in a process of its own, since it forks.

    python -m tests.attacks.kill_writers (export | store) FOLDER

A child does the work and is killed by SIGKILL at its 1st, 2nd, 3rd ... executed line of the files that write, until one
gets through; after each kill what lies there is looked at, and the work is done again. Prints how many moments there
were. A kill undoes nothing that was written, synced or not, so syncing is left out here.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from restore_sdk._util.disk import write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore
from tests.engines.conftest import HOST, made_up, write_half_bundle
from tests.killing import survives
from tests.toy_bundle import write_toy_bundle


def export(folder: Path) -> int:
    """A bundle takes another one's place: at any moment the name stands for the old one or the new one, whole."""
    old, new = (
        {path.name: path.read_bytes() for path in write_toy_bundle(folder / version, version=version).path.iterdir()}
        for version in ("1.0", "2.0")
    )
    place = folder / "place"
    place.mkdir()
    target = place / "bundle"
    moments, seen = 0, set()
    while True:
        write_folder(target, old)
        through = survives(lambda: write_folder(target, new), {"disk.py"}, moments + 1)
        bundle = Bundle.load(target)
        bundle.verify_files()
        seen.add(bundle.manifest.version)
        for path in set(place.iterdir()) - {target}:  # hidden, and in nobody's way
            assert path.name.startswith(".bundle."), path
            assert path.suffix == ".part", path
            shutil.rmtree(path)
        if through:
            assert seen == {"1.0", "2.0"}
            return moments
        moments += 1


def store(folder: Path) -> int:
    """An engine takes another's place: whoever looks finds one of the two, whole."""
    bundle = write_half_bundle(folder / "bundle")
    plans = {1: b"ftrt" + b"1" * 300, 2: b"ftrt" + b"2" * 300}
    found = EngineStore(folder / "store")

    def work() -> None:
        found.publish(plans[2], made_up(bundle, plan=plans[2]))

    moments = 0
    while True:
        shutil.rmtree(found.root, ignore_errors=True)
        found.publish(plans[1], made_up(bundle, plan=plans[1]))
        through = survives(work, {"disk.py", "store.py"}, moments + 1)
        engine = found.find(bundle, "edge", *HOST)
        assert engine.plan in plans.values()
        assert all(entry.error is None for entry in found.entries(plans=True))
        with found.lock("store"):  # is free
            pass
        work()
        assert found.find(bundle, "edge", *HOST).plan == plans[2]
        found.prune()
        left = sorted(path.suffix for path in found.root.iterdir() if not path.name.startswith(".store"))
        assert left == [".json", ".plan"], left
        if through:
            return moments
        moments += 1


if __name__ == "__main__":
    os.fsync = lambda _: None
    print({"export": export, "store": store}[sys.argv[1]](Path(sys.argv[2])))
