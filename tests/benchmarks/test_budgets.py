"""The measurement of the budgets: what it measures, its verdicts and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import budgets, cli
from benchmarks.budgets import Result
from benchmarks.processes import MeasurementError, answer, seconds_to_exit, seconds_to_first_line
from restore_sdk.bundle import Bundle


def test_every_budget_is_measured(toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["budgets", "--runs", "1", "--bundle", str(toy_bundle.path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [(budget["unit"], budget["limit"]) for budget in report["budgets"]] == [
        ("s", 0.2),
        ("s", 1.5),
        ("s", 1.5),
        ("MB", 400.0),
        ("%", 10.0),
    ]
    assert all(budget["median"] > 0 for budget in report["budgets"])
    assert code == (0 if report["ok"] else 1)


def test_importing_stays_within_its_budget() -> None:
    """The best of ten, for a busy host."""
    assert any(answer(budgets.IMPORT) < 0.2 for _ in range(10))


def test_memory_stays_within_its_budget() -> None:
    """With the model that ships."""
    assert answer(budgets._MEMORY, str(budgets.PHOTO), str(budgets.MASK), "") < 400


@pytest.mark.parametrize(
    ("values", "verdict", "code"), [((0.1, 0.1, 9.0), "within", 0), ((0.1, 0.2, 0.2), "OVER", 1), ((0.3,), "OVER", 1)]
)
def test_the_median_decides(
    values: tuple[float, ...],
    verdict: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = Result("start", "s", 0.2, values)
    assert result.verdict == verdict
    monkeypatch.setattr(budgets, "measure", lambda runs, bundle: [result])
    assert cli.main(["budgets"]) == code
    assert verdict in capsys.readouterr().out


def test_a_missing_bundle_is_said_and_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["budgets", "--runs", "1", "--bundle", str(tmp_path / "none")]) == 2
    assert "no bundle at" in capsys.readouterr().err


@pytest.mark.parametrize("runs", ["0", "-1", "x", "1.5"])
def test_runs_must_be_a_count(runs: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["budgets", "--runs", runs])
    assert exit_.value.code == 2


def test_a_process_that_fails_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="no luck"):
        answer("raise SystemExit('no luck')")
    with pytest.raises(MeasurementError, match="printed no JSON"):
        answer("print('hello')")
    with pytest.raises(MeasurementError, match="printed nothing"):
        seconds_to_first_line("")
    with pytest.raises(MeasurementError, match="no luck"):
        seconds_to_first_line("print('early', flush=True); raise SystemExit('no luck')")
    with pytest.raises(MeasurementError, match="no luck"):
        seconds_to_exit("-c", "raise SystemExit('no luck')")


def test_time_to_the_first_line_ends_there() -> None:
    waits = "import time; print('line', flush=True); time.sleep({})"
    assert 0 < seconds_to_first_line(waits.format(5)) < 5
    assert seconds_to_exit("-c", waits.format(1)) > 1


def test_peak_memory_counts_what_was_freed() -> None:
    program = budgets.PEAK_MB + "data = b'x' * 200_000_000; del data\nprint(peak_mb())"
    assert 200 < answer(program) < 260
