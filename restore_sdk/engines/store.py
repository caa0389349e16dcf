"""The store of built engines: a folder that the user owns, plans in it, a JSON sidecar beside each.

    edge.<key>.<plan>.plan   what TensorRT serialised, nothing before it and nothing after it
    edge.<key>.json          its sidecar, see :class:`restore_sdk.engines.sidecar.Sidecar`

A plan is executable code. It leaves this module only when the folder and the files are the user's own and nobody else
can write them, the sidecar fits the model, the TensorRT and the device, and the SHA-256 of the bytes handed out is the
sidecar's. A sidecar is written after its plan, each in one step, so that whoever finds a sidecar finds a whole engine.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from restore_sdk._util.disk import file_lock, read_plain, write_file
from restore_sdk._util.terminal import quote
from restore_sdk.bundle import DEFAULT_BUNDLE, Bundle
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import Edition, TensorRT
from restore_sdk.engines.recipe import names
from restore_sdk.engines.sidecar import EngineKey, Sidecar, dump_sidecar, parse_sidecar
from restore_sdk.errors import EngineError, OutputError

#: Larger files are no sidecar, no plan of this SDK's models.
MAX_SIDECAR_BYTES = 4 * 1024 * 1024
MAX_PLAN_BYTES = 2 * 1024 * 1024 * 1024

#: Names of what lies in a store: sidecars; all that an engine has, and what an interrupted write leaves.
_NAME = r"[a-z0-9_]{1,40}\.[0-9a-f]{24}"
_SIDECAR = re.compile(rf"{_NAME}\.json")
_ENGINE = re.compile(
    rf"{_NAME}(\.json|\.[0-9a-f]{{16}}\.plan)|\.[a-z0-9_]{{1,40}}\.[0-9a-f][a-z0-9.]*\.[0-9a-f]{{12}}\.part"
)

_LOG = logging.getLogger("restore_sdk")


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine whose plan was read and whose hash was found right: ``plan`` may be deserialised.

    ``reused`` is false where it was published just now.
    """

    sidecar: Sidecar
    plan: bytes
    path: Path
    reused: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """One sidecar of the store, or why it cannot be used."""

    path: Path
    sidecar: Sidecar | None
    error: EngineError | None = None


def default_root() -> Path:
    """``RESTORE_SDK_STORE`` where it is set, else ``restore-sdk/engines`` in the user's cache folder."""
    named = os.environ.get("RESTORE_SDK_STORE")
    root = Path(named) if named else user_cache_path("restore-sdk", appauthor=False, opinion=False) / "engines"
    if not named and not root.is_absolute():  # no home
        raise EngineError(f"no place for the engine store: {root}", "set RESTORE_SDK_STORE to a folder of yours")
    return root


def graph_sha256(bundle: Bundle, stage: str) -> str:
    """SHA-256 of the FP16 graph from which engines of this stage are built."""
    return bundle.manifest.files[bundle.file(stage, "fp16")].sha256


