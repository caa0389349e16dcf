"""Measured tables go between their markers and nowhere else."""

from __future__ import annotations

import runpy
from collections.abc import Callable

import pytest

from tests.docs.pages import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "fill_tables.py"))
filled: Callable[[str, str, str], str] = SCRIPT["filled"]
PAGES: dict[str, str] = SCRIPT["PAGES"]
PAGE = "before\n<!-- quality:begin -->\nold\n<!-- quality:end -->\nafter\n"
TABLE = r"| 1-10% | \1 |"


def test_the_table_replaces_what_stood_there() -> None:
    once = filled(PAGE, TABLE + "\n\n", "quality")
    assert once == f"before\n<!-- quality:begin -->\n{TABLE}\n<!-- quality:end -->\nafter\n"
    assert filled(once, TABLE, "quality") == once


@pytest.mark.parametrize("page", ["nothing", PAGE + PAGE, "<!-- quality:end -->\n<!-- quality:begin -->\n"])
def test_markers_that_do_not_stand_once_are_refused(page: str) -> None:
    with pytest.raises(ValueError, match="just once"):
        filled(page, TABLE, "quality")


@pytest.mark.parametrize("marker", PAGES)
def test_the_pages_have_the_markers(marker: str) -> None:
    assert TABLE in filled((ROOT / PAGES[marker]).read_text(encoding="utf-8"), TABLE, marker)
