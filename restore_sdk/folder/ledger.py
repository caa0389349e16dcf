"""The output folder: results appear in it whole and once, and its log knows which are there.

Safe against a kill at any moment, and against a power cut as far as the disk keeps what it calls synced. A result is
written to an unfinished file, then *announced* by a line in the log, with its size and time, and then renamed to its
name. A result is done if and only if the file at its name is the one that was announced last; so neither a kill before
the rename nor one after it loses anything, and no result is mistaken for another file that was there before. What was
announced earlier may be replaced: where a run with other settings is killed before the rename, it still stands there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_sdk._util.atomic import check_writable, sync_folder, write_synced
from restore_sdk._util.lock import file_lock
from restore_sdk.errors import OutputError
from restore_sdk.folder.jobs import LOG_NAME, STATE_NAME, Job
from restore_sdk.folder.work import Done

_LOG = logging.getLogger("restore_sdk")

#: What no other photograph would fare better with: the disk is full, broken or read-only.
_HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV})


class FolderError(OutputError):
    """The output folder itself cannot be written: nothing more can be done in this run."""


@dataclass(frozen=True, slots=True)
class _Announced:
    """A line of the log: this file, made from these inputs with these settings."""

    bytes: int
    mtime_ns: int
    sha256: str
    stamp: list[int]
    settings: str


class Ledger:
    """The log of one output folder, open for one run; see :func:`open_ledger`."""

    def __init__(self, target: Path, settings: Mapping[str, Any]) -> None:
        self.path = target / LOG_NAME
        self._target, self._parts = target, target / STATE_NAME / "parts"
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._touched: set[Path] = set()
        self._count = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            shutil.rmtree(self._parts, ignore_errors=True)  # unfinished files of a run that was killed
            self._parts.mkdir()
            self._file = os.fdopen(os.open(self.path, flags, 0o666), "r+b", buffering=0)
        except OSError as error:
            raise FolderError(f"the log {self.path} cannot be opened: {error.strerror}", "check permissions") from error
        try:
            self._announced = self._read()
            self.note({"event": "run", "settings": self._settings, **settings})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Make the results' names safe on disk and let go of the log."""
        for folder in self._touched:
            try:
                sync_folder(folder)
            except OSError as error:
                _LOG.warning("written, but the folder %s cannot be synced to disk: %s", folder, error.strerror)
        self._file.close()
        shutil.rmtree(self._parts, ignore_errors=True)

    def done(self, job: Job) -> bool:
        """Whether the job's result is there, made from the same files with the same settings."""
        lines = self._announced.get(job.name)
        return (
            lines is not None
            and lines[-1].settings == self._settings
            and lines[-1].stamp == job.stamp()
            and _is_announced(job.output, lines[-1])
        )

    def check(self, job: Job) -> None:
        """Raise :class:`OutputError` when something stands at the job's output that no run has put there."""
        if os.path.lexists(job.output):
            lines = self._announced.get(job.name, [])
            if not any(_is_announced(job.output, line) for line in reversed(lines)):
                raise OutputError(
                    f"{job.output} exists, and is none of this folder's results",
                    "move it away, or replace it with --overwrite",
                )
        elif job.output.parent.is_dir():
            check_writable(job.output)

    def publish(self, job: Job, done: Done) -> None:
        """Put a result at its name in one step, replacing what is there.

        Raises:
            OutputError: this result cannot be written. FolderError: no other could either.
        """
        self._count += 1
        part = self._parts / f"{self._count}.part"
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            check_writable(job.output)
            written = write_synced(part, done.data)
            line = _Announced(
                written.st_size, written.st_mtime_ns, hashlib.sha256(done.data).hexdigest(), done.stamp, self._settings
            )
            self.note(
                {
                    "event": "photo",
                    "status": "restored",
                    "photo": job.name,
                    "output": job.output.relative_to(self._target).as_posix(),
                    "bytes": line.bytes,
                    "mtime_ns": line.mtime_ns,
                    "sha256": line.sha256,
                    "stamp": line.stamp,
                    "settings": line.settings,
                    **done.facts,
                }
            )
            part.replace(job.output)
        except OSError as error:
            part.unlink(missing_ok=True)
            kind = FolderError if error.errno in _HOPELESS else OutputError
            message = f"cannot write {job.output}: {error.strerror}"
            raise kind(message, "check space and permissions, then run again: it goes on where it was") from error
        self._announced.setdefault(job.name, []).append(line)
        self._touched.add(job.output.parent)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Append one line to the log, safe on disk.

        Raises:
            FolderError: it cannot be written; the log ends with the line before.
        """
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": stamp, **facts}).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            while line:  # a disk that gets full takes a part first
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)
            message = f"cannot write the log {self.path}: {error.strerror}"
            raise FolderError(message, "make space, then run again: it goes on where it was") from error

    def _read(self) -> dict[str, list[_Announced]]:
        """What was announced for each photograph, in order; a line that a kill has cut short is taken off."""
        data = self._file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.ftruncate(self._file.fileno(), end)
        announced: dict[str, list[_Announced]] = {}
        for raw in data[:end].splitlines():
            try:
                line = json.loads(raw)
                if line["event"] == "photo" and line["status"] == "restored":
                    found = _Announced(line["bytes"], line["mtime_ns"], line["sha256"], line["stamp"], line["settings"])
                    announced.setdefault(line["photo"], []).append(found)
            except (ValueError, KeyError, TypeError):
                _LOG.warning("a line of %s was not understood and is left alone", self.path)
        return announced


@contextmanager
def open_ledger(target: Path, settings: Mapping[str, Any]) -> Iterator[Ledger]:
    """The ledger of the output folder ``target``, which is made if need be, against every other run.

    Args:
        target: the folder.
        settings: what decides how a result looks, of JSON types. What was restored with others is restored again.

    Raises:
        OutputError: another run is at work in the folder, or the folder cannot be written.
    """
    state = target / STATE_NAME
    try:
        state.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise FolderError(f"the output folder {target} cannot be made: {reason}", "choose another") from error
    check_writable(state / "lock")

    def taken(_: float) -> None:
        raise OutputError(
            f"another run is writing to {target}", "wait until it ends, or give this one an output folder of its own"
        )

    with file_lock(state / "lock", taken):
        ledger = Ledger(target, settings)
        try:
            yield ledger
        finally:
            ledger.close()


def _is_announced(output: Path, line: _Announced) -> bool:
    """Whether the file at ``output`` is the announced one; a copied folder has other times, so its bytes are asked."""
    try:
        found = output.stat()
        if found.st_size != line.bytes:
            return False
        if found.st_mtime_ns == line.mtime_ns:
            return True
        with output.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == line.sha256
    except OSError:
        return False
