"""8-bit graphs: what they compute, which convolutions are chosen, the command, and the runtime that takes them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import calibrate
from export.calibrate import choose
from export.cli import main
from export.gates import check_structure
from export.pictures import drawn_face
from export.quantize import Ranges, Setting, candidates, folded, quantized, stored
from export.writing import add_int8
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.errors import BundleError, DeviceError
from restore_sdk.measure.bench import verify
from restore_sdk.runtime.onnxruntime import ort
from restore_sdk.runtime.openvino import OpenVinoRunner, offers
from restore_sdk.runtime.select import open_runner

needs_bf16 = pytest.mark.skipif("bf16" not in offers()[1], reason="this CPU has no instructions for bfloat16")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for seed in range(calibrate.LEAST_PICTURES):
        cv2.imwrite(str(folder / f"{seed:02}.png"), drawn_face(300 + seed)[..., ::-1])
    return folder


#: Of which the first clips nearly everything, so that the other one is always better.
SETTINGS = (Setting(0.5, 0.01), Setting(0.5))


@pytest.fixture(scope="module")
def int8_bundle(bundle: Bundle, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small model with 8-bit graphs, by the command."""
    out = tmp_path_factory.mktemp("int8") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "SETTINGS", SETTINGS)
        assert main(["int8", "--bundle", str(bundle.path), "--faces", str(faces), "--out", str(out)]) == 0
    return Bundle.load(out)


