"""A stage as something to call on arrays, whatever computes it; each also shows the result before rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export import GateError
from export.model import Stage
from export.pictures import Image, Mask
from restore_sdk.runtime.onnxruntime import ort

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Probe:
    """One damaged picture: ``image`` ``(256, 256, 3)`` and ``mask`` ``(256, 256)``, ``uint8``."""

    name: str
    image: Image
    mask: Mask


@dataclass(frozen=True)
class Outcome:
    """A stage's ``uint8`` output, and the same before rounding: float32 in 0..255, channels first."""

    output: Bytes
    unrounded: NDArray[np.float32]


class TorchStage:
    """A PyTorch stage in float32, or with ``half`` in half-precision arithmetic.

    Half convolutions take and give half-precision numbers and accumulate in float32, as GPUs do; PyTorch's own half
    convolution on a CPU does the same forty times slower.
    """

    def __init__(self, stage: Stage, half: bool = False) -> None:
        self.stage: nn.Module = copy.deepcopy(stage).half() if half else stage

    def __call__(self, *inputs: Bytes) -> Outcome:
        """Compute the stage on its inputs, N first."""
        with torch.inference_mode(), _Arithmetic() as arithmetic:
            output = self.stage(*(torch.from_numpy(np.ascontiguousarray(each)) for each in inputs))
        return Outcome(output.numpy(), arithmetic.unrounded.float().numpy())


class _Arithmetic(TorchFunctionMode):
    """Notes what is rounded, and computes half convolutions in float32."""

    unrounded: Tensor

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
    """A graph on ONNX Runtime's CPU kernels."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._names = [tensor.name for tensor in graph.graph.input]
        rounded = [node.input[0] for node in graph.graph.node if node.op_type == "Round"]
        if len(rounded) != 1:
            raise GateError(f"a graph rounds {len(rounded)} times instead of once", "check the stage's last operators")
        shown = onnx.shape_inference.infer_shapes(graph)
        shown.graph.output.extend(info for info in shown.graph.value_info if info.name == rounded[0])
        self._session = cpu_session(shown.SerializeToString())

    def __call__(self, *inputs: Bytes) -> Outcome:
        """Compute the stage on its inputs, N first."""
        output, unrounded = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return Outcome(output, unrounded.astype(np.float32))


def cpu_session(graph: bytes) -> Any:
    """A graph on ONNX Runtime, as the SDK's runner sets it up. Raises :class:`GateError` where it is refused."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise GateError(f"ONNX Runtime {ort.__version__} refuses the graph: {error}", "check the exporter") from error


@dataclass(frozen=True)
class Chain:
    """Both stages on one runtime; the edge stage's output is the repair stage's input."""

    name: str
    edge: TorchStage | OnnxStage
    repair: TorchStage | OnnxStage

    def __call__(self, image: Bytes, mask: Bytes) -> tuple[Outcome, Outcome]:
        """What both stages make of a batch."""
        completed = self.edge(image, mask)
        return completed, self.repair(image, mask, completed.output)


def batches(probes: Sequence[Probe], size: int = 4) -> Iterator[Sequence[Probe]]:
    """One alone, then ``size`` at a time: both must work on one graph."""
    yield probes[:1]
    for start in range(1, len(probes), size):
        yield probes[start : start + size]


def stack(batch: Sequence[Probe]) -> tuple[Bytes, Bytes]:
    """Images and masks of some probes, N first."""
    return np.stack([probe.image for probe in batch]), np.stack([probe.mask for probe in batch])
