"""The commands ``restore-sdk build`` and ``restore-sdk engines``: each gives report, lines and exit code."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restore_sdk.engines.edition import EDITIONS
from restore_sdk.engines.sidecar import Sidecar
from restore_sdk.errors import EngineNotBuiltError, InputError

Result = tuple[dict[str, Any], list[str], int]
Command = Callable[[argparse.Namespace], Result]


def register(commands: Any, finish: Callable[[argparse.ArgumentParser, Command], None]) -> None:
    """Add both commands to the parser; ``finish`` gives a command its function and the options that all have."""
    command = commands.add_parser("build", help="build TensorRT engines for a GPU")
    command.add_argument("--target", metavar="NAME|FILE", help="a shipped recipe or a .toml (default: the GPU at hand)")
    command.add_argument("--list", action="store_true", help="list the shipped recipes, build nothing")
    command.add_argument("--edition", choices=EDITIONS, help="default: the recipe's, else what is installed")
    command.add_argument("--device", type=int, default=0, metavar="N", help="the GPU to build on (default 0)")
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this long")
    command.add_argument("--force", action="store_true", help="build even when the store has the engines")
    command.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    _store(command)
    finish(command, build)

    engines = commands.add_parser("engines", help="list, show, prune or verify the built engines")
    parts = engines.add_subparsers(metavar="COMMAND", required=True)
    part = parts.add_parser("list", help="list the engines in the store")
    _store(part)
    finish(part, list_engines)
    part = parts.add_parser("show", help="show all that is known about an engine")
    part.add_argument("name", metavar="NAME", help="its name in the list, or the first characters of it")
    _store(part)
    finish(part, show)
    part = parts.add_parser("prune", help="remove invalid engines and what interrupted builds left")
    part.add_argument("--other-models", action="store_true", help="also engines of other models than the bundle")
    part.add_argument("--other-versions", action="store_true", help="also engines of a TensorRT not installed here")
    part.add_argument("--all", action="store_true", help="every engine, and the timing caches")
    part.add_argument("--dry-run", action="store_true", help="only say what would go")
    part.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    _store(part)
    finish(part, prune)
    part = parts.add_parser("verify", help="read every engine and check its hash")
    _store(part)
    finish(part, verify)


def build(options: argparse.Namespace) -> Result:
    """``restore-sdk build``: engines of both stages for a target, or for the GPU at hand."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.engines.chain import build_chain
    from restore_sdk.engines.plan import prepare
    from restore_sdk.engines.progress import Watch
    from restore_sdk.engines.store import EngineStore
    from restore_sdk.runtime.validation import validate

    if options.list:
        return _targets()
    if options.timeout is not None and not options.timeout > 0:
        raise InputError("--timeout must be above 0 seconds", "leave it out to wait as long as it takes")
    bundle, store = Bundle.load(options.bundle), EngineStore(options.store)
    plan = prepare(options.target, options.edition, options.device)
    shown = Display(quiet=options.json)
    started = time.perf_counter()
    try:
        outcomes = build_chain(
            bundle, plan, store, validate=validate, force=options.force, watch=Watch(options.timeout), progress=shown
        )
    finally:
        shown.end()
    seconds = time.perf_counter() - started
    report = {
        "target": plan.recipe.name,
        "edition": plan.trt.edition,
        "version": plan.trt.version,
        "device": plan.gpu.name if plan.gpu else None,
        "store": str(store.root),
        "seconds": round(seconds, 3),
        "engines": [
            {**_summary(outcome.sidecar), "path": str(outcome.path), "reused": outcome.reused} for outcome in outcomes
        ],
    }
    lines = [f"{plan.recipe.name}: {bundle.name} with {plan.trt.label}, {seconds:.1f} s, in {store.root}"]
    for outcome in outcomes:
        sidecar = outcome.sidecar
        how = "was there already" if outcome.reused else f"built in {sidecar.build.get('seconds', 0):.1f} s"
        lines.append(f"  {sidecar.key.stage:<7} {sidecar.plan_bytes / 1e6:5.1f} MB  {how}, {_proof(sidecar)}")
    return report, lines, 0


def list_engines(options: argparse.Namespace) -> Result:
    """``restore-sdk engines list``."""
    store, entries = _entries(options)
    lines = []
    for entry in entries:
        if entry.sidecar is None:
            lines.append(f"{entry.path.name}: {entry.error}")
            continue
        key = entry.sidecar.key
        lines.append(
            f"{key.stage + '.' + key.digest[:8]:<16} {entry.sidecar.target:<12} {key.edition} {key.version}  "
            f"sm {' '.join(key.compute_capabilities)}{' ' + key.device_name if key.device_name else ''}  "
            f"batch {key.min_batch}-{key.max_batch}  {entry.sidecar.plan_bytes / 1e6:.1f} MB  "
            f"{entry.sidecar.bundle}  {_proof(entry.sidecar)}"
        )
    lines.append(f"{len(entries)} engine(s) in {store.root}")
    report = {"store": str(store.root), "engines": [_entry(entry) for entry in entries]}
    return report, lines, 0


