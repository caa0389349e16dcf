"""What the SDK is measured beside, in the same run.

The PyTorch reference, EdgeConnect's two generators, a plain stack of convolutions with about MI-GAN's multiplications,
and OpenCV's methods.

Of EdgeConnect and the stack only the cost is compared, so their weights are random. All compute with as many threads as
the SDK, at their runtimes' own settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from onnx_ir import to_proto
from torch import Tensor, nn

from export.graph import trace
from export.model import load_reference
from restore_sdk.bundle import Bundle
from restore_sdk.errors import DeviceError, RestoreError
from restore_sdk.imaging.quality import psnr
from restore_sdk.measure.bench import require_known, run_name
from restore_sdk.measure.timing import Case
from restore_sdk.runtime import MAX_THREADS, usable_cores
from restore_sdk.runtime.base import U8, Inference
from restore_sdk.runtime.onnxruntime import ort
from training.networks.edgeconnect import EdgeConnect
from training.protocol import navier_stokes, telea

#: As many as a runtime of the SDK takes where it has all cores to itself.
THREADS = min(MAX_THREADS, usable_cores())

BACKENDS = ("pytorch", "onnxruntime", "openvino", "openvino-bf16")

#: Runs that the ratios refer to.
EDGECONNECT, STACK = "EdgeConnect, onnxruntime fp32", "18 convolutions, onnxruntime fp32"

#: The stack: eighteen 3 x 3 convolutions of 64 channels at 128 x 128, 10.9 GMAC, nothing between them.
LAYERS, CHANNELS, SIZE = 18, 64, 128

#: Least PSNR in dB of the reference against the golden vectors that it made itself, on whatever host.
LEAST_DB = 60.0

Network = Callable[..., Sequence[Any]]


class TorchRunner:
    """The reference: both stages in PyTorch, float32, on the weights that the bundle holds."""

    slots = 1
    max_batch = 16

    def __init__(self, bundle: Bundle) -> None:
        self._stages = load_reference(bundle.path)

    def infer(self, images: U8, masks: U8) -> Inference:
        """Restore a batch; see :meth:`restore_sdk.runtime.base.StageRunner.infer`."""
        torch.set_num_threads(THREADS)
        with torch.inference_mode():
            started = time.perf_counter()
            image, mask = torch.from_numpy(images), torch.from_numpy(masks)
            completed = self._stages[0](image, mask)
            between = time.perf_counter()
            restored = self._stages[1](image, mask, completed)
            ended = time.perf_counter()
        return Inference(restored.numpy(), completed.numpy(), 1e3 * (between - started), 1e3 * (ended - between))

    def info(self) -> dict[str, Any]:
        """Facts, as the SDK's runners give them."""
        facts = {"runtime": "PyTorch eager", "runtime_version": torch.__version__, "precision": "fp32", "device": "cpu"}
        return {**facts, "threads": THREADS, "max_batch": self.max_batch}

    def close(self) -> None:
        """Nothing to give back."""


