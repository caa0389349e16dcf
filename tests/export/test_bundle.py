"""From weights to a bundle that the SDK runs, and back to PyTorch."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export.bundle
from export import gates
from export.card import read_card
from export.cli import main
from export.errors import ExportError
from export.gates import make_probes
from export.graph import cpu_graph
from export.model import Model
from export.pictures import drawn_face, mask_of
from export.reference import load_reference
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.quality import Drift, psnr
from restore_sdk.measure.verify import verify
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.export.conftest import Graphs, small_config
from tests.export.test_gates import few
from tests.toy_bundle import write_toy_bundle
from training.checkpoint import load_tensors


def test_the_manifest_states_what_the_model_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert bundle.name == "small 0.3"
    bundle.verify_files()
    edge, repair = manifest.stages
    assert edge.parameters == sum(p.numel() for p in small_config().build("edge").parameters())
    assert 0 < edge.macs < repair.macs
    assert edge.max_activation == max(manifest.quality["export"]["largest_activation"]["edge"].values())
    assert manifest.training["images_seen"] == 7
    assert manifest.training["images_seen_by_stage"] == {"edge": 3, "repair": 4}
    assert sum(entry["images"] for entry in manifest.training["data"]) == 8643
    assert all(entry["licence"] for entry in manifest.training["data"])
    assert manifest.quality["psnr"] == {"1-10%": 31.25}
    assert manifest.quality["export"]["fp16_psnr_db"]["pytorch_half"]["worst"] >= 60


def test_graphs_without_any_drift_are_no_infinity_that_json_has_not() -> None:
    drift = Drift().add(*2 * [np.zeros((1, 4, 4, 3), np.uint8)])
    db = {"pooled": gates._short(drift.pooled_db), "worst": gates._short(drift.worst_db)}
    figures = {"max_error": {"edge": 0.0}, "probes": 1, "fp16_headroom": 2.0}
    figures["fp16_psnr_db"] = {"pytorch_half": {"pooled": 61.0, "worst": 60.0}, "onnxruntime_fp16": db}
    json.dumps(figures, allow_nan=False)
    assert "FP16 61.0 dB, worst 60.0 dB (ONNX Runtime equal, equal)" in export.bundle._summary(figures)


def test_the_engine_gives_what_the_reference_gives(bundle: Bundle) -> None:
    """PyTorch on the bundle's weights and the wheel's own runner, on pictures that are not among the golden ones."""
    edge, repair = load_reference(bundle.path)
    runner = OnnxRunner(bundle)
    for seed, share in ((50, 0.1), (51, 0.4), (52, 0.8)):
        image, mask = drawn_face(seed), mask_of(share, seed)
        inputs = [each[None] for each in (image, mask)]
        tensors = [torch.from_numpy(each) for each in inputs]
        with torch.inference_mode():
            completed = edge(*tensors)
            restored = repair(*tensors, completed)
        found = runner.infer(*inputs)
        assert np.abs(found.completed_edges.astype(int) - completed.numpy()).max() <= 1
        assert psnr(restored.numpy(), found.restored) > 80
    runner.close()


def test_the_sdk_restores_and_verifies_with_it(bundle: Bundle) -> None:
    report = verify(bundle)
    assert report.passed
    image, mask = drawn_face(60), mask_of(0.2, 60)
    with RestoreEngine(bundle) as engine:
        result = engine(image, mask)
    hole = mask > 127
    np.testing.assert_array_equal(result[~hole], image[~hole])
    assert (result[hole] != image[hole]).any()


def test_golden_vectors_are_small_varied_and_by_the_reference(bundle: Bundle, model: Model) -> None:
    golden = bundle.golden()
    shares = [float((mask > 127).mean()) for mask in golden["mask"]]
    assert len(shares) == 6
    assert min(shares) < 0.002
    assert max(shares) > 0.7
    assert bundle.manifest.files["golden.npz"].bytes < 1_500_000
    assert any(np.array_equal(image, drawn_face(77)) for image in golden["image"])
    tensors = {name: torch.from_numpy(array) for name, array in golden.items()}
    with torch.inference_mode():
        completed = model.edge(tensors["image"], tensors["mask"])
        restored = model.repair(tensors["image"], tensors["mask"], completed)
    np.testing.assert_array_equal(golden["completed_edges"], completed.numpy())
    np.testing.assert_array_equal(golden["restored"], restored.numpy())
    hole = golden["mask"] > 127
    assert (golden["restored"][hole] != golden["image"][hole]).mean() > 0.5


def test_the_reference_comes_back_bit_for_bit(bundle: Bundle, weights: Path) -> None:
    tensors, _ = load_tensors(weights)
    for stage in load_reference(bundle.path):
        name = "edge" if type(stage).__name__ == "EdgeStage" else "repair"
        state = stage.generator.state_dict()
        wanted = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        assert set(state) == set(wanted)
        for key, value in wanted.items():
            assert state[key].dtype == torch.float32
            assert torch.equal(state[key], value.float()), key


def test_the_cpu_graphs_hold_the_same_weights_under_the_same_names(bundle: Bundle) -> None:
    for name in ("edge", "repair"):
        pair = [
            {
                tensor.name: numpy_helper.to_array(tensor)
                for tensor in onnx.load(io.BytesIO(bundle.read(bundle.file(name, precision)))).graph.initializer
                if tensor.name.startswith("generator.")
            }
            for precision in ("fp32", "fp16")
        ]
        assert pair[0].keys() == pair[1].keys()
        for key in pair[0]:
            assert pair[0][key].dtype == np.float16
            np.testing.assert_array_equal(pair[0][key], pair[1][key])


def test_the_graphs_tell_nothing_of_the_machine(bundle: Bundle) -> None:
    for name in bundle.manifest.files:
        data = bundle.read(name)
        assert b".py" not in data
        assert str(Path(__file__).resolve().parents[2]).encode() not in data


def test_exporting_again_gives_the_same_bytes(exported: Graphs, model: Model) -> None:
    """Every export of the same weights has the same hash."""
    assert cpu_graph("edge", model.edge).SerializeToString() == exported["edge"]["fp32"].SerializeToString()


def test_a_bundle_without_its_networks_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not state the configuration .*python -m export"):
        load_reference(write_toy_bundle(tmp_path / "toy").path)


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--weights", "missing.safetensors"], "missing.safetensors"),
        (["--photo", "missing.png"], "no photograph at missing.png"),
        (["--quality", "missing.json"], "cannot be read as JSON"),
        (["--quality", "{card}"], "cannot be read as JSON"),
        (["--card", "{weights}"], "is no data card"),
        (["--faces", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_line_with_a_way_out(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    (tmp_path / "card.toml").write_text("data = []\n")
    changes = [each.format(card=tmp_path / "card.toml", weights=weights) for each in change]
    assert main(["--weights", str(weights), "--out", str(tmp_path / "b"), *changes]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_an_interrupt_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.cli._export", interrupted)
    assert main(["--weights", "w", "--out", str(tmp_path / "b")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_masks_without_faces_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--weights", "w", "--out", "b", "--masks", "m"])
    assert "--masks needs --faces" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path, model: Model, exported: Graphs) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.bundle, "cpu_graph", lambda name, _stage: exported[name]["fp32"])
        patch.setattr(export.bundle, "fp16_graph", lambda name, _stage: exported[name]["fp16"])
        patch.setattr(export.bundle, "make_probes", lambda *_: few(make_probes()))
        with pytest.raises(Exception, match="exists and is no bundle"):
            export.bundle.export_bundle(model, tmp_path, name="x", version="1", card=read_card())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_data_card_needs_names_licences_and_counts(tmp_path: Path) -> None:
    assert len(read_card()["data"]) == 8
    for text in ("data = 3", "[[data]]\nname='a'\nimages=1", "[[data]]\nname='a'\nlicence='b'\nimages=-1", "not toml"):
        (tmp_path / "card.toml").write_text(text)
        with pytest.raises(ExportError, match="is no data card"):
            read_card(tmp_path / "card.toml")
    with pytest.raises(ExportError, match="cannot be read"):
        read_card(tmp_path / "none.toml")
