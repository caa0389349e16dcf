"""The corpus again, and a fixed budget of coverage-guided fuzzing; ``python -m tests.fuzz`` goes on for longer."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

from tests.child import python
from tests.fuzz.targets import TARGETS, corpus, seeds

#: Inputs of the fixed budget: some two seconds each.
BUDGET = {"image": 2000, "graph": 6000}


@pytest.fixture(scope="module")
def atheris() -> None:
    """Skips where the fuzzer cannot be had; continuous integration has it."""
    if importlib.util.find_spec("atheris") is None:
        assert not os.environ.get("CI"), "atheris is not installed"
        pytest.skip("atheris is not installed: it is for Linux on x86-64")


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    samples = corpus(name)
    assert samples[: len(seeds(name))] == seeds(name)
    for sample in samples:
        TARGETS[name](sample)


@pytest.mark.parametrize("name", TARGETS)
def test_a_fixed_budget(name: str, atheris: None, tmp_path: Path) -> None:
    options = ("--runs", BUDGET[name], "--seed", 1, "--scratch", tmp_path)
    done = python("-W", "ignore", "-m", "tests.fuzz", name, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    (runs,) = re.findall(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    assert int(runs) >= BUDGET[name]  # the seeds that libFuzzer starts with may come on top
