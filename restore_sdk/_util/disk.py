"""Files on disk: written so that a final name never holds half of one, read without surprises, locked."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from restore_sdk._util.terminal import quote
from restore_sdk.errors import OutputError

_LOG = logging.getLogger("restore_sdk")

#: Seconds between two tries; waiting by polling can be given up, waiting in the kernel cannot.
POLL_SECONDS = 0.05


def check_writable(path: Path) -> None:
    """Raise :class:`OutputError` when a file cannot be created or replaced at ``path``; touches nothing."""
    _check_name(path)
    folder = path.parent
    if not folder.exists():
        raise OutputError(f"the output folder does not exist: {folder}", f"create it first: mkdir -p {quote(folder)}")
    if not folder.is_dir():
        raise OutputError(f"the output's parent is not a folder: {folder}", "choose another output path")
    if path.is_dir():
        raise OutputError(f"the output is a folder: {path}", "name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"the output is no plain file but a device or a pipe: {path}", "choose another output path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder cannot be written: {folder}", "choose another, or change its permissions")


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step; an existing file is replaced, or kept whole when anything fails.

    A file that is replaced keeps its permissions. :class:`OutputError`: it cannot be written.
    """
    check_writable(path)
    temporary = _temporary_path(path)
    try:
        if path.exists():
            write_synced(temporary, data, stat.S_IMODE(path.stat().st_mode))
        else:
            write_synced(temporary, data)
        temporary.replace(path)
        _sync_renamed(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", "check space and permissions") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files in one step, replacing the folder that stands at ``path``, if any.

    A name may have ``/`` in it. The new folder is complete on disk before it takes the old one's name: in one step
    where the system can exchange names (Linux); elsewhere the old one moves aside first, and is put back when that
    fails.

    Raises:
        OutputError: the parent folder does not exist, cannot be written, or the disk is full.
    """
    check_folder(path)
    fresh, old = _temporary_path(path), _temporary_path(path)
    try:
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            write_synced(fresh / name, data)
        for folder in {fresh, *(parent for name in files for parent in (fresh / name).parents[: name.count("/")])}:
            sync_folder(folder)
        if not (path.exists() and _exchange(fresh, path)):
            if path.exists():
                path.rename(old)
            fresh.rename(path)
        _sync_renamed(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", "check space and permissions") from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def _check_name(path: Path) -> None:
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name too long, a file where a folder should be, a null character
        raise OutputError(f"nothing can be written at {path}: {error}", "choose another output path") from error


def check_folder(path: Path) -> None:
    """Raise :class:`OutputError` when a folder cannot be created or replaced at ``path``; touches nothing."""
    _check_name(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"the output is not a plain folder: {path}", "choose another output path")
    if not path.parent.is_dir():
        raise OutputError(f"the output folder does not exist: {path.parent}", f"run: mkdir -p {quote(path.parent)}")


def check_owned(path: Path, marker: str, kind: str) -> None:
    """Raise :class:`OutputError` unless nothing stands at ``path``, an empty folder, or one of ours and nothing else.

    Ours is a folder whose file ``marker`` is JSON with the others' names under ``"files"``. ``kind`` says what it is.
    """
    check_folder(path)
    hint = "choose another folder, or remove this one"
    try:
        if not path.exists() or not any(path.iterdir()):
            return
        listed = set(json.loads((path / marker).read_bytes())["files"])
    except (OSError, ValueError, TypeError, KeyError):
        raise OutputError(f"{path} exists and is no {kind} of restore-sdk", hint) from None
    items = [item for item in path.rglob("*") if item.is_symlink() or not item.is_dir()]
    foreign = sorted({item.relative_to(path).as_posix() for item in items} - listed - {marker})
    if foreign:
        raise OutputError(f"{path} holds more than was written there: {', '.join(foreign[:5])}", hint)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change names in one step; whether this system and file system can (Linux can)."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")  # a long name leaves no room for more


def write_synced(path: Path, data: bytes, mode: int | None = None) -> os.stat_result:
    """A new file with ``data``, safe on disk, and what the system says of it; raises :class:`OSError`."""
    # O_EXCL: never through a link that someone else put there. Mode 0o666 leaves the permissions to the umask.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666 if mode is None else mode & 0o666), "wb") as file:
        if mode is not None:
            path.chmod(mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def _sync_renamed(folder: Path) -> None:
    """What was renamed is there already, whatever happens here; only a power cut might still undo it."""
    try:
        sync_folder(folder)
    except OSError as error:
        _LOG.warning("written, but the folder %s cannot be synced to disk: %s", folder, error.strerror)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe on disk; raises :class:`OSError`."""
    if os.name == "nt":  # Windows opens no folders; its rename is durable enough
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_plain(path: Path, limit: int, check: Callable[[os.stat_result, Path], None] | None = None) -> bytes:
    """Bytes of a plain file, at most ``limit``; never through a link, a pipe or a device.

    ``check`` is given what the system says of the file before it is read, to raise.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is something else or larger; the text goes on after its name.
    """
    if path.is_symlink():  # for systems without O_NOFOLLOW
        raise ValueError("is a link, not a plain file")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a plain file")
        if check is not None:
            check(found, path)
        if found.st_size > limit:
            raise ValueError(f"is larger than the {limit} bytes it may have")
        return file.read()


@contextmanager
def file_lock(path: Path, poll: Callable[[float], None] | None = None) -> Iterator[None]:
    """Hold the lock at ``path`` against every other process, and every other thread of this one.

    The system frees the lock of a process that dies. ``poll`` is called with the seconds waited so far before every
    further try; it gives up by raising. :class:`OutputError`: the file cannot be made, or there are no locks.
    """
    lock, owner, started = FileLock(path, mode=0o600, fallback_to_soft=False), os.getpid(), time.monotonic()
    while True:
        try:
            # filelock makes folders that are missing, and tries for ever where a file cannot be made (ENOENT in /proc).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
            lock.acquire(timeout=-1 if poll is None else 0, poll_interval=POLL_SECONDS)
            break
        except Timeout:
            if poll is not None:
                poll(time.monotonic() - started)
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise OutputError(f"cannot lock {path}: {error.strerror}", "use a folder on a local disk") from error
    try:
        yield
    finally:
        if os.getpid() == owner:  # a child that was forked meanwhile must not free its parent's lock
            lock.release()
