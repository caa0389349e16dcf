"""A whole folder: what is done already, doing the rest, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
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
from restore_sdk.folder.journal import open_journal
from restore_sdk.folder.pairing import NothingMaskedError, Pair, find_pairs
from restore_sdk.folder.photograph import PhotoSettings, Result, restore_pair

#: So many photographs in a row on which the runtime failed: it is the runtime, and going on would help nobody.
MAX_RUNTIME_FAILURES = 3

#: So many failures are kept for the summary; the log has all of them.
MAX_LISTED = 1000


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
    pending: int = 0  # not tried, since the run was stopped by a failure
    seconds: float = 0.0
    photos_per_second: float = 0.0
    runtime: str | None = None  # None where nothing was to be done
    failures: list[dict[str, str]] = field(default_factory=list)  # the first MAX_LISTED
    masks_without_photo: list[str] = field(default_factory=list)
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
    on_error: Literal["skip", "stop"] = "skip",
    unmarked: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
) -> Summary:
    """Restore every photograph of a folder that an earlier run has not; progress and failures go to standard error.

    Args:
        source, masks, target, mask_suffix: see :func:`restore_sdk.folder.pairing.find_pairs`.
        open_engine: opens an engine of ``bundle``; called where there is something to do.
        workers: threads, so that decoding and encoding go on while the engine computes.
        on_error: whether a photograph that fails ends the run. ``unmarked``: whether one without a mask is a failure.
        overwrite: whether results may replace files that no run has written.

    Raises:
        InputError: the folders cannot be paired.
        OutputError: the output folder cannot be written, or another run writes to it.
        ExecutionError: the runtime fails on everything. Whatever ``open_engine`` raises.
    """
    auto, suffix = settings.mask_auto, settings.format
    if auto:
        _ = bundle.damage  # or an error, before any work
    pairing = find_pairs(source, masks, target, suffix=suffix, mask_suffix=mask_suffix, auto=auto)
    identity = {"bundle": bundle.name, "model": bundle.fingerprint, **settings.identity()}
    with open_journal(target, identity, overwrite=overwrite) as journal:
        todo = [pair for pair in pairing.pairs if pair.problem is not None or not journal.is_done(pair)]
        total, resumed = len(pairing.pairs), len(pairing.pairs) - len(todo)
        summary = Summary(str(target), str(journal.path), bundle.name, total, resumed)
        summary.masks_without_photo, summary.notes = [str(path) for path in pairing.orphans], pairing.notes

        def outcomes() -> Generator[tuple[Pair, Result | RestoreError]]:
            ready = []
            for pair in todo:
                if problem := pair.problem or journal.conflict(pair):
                    yield pair, problem
                else:
                    ready.append(pair)
            if ready:
                with open_engine() as engine:
                    summary.runtime = engine.info()["runtime"]
                    yield from ordered_map(lambda pair: (pair, restore_pair(engine, pair, settings)), ready, workers)

        started, runtime_failures = time.monotonic(), 0
        bar = tqdm(total=total, initial=resumed, unit="photo", leave=False, disable=None, dynamic_ncols=True)
        try:
            with bar, closing(outcomes()) as found:
                for pair, outcome in found:
                    bar.update()
                    if isinstance(outcome, Result):  # once more: hours may have passed
                        outcome = journal.conflict(pair, make_folder=True) or outcome
                    # A photograph that is too large for this host says nothing about the others.
                    runtime = isinstance(outcome, ExecutionError) and outcome.reason != "photo"
                    runtime_failures = runtime_failures + 1 if runtime else 0
                    if isinstance(outcome, Result):
                        journal.publish(pair, outcome)
                        summary.restored += 1
                        for note in outcome.facts["notes"]:
                            if note.startswith("the mask"):  # which the user may not have meant; the log has all notes
                                tqdm.write(f"restore-sdk: {escape(pair.name)}: note: {note}", file=sys.stderr)
                        continue
                    about = {"event": "photo", "photo": pair.name}
                    if isinstance(outcome, NothingMaskedError) and unmarked == "skip":
                        journal.note({**about, "status": "unmarked", "message": outcome.message})
                        summary.unmarked += 1
                        continue
                    error = {"type": type(outcome).__name__, "message": outcome.message, "hint": outcome.hint}
                    journal.note({**about, "status": "failed", "error": error})
                    summary.failed += 1
                    if len(summary.failures) < MAX_LISTED:
                        summary.failures.append({"photo": pair.name, **error})
                    line = f"restore-sdk: {escape(pair.name)}: {escape(outcome.message)} ({escape(outcome.hint)})"
                    tqdm.write(line, file=sys.stderr)
                    if runtime_failures == MAX_RUNTIME_FAILURES:
                        message = f"on {MAX_RUNTIME_FAILURES} photographs in a row: {outcome.message}"
                        raise ExecutionError(message, outcome.hint)
                    if on_error == "stop":
                        break
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("run it again, and it goes on where it was") from error
        seconds = time.monotonic() - started
        summary.seconds, summary.photos_per_second = round(seconds, 3), round(summary.restored / max(seconds, 1e-9), 2)
        summary.pending = total - resumed - summary.restored - summary.failed - summary.unmarked
        counts = {name: value for name, value in asdict(summary).items() if isinstance(value, int | float)}
        journal.note({"event": "summary", **counts})
    return summary
