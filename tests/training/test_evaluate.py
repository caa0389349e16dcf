from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training.perceptual import VggLosses
from training.validate import Validator

from training.augment import square
from training.checkpoint import CheckpointError
from training.cli import main
from training.config import Config, from_json
from training.data import DataError
from training.edges import EdgeCounts
from training.evaluate import evaluate, stages_model, weights_model
from training.fit import Options, StageTrainer
from training.networks.stages import EdgeStage, RepairStage
from training.protocol import BUCKETS, Image, cases, count_cases, framed, masks_by_bucket
from training.realism import RealismCounts
from training.seams import SeamCounts


def test_buckets_and_pairs(pictures: Path, mask_files: Path) -> None:
    found = list(cases(pictures, mask_files))
    assert BUCKETS == ("1-10%", "10-20%", "20-30%", "30-40%", "40-50%", "50-60%")
    assert len(found) == count_cases(pictures, mask_files) == 36
    for case in found:
        low, high = (int(part.strip("%")) / 100 for part in case.bucket.split("-"))
        assert low < (case.mask > 127).mean() <= high
        assert (case.damaged[case.mask > 127] == 255).all()
        assert np.array_equal(case.damaged[case.mask == 0], case.image[case.mask == 0])


def test_masks_outside_every_bucket_are_left_out(mask_files: Path) -> None:
    assert "230.png" not in {path.name for paths in masks_by_bucket(mask_files).values() for path in paths}


def test_larger_and_oblong_faces_are_squared() -> None:
    image = np.zeros((218, 178, 3), np.uint8)
    image[20:198] = 200
    assert square(image).shape == (256, 256, 3)
    assert square(image).min() == 200


def test_framings_move_the_face() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(image, (168, 128), 6, (255, 255, 255), -1)  # 40 px right of the centre

    def spot(framing: str) -> tuple[float, float]:
        bright = np.argwhere(framed(image, framing)[..., 0] > 127)[:, ::-1]
        return tuple(bright.mean(axis=0))

    assert spot("aligned") == (168, 128)
    assert spot("shifted") == pytest.approx((168 + 38.4, 128 + 38.4), abs=0.6)
    assert spot("smaller") == pytest.approx((128 + 32, 128), abs=0.6)
    assert spot("turned") == pytest.approx((128 + 38.6, 128 - 10.4), abs=0.6)
    assert spot("loose") == pytest.approx((128 + 30.9 + 38.4, 128 - 8.3 + 38.4), abs=0.6)


def test_a_perfect_model_scores_perfectly_and_opencv_does_not(pictures: Path, mask_files: Path) -> None:
    truth = {case.damaged.tobytes(): case.image for case in cases(pictures, mask_files, 2)}

    def oracle(image: Image, mask: Image) -> tuple[Image, Image]:
        return truth[image.tobytes()], mask

    report = evaluate(oracle, cases(pictures, mask_files, 2))
    for bucket in BUCKETS:
        assert report.mean(bucket, "model", "l1") == 0
        assert report.mean(bucket, "model", "ssim") == pytest.approx(1)
        assert 10 < report.mean(bucket, "telea", "psnr") < 60
        assert report.mean(bucket, "telea", "l1") > 0
    assert report.mean("1-10%", "telea", "psnr") > report.mean("50-60%", "telea", "psnr")
    assert report.sheet().shape == (12 * 256, 4 * 256, 3)
    assert report.to_markdown().count("\n") == report.realism_markdown().count("\n") == 8


def test_validator_figures(tiny: Config, pictures: Path, mask_files: Path) -> None:
    validate = Validator(pictures, mask_files, per_bucket=2)
    edge, repair = tiny.build("edge"), tiny.build("repair")
    assert {"precision", "recall", "cross_entropy"} == validate({"edge": edge}).keys()
    figures = validate({"edge": edge, "repair": repair})
    assert tuple(figures) == BUCKETS
    report = evaluate(stages_model(EdgeStage(edge), RepairStage(repair)), cases(pictures, mask_files, 2))
    for bucket in BUCKETS:
        assert figures[bucket] == pytest.approx(report.mean(bucket, "model", "psnr"), abs=0.02)


