"""The commands ``restore-sdk serve``, ``page`` and ``triton``: the model for others to use."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from restore_sdk._util.terminal import install_command
from restore_sdk.cli.common import Result, add_bundle, finish
from restore_sdk.errors import InputError, MissingDependencyError

#: The environment's name for the bearer token.
TOKEN = "RESTORE_SDK_TOKEN"


def register(commands: Any) -> None:
    """Add the commands to the parser."""
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

    command = commands.add_parser("page", help="write the page as a static site that restores in the browser")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="to write; one of ours is replaced")
    command.add_argument(
        "--runtime-from", type=Path, required=True, metavar="DIR", help="node_modules/onnxruntime-web, or its dist"
    )
    add_bundle(command)
    finish(command, page)

    command = commands.add_parser("triton", help="write a model repository for NVIDIA Triton Inference Server")
    command.add_argument("output", type=Path, metavar="OUT_DIR", help="the folder to write; one of ours is replaced")
    add_bundle(command)
    command.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of the graphs (default fp32)")
    command.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: GPUs, if any")
    command.add_argument("--instances", type=int, default=1, metavar="N", help="copies of a stage a device (default 1)")
    command.add_argument("--max-batch", type=int, default=8, metavar="N", help="tiles in one run (default 8)")
    command.add_argument("--queue-delay-us", type=int, default=0, metavar="N", help="batching delay (default 0)")
    finish(command, triton)


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
    # Checked before the model is loaded.
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


def page(options: argparse.Namespace) -> Result:
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


def triton(options: argparse.Namespace) -> Result:
    """``restore-sdk triton``: the repository of a bundle."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.cluster import write_repository

    bundle = Bundle.load(options.bundle)
    written = write_repository(
        options.output,
        bundle,
        precision=options.precision,
        max_batch=options.max_batch,
        device=options.device,
        instances=options.instances,
        queue_delay_us=options.queue_delay_us,
    )
    lines = [
        f"{options.output}: {bundle.name} as {', '.join(written['models'])}, batches to {options.max_batch}",
        f"serve it: tritonserver --model-repository={options.output.resolve()}",
    ]
    return written, lines, 0
