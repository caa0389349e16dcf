"""The commands ``restore-sdk build`` and ``restore-sdk engines``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from restore_sdk.cli.common import Result, add_bundle, add_device, add_store, finish, progress_line
from restore_sdk.engines.edition import EDITIONS

if TYPE_CHECKING:
    from restore_sdk.engines.sidecar import Sidecar
    from restore_sdk.engines.store import Entry


def register(commands: Any) -> None:
    """Add both commands to the parser."""
    command = commands.add_parser("build", help="build TensorRT engines for a GPU")
    command.add_argument("--target", metavar="NAME|FILE", help="a shipped recipe or a .toml (default: the GPU at hand)")
    command.add_argument("--list", action="store_true", help="list the shipped recipes, build nothing")
    command.add_argument("--edition", choices=EDITIONS, help="default: the recipe's, else what is installed")
    command.add_argument("--force", action="store_true", help="build even when the store has the engines")
    add_device(command)
    add_bundle(command)
    add_store(command)
    finish(command, build)

    engines = commands.add_parser("engines", help="list or prune the built engines")
    parts = engines.add_subparsers(metavar="COMMAND", required=True)
    part = parts.add_parser("list", help="list the engines in the store, and check their hashes")
    add_store(part)
    finish(part, list_engines)
    part = parts.add_parser("prune", help="remove invalid engines and what interrupted builds left")
    part.add_argument("--all", action="store_true", help="every engine")
    add_store(part)
    finish(part, prune)


def build(options: argparse.Namespace) -> Result:
    """``restore-sdk build``: engines of both stages for a target, or for the GPU at hand."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.engines.chain import build_chain, prepare
    from restore_sdk.engines.store import EngineStore
    from restore_sdk.runtime.tensorrt import validate

    if options.list:
        return _targets()
    bundle, store = Bundle.load(options.bundle), EngineStore(options.store)
    plan = prepare(options.target, options.edition, options.device)
    started = time.perf_counter()
    with progress_line() as show:
        outcomes = build_chain(bundle, plan, store, validate=validate, force=options.force, progress=show)
    seconds = time.perf_counter() - started
    report = {
        "target": plan.recipe.name,
        "edition": plan.trt.edition,
        "version": plan.trt.version,
        "device": plan.gpu.name if plan.gpu else None,
        "store": str(store.root),
        "seconds": round(seconds, 3),
        "engines": [
            {**outcome.sidecar.to_json(), "path": str(outcome.path), "reused": outcome.reused} for outcome in outcomes
        ],
    }
    lines = [f"{plan.recipe.name}: {bundle.name} with {plan.trt.label}, {seconds:.1f} s, in {store.root}"]
    for outcome in outcomes:
        sidecar = outcome.sidecar
        origin = "was there already" if outcome.reused else f"built in {sidecar.build.get('seconds', 0):.1f} s"
        lines.append(f"  {sidecar.key.stage:<7} {sidecar.plan_bytes / 1e6:5.1f} MB  {origin}, {_validation(sidecar)}")
    return report, lines, 0


def list_engines(options: argparse.Namespace) -> Result:
    """``restore-sdk engines list``; exit code 5 when an engine is not what was stored."""
    from restore_sdk.engines.store import EngineStore

    store = EngineStore(options.store)
    entries = store.entries(plans=True)
    invalid = [entry for entry in entries if entry.error is not None]
    lines = [*map(_line, entries), f"{len(entries)} engine(s) in {store.root}, {len(invalid)} of them invalid"]
    engines = [
        {"file": entry.path.name, "valid": False, "error": str(entry.error)}
        if entry.error is not None or entry.sidecar is None
        else {"file": entry.path.name, "valid": True, **entry.sidecar.to_json()}
        for entry in entries
    ]
    return {"store": str(store.root), "engines": engines}, lines, 5 if invalid else 0


def prune(options: argparse.Namespace) -> Result:
    """``restore-sdk engines prune``."""
    from restore_sdk.engines.store import EngineStore

    store = EngineStore(options.store)
    removed = [path.name for path in store.prune(everything=options.all)]
    return (
        {"store": str(store.root), "removed": removed},
        [*removed, f"{len(removed)} file(s) removed from {store.root}"],
        0,
    )


def _targets() -> Result:
    from restore_sdk.engines.recipe import load_recipe, names

    recipes = [load_recipe(name) for name in names()]
    lines = [f"{r.name:<12} {r.edition:<13} {' '.join(r.compute_capabilities):<26} {r.description}" for r in recipes]
    report = {"targets": [{"name": r.name, "edition": r.edition, "description": r.description} for r in recipes]}
    return report, lines, 0


def _line(entry: Entry) -> str:
    if entry.error is not None or entry.sidecar is None:
        return f"{entry.path.name}: {entry.error}"
    sidecar, key = entry.sidecar, entry.sidecar.key
    return (
        f"{key.stage + '.' + key.digest[:8]:<16} {sidecar.target:<12} {key.edition} {key.version}  "
        f"sm {' '.join(key.compute_capabilities)}{' ' + key.device_name if key.device_name else ''}  "
        f"batch 1-{key.max_batch}  {sidecar.plan_bytes / 1e6:.1f} MB  {sidecar.bundle}  {_validation(sidecar)}"
    )


def _validation(sidecar: Sidecar) -> str:
    device = sidecar.validation.get("device")
    return f"golden vectors passed on {device}" if device else "golden vectors run when it is opened"
