"""Where the double cannot be built, that is said; in CI it is a failure, elsewhere a reason to skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_double import build
from tests.needs import unavailable


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTORE_SDK_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    for make in (build.driver, build.pycuda):
        with pytest.raises(build.CannotBuildError, match="no compiler"):
            make()
    assert list(tmp_path.iterdir()) == [], "nothing half-made is left"


def test_ci_must_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, outcome in (("true", pytest.fail), ("1", pytest.fail), ("", pytest.skip), ("false", pytest.skip)):
        monkeypatch.setenv("CI", value)
        with pytest.raises(outcome.Exception, match="no compiler"):
            unavailable("no compiler")
