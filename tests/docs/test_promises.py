"""SECURITY.md, the table and the tests speak of the same promises."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promises import PAGE, PROMISES, ROOT, Promise, Tally, table, tally


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_every_promise_names_tests_that_exist(promise: Promise) -> None:
    assert promise.tests
    for name in promise.tests:
        file, *inside = name.split("::")
        assert (ROOT / file).exists(), name
        if inside:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert inside[0] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        else:
            files = [ROOT / file] if (ROOT / file).is_file() else sorted((ROOT / file).glob("test_*.py"))
            assert any("def test_" in path.read_text(encoding="utf-8") for path in files), name


def test_the_pages_say_the_same() -> None:
    security, found = (ROOT / "SECURITY.md").read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")
    told = " ".join(security.split())
    for promise in PROMISES:
        assert promise.text in told, f"SECURITY.md lacks: {promise.text}"
        assert f"| {promise.text} |" in found, "run python -m tests.promises"
        assert all(f"`{name.removeprefix('tests/')}`" in found for name in promise.tests)
    assert found.count("\n| ") == len(PROMISES) + 1
    assert "FAILED" not in found
    assert "none ran" not in found


def test_the_table_tells_failures() -> None:
    promise = Promise("one", "All is well.", ("tests/a.py", "tests/b.py::test_b"))
    tests = {
        "tests/a.py::test_a[1]": Tally(3),
        "tests/a.py::test_a[2]": Tally(1),
        "tests/b.py::test_b": Tally(500),
        "tests/b.py::test_both": Tally(7),
        "tests/ab.py::test_a": Tally(7),
    }
    for one in tests.values():
        one.outcomes["passed"] += 1
    assert tally(tests, promise).cases == 504
    assert tally(tests, promise).words() == "3 tests passed"
    tests["tests/b.py::test_b"].outcomes["skipped"] += 1
    assert tally(tests, promise).words() == "3 tests passed, 1 skipped here"
    tests["tests/a.py::test_a[1]"].outcomes["failed"] += 1
    assert "| **1 FAILED** |" in table(tests, (promise,))
    assert "none ran" in table({}, (promise,))


@settings(max_examples=25, deadline=None)
@given(st.integers())
def _example(number: int) -> None:
    assert isinstance(number, int)


def test_examples_are_counted() -> None:
    from tests.promises import Counting

    class Item:
        nodeid, obj = "tests/x.py::test_x", staticmethod(_example)

    counting = Counting()
    counting.pytest_runtest_setup(Item())  # type: ignore[arg-type]
    _example()
    assert counting.tests["tests/x.py::test_x"].cases >= 20
