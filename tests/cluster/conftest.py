"""One cluster for all tests of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.nodes import SETTINGS
from tests.docs.pages import ROOT

ENVIRONMENT = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)}


class Nodes:
    """The running cluster."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process, self.address = process, address

    def kill(self, number: int) -> None:
        """End a node with all that runs on it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"kill {number}\n")
        self._process.stdin.flush()


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    # Ray gives a node's agents 15 seconds to start, which on a busy machine may be too little.
    for _ in range(3):
        with started() as nodes:
            if nodes.address:
                yield nodes
                return
    pytest.fail("no Ray cluster could be started")


@contextmanager
def started() -> Iterator[Nodes]:
    command = [sys.executable, "-m", "tests.cluster.nodes", "3"]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Nodes(process, process.stdout.readline().strip())
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def python(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, which a driver of Ray is."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False
    )
