"""A small model, exported once for all tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from export.gates import make_probes
from export.graph import cpu_graph, fp16_graph
from export.model import Model, load_model
from restore_sdk.bundle import Bundle
from training.checkpoint import half_precision, save_tensors, with_prefix
from training.config import PARTS, Config, from_json
from training.weights import Networks

#: What the small model has seen.
IMAGES = {"shape": 1, "edge": 2, "coarse": 3, "repair": 4}

Graphs = dict[str, dict[str, onnx.ModelProto]]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small networks gain nothing from more
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quiet_exporter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="torch")


def small_config() -> Config:
    """Wide enough for ONNX Runtime's blocked layout (16 channels), with two blocks so that every pattern occurs."""
    network = {"width": 16, "body": 32, "growth": 16}
    coarse = {"widths": [16, 16, 32, 32], "blocks": [1, 1, 1], "global_blocks": 1}
    return from_json(
        {
            "shape": {"network": {"width": 16, "body": 32, "blocks": 1, "shapes": 16}},
            "edge": {"network": network},
            "coarse": {"network": coarse},
            "repair": {"network": network},
        }
    )


def small_weights() -> dict[str, torch.Tensor]:
    """As training leaves them, but from a seed: what starts at zero (residuals, attention, fusion) or nearly so (heads)
    is not."""
    torch.manual_seed(0)
    networks = Networks(small_config())
    tensors: dict[str, torch.Tensor] = {}
    for part in PARTS:
        state = {name: tensor.clone() for name, tensor in networks.weights_of(part).items()}
        for name, tensor in state.items():
            if name.startswith("points."):  # whose contours stay short
                tensor.normal_(0.0, 0.002)
            elif name.endswith(("scale", "fusion.a", "fusion.b", "bias")):
                tensor.normal_(0.0, 0.2)
            elif not tensor.any():
                tensor.normal_(0.0, 0.05)
            elif "head" in name:  # the coarse one's reaches far beyond white as it is
                tensor.mul_(0.2 if part == "coarse" else 2.0)
        tensors |= with_prefix(part, half_precision(state))
    return tensors


def write_weights(path: Path, **changes: torch.Tensor) -> Path:
    """The small model's weights file; ``changes`` replace tensors, with ``__`` for the dots of their names."""
    tensors = small_weights() | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_tensors(path, tensors, {"config": small_config().to_json(), "images": IMAGES})
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.fixture(scope="session")
def model(weights: Path) -> Model:
    return load_model(weights)


@pytest.fixture(scope="session")
def exported(model: Model) -> Graphs:
    return {
        name: {"fp32": cpu_graph(name, stage), "fp16": fp16_graph(name, stage)} for name, stage in model.stages.items()
    }


@pytest.fixture
def graphs(exported: Graphs) -> Graphs:
    """Copies of the exported graphs, to spoil."""
    copies: Graphs = {}
    for name, by_precision in exported.items():
        copies[name] = {}
        for precision, graph in by_precision.items():
            copies[name][precision] = onnx.ModelProto()
            copies[name][precision].CopyFrom(graph)
    return copies


@pytest.fixture(scope="session")
def bundle(weights: Path, exported: Graphs, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small model as a bundle, by the command; its graphs are those of the session."""
    import export.bundle
    from export.cli import main
    from tests.export.test_gates import few

    folder = tmp_path_factory.mktemp("bundles")
    (folder / "quality.json").write_text(json.dumps({"psnr": {"1-10%": 31.25}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.bundle, "cpu_graph", lambda name, _stage: exported[name]["fp32"])
        patch.setattr(export.bundle, "fp16_graph", lambda name, _stage: exported[name]["fp16"])
        patch.setattr(export.bundle, "make_probes", lambda *_: few(make_probes()))
        arguments = ["--weights", weights, "--out", folder / "small", "--version", "0.3"]
        arguments += ["--quality", folder / "quality.json"]
        assert main([str(each) for each in arguments]) == 0
    return Bundle.load(folder / "small")
