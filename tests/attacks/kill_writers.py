"""Killed at every line while it writes: run by ``test_faults.py`` in a process of its own, since it forks.

    python -m tests.attacks.kill_writers (export | store | training) FOLDER

A child does the work and is killed by SIGKILL at its 1st, 2nd, 3rd ... executed line of the files that write, until one
gets through; after each kill what lies there is looked at, and the work is done again. Prints how many moments there
were. A kill undoes nothing that was written, synced or not, so syncing is left out here.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from restore_sdk._util.atomic import write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore
from tests.engines.conftest import HOST, made_up, write_half_bundle
from tests.killing import survives
from tests.toy_bundle import write_toy_bundle

#: Lines of the writers at which a training is killed, one after the other: while it writes its first checkpoint, its
#: second one, and when it begins again.
TRAINING_MOMENTS = (580, 1075, 30)


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
        through = survives(lambda: write_folder(target, new), {"atomic.py"}, moments + 1)
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
        through = survives(work, {"atomic.py", "store.py", "lock.py"}, moments + 1)
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


def training(folder: Path) -> int:
    """A run that is killed again and again gives the very weights of one that is not."""
    import torch

    from tests.training.conftest import TINY, draw_faces, label_faces
    from training import fit as trainer
    from training.checkpoint import load_tensors
    from training.config import from_json
    from training.faces import mask_bank

    torch.set_num_threads(1)
    trainer._SAVE_EVERY_SECONDS = 0.0  # after each step
    config, pictures = from_json(TINY), draw_faces(folder / "pictures")
    labels = label_faces(pictures)
    for out in ("whole", "killed"):  # drawn by processes of their own, which are not killed
        (folder / out).mkdir()
        mask_bank(config.seed, 20, folder / out / "masks.npy", workers=1)

    def work(out: str) -> Path:
        options = trainer.Options(pictures, folder / out, labels, only="shape", masks=20, bfloat16=False)
        return trainer.fit(config, options)

    assert survives(lambda: work("whole"), set(), 0)
    writers = {"checkpoint.py", "atomic.py", "fit.py"}
    kills = sum(not survives(lambda: work("killed"), writers, at) for at in TRAINING_MOMENTS)
    assert survives(lambda: work("killed"), set(), 0)
    whole, killed = (load_tensors(folder / name / "shape.safetensors")[0] for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    return kills


if __name__ == "__main__":
    os.fsync = lambda _: None
    print({"export": export, "store": store, "training": training}[sys.argv[1]](Path(sys.argv[2])))
