"""The output folder: results appear in it whole and once, and its log knows which are there.

Safe against a kill at any moment, and against a power cut as far as the disk keeps what it calls synced. A result is
written to an unfinished file, then *announced* by a line in the log, and then renamed to its name. It is done if and
only if the file at its name is the one that was announced last; so neither a kill before the rename nor one after it
loses anything, and no result is mistaken for another file that was there before. What was announced earlier may be
replaced: where a run with other settings is killed before the rename, it still stands there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from restore_sdk._util.disk import check_writable, file_lock, sync_folder, write_synced
from restore_sdk.errors import OutputError
from restore_sdk.folder.pairing import Pair, fingerprint
from restore_sdk.folder.photograph import Result

_LOG = logging.getLogger("restore_sdk")

#: What a run keeps in the output folder besides results: its log, and a folder with its lock and the unfinished result.
LOG_NAME, LOCK_NAME, PART_NAME = "restore-sdk.jsonl", ".restore-sdk/lock", ".restore-sdk/result.part"

#: What a line says of a result: size and time of its file and of what it was made from, and the hash of the settings.
_KEPT = ("result", "made_from", "settings")


class Journal:
    """The log of one output folder, open for one run; see :func:`open_journal`."""

    def __init__(self, target: Path, file: BinaryIO, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.path = target / LOG_NAME
        self._target, self._part, self._file, self._overwrite = target, target / PART_NAME, file, overwrite
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._announced = self._read()
        self.note({"event": "run", "settings": self._settings, **settings})

    def is_done(self, pair: Pair) -> bool:
        """Whether the pair's result is there, made from the same files with the same settings."""
        current = {"result": fingerprint(pair.output), "made_from": pair.made_from(), "settings": self._settings}
        return self._announced[pair.name][-1:] == [current]

    def conflict(self, pair: Pair) -> OutputError | None:
        """Why no result may be put at the pair's output, whose folder is made."""
        try:
            pair.output.parent.mkdir(parents=True, exist_ok=True)
            check_writable(pair.output)
        except OutputError as error:
            return error
        except OSError as error:
            message = f"the folder {pair.output.parent} cannot be made: {error.strerror}"
            return OutputError(message, "check what stands there")
        results = [line["result"] for line in self._announced[pair.name]]
        if self._overwrite or not os.path.lexists(pair.output) or fingerprint(pair.output) in results:
            return None
        message = f"{pair.output} exists, and is none of this folder's results"
        return OutputError(message, "move it away, or replace it with --overwrite")

    def publish(self, pair: Pair, result: Result) -> None:
        """Put a result at its name in one step, replacing what is there.

        Raises:
            OutputError: it cannot be written, and with :meth:`conflict` asked before, no other could either.
        """
        try:
            self._part.unlink(missing_ok=True)  # of a run that was killed
            write_synced(self._part, result.data)
            line = {"result": fingerprint(self._part), "made_from": result.made_from, "settings": self._settings}
            output = pair.output.relative_to(self._target).as_posix()
            entry = {"event": "photo", "status": "restored", "photo": pair.name, "output": output}
            self.note({**entry, **line, **result.facts})
            self._part.replace(pair.output)
            with suppress(OSError):  # only a power cut could still undo the renaming, and then it is done again
                sync_folder(pair.output.parent)
        except OSError as error:
            hint = "check space and permissions, then run again: it goes on where it was"
            raise OutputError(f"cannot write {pair.output}: {error.strerror}", hint) from error
        self._announced[pair.name].append(line)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Append one line to the log, safe on disk."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts}).encode() + b"\n"
        try:
            while line:  # a disk that gets full takes a part first
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            message = f"cannot write the log {self.path}: {error.strerror}"
            raise OutputError(message, "make space, then run again: it goes on where it was") from error

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        """What was announced for each photograph, in order; a line that was cut short is taken off."""
        self._file.seek(0)
        data = self._file.read()
        end = data.rfind(b"\n") + 1
        self._file.truncate(end)
        announced: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for raw in data[:end].splitlines():
            try:
                line = json.loads(raw)
                if line["event"] == "photo" and line["status"] == "restored":
                    announced[line["photo"]].append({name: line[name] for name in _KEPT})
            except (ValueError, KeyError, TypeError):
                _LOG.warning("a line of %s was not understood and is left alone", self.path)
        return announced


@contextmanager
def open_journal(target: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[Journal]:
    """The journal of the output folder ``target``, which is made if need be, locked against every other run.

    What was restored with other ``settings`` (of JSON types) is restored again. With ``overwrite`` results may replace
    files that no run has written. Raises :class:`OutputError` where another run is at work, or nothing can be written.
    """
    lock, log = target / LOCK_NAME, target / LOG_NAME
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"the output folder {target} cannot be made: {reason}", "choose another") from error
    check_writable(log)
    if log.is_symlink():
        raise OutputError(f"the log {log} is a link", "move it away")

    def refuse(_: float) -> None:
        hint = "wait until it ends, or give this one an output folder of its own"
        raise OutputError(f"another run is writing to {target}", hint)

    with file_lock(lock, refuse):
        try:
            file = log.open("a+b", buffering=0)
        except OSError as error:
            raise OutputError(f"the log {log} cannot be opened: {error.strerror}", "check permissions") from error
        with file:
            yield Journal(target, file, settings, overwrite)
