"""Reading one file of a bundle: whole, or as what it changes of the default bundle's file of the same name."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from restore_sdk._util.reading import read_at_most
from restore_sdk.bundle.delta import apply_delta
from restore_sdk.bundle.manifest import MAX_FILE_BYTES, MAX_MANIFEST_BYTES, FileSpec, parse_manifest
from restore_sdk.errors import BundleError, BundleIntegrityError

GET_ANOTHER = "get the bundle again, or export it again with: python -m export"


def read_file(folder: Path, name: str, spec: FileSpec, default: Path) -> bytes:
    """Bytes of one file of the bundle in ``folder``, after their SHA-256 was found to be ``spec``'s.

    Args:
        default: folder of the bundle in the wheel, whose files a delta changes.

    Raises:
        BundleIntegrityError: the file, or its delta, is missing, no plain file, or not the one that ``spec`` means; or
            the default's file is damaged.
        BundleError: it cannot be read.
    """
    if spec.delta is None:
        data = read_plain(folder, name, spec.bytes)
        if not _is(data, spec):
            raise BundleIntegrityError(f"{name} is not the file that the bundle's manifest names", GET_ANOTHER)
        return data
    delta = read_plain(folder, spec.delta, min(2 * spec.bytes + 64, MAX_FILE_BYTES))
    try:
        data = apply_delta(_default_file(default, name), delta)
    except ValueError as error:
        raise _other_default(name, spec.delta, default, str(error)) from error
    if not _is(data, spec):
        raise _other_default(name, spec.delta, default, "another file comes out")
    return data


def _is(data: bytes, spec: FileSpec) -> bool:
    return len(data) == spec.bytes and hashlib.sha256(data).hexdigest() == spec.sha256


def _default_file(default: Path, name: str) -> bytes:
    """The default bundle's file, checked by its own manifest: what is wrong with it is no fault of the delta."""
    try:
        spec = parse_manifest(read_plain(default, "manifest.json", MAX_MANIFEST_BYTES)).files.get(name)
        if spec is None or spec.delta is not None:
            raise BundleIntegrityError(f"it has no file {name} of its own", "")
        return read_file(default, name, spec, default)
    except BundleError as error:
        raise BundleIntegrityError(
            f"the default bundle, which this one is a change of, is damaged: {error.message}", "reinstall restore-sdk"
        ) from error


def _other_default(name: str, delta: str, default: Path, reason: str) -> BundleIntegrityError:
    return BundleIntegrityError(
        f"{delta} does not make {name}: {reason}. It holds what {name} changes of the one in {default}",
        "use the bundle with the release of restore-sdk that it came with, or get it again",
    )


def read_plain(folder: Path, name: str, limit: int) -> bytes:
    """Bytes of a plain file, at most ``limit``; never through a link, a pipe or a device."""
    path = folder / name
    try:
        if path.is_symlink():  # for systems without O_NOFOLLOW
            raise BundleIntegrityError(f"{path} is a link, not a plain file", GET_ANOTHER)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BundleIntegrityError(f"{path} is not a plain file", GET_ANOTHER)
            data = read_at_most(file, limit)
    except FileNotFoundError as error:
        raise BundleIntegrityError(f"the bundle lacks {name}: {path}", GET_ANOTHER) from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", "check the file's permissions") from error
    if data is None:
        raise BundleIntegrityError(f"{name} is larger than the {limit} bytes it may have", GET_ANOTHER)
    return data