def show(options: argparse.Namespace) -> Result:
    """``restore-sdk engines show``."""
    store, entries = _entries(options)
    found = [entry for entry in entries if entry.path.name.startswith(options.name)]
    if len(found) != 1:
        what = "no engine" if not found else f"{len(found)} engines"
        raise EngineNotBuiltError(
            f"{what} in {store.root} by the name {options.name!r}", "run: restore-sdk engines list"
        )
    if found[0].sidecar is None:
        raise found[0].error or EngineNotBuiltError("no engine", "run: restore-sdk engines prune")
    sidecar = found[0].sidecar
    facts = sidecar.to_json()
    key, tensors = facts.pop("key"), facts.pop("tensors")
    key["compute_capabilities"] = " ".join(key["compute_capabilities"])
    lines = [f"{name:<22} {value}" for name, value in {**key, **facts}.items() if name != "build"]
    lines += [f"{t['mode']:<22} {t['name']} {t['dtype']} {list(t['shape'])}" for t in tensors]
    lines += [f"build {name:<16} {value}" for name, value in sidecar.build.items() if name != "log"]
    lines += [f"  {line}" for line in sidecar.build.get("log", [])]
    return {"path": str(store.root / sidecar.plan_file), "engine": sidecar.to_json()}, lines, 0


def prune(options: argparse.Namespace) -> Result:
    """``restore-sdk engines prune``."""
    from restore_sdk.bundle import SHIPPED, Bundle
    from restore_sdk.engines.edition import installed, load
    from restore_sdk.engines.store import EngineStore, graph_sha256

    store = EngineStore(options.store)
    graphs: set[str] = set()
    if options.other_models:
        models = [Bundle.load(name) for name in (SHIPPED if options.bundle is None else [options.bundle])]
        graphs = {graph_sha256(model, stage.name) for model in models for stage in model.stages}
    here = {edition: load(edition).version for edition in installed()} if options.other_versions else {}

    def keep(sidecar: Sidecar) -> bool:
        if options.all or (options.other_models and sidecar.key.onnx_sha256 not in graphs):
            return False
        return not options.other_versions or sidecar.key.loads_in(here.get(sidecar.key.edition))

    removed = store.prune(keep, timing=options.all, dry_run=options.dry_run)
    verb = "would be removed" if options.dry_run else "removed"
    report = {"store": str(store.root), "removed": [path.name for path in removed], "dry_run": options.dry_run}
    return report, [*(path.name for path in removed), f"{len(removed)} file(s) {verb} from {store.root}"], 0


def verify(options: argparse.Namespace) -> Result:
    """``restore-sdk engines verify``; exit code 5 when an engine is not what was stored."""
    from restore_sdk.engines.store import EngineStore

    store = EngineStore(options.store)
    entries = store.verify()
    invalid = [entry for entry in entries if entry.error is not None]
    lines = [f"{entry.path.name}: {entry.error or 'valid'}" for entry in entries]
    lines.append(f"{len(entries) - len(invalid)} of {len(entries)} engine(s) in {store.root} are valid")
    report = {"store": str(store.root), "engines": [_entry(entry) for entry in entries]}
    return report, lines, 5 if invalid else 0


class Display:
    """Progress on standard error: one line that is overwritten on a terminal, a line for each stage elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._terminal = quiet, sys.stderr.isatty()
        self._last, self._shown, self._width = "", 0.0, 0

    def __call__(self, stage: str, share: float, phase: str) -> None:
        """Show that a stage is done to ``share``, in this phase."""
        if self._quiet:
            return
        if self._terminal and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            text = f"{stage or 'build'} {100 * share:3.0f} %  {phase}"[:78]
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif not self._terminal and (stage or phase.partition(" (")[0]) != self._last:
            self._last = stage or phase.partition(" (")[0]
            print(f"building {stage} ..." if stage else f"{phase} ...", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave an empty line to whatever comes."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)


def _targets() -> Result:
    from restore_sdk.engines.recipe import load_recipe, names

    recipes = [load_recipe(name) for name in names()]
    lines = [f"{r.name:<12} {r.edition:<13} {' '.join(r.compute_capabilities):<26} {r.description}" for r in recipes]
    report = {"targets": [{"name": r.name, "edition": r.edition, "description": r.description} for r in recipes]}
    return report, lines, 0


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="default: $RESTORE_SDK_STORE, else in the user's cache folder"
    )


def _entries(options: argparse.Namespace) -> tuple[Any, list[Any]]:
    from restore_sdk.engines.store import EngineStore

    store = EngineStore(options.store)
    return store, store.entries()


def _entry(entry: Any) -> dict[str, Any]:
    if entry.error is not None:
        return {"file": entry.path.name, "valid": False, "error": str(entry.error)}
    return {"file": entry.path.name, "valid": True, **_summary(entry.sidecar)}


def _summary(sidecar: Sidecar) -> dict[str, Any]:
    key = sidecar.key
    return {
        "stage": key.stage,
        "key": key.digest,
        "target": sidecar.target,
        "bundle": sidecar.bundle,
        "edition": key.edition,
        "version": key.version,
        "compute_capabilities": list(key.compute_capabilities),
        "device_name": key.device_name,
        "batch": [key.min_batch, key.opt_batch, key.max_batch],
        "plan_sha256": sidecar.plan_sha256,
        "plan_bytes": sidecar.plan_bytes,
        "build_seconds": sidecar.build.get("seconds"),
        "precision": dict(sidecar.precision),
        "precision_source": sidecar.precision_source,
        "verified": sidecar.verified,
        "verification": dict(sidecar.verification),
        "created": sidecar.created,
    }


def _proof(sidecar: Sidecar) -> str:
    if sidecar.verified:
        return f"golden vectors passed on {sidecar.verification.get('device', 'this device')}"
    return "golden vectors not run yet"
