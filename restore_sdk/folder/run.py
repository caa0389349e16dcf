"""A whole folder: what is done already, doing the rest, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from restore_sdk._util.ordered import ordered_map
from restore_sdk._util.terminal import escape
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, RestoreError
from restore_sdk.folder.journal import Journal, open_journal
from restore_sdk.folder.pairing import NothingMaskedError, Pair, find_pairs
from restore_sdk.folder.photograph import PhotoSettings, Result, restore_pair

#: So many photographs on which the runtime failed, and none restored between: going on would help nobody.
MAX_RUNTIME_FAILURES = 3


@dataclass(slots=True)
class Summary:
    """What came of a run, of JSON types."""

    output: str
    log: str
    bundle: str
    photos: int  # the sum of the counts that follow
    resumed: int  # restored by an earlier run
    restored: int = 0
    failed: int = 0
    unmarked: int = 0  # nothing was masked, where that was not to be a failure
    seconds: float = 0.0
    photos_per_second: float = 0.0
    runtime: str | None = None  # None where nothing was to be done
    failures: list[dict[str, str]] = field(default_factory=list)
    mask_notes: list[dict[str, str]] = field(default_factory=list)  # of this run: proposed, found there, or odd
    notes: list[str] = field(default_factory=list)  # what else was seen in the folders and left alone


def restore_folder(
    source: Path,
    masks: Path | None,
    target: Path,
    settings: PhotoSettings,
    *,
    bundle: Bundle,
    open_engine: Callable[[], RestoreEngine],
    mask_suffix: str = "",
    workers: int = 2,
    unmarked: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
) -> Summary:
    """Restore every photograph of a folder that an earlier run has not; progress and failures go to standard error.

    Args:
        source, masks, target, mask_suffix: see :func:`restore_sdk.folder.pairing.find_pairs`.
        open_engine: opens an engine of ``bundle``; called where there is something to do.
        workers: threads, so that decoding and encoding go on while the engine computes.
        unmarked: whether a photograph without a mask is a failure.
        overwrite: whether results may replace files that no run has written.

    Raises:
        InputError: the folders cannot be paired.
        OutputError: the output folder cannot be written, or another run writes to it.
        ExecutionError: the runtime fails on everything. Whatever ``open_engine`` raises.
    """
    if settings.mask_auto:
        _ = bundle.damage  # or an error, before any work
    pairs, notes = find_pairs(
        source, masks, target, suffix=settings.format, mask_suffix=mask_suffix, auto=settings.mask_auto is not None
    )
    identity = {"bundle": bundle.name, "model": bundle.fingerprint, **settings.identity()}
    with open_journal(target, identity, overwrite=overwrite) as journal:
        todo = [pair for pair in pairs if pair.problem is not None or not journal.is_done(pair)]
        summary = Summary(str(target), str(journal.path), bundle.name, len(pairs), len(pairs) - len(todo), notes=notes)

        def attempt(pair: Pair) -> tuple[Pair, Result | RestoreError]:
            return pair, pair.problem or journal.conflict(pair) or restore_pair(engine, pair, settings)

        started = time.monotonic()
        try:
            if todo:
                with open_engine() as engine, closing(ordered_map(attempt, todo, workers)) as outcomes:
                    summary.runtime = engine.info()["runtime"]
                    _record(outcomes, journal, summary, unmarked)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("run it again, and it goes on where it was") from error
        seconds = time.monotonic() - started
        summary.seconds, summary.photos_per_second = round(seconds, 3), round(summary.restored / max(seconds, 1e-9), 2)
        counts = {name: value for name, value in asdict(summary).items() if isinstance(value, int | float)}
        journal.note({"event": "summary", **counts})
    return summary


def _record(
    outcomes: Iterable[tuple[Pair, Result | RestoreError]], journal: Journal, summary: Summary, unmarked: str
) -> None:
    """Publish what was restored, log what was not, and count both."""
    runtime_failures = 0
    with tqdm(total=summary.photos, initial=summary.resumed, unit="photo", leave=False, disable=None) as bar:
        for pair, outcome in outcomes:
            bar.update()
            if isinstance(outcome, Result):  # once more: something may have been put there meanwhile
                outcome = journal.conflict(pair) or outcome
            if isinstance(outcome, Result):
                journal.publish(pair, outcome)
                summary.restored += 1
                runtime_failures = 0
                for note in outcome.facts["notes"]:
                    if note.startswith("the mask"):  # the log has all notes
                        summary.mask_notes.append({"photo": pair.name, "note": note})
                        tqdm.write(f"restore-sdk: {escape(pair.name)}: note: {note}", file=sys.stderr)
                continue
            entry = {"event": "photo", "photo": pair.name}
            if isinstance(outcome, NothingMaskedError) and unmarked == "skip":
                journal.note({**entry, "status": "unmarked", "message": outcome.message})
                summary.unmarked += 1
                continue
            error = {"type": type(outcome).__name__, "message": outcome.message, "hint": outcome.hint}
            journal.note({**entry, "status": "failed", "error": error})
            summary.failed += 1
            summary.failures.append({"photo": pair.name, **error})
            line = f"restore-sdk: {escape(pair.name)}: {escape(outcome.message)} ({escape(outcome.hint)})"
            tqdm.write(line, file=sys.stderr)
            # A photograph that is too large for this host says nothing about the others.
            runtime_failures += isinstance(outcome, ExecutionError) and outcome.reason != "photo"
            if runtime_failures == MAX_RUNTIME_FAILURES:
                message = f"on {MAX_RUNTIME_FAILURES} photographs in a row: {outcome.message}"
                raise ExecutionError(message, outcome.hint)
