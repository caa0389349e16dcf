"""The command ``restore-sdk triton``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restore_sdk.errors import InputError

Result = tuple[dict[str, Any], list[str], int]
Command = Callable[[argparse.Namespace], Result]


def register(commands: Any, finish: Callable[[argparse.ArgumentParser, Command], None]) -> None:
    """Add the command to the parser; ``finish`` gives it its function and ``--json``."""
    command = commands.add_parser("triton", help="write a model repository for NVIDIA Triton Inference Server")
    command.add_argument("output", type=Path, metavar="OUT_DIR", help="the folder to write; one of ours is replaced")
    command.add_argument("--bundle", metavar="BUNDLE", help="default, vivid, or the folder of another bundle")
    command.add_argument(
        "--runtime", choices=("onnxruntime", "tensorrt"), default="onnxruntime", help="default: onnxruntime"
    )
    command.add_argument("--precision", choices=("fp32", "fp16"), help="of the ONNX graphs (default fp32)")
    command.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: GPUs where the server has some"
    )
    command.add_argument("--instances", type=int, default=1, metavar="N", help="copies of a stage a device (default 1)")
    command.add_argument("--max-batch", type=int, metavar="N", help="default: 8, or what the plans take")
    command.add_argument("--queue-delay-us", type=int, default=0, metavar="N", help="to wait for company (default 0)")
    command.add_argument("--tensorrt", metavar="VERSION", help="take the plans of this TensorRT")
    command.add_argument(
        "--store", type=Path, metavar="DIR", help="of the plans (default: $RESTORE_SDK_STORE, else the user's cache)"
    )
    finish(command, write)


def write(options: argparse.Namespace) -> Result:
    """``restore-sdk triton``: the repository of a bundle."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.cluster.triton_config import Serving
    from restore_sdk.cluster.triton_repository import write_repository
    from restore_sdk.engines.store import EngineStore

    if options.runtime == "tensorrt" and options.precision is not None:
        raise InputError("--precision is for ONNX graphs; plans are in half precision", "leave it out")
    if options.runtime == "onnxruntime" and (options.tensorrt or options.store):
        raise InputError("--tensorrt and --store are for plans", "add --runtime tensorrt, or leave them out")
    bundle = Bundle.load(options.bundle)
    written = write_repository(
        options.output,
        bundle,
        backend=options.runtime,
        precision=options.precision or "fp32",
        max_batch=options.max_batch,
        serving=Serving(device=options.device, instances=options.instances, queue_delay_us=options.queue_delay_us),
        store=EngineStore(options.store),
        tensorrt=options.tensorrt,
    )
    report = {
        "path": str(written.path),
        "models": list(written.models),
        "max_batch": written.max_batch,
        "tensorrt": written.tensorrt,
        "unproven": list(written.unproven),
        "arguments": list(written.arguments),
        "files": dict(written.files),
    }
    needs = f", for a server with TensorRT {written.tensorrt}" if written.tensorrt else ""
    lines = [f"{written.path}: {bundle.name} as {', '.join(written.models)}, batches to {written.max_batch}{needs}"]
    if written.unproven:
        stages = ", ".join(written.unproven)
        lines.append(
            f"the golden vectors never ran on the plans of {stages}, and Triton runs none: on a host with that GPU and "
            "this store, restore-sdk verify --runtime tensorrt does, then write the repository again"
        )
    serve = " ".join((f"tritonserver --model-repository={written.path.resolve()}", *written.arguments))
    lines.append(f"serve it: {serve}")
    return report, lines, 0