class EngineStore:
    """The engines in folder ``root`` (default: :func:`default_root`); the folder is made by the first :meth:`publish`.

    Raises, from every method that reads:
        EngineError (integrity): the folder or a file in it belongs to somebody else, or others can write it.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root, self._explicit = default_root() if root is None else Path(root), root is not None

    def build_command(
        self, bundle: Bundle | None, edition: Edition, target: str = "", *, device: int = 0, force: bool = False
    ) -> str:
        """The command that builds the engines of a bundle: of a shipped recipe by its name, else for GPU ``device``.

        ``force``: even where the store has engines that were found right once.
        """
        command = f"restore-sdk build --edition {edition}"
        if force:
            command += " --force"
        if device:
            command += f" --device {device}"
        if target in names():
            command += f" --target {target}"
        if bundle is not None and bundle.path != DEFAULT_BUNDLE:
            command += f" --bundle {quote(bundle.address)}"
        return f"{command} --store {quote(self.root)}" if self._explicit else command

    def publish(self, plan: bytes, sidecar: Sidecar) -> StoredEngine:
        """Add an engine, or replace the one of its key; its sidecar comes last. :class:`OutputError`: it cannot."""
        path = self.root / sidecar.plan_file
        with self.lock("store"):
            for target, data in ((path, plan), (self.root / sidecar.file, dump_sidecar(sidecar))):
                write_file(target, data)
                target.chmod(0o644)  # no secret; who may come in at all, the folder says
            for old in self.root.glob(f"{sidecar.key.stage}.{sidecar.key.digest}.*.plan"):
                if old != path:
                    old.unlink(missing_ok=True)
        return StoredEngine(sidecar, plan, path, reused=False)

    def find(self, bundle: Bundle, stage: str, trt: TensorRT, gpu: DeviceFacts) -> StoredEngine:
        """The engine of a stage that fits model and host; the newest where several do.

        Raises:
            EngineError (not-built): the store has no engine of this stage.
            EngineError (incompatible): it has, but for another model, TensorRT or device; names both sides.
            EngineError (integrity): the engine that fits is torn, altered or swapped.
        """
        for _ in range(2):
            try:
                return self.read(self._choose(bundle, stage, trt, gpu), bundle)
            except FileNotFoundError as error:  # replaced by another process since; its sidecar names the new plan
                missing = error
        raise EngineError(
            f"the plan of stage {stage} is gone: {missing.filename}",
            self.build_command(bundle, trt.edition, device=gpu.index),
            reason="integrity",
        ) from missing

    def stored(self, key: EngineKey) -> StoredEngine | None:
        """The engine under ``key``; ``None`` where there is none, or it is not what was stored."""
        for entry in self.entries():
            if entry.sidecar is not None and entry.sidecar.key == key:
                with suppress(FileNotFoundError, EngineError):
                    return self.read(entry.sidecar)
        return None

    def read(self, sidecar: Sidecar, bundle: Bundle | None = None) -> StoredEngine:
        """The plan that a sidecar describes: read once, hashed, handed out; ``bundle`` is for the hint of an error.

        Raises :class:`FileNotFoundError`, or :class:`EngineError` (integrity) for another file.
        """
        path = self.root / sidecar.plan_file
        data = _read_owned(path, MAX_PLAN_BYTES)
        if len(data) != sidecar.plan_bytes or sha256(data).hexdigest() != sidecar.plan_sha256:
            same_size = len(data) == sidecar.plan_bytes
            what = "its SHA-256 differs" if same_size else f"{len(data)} of {sidecar.plan_bytes} bytes"
            raise EngineError(
                f"{path.name} is not the plan that was stored: {what}",
                f"remove it: restore-sdk engines prune, and build it again: "
                f"{self.build_command(bundle, sidecar.key.edition, sidecar.target)}",
                reason="integrity",
            )
        return StoredEngine(sidecar, data, path)

    def entries(self, *, plans: bool = False) -> list[Entry]:
        """Every sidecar in the store by name, the invalid ones with their error; with ``plans`` every plan is read, and
        its hash checked, too."""
        if not self._check_root():
            return []
        found = []
        try:
            listing = os.listdir(self.root)  # glob would say that a folder which may not be read is empty
        except OSError as error:
            raise EngineError(f"cannot read the engine store {self.root}: {error.strerror}", "who owns it?") from error
        for path in (self.root / name for name in sorted(listing) if _SIDECAR.fullmatch(name)):
            sidecar = problem = None
            try:
                sidecar = parse_sidecar(_read_owned(path, MAX_SIDECAR_BYTES), path.name)
                if plans:
                    self.read(sidecar)
            except FileNotFoundError as missing:
                if sidecar is None:
                    continue  # pruned meanwhile
                problem = EngineError(f"no plan {missing.filename}", "restore-sdk engines prune", reason="integrity")
            except EngineError as error:
                problem = error
            found.append(Entry(path, sidecar, problem))
        return found

    def prune(self, *, everything: bool = False) -> list[Path]:
        """Remove invalid engines (or every one) and what an interrupted write left; says which files.

        Files of other names are not ours, and stay.
        """
        if not self._check_root():
            return []
        with self.lock("store"):
            valid = [] if everything else [entry for entry in self.entries(plans=True) if entry.error is None]
            kept = {name for entry in valid if entry.sidecar for name in (entry.sidecar.file, entry.sidecar.plan_file)}
            removed = sorted(
                path for path in self.root.iterdir() if path.name not in kept and _ENGINE.fullmatch(path.name)
            )
            for path in removed:
                path.unlink(missing_ok=True)
        return removed

    def lock(self, name: str, poll: Callable[[float], None] | None = None) -> AbstractContextManager[None]:
        """A lock between processes, see :func:`restore_sdk._util.disk.file_lock`; makes a folder that is missing."""
        self._make_root()
        return file_lock(self.root / f".{name}.lock", poll)

    def _choose(self, bundle: Bundle, stage: str, trt: TensorRT, gpu: DeviceFacts) -> Sidecar:
        graph_hash = graph_sha256(bundle, stage)
        entries = [entry for entry in self.entries() if entry.path.name.startswith(f"{stage}.")]
        sidecars = [entry.sidecar for entry in entries if entry.sidecar is not None]
        invalid = [entry.error for entry in entries if entry.error is not None]
        fitting = [s for s in sidecars if s.key.onnx_sha256 == graph_hash and s.key.mismatch(trt, gpu) is None]
        if fitting:
            for error in invalid:
                _LOG.warning("engine store: %s", error)
            return max(fitting, key=lambda s: (s.created, s.key.digest))
        if invalid:
            raise invalid[0]
        command = self.build_command(bundle, trt.edition, device=gpu.index)
        if not sidecars:
            raise EngineError(f"no engine of stage {stage} in {self.root}", f"build it: {command}", reason="not-built")
        best = max(sidecars, key=lambda s: (s.key.onnx_sha256 == graph_hash, s.created))
        what, built, host = best.key.mismatch(trt, gpu) or ("", "", "")
        if best.key.onnx_sha256 != graph_hash:
            what, built = "model", f"{best.bundle} ({best.key.onnx_sha256[:12]})"
            host = f"{bundle.name} ({graph_hash[:12]})"
        raise EngineError(
            f"the engine of stage {stage} does not fit: {what} of the engine {built}, here {host}",
            f"build one for this host: {command}",
            reason="incompatible",
        )

    def _check_root(self) -> bool:
        """Whether the folder exists; refuses one that is not the user's own."""
        try:
            found = self.root.stat()
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot read the engine store {self.root}: {error}", "choose another folder") from error
        if not stat.S_ISDIR(found.st_mode):
            raise EngineError(f"the engine store {self.root} is not a folder", "choose another folder")
        _require_owned(found, self.root)
        return True

    def _make_root(self) -> None:
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot make the engine store {self.root}: {error}", "set RESTORE_SDK_STORE") from error
        self._check_root()


def _read_owned(path: Path, limit: int) -> bytes:
    """Bytes of a plain file of the user's own, at most ``limit``: for engines, which are executable code.

    Raises :class:`FileNotFoundError`; :class:`EngineError` (integrity) for what is not the user's alone.
    """
    try:
        return read_plain(path, limit, _require_owned)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        text = f"cannot read {path}: {error.strerror}" if isinstance(error, OSError) else f"{path} {error}"
        raise EngineError(text, "run: restore-sdk engines prune", reason="integrity") from error


def _require_owned(found: os.stat_result, path: Path) -> None:
    """Raise :class:`EngineError` unless the file is the user's or root's, and only the owner may write it."""
    if sys.platform == "win32":  # the user's profile is guarded by its access lists
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise EngineError(
            f"{path} belongs to another user; an engine is executable code",
            "use a store of your own: RESTORE_SDK_STORE",
            reason="integrity",
        )
    if found.st_mode & 0o022:
        raise EngineError(
            f"others can write {path}; an engine is executable code",
            f"run: chmod go-w {quote(path)}, then build again",
            reason="integrity",
        )
