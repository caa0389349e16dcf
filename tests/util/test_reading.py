"""Reading no more than expected, and asking about folders that cannot be asked about."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from restore_sdk._util.reading import is_folder, is_there, read_at_most
from restore_sdk.errors import InputError


class Asked(io.FileIO):
    """A file that notes for how many bytes it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[int] = []

    def read(self, size: int | None = -1, /) -> Any:
        self.asked.append(-1 if size is None else size)
        return super().read(size)


@pytest.mark.parametrize(("size", "limit", "fits"), [(0, 0, True), (5, 5, True), (5, 9999, True), (6, 5, False)])
def test_the_limit(tmp_path: Path, size: int, limit: int, fits: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    with path.open("rb") as file:
        assert read_at_most(file, limit) == (b"x" * size if fits else None)


def test_no_more_memory_is_taken_than_the_file_has_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with Asked(path) as file:
        assert read_at_most(file, 1 << 30) == b"x" * 100
        assert file.asked == [101]
    with Asked(path) as file:
        assert read_at_most(file, 99) is None
        assert file.asked == []


@pytest.mark.parametrize(("size", "limit", "fits"), [(103, 200, True), (9000, 20_000, True), (201, 200, False)])
def test_a_file_that_has_grown_since_its_size_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, limit: int, fits: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    before = path.stat()
    path.write_bytes(b"y" * size)
    monkeypatch.setattr(os, "fstat", lambda _: before)
    with Asked(path) as file:
        assert read_at_most(file, limit) == (b"y" * size if fits else None)
        assert sum(file.asked) <= max(3 * size, 3 * 4096)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: no files without a size")
def test_a_file_that_tells_no_size() -> None:
    with Path("/proc/self/status").open("rb") as file:
        data = read_at_most(file, 1 << 20)
    assert data is not None
    assert b"Pid:" in data
    assert data.endswith(b"\n")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert is_folder(tmp_path)
    assert not is_folder(file)
    assert is_there(file)
    for nothing in (tmp_path / "none", tmp_path / ("long" * 100), file / "below", Path("null\0character")):
        assert not is_folder(nothing)
        assert not is_there(nothing)

    def denied(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(InputError, match="cannot be looked at: Permission denied"):
        is_folder(tmp_path)
