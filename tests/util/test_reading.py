"""Reading no more than expected, and asking about folders that cannot be asked about."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from restore_sdk._util.reading import is_folder, is_there, read_at_most
from restore_sdk.errors import InputError


class Asked(io.FileIO):
    """A file that notes for how many bytes it was asked."""

    asked: tuple[int, ...] = ()

    def read(self, size: int = -1, /) -> Any:
        self.asked += (size,)
        return super().read(size)


@pytest.mark.parametrize(
    ("told", "size", "limit", "fits"),
    [
        (0, 0, 0, True),
        (5, 5, 5, True),
        (100, 100, 1 << 30, True),
        (6, 6, 5, False),
        (100, 103, 200, True),  # it has grown since its size was asked
        (100, 9000, 20_000, True),
        (100, 201, 200, False),
    ],
)
def test_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: int, size: int, limit: int, fits: bool
) -> None:
    """And no more memory is taken than the file has bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * told)
    before = path.stat()
    path.write_bytes(b"y" * size)
    monkeypatch.setattr(os, "fstat", lambda _: before)
    with Asked(path) as file:
        assert read_at_most(file, limit) == (b"y" * size if fits else None)
        assert file.asked == (told + 1,) if told == size <= limit else sum(file.asked) <= max(3 * size, 3 * 4096)


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
    assert (is_folder(tmp_path), is_folder(file), is_there(file)) == (True, False, True)
    for nothing in (tmp_path / "none", tmp_path / ("long" * 100), file / "below", Path("null\0character")):
        assert (is_folder(nothing), is_there(nothing)) == (False, False)
    monkeypatch.setattr(Path, "stat", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(InputError, match="cannot be looked at: Permission denied"):
        is_folder(tmp_path)
