"""The command ``restore-sdk triton``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from restore_sdk.cli.common import Result, add_bundle, finish


def register(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("triton", help="write a model repository for NVIDIA Triton Inference Server")
    command.add_argument("output", type=Path, metavar="OUT_DIR", help="the folder to write; one of ours is replaced")
    add_bundle(command)
    command.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of the graphs (default fp32)")
    command.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: GPUs, if any")
    command.add_argument("--instances", type=int, default=1, metavar="N", help="copies of a stage a device (default 1)")
    command.add_argument("--max-batch", type=int, default=8, metavar="N", help="tiles in one run (default 8)")
    command.add_argument("--queue-delay-us", type=int, default=0, metavar="N", help="batching delay (default 0)")
    finish(command, write)


def write(options: argparse.Namespace) -> Result:
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
        f"{written.path}: {bundle.name} as {', '.join(written.models)}, batches to {written.max_batch}",
        f"serve it: tritonserver --model-repository={options.output.resolve()}",
    ]
    return asdict(written), lines, 0
