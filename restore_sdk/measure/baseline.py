"""A measurement against an earlier one: a verdict by ratio, and only where it is larger than the spread."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from restore_sdk.errors import InputError
from restore_sdk.measure.bench import KIND, SCHEMA
from restore_sdk.measure.host import other_machine

Verdict = Literal["same", "faster", "slower", "unclear", "drifted"]

#: How much a figure may change before it is more than the usual: a share of the old one.
TOLERANCE = 0.10

#: Loss of PSNR in dB against the reference, in the worst golden image, that is a change of what is computed.
DRIFT_DB = 1.0

#: Stands for equal pictures: more than any difference, of which the least is one step in one byte, 101.1 dB.
EQUAL_DB = 107.1

#: With fewer blocks than this there is no spread to speak of.
LEAST_BLOCKS = 3

#: Largest report that is read; one is a few kilobytes.
MAX_BYTES = 16 * 1024 * 1024

_MEASURE = "measure one here first: restore-sdk bench --json > baseline.json"


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one run, then and now: medians over the blocks' medians, with their lowest and highest."""

    run: str
    figure: str
    unit: str
    old: float
    new: float
    old_spread: tuple[float, float]
    new_spread: tuple[float, float]
    verdict: Verdict

    @property
    def ratio(self) -> float:
        """New by old."""
        return self.new / self.old


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, and what the reader must know beside them."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or computes something else, beyond doubt."""
        return any(change.verdict in ("slower", "drifted") for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        changes = [{**asdict(change), "ratio": round(change.ratio, 4)} for change in self.changes]
        return {"regressed": self.regressed, "empty": not changes, "notes": list(self.notes), "changes": changes}


def read_baseline(path: Path, machine: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An earlier report, if it can be compared with what is about to be measured.

    Args:
        machine: the facts of this host. ``settings``: ``batch``, ``slots``, ``threads`` and ``device`` to come.

    Raises:
        InputError: no such file, no report of this schema, one of another machine, or of other settings.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"the baseline {path} is too large for a report", _MEASURE)
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"the baseline {path} cannot be read: {error.strerror}", _MEASURE) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the baseline {path} is no JSON: {error}", _MEASURE) from error
    if not isinstance(report, dict) or report.get("kind") != KIND:
        raise InputError(f"the baseline {path} is no report of restore-sdk bench", _MEASURE)
    if report.get("schema") != SCHEMA:
        raise InputError(
            f"the baseline {path} has schema {report.get('schema')}, this version reads {SCHEMA}", _MEASURE
        )
    try:
        differ = other_machine(machine, report["host"])
        compare(report, report)  # touches all that will be read
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise InputError(f"the baseline {path} is not whole: {error!r}", _MEASURE) from error
    if differ:
        raise InputError(
            f"the baseline is of another machine ({differ}): times do not carry over",
            "measure a baseline here, and compare the ratios between runtimes across machines",
        )
    for key, value in settings.items():
        if report.get(key) != value:
            raise InputError(
                f"the baseline was measured with {key} {report.get(key)}, this is {value}",
                f"pass --{key} as it was, or measure a new baseline",
            )
    return report


def compare(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float = TOLERANCE) -> Comparison:
    """Set two reports of one machine side by side.

    A figure is ``faster`` or ``slower`` where the ratio of the medians leaves ``1 ± tolerance`` and the blocks of the
    one lie wholly beyond those of the other; where they overlap it is ``unclear``; otherwise ``same``. ``drifted``:
    the worst golden image lost more than :data:`DRIFT_DB` against the reference. What is not in both, or ran on another
    device, is left out, and a note says so.
    """
    notes = _notes(old, new)
    before, now = ({run["name"]: run for run in report["runs"]} for report in (old, new))
    notes += [f"{name} is in the baseline alone" for name in before if name not in now]
    notes += [f"{name} is not in the baseline" for name in now if name not in before]
    changes: list[Change] = []
    for name, run in now.items():
        if name not in before:
            continue
        there, here = (each["runtime"].get("device") for each in (before[name], run))
        if there != here:
            notes.append(f"{name} ran on {there} then, on {here} now: not compared")
            continue
        for figure, entry in run["figures"].items():
            if figure in before[name]["figures"]:
                changes.append(_judge(name, figure, before[name]["figures"][figure], entry, tolerance))
        then, db = (each["drift"]["restored"]["worst_db"] for each in (before[name], run))
        then, db = (EQUAL_DB if each is None else float(each) for each in (then, db))
        if not (math.isfinite(then) and math.isfinite(db)):
            raise ValueError(f"the drift of {name} is no number")
        if db < then - DRIFT_DB:
            changes.append(Change(name, "worst drift", "dB", then, db, (then, then), (db, db), "drifted"))
    return Comparison(tuple(changes), tuple(notes))


def _judge(run: str, figure: str, then: Mapping[str, Any], here: Mapping[str, Any], tolerance: float) -> Change:
    old, new = then["blocks"], here["blocks"]
    if not all(0 < float(each) < math.inf for each in (*old, *new)):  # so written that a NaN does not pass
        raise ValueError(f"{figure} holds what is no figure above 0")
    ratio = statistics.median(new) / statistics.median(old)
    verdict: Verdict = "same"
    if not 1 / (1 + tolerance) <= ratio <= 1 + tolerance:
        apart = min(new) > max(old) if ratio > 1 else max(new) < min(old)
        verdict = "unclear"
        if apart and min(len(old), len(new)) >= LEAST_BLOCKS:
            verdict = "slower" if ratio > 1 else "faster"
    then_spread, spread = (min(old), max(old)), (min(new), max(new))
    return Change(run, figure, "ms", statistics.median(old), statistics.median(new), then_spread, spread, verdict)


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same between the two, and may be why."""
    then, now = ({**report["host"].get("packages", {}), **_versions(report)} for report in (old, new))
    notes = [
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
    loads = [report["host"].get("load") for report in (old, new)]
    if all(load is not None for load in loads) and abs(loads[0] - loads[1]) > 0.5:
        notes.append(f"load of the machine: {loads[0]} then, {loads[1]} now")
    return notes


def _versions(report: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: report.get(key) for key in ("bundle", "fingerprint", "requests")}
    return own | {key: report["host"].get(key) for key in ("restore_sdk", "python", "platform")}
