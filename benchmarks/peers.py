"""What the SDK is measured beside, in the same run: EdgeConnect's two generators, and a plain stack of convolutions.

Weights are random, since only the cost is compared. The peers run at their runtimes' own settings, with as many threads
as the SDK, each on PyTorch, ONNX Runtime, and OpenVINO where that is installed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from onnx_ir import to_proto
from torch import Tensor, nn

from export.graph import trace
from restore_sdk._util.telemetry import no_telemetry
from restore_sdk.errors import DeviceError, MissingDependencyError
from restore_sdk.runtime.base import U8, Inference
from restore_sdk.runtime.cores import threads_alone
from restore_sdk.runtime.onnxruntime import ort
from training.networks.edgeconnect import EdgeConnect

BACKENDS = ("pytorch", "onnxruntime", "openvino", "openvino-bf16")

#: EdgeConnect's two generators on each backend: chains, as the SDK's runtimes are.
KEYS = tuple(f"edgeconnect-{backend}" for backend in BACKENDS)

#: The plain stack: eighteen 3 x 3 convolutions of 64 channels at 128 x 128, 10.9 GMAC, nothing between them.
STACK_LAYERS, STACK_CHANNELS, STACK_SIZE = 18, 64, 128
STACK_MACS = STACK_LAYERS * 9 * STACK_CHANNELS**2 * STACK_SIZE**2

_NAMES = {"image": torch.uint8, "mask": torch.uint8, "edges": torch.uint8}


class Backend(Protocol):
    """A network on a runtime: arrays in, arrays out."""

    facts: dict[str, Any]

    def __call__(self, *inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Compute once."""
        ...


class PeerRunner:
    """EdgeConnect's two generators in a row; see :class:`training.networks.edgeconnect.EdgeConnect`."""

    slots = 1
    max_batch = 1

    def __init__(self, backend: str, threads: int | None = None) -> None:
        self._backend = open_backend("edgeconnect", backend, threads or threads_alone())

    def infer(self, images: U8, masks: U8, edges: U8) -> Inference:
        """Restore a batch of one. It is one graph: all of its time stands under the repair stage."""
        started = time.perf_counter()
        restored, completed = self._backend(images, masks, edges)
        return Inference(restored, completed, 0.0, 1e3 * (time.perf_counter() - started))

    def info(self) -> dict[str, Any]:
        """Facts, as the SDK's runners give them."""
        facts = self._backend.facts
        return {**facts, "runtime": f"EdgeConnect, {facts['runtime']}", "device": "cpu", "max_batch": 1}

    def close(self) -> None:
        """Free the network."""
        del self._backend


def open_peer(key: str, threads: int | None = None) -> PeerRunner:
    """One of :data:`KEYS`, or a :class:`restore_sdk.errors.RestoreError` that says what is missing."""
    return PeerRunner(key.removeprefix("edgeconnect-"), threads)


def open_backend(network: str, backend: str, threads: int) -> Backend:
    """``network`` (``edgeconnect`` or ``stack``) on one of :data:`BACKENDS`."""
    if backend == "pytorch":
        return _Torch(network, threads)
    if backend == "onnxruntime":
        return _OnnxRuntime(network, threads)
    return _OpenVino(network, threads, "bf16" if backend.endswith("bf16") else "f32")


def stack_input() -> NDArray[np.float32]:
    """What the plain stack is given: ``(1, 64, 128, 128)``."""
    shape = 1, STACK_CHANNELS, STACK_SIZE, STACK_SIZE
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """PyTorch computes with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def network_of(network: str) -> nn.Module:
    """The network, with random weights that are the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if network == "edgeconnect":
            return EdgeConnect().eval()
        layers = [nn.Conv2d(STACK_CHANNELS, STACK_CHANNELS, 3, padding=1) for _ in range(STACK_LAYERS)]
        for layer in layers:  # keeps the values where they are, from layer to layer
            nn.init.normal_(layer.weight, std=(9 * STACK_CHANNELS) ** -0.5)
        return nn.Sequential(*layers).eval()


def _examples(network: str, batch: int) -> list[Tensor]:
    if network == "stack":
        return [torch.zeros(batch, STACK_CHANNELS, STACK_SIZE, STACK_SIZE)]
    planes = [torch.zeros(batch, 256, 256, dtype=torch.uint8) for _ in range(2)]
    return [torch.zeros(batch, 256, 256, 3, dtype=torch.uint8), *planes]


@cache
def _graph(network: str) -> bytes:
    inputs, outputs = (["x"], ["y"]) if network == "stack" else ([*_NAMES], ["restored", "completed_edges"])
    graph: bytes = to_proto(trace(network_of(network), _examples(network, 2), inputs, outputs)).SerializeToString()
    return graph


class _Torch:
    def __init__(self, network: str, threads: int) -> None:
        self._network, self._threads = network_of(network), threads
        self.facts = _facts("PyTorch eager", torch.__version__, "fp32", threads)

    def __call__(self, *inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        with torch_threads(self._threads), torch.inference_mode():
            found = self._network(*(torch.from_numpy(each) for each in inputs))
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]


class _OnnxRuntime:
    """With ONNX Runtime's own settings, but for two: the threads, and that they rest as soon as a run is over."""

    def __init__(self, network: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # whoever is measured next has the cores
        providers = ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(_graph(network), options, providers=providers)
        if self._session.get_providers() != providers:
            raise DeviceError(f"asked ONNX Runtime for {providers}, got {self._session.get_providers()}")
        self._names = [each.name for each in self._session.get_inputs()]
        self.facts = _facts("onnxruntime", ort.__version__, "fp32", threads)

    def __call__(self, *inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return found


class _OpenVino:
    """For latency, with static shapes: what serves OpenVINO best."""

    def __init__(self, network: str, threads: int, precision: str) -> None:
        try:
            with no_telemetry():
                import openvino
        except ImportError as error:
            raise MissingDependencyError(
                f"OpenVINO cannot be imported: {error}", "run: pip install openvino"
            ) from error
        core = openvino.Core()
        model = core.read_model(_graph(network))
        model.reshape({port: list(each.shape) for port, each in zip(model.inputs, _examples(network, 1), strict=True)})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        self._model = core.compile_model(model, "CPU", settings)
        found = str(self._model.get_property("INFERENCE_PRECISION_HINT"))
        name = {"<Type: 'float32'>": "fp32", "<Type: 'bfloat16'>": "bf16"}.get(found, found)
        if name[-2:] != precision[-2:]:
            raise DeviceError(f"asked OpenVINO for {precision}, got {found}", "this CPU does not compute in it")
        self._request = self._model.create_infer_request()
        self.facts = _facts("openvino", openvino.__version__.partition("-")[0], name, threads)

    def __call__(self, *inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found = self._request.infer(list(inputs))
        return [found[port].copy() for port in self._model.outputs]


def _facts(runtime: str, version: str, precision: str, threads: int) -> dict[str, Any]:
    return {"runtime": runtime, "runtime_version": version, "precision": precision, "threads": threads}
