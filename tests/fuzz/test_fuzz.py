"""The corpus again, and a fixed budget of coverage-guided fuzzing; ``python -m tests.fuzz`` goes on for longer."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from restore_sdk.bundle.manifest import parse_manifest
from restore_sdk.errors import BundleError
from tests.attacks.caught import error_of
from tests.child import python
from tests.fuzz.__main__ import changed_json
from tests.fuzz.targets import TARGETS, corpus, seeds

#: Inputs of the fixed budget: some two seconds each.
BUDGET = {"image": 2000, "manifest": 6000, "graph": 6000, "golden": 1500}


def fuzz(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the fuzzer in a child."""
    program = f"{code}\nimport sys; from tests.fuzz.__main__ import main; main()"
    return python("-W", "ignore", "-c", program, *arguments)


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
    done = fuzz(name, "--runs", str(BUDGET[name]), "--seed", "1", "--scratch", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    (runs,) = re.findall(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    assert int(runs) >= BUDGET[name]  # the seeds that libFuzzer starts with may come on top


def test_a_finding_ends_the_run(atheris: None, tmp_path: Path) -> None:
    """With its input in a file, and a status of its own."""
    broken = "import tests.fuzz.targets as t\ndef broken(data): assert 0 not in data\nt.TARGETS['manifest'] = broken"
    done = fuzz("manifest", "--runs", "20000", "--seed", "1", "--scratch", str(tmp_path), code=broken)
    assert done.returncode not in (0, 1, 2)
    assert "AssertionError" in done.stderr + done.stdout
    (found,) = tmp_path.glob("crash-*")
    assert 0 in found.read_bytes()


def test_json_is_changed_place_by_place() -> None:
    """Every change is JSON still; many are refused, some are as good as before."""
    data = seeds("manifest")[0]
    changed = [found for seed in range(300) if (found := changed_json(data, seed)) is not None]
    assert len(set(changed)) > 200
    assert all(isinstance(json.loads(each), dict) for each in changed)
    refused = sum(error_of(BundleError, parse_manifest, each) is not None for each in changed)
    assert 100 < refused < len(changed)
    assert changed_json(b"no json", 1) is None
