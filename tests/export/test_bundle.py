"""From weights to a bundle that the SDK runs, and back to PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import ExportError
from export.bundle import PORTRAIT, read_card
from export.cli import main
from export.graph import cpu_graph
from export.model import Model, load_reference
from export.pictures import drawn_face, mask_of
from export.writing import share_weights
from restore_sdk.bundle import SHIPPED, Bundle
from restore_sdk.bundle.bundle import weights_name
from restore_sdk.bundle.onnxfile import self_contained
from restore_sdk.files import read_photo
from restore_sdk.imaging.quality import psnr
from restore_sdk.measure.bench import verify
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.export.conftest import IMAGES, Graphs, small_config
from tests.toy_bundle import write_toy_bundle
from training.checkpoint import load_tensors
from training.weights import Networks


def test_the_manifest_states_what_the_model_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert bundle.name == "small 0.3"
    bundle.verify_files()
    edge, repair = manifest.stages
    assert edge.parameters == sum(p.numel() for p in Networks(small_config()).edge.parameters())
    assert 0 < edge.macs < repair.macs
    assert edge.max_activation == max(manifest.quality["export"]["largest_activation"]["edge"].values())
    assert manifest.training["images_seen"] == 10
    assert manifest.training["images_seen_by_part"] == IMAGES
    assert sum(entry["images"] for entry in manifest.training["data"]) == 11216
    assert all(entry["licence"] for entry in manifest.training["data"])
    assert manifest.quality["psnr"] == {"1-10%": 31.25}
    assert manifest.quality["export"]["fp16_psnr_db"]["pytorch_half"]["worst"] >= 55


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
    assert verify(bundle).passed


def test_golden_vectors_are_varied_and_by_the_reference(bundle: Bundle, model: Model) -> None:
    golden = bundle.golden()
    shares = [float((mask > 127).mean()) for mask in golden["mask"]]
    assert min(shares) < 0.002 < 0.7 < max(shares)
    assert np.array_equal(golden["image"][2], read_photo(PORTRAIT)[..., ::-1])
    tensors = {name: torch.from_numpy(array) for name, array in golden.items()}
    with torch.inference_mode():
        completed = model.edge(tensors["image"], tensors["mask"])
        restored = model.repair(tensors["image"], tensors["mask"], completed)
    np.testing.assert_array_equal(golden["completed_edges"], completed.numpy())
    np.testing.assert_array_equal(golden["restored"], restored.numpy())


def test_the_reference_comes_back_bit_for_bit(bundle: Bundle, weights: Path, tmp_path: Path) -> None:
    assert main(["weights", "--bundle", str(bundle.path), "--out", str(tmp_path / "back.safetensors")]) == 0
    (wanted, facts), (found, stated) = (load_tensors(path) for path in (weights, tmp_path / "back.safetensors"))
    assert stated == facts
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert next(load_reference(bundle.path)[0].parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", SHIPPED)
def test_the_reference_of_a_shipped_bundle_gives_its_golden_vectors(name: str) -> None:
    """The networks in the tree are those that the released weights were trained in."""
    shipped = Bundle.load(name)
    edge, repair = load_reference(name)
    golden = {key: torch.from_numpy(array[2:4]) for key, array in shipped.golden().items()}
    with torch.inference_mode():
        completed = edge(golden["image"], golden["mask"])
        restored = repair(golden["image"], golden["mask"], golden["completed_edges"])
    for found, wanted in ((completed, golden["completed_edges"]), (restored, golden["restored"])):
        assert (found.int() - wanted.int()).abs().max() <= 1


def test_networks_that_are_no_longer_trained_are_no_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--bundle", "faithful", "--out", str(tmp_path / "w.safetensors")]) == 2
    assert "networks that the trainer no longer trains" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_graphs_share_weights_in_a_file_besides_and_lose_none(bundle: Bundle, exported: Graphs) -> None:
    graphs = {f"{s} {p}": graph.SerializeToString() for s, each in exported.items() for p, graph in each.items()}
    shared, weights = share_weights(graphs)
    for key, graph in graphs.items():
        back = self_contained(shared[key], {weights_name(hashlib.sha256(weights).hexdigest()): weights}.__getitem__)
        wanted, found = (onnx.load_from_string(each).graph.initializer for each in (graph, back))
        assert [(each.name, each.raw_data) for each in found] == [(each.name, each.raw_data) for each in wanted]
    (name,) = (name for name in bundle.manifest.files if name.startswith("weights-"))
    assert bundle.read(name) == weights
    assert sum(map(len, shared.values())) + len(weights) < 0.7 * sum(map(len, graphs.values()))


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
        (["--quality", "{card}"], "cannot be read as JSON"),
        (["--card", "{weights}"], "is no data card"),
        (["--card", "none.toml"], "is no data card"),
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


def test_a_data_card_needs_names_licences_and_counts(tmp_path: Path) -> None:
    assert len(read_card()["data"]) == 16
    for text in ("data = 3", "[[data]]\nname='a'\nimages=1", "[[data]]\nname='a'\nlicence='b'\nimages=-1", "not toml"):
        (tmp_path / "card.toml").write_text(text)
        with pytest.raises(ExportError, match="is no data card"):
            read_card(tmp_path / "card.toml")
