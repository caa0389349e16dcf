"""A stage as something to call on arrays, whatever computes it; each also shows the result before rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export.errors import GateError
from export.model import Stage
from restore_sdk.runtime.onnxruntime import ort

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """A stage's ``uint8`` output, and the same before rounding: float32 in 0..255, channels first."""

    output: Bytes
    unrounded: NDArray[np.float32]


class Runnable(Protocol):
    """Takes a stage's three inputs, N first."""

    def __call__(self, *inputs: Bytes) -> Outcome:
        """Compute the stage."""
        ...


class TorchStage:
    """A PyTorch stage in float32, or with ``half`` in half-precision arithmetic.

    Half convolutions take and give half-precision numbers and accumulate in float32, as GPUs do; PyTorch's own half
    convolution on a CPU does the same forty times slower.
    """

    def __init__(self, stage: Stage, half: bool = False) -> None:
        self.stage: nn.Module = copy.deepcopy(stage).half() if half else stage

    def __call__(self, *inputs: Bytes) -> Outcome:
        """Compute the stage."""
        with torch.inference_mode(), _Arithmetic() as arithmetic:
            output = self.stage(*(torch.from_numpy(np.ascontiguousarray(each)) for each in inputs))
        if arithmetic.unrounded is None:
            raise GateError("a stage does not round before it casts to bytes", "round in training/networks/stages.py")
        return Outcome(output.numpy(), arithmetic.unrounded.float().numpy())


class _Arithmetic(TorchFunctionMode):
    """Notes what is rounded, and computes half convolutions in float32."""

    unrounded: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.round:
            self.unrounded = args[0]
        elif func is torch.conv2d and args[0].dtype == torch.float16:
            single: list[Any] = [_single(each) for each in args]
            return func(*single, **{key: _single(value) for key, value in kwargs.items()}).half()
        return func(*args, **kwargs)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


class OnnxStage:
    """A graph on ONNX Runtime's CPU kernels, set up as the SDK's runner does."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._names = [tensor.name for tensor in graph.graph.input]
        rounded = [node.input[0] for node in graph.graph.node if node.op_type == "Round"]
        if len(rounded) != 1:
            raise GateError(f"a graph rounds {len(rounded)} times instead of once", "check the stage's last operators")
        shown = onnx.shape_inference.infer_shapes(graph)
        shown.graph.output.extend(info for info in shown.graph.value_info if info.name == rounded[0])
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        try:
            self._session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise GateError(
                f"ONNX Runtime {ort.__version__} refuses the graph: {error}", "check the exporter"
            ) from error

    def __call__(self, *inputs: Bytes) -> Outcome:
        """Compute the stage."""
        output, unrounded = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return Outcome(output, unrounded.astype(np.float32))