def cases(bundle: Bundle) -> tuple[list[Case], list[dict[str, str]]]:
    """All of them that this host has, on the first golden image; and what it does not have, and why."""
    golden = bundle.golden()
    inputs = [golden[name][:1] for name in ("image", "mask")]
    image, mask = inputs[0][0], inputs[1][0]
    made: list[Case] = []
    absent: list[dict[str, str]] = []

    def reference() -> Case:
        runner = TorchRunner(bundle)

        def check(found: Inference) -> None:
            require_known(image, mask, found.restored[0])
            assert psnr(golden["restored"][0], found.restored[0]) >= LEAST_DB, "it is not the reference"

        def parts(found: Inference) -> dict[str, float]:
            return {"edge": found.edge_ms, "repair": found.repair_ms}

        return Case(run_name(runner.info()), "stages", lambda: runner.infer(*inputs), check, parts)

    def edgeconnect(backend: str) -> Case:
        name, network = open_network("edgeconnect", backend)
        return Case(
            f"EdgeConnect, {name}",
            "stages",
            lambda: network(*inputs),
            lambda found: require_known(image, mask, found[0][0]),
        )

    def stack(backend: str) -> Case:
        name, network = open_network("stack", backend)
        given = np.random.default_rng(0).standard_normal((1, CHANNELS, SIZE, SIZE), np.float32)
        right = open_network("stack", "pytorch")[1](given)[0]

        def check(found: Any) -> None:
            assert np.abs(found[0] - right).max() < 0.05 * np.abs(right).max(), "far from PyTorch's result"

        return Case(f"18 convolutions, {name}", "stack", lambda: network(given), check)

    tries: list[tuple[str, Callable[[], Case]]] = [("PyTorch", reference)]
    for backend in BACKENDS:
        tries += [(f"EdgeConnect on {backend}", lambda backend=backend: edgeconnect(backend))]  # type: ignore[misc]
        tries += [(f"18 convolutions on {backend}", lambda backend=backend: stack(backend))]  # type: ignore[misc]
    for name, make in tries:
        try:
            made.append(make())
        except RestoreError as error:
            absent.append({"runtime": name, "why": error.message, "hint": error.hint})
    for name, method in (("OpenCV Telea", telea), ("OpenCV Navier-Stokes", navier_stokes)):
        made.append(
            Case(
                name,
                "request",
                lambda method=method: method(image, mask),  # type: ignore[misc]
                lambda found: require_known(image, mask, found),
            )
        )
    return made, absent


def open_network(network: str, backend: str) -> tuple[str, Network]:
    """``edgeconnect`` or ``stack`` on one of :data:`BACKENDS`: what runs, and a function from arrays to arrays.

    Raises:
        RestoreError: this host does not have it.
    """
    if backend == "pytorch":
        module = _module(network)

        def run_torch(*inputs: Any) -> Sequence[Any]:
            torch.set_num_threads(THREADS)
            with torch.inference_mode():
                found = module(*(torch.from_numpy(each) for each in inputs))
            return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

        return "PyTorch eager fp32", run_torch
    if backend == "onnxruntime":
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # whoever is measured next has the cores
        session = ort.InferenceSession(_graph(network), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return "onnxruntime fp32", lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))
    from restore_sdk.runtime.openvino import ov  # raises where it is not installed

    precision = "bf16" if backend.endswith("bf16") else "f32"
    core = ov.Core()
    model = core.read_model(_graph(network))
    model.reshape({port: list(each.shape) for port, each in zip(model.inputs, _examples(network, 1), strict=True)})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS}
    compiled = core.compile_model(model, "CPU", settings)
    found = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    if ("bfloat16" in found) != (precision == "bf16"):
        raise DeviceError(f"asked OpenVINO for {precision}, got {found}", "this CPU does not compute in it")
    request = compiled.create_infer_request()

    def run_openvino(*inputs: Any) -> Sequence[Any]:
        result = request.infer(list(inputs))
        return [result[port].copy() for port in compiled.outputs]

    return f"openvino {'bf16' if precision == 'bf16' else 'fp32'}", run_openvino


@cache
def _module(network: str) -> nn.Module:
    """The network, with random weights that are the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if network == "edgeconnect":
            return EdgeConnect().eval()
        layers = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LAYERS)]
        for layer in layers:  # keeps the values where they are, from layer to layer
            nn.init.normal_(layer.weight, std=(9 * CHANNELS) ** -0.5)
        return nn.Sequential(*layers).eval()


def _examples(network: str, batch: int) -> list[Tensor]:
    if network == "stack":
        return [torch.zeros(batch, CHANNELS, SIZE, SIZE)]
    return [torch.zeros(batch, 256, 256, *channels, dtype=torch.uint8) for channels in ((3,), ())]


@cache
def _graph(network: str) -> bytes:
    inputs, outputs = ["x"], ["y"]
    if network == "edgeconnect":
        inputs, outputs = ["image", "mask"], ["restored", "completed_edges"]
    graph: bytes = to_proto(trace(_module(network), _examples(network, 2), inputs, outputs)).SerializeToString()
    return graph
