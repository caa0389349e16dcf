"""A whole folder: what is done already, doing the rest, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from restore_sdk._util.ordered import ordered_map
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, OutputError
from restore_sdk.folder.jobs import Job, Plan, Refusal
from restore_sdk.folder.ledger import FolderError, Ledger
from restore_sdk.folder.progress import Progress
from restore_sdk.folder.work import Done, Failure, Settings, failure, restore_job

Outcome = Done | Failure

#: Restores jobs somewhere and yields each with its outcome, in any order; closing it drops what has not begun.
Restorer = Callable[[Iterable[Job]], Iterator[tuple[Job, Outcome]]]

#: So many photographs in a row on which the runtime failed: it is the runtime, and going on would help nobody.
PATIENCE = 3

#: So many failures are kept for the summary; the log has all of them.
MAX_LISTED = 1000


@dataclass(slots=True)
class Summary:
    """What came of a run.

    Attributes:
        photos: photographs in the folder.
        resumed: restored by an earlier run, and not touched by this one.
        restored, failed: by this run.
        unmarked: without a mask, or with an empty one, where that was not to be a failure.
        pending: not tried, since the run was stopped by a failure.
        failures: photograph, exception's name, message and hint of the first ones.
        seconds: wall-clock time of this run's restoring.
    """

    photos: int
    resumed: int = 0
    restored: int = 0
    failed: int = 0
    unmarked: int = 0
    pending: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it, of JSON types."""
        rate = self.restored / self.seconds if self.seconds > 0 else 0.0
        return {
            **{
                name: getattr(self, name) for name in ("photos", "restored", "resumed", "failed", "unmarked", "pending")
            },
            "seconds": round(self.seconds, 3),
            "photos_per_second": round(rate, 2),
            "failures": self.failures,
        }


class Batch:
    """One run over a folder.

    Args:
        plan: what the folder holds.
        ledger: the output folder's, open.
        on_error: whether a photograph that fails ends the run or is left out; the next run tries it again.
        unmarked: whether a photograph without any mark is a failure, or simply left out.
        overwrite: whether results may replace files that no run has written.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        on_error: Literal["skip", "stop"] = "skip",
        unmarked: Literal["fail", "skip"] = "fail",
        overwrite: bool = False,
    ) -> None:
        self._ledger, self._refusals = ledger, plan.refusals
        self._on_error, self._unmarked, self._overwrite = on_error, unmarked, overwrite
        self.todo = [job for job in plan.jobs if not ledger.done(job)]
        self.summary = Summary(len(plan.jobs) + len(plan.refusals), resumed=len(plan.jobs) - len(self.todo))

    def run(self, restore: Restorer, progress: Progress) -> Summary:
        """Restore what is to be done.

        Raises:
            FolderError: the output folder cannot be written any more. ExecutionError: the runtime fails on everything.
        """
        started, in_a_row = time.monotonic(), 0
        try:
            for name, outcome in self._outcomes(restore):
                in_a_row = in_a_row + 1 if isinstance(outcome, Failure) and outcome.runtime else 0
                failed = isinstance(outcome, Failure) and not self._left_out(name, outcome)
                if isinstance(outcome, Failure) and failed:
                    self._failed(name, outcome, progress)
                progress.step(failed=failed)
                if isinstance(outcome, Failure) and in_a_row == PATIENCE:
                    raise ExecutionError(f"on {PATIENCE} photographs in a row: {outcome.message}", outcome.hint)
                if failed and self._on_error == "stop":
                    break
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("run it again, and it goes on where it was") from error
        finally:
            progress.clear()
            summary = self.summary
            summary.seconds = time.monotonic() - started
            dealt_with = summary.resumed + summary.restored + summary.failed + summary.unmarked
            summary.pending = summary.photos - dealt_with
        self._ledger.note({"event": "summary", **summary.to_json(), "failures": summary.failed})
        return summary

    def _outcomes(self, restore: Restorer) -> Iterator[tuple[str, Outcome]]:
        for refusal in self._refusals:
            yield refusal.name, _refused(refusal)
        sound: list[Job] = []
        for job in self.todo:
            try:
                if not self._overwrite:
                    self._ledger.check(job)
                sound.append(job)
            except OutputError as error:
                yield job.name, failure(error)
        for job, outcome in restore(sound) if sound else ():
            yield job.name, self._published(job, outcome)

    def _published(self, job: Job, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return outcome
        try:
            if not self._overwrite:  # once more: hours may have passed
                self._ledger.check(job)
            self._ledger.publish(job, outcome)
        except FolderError:
            raise
        except OutputError as error:
            return failure(error)
        self.summary.restored += 1
        return outcome

    def _left_out(self, name: str, found: Failure) -> bool:
        if not found.unmarked or self._unmarked == "fail":
            return False
        self.summary.unmarked += 1
        self._ledger.note({"event": "photo", "status": "unmarked", "photo": name, "message": found.message})
        return True

    def _failed(self, name: str, found: Failure, progress: Progress) -> None:
        error = {"type": found.type, "message": found.message, "hint": found.hint}
        self.summary.failed += 1
        if len(self.summary.failures) < MAX_LISTED:
            self.summary.failures.append({"photo": name, **error})
        self._ledger.note({"event": "photo", "status": "failed", "photo": name, "error": error})
        progress.failed(name, found.message, found.hint)


def on_threads(engine: RestoreEngine, settings: Settings, workers: int) -> Restorer:
    """Restore on this host: ``workers`` threads, so that decoding and encoding go on while the engine computes."""

    def restore(jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        return ordered_map(lambda job: (job, restore_job(engine, job, settings)), jobs, workers)

    return restore


def _refused(refusal: Refusal) -> Failure:
    return Failure("InputError", refusal.message, refusal.hint, unmarked=refusal.unmarked)
