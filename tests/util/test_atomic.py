import os
from pathlib import Path

import pytest

from restore_sdk._util import atomic
from restore_sdk._util.atomic import write_file, write_folder
from restore_sdk.errors import OutputError


def test_write_and_replace(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    write_file(target, b"first")
    write_file(target, b"second")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "out.bin", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "out.bin").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "out.bin"
    write_file(target, b"old")
    target.chmod(mode)
    write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == mode


def test_what_was_written_is_not_called_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = atomic.sync_folder

    def fail(folder: Path) -> None:
        if folder == tmp_path:
            raise OSError(22, "Invalid argument")
        real(folder)

    monkeypatch.setattr(atomic, "sync_folder", fail)
    write_file(tmp_path / "out.bin", b"x")
    write_folder(tmp_path / "bundle", {"a": b"1"})
    assert sorted(os.listdir(tmp_path)) == ["bundle", "out.bin"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"does not exist.*mkdir -p"):
        write_file(tmp_path / "no" / "out.bin", b"x")


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_file(tmp_path, b"x")


def test_a_file_as_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="Not a directory"):
        write_file(tmp_path / "file" / "out.bin", b"x")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="nothing can be written"):
        write_file(tmp_path / name, b"x")
    with pytest.raises(OutputError, match="nothing can be written"):
        write_folder(tmp_path / name, {"a": b"x"})
    assert os.listdir(tmp_path) == []


def test_a_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.geteuid() == 0:  # root may write anywhere: let the system say what it says to others
            monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(OutputError, match="cannot be written"):
            write_file(tmp_path / "out.bin", b"x")
    finally:
        tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("broken", ["fsync", "write"])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(atomic, "write_synced", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_file(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_folders_are_written_whole_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_folder(target, {"a": b"1", "b": b"2"})
    write_folder(target, {"a": b"3"})
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"a": b"3"}
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
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as on systems that cannot
    with pytest.raises(OutputError, match="Input/output error"):
        write_folder(target, {"a": b"2"})
    assert (target / "a").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["bundle"]


def test_folders_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path)
    for target in (tmp_path / "file", tmp_path / "link"):
        with pytest.raises(OutputError, match="not a plain folder"):
            write_folder(target, {})
    with pytest.raises(OutputError, match="does not exist"):
        write_folder(tmp_path / "no" / "bundle", {})


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".png")
    write_file(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OutputError, match="pipe"):
        write_file(tmp_path / "pipe.png", b"x")
    assert (tmp_path / "pipe.png").is_fifo()