def one_convolution(weight: Any) -> onnx.ModelProto:
    """``y = conv(x)``, channels first, size 8, no bias."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("x", weight.shape[1]), ("y", weight.shape[0]))
    ]
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4, strides=[1, 1])
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: Any) -> Any:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 1.0])
def test_a_convolution_in_8_bits(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    spread = np.array([0.1, 1.0, 10.0], np.float32)[:, None, None]  # channels of very different range
    x = (rng.standard_normal((1, 3, 8, 8)) * spread).astype(np.float32)
    weight = (rng.standard_normal((5, 3, 3, 3)) / spread[None]).astype(np.float32)
    ranges = Ranges(x.min(axis=(0, 2, 3)), x.max(axis=(0, 2, 3)))
    model = one_convolution(weight)
    made = quantized(model, {"conv": Setting(smoothing)}, {"x": ranges})
    onnx.checker.check_model(made, full_check=True)
    assert {tensor.data_type for tensor in made.graph.initializer} >= {TensorProto.INT8, TensorProto.UINT8}
    right, found = run(model, x), run(made, x)
    error = np.sqrt(np.mean((found - right) ** 2) / np.mean(right**2))
    assert 0 < error < 0.02


def test_what_is_chosen() -> None:
    macs = {("edge", "cheap"): 10, ("edge", "dear"): 10, ("repair", "large"): 100, ("repair", "other picture"): 10}
    errors = {
        ("edge", "cheap"): np.array([1.0, 0.0]),
        ("edge", "dear"): np.array([9.2, 0.0]),
        ("repair", "large"): np.array([5.0, 0.0]),  # least for its multiplications
        ("repair", "other picture"): np.array([0.0, 9.0]),
    }
    order = choose(macs, errors, 10 * np.log10(255**2 / 9.5))
    assert order == [("repair", "large"), ("edge", "cheap"), ("repair", "other picture")]
    assert choose(macs, errors, 60.0) == []


@pytest.mark.parametrize("stage", ["edge", "repair"])
def test_the_graphs(bundle: Bundle, int8_bundle: Bundle, stage: str) -> None:
    data = int8_bundle.read(int8_bundle.file(stage, "int8"))
    graph = onnx.load_from_string(data)
    check_structure(stage, graph, "int8")
    chosen = int8_bundle.manifest.quality["int8"]["convolutions"][stage]
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("QuantizeLinear") == len(chosen) > 0
    assert all(setting == {"smoothing": 0.5, "reach": 1.0} for setting in chosen.values()), "the best setting is kept"
    macs = candidates(folded(bundle.read(bundle.file(stage, "fp32"))))
    assert set(chosen) <= set(macs)
    assert not [name for name in macs if "stem" in name and "coarse" not in name], "what reads the picture itself stays"
    whole = {tensor.name for tensor in graph.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    halves = {tensor.name for tensor in graph.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    assert halves, "weights that are not quantised are stored as the half-precision numbers that they are"
    assert not any(name.endswith("weight") for name in whole)


def test_a_stored_graph_computes_the_same(bundle: Bundle) -> None:
    golden = bundle.golden()
    model = folded(bundle.read(bundle.file("edge", "fp32")))
    feed = {name: golden[name][:1] for name in ("image", "mask")}
    found = [
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for data in (bundle.read(bundle.file("edge", "fp32")), model.SerializeToString(), stored(model))
    ]
    assert all(np.array_equal(found[0], each) for each in found[1:])


def test_the_bundle(bundle: Bundle, int8_bundle: Bundle) -> None:
    assert (int8_bundle.name, int8_bundle.manifest.created) == (bundle.name, bundle.manifest.created)
    for name in bundle.manifest.files:
        assert int8_bundle.read(name) == bundle.read(name), name
    int8_bundle.verify_files()
    assert int8_bundle.fingerprint != bundle.fingerprint
    facts = int8_bundle.manifest.quality["int8"]
    assert facts["psnr_db"]["worst"] >= calibrate.GATE_DB
    assert 0.1 < facts["macs_share"] <= 1
    assert facts["pictures"] == calibrate.LEAST_PICTURES
    assert {"int8"} < set(int8_bundle.manifest.quality), "what was known of the model's quality is kept"


def test_made_again_in_place_it_is_the_same(
    int8_bundle: Bundle, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "SETTINGS", SETTINGS)
    folder = tmp_path / "again"
    shutil.copytree(int8_bundle.path, folder)
    assert main(["int8", "--bundle", str(folder), "--faces", str(faces), "--out", str(folder)]) == 0
    for file in folder.iterdir():
        assert file.read_bytes() == (int8_bundle.path / file.name).read_bytes(), file.name


def test_too_few_pictures(bundle: Bundle, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["int8", "--bundle", str(bundle.path), "--faces", str(faces), "--out", str(out), "--limit"]
    assert main([*arguments, "8"]) == 1
    assert "8 pictures are too few to calibrate on" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "0"])
    assert not out.exists()


def test_beyond_the_gate_nothing_is_written(
    bundle: Bundle,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def few(_chain: Any, _right: Any, models: Any, macs: Any, _ranges: Any, probes: Sequence[Any], _report: Any) -> Any:
        keys = [next(key for key in macs if key[0] == stage) for stage in models]  # measured by nobody
        return dict.fromkeys(keys, Setting(0.5)), {key: np.zeros(2 * len(probes)) for key in keys}

    monkeypatch.setattr(calibrate, "_errors", few)
    monkeypatch.setattr(calibrate, "AIM_DB", 10.0)
    monkeypatch.setattr(calibrate, "GATE_DB", 90.0)
    out = tmp_path / "out"
    assert main(["int8", "--bundle", str(bundle.path), "--faces", str(faces), "--out", str(out)]) == 1
    assert "the gate is 90 dB" in capsys.readouterr().err
    assert not out.exists()


@needs_bf16
def test_the_runtime(int8_bundle: Bundle) -> None:
    found = verify(int8_bundle, "openvino-int8")
    assert found.passed, found.drift
    assert (found.runtime["runtime"], found.runtime["precision"]) == ("openvino", "int8")
    golden = int8_bundle.golden()
    with RestoreEngine(int8_bundle, runtime="openvino-int8") as eight, RestoreEngine(int8_bundle) as full:
        image, mask = golden["image"][3], golden["mask"][3]
        results = eight(image, mask), full(image, mask)
    assert not np.array_equal(*results), "float32 served under the name of 8 bits"
    assert np.array_equal(results[0][mask <= 127], image[mask <= 127])


@needs_bf16
def test_a_bundle_without_8_bit_graphs_says_how_to_make_them(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="has no int8 graph of stage 'edge'") as raised:
        open_runner("openvino-int8", bundle, device=0, slots=1, threads=None)
    assert "python -m export int8" in raised.value.hint


@needs_bf16
def test_graphs_that_only_claim_to_be_in_8_bits(bundle: Bundle, tmp_path: Path) -> None:
    graphs = {spec.name: bundle.read(bundle.file(spec.name, "fp32")) for spec in bundle.stages}
    with pytest.raises(DeviceError, match="computes no convolution of the edge stage in them"):
        OpenVinoRunner(add_int8(bundle, tmp_path / "claims", graphs, {}), precision="int8")
