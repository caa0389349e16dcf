"""The renderer, the network's form, and its graph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export.damage import check, damage_graph
from tests.conftest import make_photo
from training.damage.evaluate import Score, classical
from training.damage.net import DamageNet, load_weights, save_weights
from training.damage.pictures import Pictures
from training.damage.render import DAMAGE, KINDS, render


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    place = tmp_path_factory.mktemp("faces")
    files = [place / f"{seed}.png" for seed in range(3)]
    for seed, file in enumerate(files):
        cv2.imwrite(str(file), make_photo(256, 256, seed))
    return Pictures(files)


@pytest.mark.parametrize("layer", [layer for layer, _ in DAMAGE], ids=lambda layer: layer.__name__)
def test_each_kind_changes_the_picture_where_it_says(pictures: Pictures, layer: object) -> None:
    kinds = set()
    for seed in range(6):
        image, kind, whole = render(np.random.default_rng(seed), pictures, 128, kinds=(layer,), pair=True)  # type: ignore[arg-type]
        assert image.shape == whole.shape == (128, 128, 3)
        kinds |= set(np.unique(kind)) - {0, 255}
        truth = (kind > 0) & (kind < 255)
        far = cv2.dilate((kind > 0).astype(np.uint8), np.ones((21, 21), np.uint8)) == 0
        change = np.abs(image.astype(float) - whole).max(2)
        if truth.any() and far.any():
            assert change[truth].mean() > change[far].mean() + 5
    assert len(kinds) == 1
    assert kinds <= set(range(1, len(KINDS) + 1))


def test_a_seed_is_a_picture_and_a_whole_one_has_no_damage(pictures: Pictures) -> None:
    first, again = (render(np.random.default_rng(3), pictures, 128) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for seed in range(8):
        assert not render(np.random.default_rng(seed), pictures, 96, whole=True)[1].any()


def test_the_graph_computes_what_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DamageNet().eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2)
    save_weights(net, tmp_path / "w.safetensors", offset=0.5)
    loaded = load_weights(tmp_path / "w.safetensors")
    graph, macs = damage_graph(loaded)
    check(graph, loaded)
    assert macs < 0.55e9
    assert sum(value.numel() for value in loaded.parameters()) < 1e6
    assert float((loaded.head.bias - net.head.bias)[0].detach()) == pytest.approx(0.5, abs=2e-3)


def test_scores_forgive_two_pixels_and_no_more() -> None:
    kind, found = np.zeros((40, 40), np.uint8), np.zeros((40, 40), bool)
    kind[10, 5:35], kind[30, :] = 1, 255
    found[12, 5:35] = found[30, :] = True  # two beside it; and what is not judged
    near, far = Score(), Score()
    near.add(found, kind)
    far.add(np.roll(found, 1, 0), kind)
    assert near.to_json() == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert far.to_json()["recall"] == 0
    line = make_photo(64, 64)
    line[30, 5:60] = 255
    assert classical(line)[30, 10:50].all()
    assert not classical(np.full((64, 64, 3), 99, np.uint8)).any()
