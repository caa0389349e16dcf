"""Runtimes: one file each, all behind :class:`restore_sdk.runtime.base.StageRunner`.

A new one: a file with its runner, its name here, and its line in :func:`restore_sdk.runtime.select.open_runner`.
"""

from typing import Literal, get_args

#: Every runtime by its name; ``"auto"`` chooses.
Runtime = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8", "tensorrt", "tensorrt_rtx"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
