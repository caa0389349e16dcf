"""The measured table and plot go into the README together, or not at all."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = "before\n<!-- latency:begin -->\nold\n<!-- latency:end -->\nafter\n"


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    function: Callable[..., None] = runpy.run_path(str(ROOT / "scripts" / "fill_latency.py"))["fill"]
    return function


def test_both_are_filled_or_neither(fill: Callable[..., None], tmp_path: Path) -> None:
    page, picture = tmp_path / "README.md", tmp_path / "picture.png"
    page.write_text(PAGE)
    (tmp_path / "readme.md").write_text("| new |\n")
    with pytest.raises(OSError, match=r"latency\.png"):
        fill(tmp_path, page, picture)
    (tmp_path / "latency.png").write_bytes(b"x" * 100_001)
    with pytest.raises(ValueError, match="100001 bytes"):
        fill(tmp_path, page, picture)
    assert page.read_text() == PAGE
    assert not picture.exists()
    (tmp_path / "latency.png").write_bytes(b"plot")
    fill(tmp_path, page, picture)
    assert page.read_text() == PAGE.replace("old", "| new |")
    assert picture.read_bytes() == b"plot"


def test_the_readme_has_the_markers_and_a_small_plot() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("<!-- latency:begin -->") == 1
    assert 1000 < (ROOT / "docs" / "images" / "latency.png").stat().st_size <= 100_000
