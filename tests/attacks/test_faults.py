"""Faults on purpose, kills and full disks: who meets one gets an error, all others the right answer."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError
from restore_sdk.runtime.base import Inference
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.attacks.caught import error_of
from tests.child import python
from tests.conftest import make_photo

PHOTO, SMALL = make_photo(90, 80), make_photo(50, 60, 1)
MASKED = np.zeros((90, 80), bool)
MASKED[20:40, 30:60] = True


class Faulty:
    """A runner that spoils what the real one gives, at its ``at``-th run from now on; -1 is never."""

    def __init__(self, runner: OnnxRunner) -> None:
        self._runner, self.at, self._lock = runner, -1, threading.Lock()
        self.spoil: Callable[[Inference], Inference] = lambda result: result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def infer(self, images: Any, masks: Any) -> Inference:
        """As the real one, but for one run."""
        with self._lock:
            self.at -= 1
            now = self.at == 0
        result = self._runner.infer(images, masks)
        return self.spoil(result) if now else result


def _raise(_: Inference) -> Inference:
    raise ExecutionError("it failed", "again")


def _with(**changes: Callable[[NDArray[np.uint8]], Any]) -> Callable[[Inference], Inference]:
    def spoil(result: Inference) -> Inference:
        values = {name: getattr(result, name) for name in ("restored", "completed_edges", "edge_ms", "repair_ms")}
        return Inference(**{name: changes[name](value) if name in changes else value for name, value in values.items()})

    return spoil


#: What a runtime might do; each ends in an ExecutionError.
FAULTS: dict[str, Callable[[Inference], Inference]] = {
    "raises": _raise,
    "an image less": _with(restored=lambda array: array[:-1]),
    "floats": _with(restored=lambda array: array / np.float32(255)),
    "half the size": _with(restored=lambda array: array[:, ::2, ::2]),
    "nothing": _with(restored=lambda _: None),
    "edges of another size": _with(completed_edges=lambda array: array[:, :9]),
}


@pytest.fixture
def faulty(toy_bundle: Bundle) -> Iterator[tuple[RestoreEngine, Faulty]]:
    runner = Faulty(OnnxRunner(toy_bundle, slots=2))
    with RestoreEngine(runtime=runner) as engine:
        yield engine, runner


@pytest.mark.parametrize("fault", FAULTS)
def test_a_runtime_that_fails_in_the_middle_of_a_batch(faulty: tuple[RestoreEngine, Faulty], fault: str) -> None:
    engine, runner = faulty
    runner.spoil = FAULTS[fault]
    expected = engine.restore(PHOTO, MASKED)
    runner.at = 2
    error = error_of(ExecutionError, engine.restore_batch, [PHOTO] * 12, [MASKED] * 12)
    assert error is not None
    runner.at = -1
    assert all(np.array_equal(one, expected) for one in engine.restore_batch([PHOTO] * 3, [MASKED] * 3))
    runner.at = 4  # what was ready before it is handed out
    served, stream = [], engine.stream([(PHOTO, MASKED)] * 8)
    assert error_of(ExecutionError, served.extend, stream) is not None
    assert all(np.array_equal(one, expected) for one in served)
    assert np.array_equal(engine.restore(PHOTO, MASKED), expected)


def test_a_fault_in_one_thread_stays_in_it(faulty: tuple[RestoreEngine, Faulty]) -> None:
    engine, runner = faulty
    expected = engine.restore(PHOTO, MASKED)
    runner.spoil, runner.at = FAULTS["raises"], 9
    right: list[bool] = []
    work = lambda _: error_of(  # noqa: E731
        ExecutionError, lambda: right.append(np.array_equal(engine.restore(PHOTO, MASKED), expected))
    )
    with ThreadPoolExecutor(4) as pool:
        errors = [error for error in pool.map(work, range(20)) if error is not None]
    assert (len(errors), right) == (1, [True] * 19)


#: In a child whose address space is limited once the engine is open: a photograph too large for it, then a small one.
TOO_LARGE = """
import resource, sys
import numpy as np
from restore_sdk import RestoreEngine
from restore_sdk.errors import OutOfMemoryError
small, masked = np.full((90, 80, 3), 99, np.uint8), np.zeros((90, 80), bool)
masked[20:40, 30:60] = True
with RestoreEngine(sys.argv[1], threads=1) as engine:
    expected = engine(small, masked)
    image = np.zeros((6000, 6000, 3), np.uint8)
    mask = np.zeros((6000, 6000), bool)
    mask[100:300, 100:300] = True
    pages = int(open("/proc/self/statm").read().split()[0])
    for megabytes in (1, 20, 60, 110, 150):
        limit = pages * resource.getpagesize() + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        try:
            engine(image, mask)
        except OutOfMemoryError as error:
            print("told", bool(error.hint))
        else:
            print("done")
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (engine(small, masked) == expected).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_host_has_too_little_memory(toy_bundle: Bundle) -> None:
    done = python("-c", TOO_LARGE, toy_bundle.path, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[:2] == ["told True"] * 2
    assert set(lines) <= {"told True", "done"}


@pytest.mark.parametrize(("work", "least"), [("export", 40), ("store", 50)])
def test_killed_at_every_line(tmp_path: Path, work: str, least: int) -> None:
    done = python("-m", "tests.attacks.kill_writers", work, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    moments = int(done.stdout.split()[-1])
    assert moments >= least


#: Writes over what is there, in every way that the SDK writes, and prints the class of the error that each ends in.
WRITE_ALL = """
import sys
from pathlib import Path
import numpy as np
from restore_sdk._util.disk import write_file
from restore_sdk.errors import RestoreError
from restore_sdk.files import write_image
from restore_sdk.engines.store import EngineStore
from tests.engines.conftest import made_up
from tests.toy_bundle import write_toy_bundle
from restore_sdk.bundle import Bundle
place, bundle = Path(sys.argv[1]), Bundle.load(sys.argv[2])
plan = b"ftrt" + bytes(9000)
for write in (
    lambda: write_file(place / "file", bytes(9000)),
    lambda: write_image(place / "image.png", np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)),
    lambda: write_toy_bundle(place / "bundle", version="2.0"),
    lambda: EngineStore(place / "store").publish(plan, made_up(bundle, plan=plan)),
):
    try:
        write()
    except RestoreError as error:
        print(type(error).__name__, bool(error.hint))
    else:
        print("written")
"""


def snapshot(place: Path) -> dict[str, bytes]:
    """What lies there, but for the store's lock."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and not path.name.startswith(".store"))
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def test_a_full_disk(tmp_path: Path, toy_bundle: Bundle) -> None:
    """A limit on the size of files stands for the disk: the system refuses every byte beyond it."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "image.png").write_bytes(b"old")
    before = snapshot(tmp_path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    for option, told in ((limit, ["OutputError True"] * 4), (None, ["written"] * 4)):
        done = python("-c", WRITE_ALL, tmp_path, toy_bundle.path, preexec_fn=option)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines() == told
        assert (snapshot(tmp_path) == before) == (option is limit)
