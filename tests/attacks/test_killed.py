"""Killed while it writes, or with no room to write: the old or the new under a final name, whole, and no lock left.

Folders of photographs are killed in tests/folder/test_kill.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.sealed import ROOT


def python(code: str, *arguments: object, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code.split("\0"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )


@pytest.mark.parametrize(("work", "least"), [("export", 40), ("store", 80), ("training", 3)])
def test_at_every_line(tmp_path: Path, work: str, least: int, record_property: pytest.RecordProperty) -> None:
    """For training, at some; see the script."""
    done = python("-m\0tests.attacks.kill_writers", work, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    moments = int(done.stdout.split()[-1])
    assert moments >= least
    record_property("cases", moments)


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
    done = python(f"-c\0{WRITE_ALL}", place, bundle, *more, limit=limit)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_there_is_room(place: Path, writable_bundle: Path) -> None:
    """Without a fault all four are written; what follows is about faults alone."""
    old_content(place)
    assert write_all(place, writable_bundle) == ["written"] * 4


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
