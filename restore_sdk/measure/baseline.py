"""A measurement against an earlier one: a verdict by ratio, and only where it is larger than the spread."""

from __future__ import annotations

import json
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

#: With fewer rounds than this there is no spread to speak of.
LEAST_ROUNDS = 3

#: Largest report that is read; one is a few kilobytes.
MAX_BYTES = 16 * 1024 * 1024

#: The figures compared: name, key among a run's ``rounds``, unit, whether more is better.
_FIGURES = (
    ("request", "request_ms", "ms", False),
    ("photo", "photo_ms", "ms", False),
    ("throughput", "images_per_second", "images/s", True),
)

_MEASURE = "measure one here first: restore-sdk bench --json > baseline.json"
_T = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one way of running, then and now.

    Attributes:
        run: what ran. ``figure``: what was measured, in ``unit``.
        old, new: medians over the rounds' medians. ``old_spread``, ``new_spread``: their lowest and highest.
        ratio: new by old.
    """

    run: str
    figure: str
    unit: str
    old: float
    new: float
    old_spread: _T
    new_spread: _T
    ratio: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, and what the reader must know beside them."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing could be compared."""
        return not self.changes

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or computes something else, beyond doubt."""
        return any(change.verdict in ("slower", "drifted") for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "regressed": self.regressed,
            "empty": self.empty,
            "notes": list(self.notes),
            "changes": [asdict(change) for change in self.changes],
        }


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
    except FileNotFoundError as error:
        raise InputError(f"the baseline {path} does not exist", _MEASURE) from error
    except OSError as error:
        raise InputError(f"the baseline {path} cannot be read: {error.strerror}", _MEASURE) from error
    except InputError:
        raise
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
        _check_shape(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"the baseline {path} is not whole: {error!r}", _MEASURE) from error
    if differ:
        raise InputError(
            f"the baseline is of another machine ({differ}): times do not carry over",
            "measure a baseline here, and compare the ratios between runtimes across machines",
        )
    for key, value in settings.items():
        if report.get(key, 0 if key == "device" else None) != value:  # earlier reports tell no device
            raise InputError(
                f"the baseline was measured with {key} {report.get(key)}, this is {value}",
                f"pass --{key} as it was, or measure a new baseline",
            )
    return report


def compare(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float = TOLERANCE) -> Comparison:
    """Set two reports of one machine side by side.

    A figure is ``faster`` or ``slower`` where the ratio of the medians leaves ``1 ± tolerance`` and the rounds of the
    one lie wholly beyond those of the other; where they overlap it is ``unclear``; otherwise ``same``. ``drifted``:
    the worst golden image lost more than :data:`DRIFT_DB` against the reference. What is not in both, or ran on another
    device, is left out, and a note says so.
    """
    notes = _notes(old, new)
    before = {run["name"]: run for run in old["runs"]}
    now = {run["name"]: run for run in new["runs"]}
    notes += [f"{name} is in the baseline alone" for name in before if name not in now]
    notes += [f"{name} is not in the baseline" for name in now if name not in before]
    common = []
    for name in (name for name in now if name in before):
        there, here = (runs[name]["runtime"].get("device") for runs in (before, now))
        if there == here:
            common.append(name)
        else:
            notes.append(f"{name} ran on {there} then, on {here} now: not compared")
    changes: list[Change] = []
    for name in common:
        for figure, key, unit, more in _FIGURES:
            then, here = before[name]["rounds"][key], now[name]["rounds"][key]
            if then and here:
                changes.append(_judge(name, figure, unit, then, here, more, tolerance))
        changes += _drifted(name, before[name], now[name])
    return Comparison(tuple(changes), tuple(notes))


def _judge(
    run: str, figure: str, unit: str, then: list[float], here: list[float], more_is_better: bool, tolerance: float
) -> Change:
    old, new = _median(then), _median(here)
    ratio = new / old
    verdict: Verdict = "same"
    if not 1 / (1 + tolerance) <= ratio <= 1 + tolerance:
        apart = min(here) > max(then) if ratio > 1 else max(here) < min(then)
        if apart and min(len(then), len(here)) >= LEAST_ROUNDS:
            verdict = "faster" if (ratio > 1) == more_is_better else "slower"
        else:
            verdict = "unclear"
    return Change(run, figure, unit, old, new, (min(then), max(then)), (min(here), max(here)), round(ratio, 4), verdict)


def _drifted(name: str, then: Mapping[str, Any], here: Mapping[str, Any]) -> list[Change]:
    """The change of drift, where there is one to speak of."""
    old, new = then["drift"]["restored"]["worst_db"], here["drift"]["restored"]["worst_db"]
    if new is None or (old is not None and new >= old - DRIFT_DB):
        return []
    old = EQUAL_DB if old is None else old
    return [Change(name, "worst drift", "dB", old, new, (old, old), (new, new), round(new / old, 4), "drifted")]


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same between the two, and may be why."""
    notes = []
    for key in ("bundle", "fingerprint", "requests"):
        if key in old and old[key] != new.get(key):
            notes.append(f"{key}: {old.get(key)} then, {new.get(key)} now")
    there, here = old["host"], new["host"]
    for key in ("restore_sdk", "python", "platform"):
        if there.get(key) != here.get(key):
            notes.append(f"{key}: {there.get(key)} then, {here.get(key)} now")
    then, now = there.get("packages") or {}, here.get("packages") or {}
    notes += [
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    loads = [facts.get("load") for facts in (there, here)]
    if all(load is not None for load in loads) and abs(loads[0] - loads[1]) > 0.5:
        notes.append(f"load of the machine: {loads[0]} then, {loads[1]} now")
    return notes


def _check_shape(report: Mapping[str, Any]) -> None:
    """Touch all that :func:`compare` reads, so that a torn report is refused before anything is measured."""
    for run in report["runs"]:
        str(run["name"])
        run["runtime"].get("device")
        worst = run["drift"]["restored"]["worst_db"]
        if worst is not None:
            float(worst)
        for _, key, _, _ in _FIGURES:
            if any(not (isinstance(value, int | float) and value > 0) for value in run["rounds"][key]):
                raise ValueError(f"{key} holds what is no figure above 0")


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
