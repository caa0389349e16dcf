"""The command ``restore-sdk serve``."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from restore_sdk._util.terminal import install_command
from restore_sdk.cli.common import Result, finish
from restore_sdk.errors import InputError, MissingDependencyError

#: The environment's name for the bearer token.
TOKEN = "RESTORE_SDK_TOKEN"


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("serve", help="restore over HTTP, for programs and with a page for people")
    command.add_argument("--ui", action="store_true", help="also serve a page, at /")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: only this host)")
    command.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000; 0 takes a free one")
    command.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"ask for the bearer token in it (or in ${TOKEN})"
    )
    command.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name by which clients may call; repeatable"
    )
    command.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="BUNDLE",
        help="a further model that requests may name; repeatable",
    )
    command.add_argument("--slots", type=int, metavar="N", help="how many compute at a time (default: the cores, <= 8)")
    command.add_argument("--max-requests", type=int, default=64, metavar="N", help="at a time, else 503 (default 64)")
    command.add_argument("--max-megapixels", type=float, default=25.0, metavar="N", help="a photograph (default 25)")
    command.add_argument("--max-megabytes", type=float, default=32.0, metavar="N", help="a request (default 32 MiB)")
    command.add_argument("--timeout", type=float, default=60.0, metavar="S", help="an answer, else 504 (default 60)")
    command.add_argument("--upload-timeout", type=float, default=30.0, metavar="S", help="else 408 (default 30)")
    command.add_argument("--grace", type=float, default=30.0, metavar="S", help="to finish when stopped (default 30)")
    command.add_argument("--log-format", choices=("text", "json"), help="default: text on a terminal, else json")
    finish(command, serve, model=True)


def serve(options: argparse.Namespace) -> Result:
    """``restore-sdk serve``: serve until SIGTERM or Ctrl-C."""
    try:
        from restore_sdk.serve import server
        from restore_sdk.serve.settings import check_settings
    except ImportError as error:
        if isinstance(error, MissingDependencyError):
            raise
        raise MissingDependencyError(
            f"the service needs a package that is missing: {error.name}",
            f"run: {install_command('ui' if options.ui else 'serve')}",
        ) from error
    from restore_sdk.bundle import Bundle
    from restore_sdk.engine import RestoreEngine
    from restore_sdk.runtime import usable_cores

    if not (0 < options.max_megapixels < 1e6 and 0 < options.max_megabytes < 1e6):
        raise InputError("--max-megapixels and --max-megabytes must be above 0", "leave them out")
    slots = min(8, usable_cores()) if options.slots is None else options.slots
    # What is wrong with them is said before the model is loaded.
    settings = check_settings(
        host=options.host,
        port=options.port,
        ui=options.ui,
        token=_token(options.token_file),
        allowed_hosts=tuple(options.allow_host),
        max_body_bytes=int(options.max_megabytes * 2**20),
        max_pixels=int(options.max_megapixels * 1e6),
        max_requests=options.max_requests,
        upload_s=options.upload_timeout,
        request_s=options.timeout,
        grace_s=options.grace,
        workers=slots + 1,  # while as many compute as may, one decodes or encodes
    )
    bundles = [Bundle.load(bundle) for bundle in (options.bundle, *options.also)]
    if len({bundle.name for bundle in bundles}) < len(bundles):
        raise InputError("two models have one name, by which requests ask for them", "leave one out")
    with server.bind(options.host, options.port) as listener:
        server.start_log(options.log_format)
        with ExitStack() as opened:
            engines = [
                opened.enter_context(RestoreEngine(bundle, runtime=options.runtime, slots=slots)) for bundle in bundles
            ]
            for engine in engines:
                engine.warmup()
            server.run(engines[0], settings, listener, engines[1:])
    return {"stopped": True}, ["stopped"], 0


def _token(file: Path | None) -> str | None:
    if file is None:
        token = os.environ.get(TOKEN)
        if token is not None and not token.strip():
            raise InputError(f"{TOKEN} is set, but empty", "set it to a long random word, or unset it for no token")
        return None if token is None else token.strip()
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the token cannot be read from {file}: {error}", "check --token-file") from error
    if not token:
        raise InputError(f"the token file {file} is empty", "write a long random word into it")
    return token
