from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.needs import unavailable
from training import judge
from training.ablation import VARIANTS
from training.cli import main
from training.config import Config
from training.data import Image, read_rgb, square
from training.evaluate import evaluate
from training.judge import FaceCounts
from training.measures import EdgeCounts, GridCounts, RealismCounts, SeamCounts
from training.networks.attention import ChannelSpatialAttention
from training.networks.coarse import CoarseGenerator
from training.networks.layers import BidirectionalGatedFusion, DenseResidualSkip
from training.networks.repair import RepairGenerator
from training.protocol import BUCKETS, cases
from training.sheet import Sheet
from training.weights import Networks, costs, load_networks

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "portrait.png"


def test_buckets_and_pairs(pictures: Path, mask_files: Path) -> None:
    found = cases(pictures, mask_files)
    assert BUCKETS == ("1-10%", "10-20%", "20-30%", "30-40%", "40-50%", "50-60%")
    assert len(found) == 36, "the mask of 230 x 230 px is in no bucket"
    for case in found:
        low, high = (int(part.strip("%")) / 100 for part in case.bucket.split("-"))
        assert low < (case.mask > 127).mean() <= high
        assert (case.damaged[case.mask > 127] == 255).all()
        assert np.array_equal(case.damaged[case.mask == 0], case.image[case.mask == 0])


def test_faces_are_squared() -> None:
    image = np.zeros((218, 178, 3), np.uint8)
    image[20:198] = 200
    assert (square(image) == 200).all()


@pytest.mark.usefixtures("weights_of_features")
def test_a_perfect_model_scores_perfectly_and_opencv_does_not(
    pictures: Path, mask_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "available", lambda: False)
    chosen = cases(pictures, mask_files, 1)
    truth = {case.damaged.tobytes(): case.image for case in chosen}

    def oracle(image: Image, mask: Image) -> tuple[Image, Image]:
        return truth[image.tobytes()], mask

    report = evaluate(oracle, chosen)
    table = report.to_json()
    assert list(table["all"]) == list(BUCKETS)
    for row in table["all"].values():
        ours, telea = row["model"], row["telea"]
        assert (row["images"], ours["psnr"], ours["l1"], ours["features"]) == (1, None, 0.0, 0.0)
        assert (ours["ssim"], ours["detail"], ours["step"], ours["tint"]) == (1.0, 1.0, 1.0, 0.0)
        assert 10 < telea["psnr"] < 60
        assert min(telea["l1"], telea["features"]) > 0
    edges = table["all"]["50-60%"]["edges"]
    assert edges["recall"] == 1.0 > edges["precision"], "edges everywhere leave none out"
    assert table["all"]["1-10%"]["telea"]["psnr"] > table["all"]["50-60%"]["telea"]["psnr"]
    assert report.sheet().shape == (6 * 256, 4 * 256, 3)
    tables = report.to_markdown().split("\n\n")
    for lines in (each.splitlines() for each in tables if each.startswith("| ")):
        assert len({line.count("|") for line in lines}) == 1
    assert report.to_markdown().count("| 50-60% |") == (4 if table["sharp"] else 2)


def test_a_sheet_has_a_row_a_face_and_wide_holes(
    tiny: Config, pictures: Path, mask_files: Path, tmp_path: Path
) -> None:
    sheet = Sheet(pictures, mask_files, 2)
    shares = [float((case.mask > 127).mean()) for case in sheet.cases]
    assert 0.54 <= shares[0] < 0.62
    assert shares[1] >= 0.89
    sheet.write(tmp_path / "sheet.jpg", Networks(tiny).eval())
    found = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert found.shape == (256, 2 * 5 * 256, 3)
    assert np.abs(found[:, 4 * 256 : 5 * 256, ::-1].astype(int) - sheet.cases[0].image).mean() < 6


