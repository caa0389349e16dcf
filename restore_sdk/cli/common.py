"""What the commands share: the form of their results, and common options, each with its one help text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from restore_sdk.errors import InputError, OutputError
from restore_sdk.runtime import RUNTIMES

#: What a command found: a report of JSON types, lines for people, the exit code.
Result: TypeAlias = tuple[dict[str, Any], list[str], int]

Command: TypeAlias = Callable[[argparse.Namespace], Result]


def finish(parser: argparse.ArgumentParser, command: Command, *, model: bool = False) -> None:
    """Give a command its function and the options that all have; with ``model`` those that choose the model."""
    if model:
        add_bundle(parser)
        parser.add_argument("--runtime", choices=RUNTIMES, default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the model."""
    parser.add_argument("--bundle", metavar="BUNDLE", help="default, faithful, or the folder of another bundle")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the GPU."""
    parser.add_argument("--device", type=int, default=0, metavar="N", help="the GPU (default 0)")


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option that names the folder of built engines."""
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: $RESTORE_SDK_STORE, else your cache folder")


def add_max_megapixels(parser: argparse.ArgumentParser) -> None:
    """The option that bounds what is read; see :func:`max_pixels`."""
    parser.add_argument("--max-megapixels", type=float, default=100.0, metavar="N", help="largest input (default 100)")


def add_sensitivity(parser: argparse.ArgumentParser, when: str = "") -> None:
    """The option that says how much is taken for damage."""
    parser.add_argument(
        "--sensitivity",
        choices=("low", "normal", "high"),
        help=f"{when}{': ' * bool(when)}low: only what is certain; high: also what may be part of the picture "
        "(default: normal)",
    )


def max_pixels(options: argparse.Namespace) -> int:
    """Most pixels of an input file."""
    if not 0 < options.max_megapixels < 1e6:
        raise InputError("--max-megapixels must be above 0 and below a million", "leave it out for 100")
    return int(options.max_megapixels * 1e6)


def check_outputs(*inputs: Path | None, **outputs: Path | None) -> None:
    """Before any work: an image may be written at each of ``outputs``, named by option; none is an input or another."""
    from restore_sdk.files import check_output

    seen: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        check_output(path, *(each for each in inputs if each is not None))
        other = seen.setdefault(str(path.resolve()).casefold(), option)  # as some file systems compare names
        if other != option:
            raise OutputError(f"--{other} and --{option} both name {path}", "name two files")


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what goes on, where that is a terminal; gone when the block ends."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc}", miniters=1, leave=False, disable=None if sys.stderr is not None else True) as bar:

        def show(text: str) -> None:
            bar.set_description_str(text[:78], refresh=False)
            bar.update()  # drawn at most ten times a second

        yield show
