"""The command ``restore-sdk``: parser, exit codes, how results and errors are shown.

Errors are one line on standard error and a hint on the next. With ``--json``, standard output holds one JSON object:
``{"ok": true, ...}``; ``{"ok": false, ...}`` with what was found (6, 9, 3 of ``doctor``, 5 of ``engines list``); or,
where the command could not be carried out, ``{"ok": false, "error": {"type", "reason", "message", "hint",
"exit_code"}}``. A command line that cannot be parsed is answered with its usage and one line on standard error only.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from restore_sdk import __version__
from restore_sdk._util.terminal import escape
from restore_sdk.cli import detect, engines, host, restore, serve
from restore_sdk.cli.common import Command
from restore_sdk.errors import (
    BuildError,
    BundleError,
    ClosedError,
    DeviceError,
    DriftError,
    EngineError,
    ExecutionError,
    InputError,
    MissingDependencyError,
    OutputError,
    RestoreError,
)

_EXIT_CODES: tuple[tuple[type[RestoreError], int], ...] = (
    (InputError, 2),
    (OutputError, 2),
    (MissingDependencyError, 3),
    (DeviceError, 3),
    (EngineError, 4),
    (BuildError, 4),
    (BundleError, 5),
    (DriftError, 6),
    (ExecutionError, 7),
    (ClosedError, 7),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: the process's) and return its exit code."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # its findings arrive as our errors
    warnings.simplefilter("ignore", UserWarning)  # as notes
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # as errors
    return _run(_parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    try:
        command: Command = options.command
        report, lines, code = command(options)
        text = "\n".join(escape(part) for line in lines for part in line.split("\n"))
        _print(json.dumps({"ok": code == 0, **report}, indent=2) if options.json else text, sys.stdout)
        return code
    except RestoreError as error:
        code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)
        code = {"integrity": 5, "absent": 2}.get(error.reason, code)
        return _fail(options, type(error).__name__, error.message, error.hint, code, error.reason)
    except ImportError as error:  # numpy; the other dependencies have seams that raise a RestoreError
        return _fail(options, "ImportError", f"a dependency is missing: {error}", "run: restore-sdk doctor", 3)
    except KeyboardInterrupt as error:
        return _fail(options, "KeyboardInterrupt", "interrupted", str(error), 130)
    except MemoryError:
        return _fail(options, "MemoryError", "out of memory", "scale the photo down", 7)
    except Exception as error:
        if options.traceback:
            raise
        hint = "run again with --traceback before the command, and report what it shows"
        return _fail(options, type(error).__name__, f"{type(error).__name__}: {_one_line(str(error))}", hint, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="restore-sdk",
        description="Face image restoration: repaints what a mask marks in white.",
        epilog="exit codes: 0 done, 1 internal fault, 2 usage, input or output, 3 environment, 4 engine, 5 integrity, "
        "6 drift, 7 execution or memory, 9 some photographs of a folder failed, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"restore-sdk {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an internal fault")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (restore, detect, host, engines, serve):
        module.register(commands)
    return parser


def _fail(options: argparse.Namespace, kind: str, message: str, hint: str, code: int, reason: str = "") -> int:
    message, hint = _one_line(message), _one_line(hint)
    if options.json:
        error = {"type": kind, "reason": reason, "message": message, "hint": hint, "exit_code": code}
        _print(json.dumps({"ok": False, "error": error}, indent=2), sys.stdout)
    _print(f"restore-sdk: error: {message}" + (f"\n  hint: {hint}" if hint else ""), sys.stderr)
    return code


def _print(text: str, stream: TextIO) -> None:
    if isinstance(stream, io.TextIOWrapper):  # a terminal or file of few letters; what it lacks is written as \uXXXX
        stream.reconfigure(errors="backslashreplace")
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # its reader went away; say nothing more there, and not at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _one_line(text: str) -> str:
    return escape(" ".join(text.split()))[:500]