class TestCommand:
    def test_fit_evaluate_and_plot(
        self, tiny: Config, pictures: Path, mask_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = tmp_path / "settings.json"
        settings.write_text(json.dumps(tiny.to_json()))
        run = tmp_path / "run"
        arguments = ["fit", "--data", str(pictures), "--out", str(run), "--config", str(settings), "--workers", "0"]
        assert main([*arguments, "--validate", str(pictures), str(mask_files)]) == 2
        assert "they would be learned by heart" in capsys.readouterr().err
        judged = shutil.copytree(pictures, tmp_path / "judged")
        assert main([*arguments, "--validate", str(judged), str(mask_files)]) == 0
        table, sheet = tmp_path / "table.json", tmp_path / "sheet.png"
        folders = ["--images", str(pictures), "--masks", str(mask_files), "--per-bucket", "1"]
        outputs = ["--json", str(table), "--sheet", str(sheet), "--markdown", str(tmp_path / "table.md")]
        assert main(["evaluate", "--weights", str(run / "weights.safetensors"), *folders, *outputs]) == 0
        rows = json.loads(table.read_text())
        assert list(rows) == list(BUCKETS)
        model = weights_model(run / "weights.safetensors")
        report = evaluate(model, cases(pictures, mask_files, 1))
        assert [rows[bucket]["model"]["psnr"] for bucket in BUCKETS] == pytest.approx(
            [report.mean(bucket, "model", "psnr") for bucket in BUCKETS], abs=1e-3
        )
        assert cv2.imread(str(sheet)).shape == (6 * 256, 4 * 256, 3)
        again = tmp_path / "again.safetensors"
        assert main(["weights", "--run", str(run), "--out", str(again)]) == 0
        assert again.read_bytes() == (run / "weights.safetensors").read_bytes()
        assert main(["plot", "--run", str(run), "--out", str(tmp_path / "curve.png")]) == 0
        assert cv2.imread(str(tmp_path / "curve.png")) is not None
        assert "| 50-60% |" in capsys.readouterr().out

    def test_info_prints_the_budget(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info"]) == 0
        edge, repair, both = (line.split() for line in capsys.readouterr().out.splitlines())
        assert [line[0] for line in (edge, repair, both)] == ["edge", "repair", "both"]
        assert float(edge[1]) + float(repair[1]) == pytest.approx(float(both[1]), abs=0.002)
        assert float(both[1]) <= 4.0, "million parameters"
        assert float(both[4]) <= 4.0, "billion multiply-accumulates"

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["fit", "--data", "nowhere", "--out", "x"], "nowhere is not a folder"),
            (
                ["fit", "--data", "nowhere", "--out", "x", "--validate-every", "0"],
                "--validate-every must be at least 1",
            ),
            (["evaluate", "--weights", "none.safetensors", "--images", ".", "--masks", "."], "none.safetensors"),
            (["plot", "--run", "nowhere", "--out", "x.png"], "does not exist"),
            (["info", "--config", "none.json"], "cannot be read as a configuration"),
            (["evaluate", "--bundle", "none", "--images", ".", "--masks", "."], "none"),
            (["evaluate", "--images", ".", "--masks", ".", "--runtime", "none"], "none"),
            (["evaluate", "--images", ".", "--masks", ".", "--sheet", "x.none"], "x.none does not end in a picture"),
            (["evaluate", "--images", ".", "--masks", ".", "--json", "no/x.json"], "output folder does not exist"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        arguments: list[str],
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
        assert not list(tmp_path.iterdir())


class TestPerceptual:
    def test_needs_the_weights_of_vgg19(self, tmp_path: Path) -> None:
        save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError, match="is not VGG-19"):
            VggLosses(tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError, match="Convert"):
            VggLosses(tmp_path / "none.safetensors")

    def test_trains_with_them(
        self, tiny: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With random weights in VGG-19's shapes, thinned out to run in a test."""
        monkeypatch.setattr("training.perceptual._LAYERS", (4, 4, 0, 4, 4, 0, 4, 4, 4, 4, 0, 4, 4, 4, 4, 0, 4, 4))
        shapes = {}
        inputs, index = 3, 0
        for outputs in (4, 4, 0, 4, 4, 0, 4, 4, 4, 4, 0, 4, 4, 4, 4, 0, 4, 4):
            if outputs:
                shapes[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * 0.3
                shapes[f"features.{index}.bias"] = torch.zeros(outputs)
                inputs, index = outputs, index + 2
            else:
                index += 1
        save_file(shapes, tmp_path / "vgg.safetensors")
        vgg = VggLosses(tmp_path / "vgg.safetensors")
        image = torch.rand(1, 3, 64, 64)
        assert [float(each) for each in vgg(image, image)] == [0.0, 0.0]
        perceptual, style = vgg(image, -image)
        assert perceptual > 0
        assert style > 0
        settings = tiny.to_json()
        settings["repair"]["losses"] |= {"perceptual": 0.1, "style": 10.0}
        options = Options(pictures, tmp_path / "run", workers=0, perceptual=vgg)
        options.out.mkdir()
        trainer = StageTrainer("repair", from_json(settings), options, tiny.build("edge"))
        losses = trainer.step(next(trainer._batches()))
        assert losses["perceptual"] > 0
        assert losses["style"] > 0


def test_edges_count_exactly_and_within_two_pixels() -> None:
    wanted, found = np.zeros((40, 40), np.bool_), np.zeros((40, 40), np.bool_)
    wanted[10, 5:25] = True  # twenty pixels
    found[10, 5:10] = True  # five of them, exactly
    found[12, 10:15] = True  # five more, two pixels off
    found[30, 0:10] = True  # ten that are nowhere near
    counts = EdgeCounts()
    counts.add(found, wanted)
    assert counts.to_json() == {"precision": 0.25, "recall": 0.25, "precision_2px": 0.5, "recall_2px": 0.5}


class TestSeams:
    @staticmethod
    def measured(change: int) -> dict[str, float]:
        """A ramp whose hole is off by ``change``."""
        image = np.repeat(np.arange(100, 164, dtype=np.uint8)[:, None], 64, 1)[..., None].repeat(3, 2)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        restored = image.copy()
        restored[20:40, 20:40, 1] += np.uint8(change)
        counts = SeamCounts()
        counts.add(restored, image, mask)
        counts.add(image, image, np.zeros_like(mask))  # without a hole: nothing to count
        return counts.to_json()

    def test_the_truth_has_none(self) -> None:
        assert self.measured(0) == {"step": 1.0, "tint": 0.0}

    def test_a_tinted_hole(self) -> None:
        found = self.measured(10)
        # true: 40 pairs along the ramp, 3 channels, a step of 1. Green: 20 of 11, 20 of 9, and 40 of 10 on the sides
        assert found["step"] == pytest.approx((80 + 20 * 11 + 20 * 9 + 40 * 10) / 120, abs=1e-3)
        assert found["tint"] == pytest.approx(100 * 10 / 255, abs=1e-3)

    def test_no_image(self) -> None:
        assert SeamCounts().to_json() == {"step": 0.0, "tint": 0.0}


class TestRealism:
    @staticmethod
    def measured(change: Callable[[Image], Image]) -> dict[str, float]:
        """Noise of a fixed kind, a hole in each of eight pictures, and in it what ``change`` makes of the truth."""
        rng = np.random.default_rng(5)
        hole = np.zeros((64, 64), np.bool_)
        hole[10:50, 12:60] = True
        counts = RealismCounts()
        for _ in range(8):
            image = rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)
            counts.add(np.where(hole[..., None], change(image), image), image, hole)
        counts.add(image, image, np.zeros_like(hole))  # without a hole: nothing to count
        return counts.to_json()

    def test_the_truth(self) -> None:
        assert self.measured(lambda image: image) == {"detail": 1.0, "swd": 0.0}

    def test_blur_has_too_little_detail(self) -> None:
        found = self.measured(lambda image: cv2.GaussianBlur(image, (0, 0), 2.0))
        assert found["detail"] < 0.2
        assert found["swd"] > 3.0

    def test_other_noise_of_the_same_kind_is_as_good_as_the_truth(self) -> None:
        """Which no distance from pixel to pixel would say."""
        found = self.measured(lambda image: np.ascontiguousarray(image[::-1, ::-1]))
        assert found["detail"] == pytest.approx(1.0, abs=0.05)
        assert found["swd"] < 0.3 * self.measured(lambda image: cv2.GaussianBlur(image, (0, 0), 0.8))["swd"]

    @pytest.mark.parametrize("side", [1, 2, 200])
    def test_holes_of_any_size(self, side: int) -> None:
        image = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        hole = np.zeros((256, 256), np.bool_)
        hole[-side:, -side:] = True  # in the corner: patches are moved inwards
        counts = RealismCounts()
        counts.add(image, image, hole)
        assert counts.to_json() == {"detail": 1.0, "swd": 0.0}

    def test_no_image(self) -> None:
        assert RealismCounts().to_json() == {"detail": 1.0, "swd": 0.0}


def test_a_folder_without_a_readable_face_is_refused(tmp_path: Path, mask_files: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="can be read as a picture"):
        list(cases(tmp_path, mask_files))
