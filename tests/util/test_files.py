"""What is written is whole, what is locked is held."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restore_sdk._util import disk
from restore_sdk._util.disk import file_lock, write_file, write_folder
from restore_sdk.errors import OutputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def held(path: Path) -> bool:
    def taken(_: float) -> None:
        raise OutputError("taken", "wait")

    try:
        with file_lock(path, taken):
            return False
    except OutputError:
        return True


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path):
        child = os.fork()
        if not child:
            time.sleep(20)
            os._exit(0)
        assert held(path)
    try:
        assert not held(path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_child_that_leaves_the_block_does_not_free_its_parent_s_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    child = -1
    try:
        with file_lock(path):
            child = os.fork()
            if not child:
                raise KeyboardInterrupt
            assert os.waitpid(child, 0)[1] == 0
            assert held(path)
    except KeyboardInterrupt:
        os._exit(0)
    assert not held(path)


@pytest.mark.parametrize("place", ["missing/lock", "/proc/self/lock"])
def test_a_lock_that_cannot_be_made_is_an_error_at_once(place: str, tmp_path: Path) -> None:
    if place.startswith("/proc") and not Path("/proc/self").is_dir():
        pytest.skip("no /proc on this system")
    with pytest.raises(OutputError, match="cannot lock"), file_lock(tmp_path / place, lambda _: pytest.fail("waits")):
        pass
    assert not (tmp_path / "missing").exists()


def test_write_and_replace(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 251 + ".png")  # the longest name
    write_file(target, b"first")
    write_file(target, b"second")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == [target.name]


def test_permissions(tmp_path: Path) -> None:
    """Of a new file by the umask; a replaced one keeps its own."""
    target, old = tmp_path / "out.bin", os.umask(0o027)
    try:
        write_file(target, b"x")
    finally:
        os.umask(old)
    assert target.stat().st_mode & 0o777 == 0o640
    for mode in (0o600, 0o664):
        target.chmod(mode)
        write_file(target, b"new")
        assert target.stat().st_mode & 0o777 == mode


def test_what_was_written_is_not_called_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = disk.sync_folder

    def fail(folder: Path) -> None:
        if folder == tmp_path:
            raise OSError(22, "Invalid argument")
        real(folder)

    monkeypatch.setattr(disk, "sync_folder", fail)
    write_file(tmp_path / "out.bin", b"x")
    write_folder(tmp_path / "bundle", {"a": b"1"})
    assert sorted(os.listdir(tmp_path)) == ["bundle", "out.bin"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no/out.bin", r"does not exist.*mkdir -p"),
        ("folder", "is a folder"),
        ("file/out.bin", "Not a directory"),
        ("x" * 300, "nothing can be written"),
        ("a\0b", "nothing can be written"),
        ("pipe", "pipe"),
    ],
)
def test_places_for_no_file(places: Path, name: str, why: str) -> None:
    with pytest.raises(OutputError, match=why):
        write_file(places / name, b"x")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "not a plain folder"),
        ("link", "not a plain folder"),
        ("no/bundle", "does not exist"),
        ("x" * 300, "nothing can be written"),
        ("a\0b", "nothing can be written"),
    ],
)
def test_places_for_no_folder(places: Path, name: str, why: str) -> None:
    with pytest.raises(OutputError, match=why):
        write_folder(places / name, {"a": b"x"})


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """A folder with one of each kind, which must stay as it is."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link", "pipe"]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "pipe").is_fifo()


def test_folders_are_written_whole_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_folder(target, {"a": b"1", "b": b"2"})
    write_folder(target, {"a": b"3", "c/d": b"4"})
    assert {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()} == {"a": b"3", "d": b"4"}
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bundle"
    write_folder(target, {"a": b"1"})
    rename = Path.rename

    def fail_on_the_way_in(self: Path, to: Path) -> Path:
        if to == target and ".part" in self.name and not (self / "a").read_bytes() == b"1":
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_on_the_way_in)
    monkeypatch.setattr(disk, "_exchange", lambda *_: False)  # as on systems that cannot
    with pytest.raises(OutputError, match="Input/output error"):
        write_folder(target, {"a": b"2"})
    assert (target / "a").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["bundle"]