def test_the_judge_knows_the_truth_and_misses_a_hidden_face() -> None:
    if not judge.available():
        unavailable("dlib-bin or face-recognition-models is not installed: pip install -e '.[judge]'")
    portrait = square(read_rgb(PORTRAIT))
    same, gone, nobody = FaceCounts(), FaceCounts(), FaceCounts()
    same.add(portrait.copy(), portrait)
    assert same.to_json() == {"found": 1.0, "score": 0.0, "landmarks": 0.0, "identity": 0.0}
    gone.add(np.full_like(portrait, 90), portrait)
    assert (gone.to_json()["found"], gone.to_json()["identity"] > 0.6) == (0.0, True)
    nobody.add(portrait, np.full_like(portrait, 90))
    assert nobody.to_json() == {}


class TestCommand:
    def test_fit_weights_evaluate_and_plot(
        self, pictures: Path, labels: Path, mask_files: Path, trained: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.setattr(judge, "available", lambda: False)
        run = shutil.copytree(trained, tmp_path / "run")
        more = f"fit --data {pictures} --labels {labels} --out {run} --only coarse --images 10 --masks 20 --float32"
        more += f" --sheet-every 2 --threads {torch.get_num_threads()} --validate"
        assert main([*more.split(), str(pictures), str(mask_files)]) == 2
        assert "they would be learned by heart" in capsys.readouterr().err
        judged = shutil.copytree(pictures, tmp_path / "judged")
        assert main([*more.split(), str(judged), str(mask_files)]) == 0
        assert (run / "coarse_00000k.jpg").exists()
        weights, outputs = run / "new.safetensors", [tmp_path / f"table.{suffix}" for suffix in ("json", "md", "png")]
        assert main(["weights", "--run", str(run), "--out", str(weights)]) == 0
        assert load_networks(weights)[1]["images"]["coarse"] == 10
        arguments = f"evaluate --weights {weights} --images {pictures} --masks {mask_files} --per-bucket 1"
        arguments += " --json {} --markdown {} --sheet {}".format(*outputs)
        assert main(arguments.split()) == 0
        assert list(json.loads(outputs[0].read_text())["all"]) == list(BUCKETS)
        assert cv2.imread(str(outputs[2])).shape == (6 * 256, 4 * 256, 3)
        assert outputs[1].read_text() in capsys.readouterr().out
        (run / "log.jsonl").write_text('{"stage": "coarse", "images": 8, "time": 1.0, "l1": 0.5, "pace": 3.0}\n')
        assert main(["plot", "--run", str(run), "--out", str(tmp_path / "curve.png")]) == 0
        assert cv2.imread(str(tmp_path / "curve.png")) is not None

    def test_ablation_takes_one_piece_at_a_time(
        self, pictures: Path, mask_files: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kinds = (BidirectionalGatedFusion, DenseResidualSkip, ChannelSpatialAttention)
        for name, change in VARIANTS.items():
            present = {type(each) for each in RepairGenerator(16, 16, 8, coarse=CoarseGenerator(), **change).modules()}
            assert len(present & set(kinds)) == 3 - len(change), name
        monkeypatch.setattr("training.ablation.VARIANTS", {"full": {}, "no edges": {}})
        faces, weights = shutil.copytree(pictures, tmp_path / "judged"), trained / "weights.safetensors"
        arguments = f"ablation --data {pictures} --init {weights} --validate {faces} {mask_files} --out {tmp_path}/run"
        assert main(f"{arguments} --images 2 --per-bucket 1 --masks 20".split()) == 0
        rows = json.loads((tmp_path / "run" / "ablation.json").read_text())
        assert [(name, row["images"]) for name, row in rows.items()] == [("full", 2), ("no edges", 2)]
        assert rows["full"]["psnr"] != rows["no edges"]["psnr"]
        assert (tmp_path / "run" / "ablation.md").read_text().count("\n") == 4

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ("fit --data nowhere --out x", "nowhere is not a folder"),
            ("fit --data . --out x --images 9", "No images below"),
            ("evaluate --weights none.safetensors --images . --masks .", "none.safetensors"),
            ("plot --run nowhere --out x.png", "does not exist"),
            ("fit --data {pictures} --out x --config none.json", "cannot be read as a configuration"),
            ("evaluate --images . --masks . --runtime none", "none"),
            ("evaluate --images . --masks . --sheet x.none", "x.none does not end in a picture"),
            ("evaluate --images . --masks . --json no/x.json", "output folder does not exist"),
        ],
    )
    def test_mistakes_are_one_line(
        self, arguments: str, says: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert main(arguments.format(pictures=pictures).split()) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_the_default_networks_keep_to_their_budget() -> None:
    parameters, macs = (sum(each) for each in zip(*costs(Config()).values(), strict=True))
    assert parameters <= 6.0e6
    assert macs <= 4.1e9


def test_edges_count_exactly_and_within_two_pixels() -> None:
    wanted, found = np.zeros((40, 40), np.bool_), np.zeros((40, 40), np.bool_)
    wanted[10, 5:25] = True  # twenty pixels
    found[10, 5:10] = True  # five of them, exactly
    found[12, 10:15] = True  # five more, two pixels off
    found[30, 0:10] = True  # ten that are nowhere near
    counts = EdgeCounts()
    counts.add(found, wanted)
    assert counts.to_json() == {"precision": 0.25, "recall": 0.25, "precision_2px": 0.5, "recall_2px": 0.5}


def test_a_tinted_hole_has_a_seam() -> None:
    image = np.repeat(np.arange(100, 164, dtype=np.uint8)[:, None], 64, 1)[..., None].repeat(3, 2)
    mask, counts = np.zeros((64, 64), np.uint8), SeamCounts()
    mask[20:40, 20:40] = 255
    restored = image.copy()
    restored[20:40, 20:40, 1] += 10
    counts.add(restored, image, mask > 127)
    # true: 40 pairs along the ramp, 3 channels, a step of 1. Green: 20 of 11, 20 of 9, and 40 of 10 on the sides
    step = (80 + 20 * 11 + 20 * 9 + 40 * 10) / 120
    assert counts.to_json() == pytest.approx({"step": step, "tint": 1000 / 255}, abs=1e-3)


def _realism(change: Callable[[Image], Image]) -> dict[str, float]:
    """Noise of a fixed kind, a hole in each of eight pictures, and in it what ``change`` makes of the truth."""
    rng = np.random.default_rng(5)
    hole = np.zeros((64, 64), np.bool_)
    hole[10:50, 12:] = True
    counts = RealismCounts()
    for _ in range(8):
        image = rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)
        counts.add(np.where(hole[..., None], change(image), image), image, hole)
    counts.add(image, image, np.zeros_like(hole))  # without a hole: nothing to count
    return counts.to_json()


