"""The command ``restore-sdk page``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from restore_sdk.cli.common import Result, add_bundle, finish


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("page", help="write the page as a static site that restores in the browser")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="to write; one of ours is replaced")
    command.add_argument(
        "--runtime-from",
        type=Path,
        required=True,
        metavar="PATH",
        help="onnxruntime-web: its folder, or the .tgz of npm pack",
    )
    add_bundle(command)
    finish(command, write)


def write(options: argparse.Namespace) -> Result:
    """``restore-sdk page``: the site of a bundle."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.serve.site import write_site

    facts = write_site(options.out, Bundle.load(options.bundle), options.runtime_from)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    lines = [
        f"{options.out}: {facts['model']['name']} {facts['model']['version']}, {size / 1e6:.1f} MB",
        "offer it by HTTPS from any web server; to try it: python -m http.server --directory DIR",
    ]
    return {"path": str(options.out), "bytes": size, **facts}, lines, 0
