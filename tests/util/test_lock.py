"""The lock between processes: freed when its block ends, whoever was forked meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from restore_sdk._util.lock import file_lock
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