def test_realism_minds_blur_and_not_other_noise_of_the_same_kind() -> None:
    """Which no distance from pixel to pixel would say."""
    assert _realism(lambda image: image) == RealismCounts().to_json() == {"detail": 1.0, "swd": 0.0}
    blurred, other = _realism(lambda image: cv2.GaussianBlur(image, (0, 0), 2.0)), _realism(lambda image: image[::-1])
    assert blurred["detail"] < 0.2
    assert other["detail"] == pytest.approx(1.0, abs=0.05)
    assert other["swd"] < 0.3 * blurred["swd"]


def test_a_pattern_of_four_is_told_from_noise() -> None:
    noise = np.random.default_rng(2).integers(100, 150, (128, 128, 3)).astype(np.uint8)
    grid, hole = noise.copy(), np.zeros((128, 128), np.bool_)
    grid[::4, :] += 40
    grid[:, ::4] += 40
    hole[20:110, 20:110] = True
    found = []
    for picture in (noise, grid, np.where(hole[..., None], noise, grid)):
        counts = GridCounts()
        counts.add(picture, hole)
        found.append(counts.to_json()["grid"])
    assert found[0] == pytest.approx(1.0, abs=0.03)
    assert found[1] > 1.1
    assert found[2] == pytest.approx(found[0], abs=0.02), "the hole alone"
