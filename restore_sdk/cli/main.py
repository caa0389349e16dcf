"""The command ``restore-sdk``.

Exit codes:

    0    done
    1    a fault of this program, please report it
    2    usage, or an input or output that cannot be used
    3    environment: a missing or broken dependency, no such device
    4    engine: not built, incompatible, or its build failed
    5    integrity: the model bundle or a built engine is missing, altered or unsound
    6    drift: the runtime computes something else than the reference
    7    the runtime failed while it computed, or ran out of memory
    8    slower than the baseline that `bench --compare` was given, beyond tolerance and spread
    9    `restore` on a folder: some photographs were not restored; the others are
    130  interrupted

Errors are one line on standard error and a hint on the next. With ``--json``, standard output holds one JSON object:
``{"ok": true, ...}``; ``{"ok": false, ...}`` with what was found (6, 8, 9, 3 of ``doctor``, 5 of ``engines verify``, 2
of ``bench --compare`` where nothing can be compared); or, where the command could not be carried out,
``{"ok": false, "error": {"type", "message", "hint", "exit_code"}}``. A command line that
cannot be parsed is answered with its usage and one line on standard error only, and exit code 2.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from restore_sdk import __version__
from restore_sdk._util.terminal import shown
from restore_sdk.cli import bench as cli_bench
from restore_sdk.cli import engines as cli_engines
from restore_sdk.cli import restore as cli_restore
from restore_sdk.cli import serve as cli_serve
from restore_sdk.cli import triton as cli_triton
from restore_sdk.errors import (
    BuildError,
    BundleError,
    ClosedError,
    DeviceError,
    DriftError,
    EngineError,
    EngineIntegrityError,
    ExecutionError,
    InputError,
    MissingDependencyError,
    OutputError,
    RestoreError,
)

RUNTIMES = ("auto", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "tensorrt", "tensorrt_rtx")

_EXIT_CODES: tuple[tuple[type[RestoreError], int], ...] = (
    (InputError, 2),
    (OutputError, 2),
    (MissingDependencyError, 3),
    (DeviceError, 3),
    (EngineIntegrityError, 5),
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
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except RestoreError as error:
        code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)
        return _fail(options, type(error).__name__, error.message, error.hint, code)
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


def info(options: argparse.Namespace) -> int:
    """``restore-sdk info``: the engine that this host would use, and the model in it."""
    from restore_sdk.bundle import SHIPPED, Bundle
    from restore_sdk.engine import RestoreEngine

    bundle = Bundle.load(options.bundle)
    others = [name for name, folder in SHIPPED.items() if name != bundle.address and folder.is_dir()]
    with RestoreEngine(bundle, runtime=options.runtime) as engine:
        facts = engine.info()
    facts |= {"training": dict(bundle.manifest.training), "quality": dict(bundle.manifest.quality)}
    model = facts["bundle"]
    threads = f"{facts['threads']} threads, " if "threads" in facts else ""
    return _report(
        options,
        facts,
        [
            f"restore-sdk {facts['version']}",
            f"model      {model['name']} {model['version']}, {model['parameters'] / 1e6:.2f} M parameters, "
            f"{model['macs'] / 1e9:.2f} GMAC, {model['size']} x {model['size']} px",
            f"bundle     {model['path']}",
            *(f"another    --bundle {name}" for name in others),
            f"runtime    {facts['runtime']} {facts['runtime_version']} ({facts['reason']})",
            f"device     {facts['device']}, {facts['precision']}, {threads}{facts['slots']} slot(s)",
        ],
    )


def doctor(options: argparse.Namespace) -> int:
    """``restore-sdk doctor``: what runs here, what does not, and how to get it."""
    from restore_sdk.measure.doctor import examine

    findings = examine()
    works = all(finding.status != "broken" for finding in findings if finding.required)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8} {finding.name:<16} {finding.detail}")
        if finding.hint:
            lines.append(f"{'':<8} {'':<16} -> {finding.hint}")
    lines.append("restore-sdk works on this host" if works else "restore-sdk does not work on this host yet")
    report = {"works": works, "findings": [finding.to_json() for finding in findings]}
    return _report(options, report, lines, code=0 if works else 3)


def verify(options: argparse.Namespace) -> int:
    """``restore-sdk verify``: does this host compute what the reference computed."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.measure.verify import verify as run

    bundle = Bundle.load(options.bundle)
    graph = options.cuda_graph == "on"
    found = run(bundle, options.runtime, min_psnr=options.min_psnr, device=options.device, cuda_graph=graph)
    images = found.drift["restored"].pictures
    report = {
        "passed": found.passed,
        "bundle": bundle.name,
        "runtime": found.runtime["runtime"],
        "device": found.runtime["device"],
        "cuda_graph": bool(found.runtime.get("cuda_graph")),
        "images": images,
        "min_pooled_db": found.gate[0],
        "min_psnr_db": found.gate[1],
        **{name: drift.to_json() for name, drift in found.drift.items()},
        "canny_equal": found.canny_equal,
    }
    lines = [f"{bundle.name} on {found.runtime['runtime']}: {images} golden images, all file hashes match"]
    lines += [f"{name:<16} {drift}" for name, drift in found.drift.items()]
    lines.append(f"{'Canny edges':<16} {100 * found.canny_equal:.3f} % of pixels equal")
    lines.append(f"{'passed' if found.passed else 'FAILED'}: the gate is {found.gate[0]:g} and {found.gate[1]:g} dB")
    return _report(options, report, lines, code=0 if found.passed else 6)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="restore-sdk",
        description="Face image restoration: repaints what a mask marks in white.",
        epilog="exit codes: 0 done, 1 internal fault, 2 usage or input, 3 environment, 4 engine, 5 integrity, "
        "6 drift, 7 execution, 8 slower than the baseline, 9 some photographs of a folder failed, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"restore-sdk {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an internal fault")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def finisher(*, model: bool) -> Callable[[argparse.ArgumentParser, cli_engines.Command], None]:
        def finish(command: argparse.ArgumentParser, run: cli_engines.Command) -> None:
            def report(options: argparse.Namespace) -> int:
                facts, lines, code = run(options)
                return _report(options, facts, lines, code=code)

            _common(command, report, model=model)

        return finish

    cli_restore.register(commands, finisher(model=True))

    command = commands.add_parser("info", help="show the model and the runtime that serve here")
    _common(command, info, model=True)

    command = commands.add_parser("doctor", help="show what runs here, what does not, and how to get it")
    _common(command, doctor, model=False)

    command = commands.add_parser("verify", help="compare a runtime with the model's reference")
    command.add_argument("--min-psnr", type=float, metavar="DB", help="the gate in dB (default: that of the precision)")
    command.add_argument("--device", type=int, default=0, metavar="N", help="the GPU (default 0)")
    command.add_argument("--cuda-graph", choices=("on", "off"), default="off", help="on TensorRT (default: off)")
    _common(command, verify, model=True)

    cli_engines.register(commands, finisher(model=False))
    cli_bench.register(commands, RUNTIMES, finisher(model=False))
    cli_serve.register(commands, finisher(model=True))
    cli_triton.register(commands, finisher(model=False))
    return parser


def _common(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int], *, model: bool) -> None:
    if model:
        parser.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
        parser.add_argument("--runtime", choices=RUNTIMES, default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def _report(options: argparse.Namespace, report: dict[str, Any], lines: list[str], *, code: int = 0) -> int:
    text = "\n".join(shown(part) for line in lines for part in line.split("\n"))
    _say(json.dumps({"ok": code == 0, **report}, indent=2) if options.json else text, sys.stdout)
    return code


def _fail(options: argparse.Namespace, kind: str, message: str, hint: str, code: int) -> int:
    message, hint = _one_line(message), _one_line(hint)
    if options.json:
        error = {"type": kind, "message": message, "hint": hint, "exit_code": code}
        _say(json.dumps({"ok": False, "error": error}, indent=2), sys.stdout)
    _say(f"restore-sdk: error: {message}" + (f"\n  hint: {hint}" if hint else ""), sys.stderr)
    return code


def _say(text: str, stream: TextIO) -> None:
    if isinstance(stream, io.TextIOWrapper):  # a terminal or file of few letters; what it lacks is written as \uXXXX
        stream.reconfigure(errors="backslashreplace")
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # its reader went away; say nothing more there, and not at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))[:500]


if __name__ == "__main__":
    sys.exit(main())
