"""Faults on purpose, kills and full disks: who meets one gets an error, all others the right answer."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import BundleError, ExecutionError, ImageError, OutputError, RestoreError
from restore_sdk.files import read_photo, write_image
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


def test_a_fault_in_one_thread_is_nobody_else_s(faulty: tuple[RestoreEngine, Faulty]) -> None:
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


def test_no_more_files_may_be_open(toy_bundle: Bundle, engine: RestoreEngine, tmp_path: Path) -> None:
    """Reading, opening and writing are refused in words; what is open goes on; then all works again."""
    cv2.imwrite(str(tmp_path / "photo.png"), PHOTO)
    expected = engine.restore(PHOTO, MASKED)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 1, hard))
    try:
        while (more := error_of(OSError, lambda: used.append(os.dup(0)))) is None:
            pass
        assert more.errno == 24
        for kind, call in (
            (ImageError, lambda: read_photo(tmp_path / "photo.png")),
            (OutputError, lambda: write_image(tmp_path / "out.png", PHOTO)),
            (BundleError, lambda: Bundle.load(toy_bundle.path)),
            (RestoreError, lambda: RestoreEngine(toy_bundle.path)),
            (OutputError, lambda: EngineStore(tmp_path / "store").lock("x").__enter__()),
        ):
            error = error_of(kind, call)
            assert error is not None
        assert np.array_equal(engine.restore(PHOTO, MASKED), expected)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for handle in used:
            os.close(handle)
    assert set(os.listdir(tmp_path)) in ({"photo.png"}, {"photo.png", "store"})
    write_image(tmp_path / "out.png", PHOTO)


def test_a_clock_that_jumps(engine: RestoreEngine, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to 1970 and on to 2100 between two looks at it."""
    times = iter(range(10**6))
    monkeypatch.setattr("time.time", lambda: 0.0 if next(times) % 2 else 4.1e9)
    run = engine.run(PHOTO, MASKED)
    assert 0 < run.timings.total_ms < 60_000
    with EngineStore(toy_bundle.path.parent / "store").lock("x"):
        pass
    assert engine.warmup() > 0


@pytest.mark.parametrize(("work", "least"), [("export", 40), ("store", 50), ("training", 3)])
def test_at_every_line(tmp_path: Path, work: str, least: int) -> None:
    """For training, at some; see the script."""
    done = python("-m", "tests.attacks.kill_writers", work, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    moments = int(done.stdout.split()[-1])
    assert moments >= least


#: Writes over what is there, in every way that the SDK writes, and prints the class of the error that each ends in.
WRITE_ALL = """
import sys
from pathlib import Path
import numpy as np
from restore_sdk._util.atomic import write_file
from restore_sdk.errors import RestoreError
from restore_sdk.files import write_image
from restore_sdk.engines.store import EngineStore
from tests.engines.conftest import made_up
from tests.toy_bundle import write_toy_bundle
from restore_sdk.bundle import Bundle
place, bundle = Path(sys.argv[1]), Bundle.load(sys.argv[2])
if len(sys.argv) > 3 and int(sys.argv[3]):
    import os
    os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
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


@pytest.fixture
def place() -> Path:
    """A folder that another user can look into; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="restore-sdk-test.") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def old_content(place: Path) -> dict[str, bytes]:
    (place / "file").write_bytes(b"old")
    (place / "image.png").write_bytes(b"old")
    return snapshot(place)


def snapshot(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def write_all(place: Path, bundle: Path, *more: object, limit: Callable[[], None] | None = None) -> list[str]:
    done = python("-c", WRITE_ALL, place, bundle, *more, preexec_fn=limit)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_full_disk(place: Path, writable_bundle: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses every byte beyond it."""
    import resource

    before = old_content(place)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    assert write_all(place, writable_bundle, limit=limit) == ["OutputError True"] * 4
    after = {name: data for name, data in snapshot(place).items() if not name.startswith("store/.")}  # its lock
    assert after == before
    assert write_all(place, writable_bundle) == ["written"] * 4


def test_a_folder_that_may_not_be_written(place: Path, writable_bundle: Path) -> None:
    """Permissions bind everybody but root: as root, another user tries."""
    before = old_content(place)
    for folder in (writable_bundle, *writable_bundle.parents):
        if folder.owner() and folder.is_relative_to(Path(tempfile.gettempdir())) and folder != Path("/tmp"):
            folder.chmod(0o755)
    place.chmod(0o555)
    try:
        user = 65534 if os.geteuid() == 0 else 0
        assert write_all(place, writable_bundle, user) == ["OutputError True"] * 4
    finally:
        place.chmod(0o755)
    assert snapshot(place) == before
