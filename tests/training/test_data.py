from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.data import DataError, find_images, sampling_weights
from training.faces import DamagedViews, Faces, mask_bank
from training.label import glasses
from training.masks import random_mask
from training.networks.contours import CONTOURS, POINTS


class TestMasks:
    def test_they_are_seeded_and_keep_to_their_share(self) -> None:
        ratios = []
        for seed in range(90):
            mask = random_mask(np.random.default_rng(seed))
            assert (mask.dtype, set(np.unique(mask))) == (np.uint8, {0, 255})
            assert np.array_equal(mask, random_mask(np.random.default_rng(seed)))
            ratios.append((mask > 0).mean())
        assert 0 < min(ratios) <= max(ratios) <= 0.9
        assert np.histogram(ratios, [0, 0.1, 0.3, 0.5, 0.9])[0].min() >= 5, "all sizes of hole occur"
        assert np.mean(np.array(ratios) > 0.35) > 0.45, "wide ones more often"

    def test_a_bank_is_kept_and_made_anew_where_its_file_is_of_another_length(self, tmp_path: Path) -> None:
        cache = tmp_path / "masks.npy"
        bank = mask_bank(3, 4, cache, workers=1)
        first = random_mask(np.random.default_rng((3, 0)))
        assert np.array_equal(np.unpackbits(bank[0].numpy()).reshape(256, 256), first > 127)
        cache.write_bytes(cache.read_bytes()[:-1] + b"\7")
        assert mask_bank(3, 4, cache, workers=1)[-1, -1] == 7, "read, not drawn"
        assert mask_bank(3, 2, cache, workers=1).shape == (2, 8192)
        assert [path.name for path in tmp_path.iterdir()] == ["masks.npy"]


class TestFolder:
    def test_sharp_real_colour_photographs_come_oftener(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = shutil.copytree(pictures, tmp_path / "faces")
        files = find_images(folder)
        rows = "faces/0.png,800,0,0\nfaces/1.png,50,0,0\nfaces/2.png,800,1,0\nfaces/3.png,800,0,1"
        (tmp_path / "index.csv").write_text(f"file,sharpness,synthetic,gray\n{rows}")
        weights = sampling_weights(folder, files)
        assert (weights / weights[4]).tolist() == pytest.approx([1.6, 0.5, 1.6 * 0.45, 1.6 * 0.7, 1.0, 1.0])
        assert weights.sum() == pytest.approx(1.0)
        monkeypatch.chdir(folder)
        assert np.array_equal(sampling_weights(Path(), find_images(Path())), weights)

    @pytest.mark.parametrize(
        "text", ["name\n0.png", "file,sharpness,synthetic,gray\n0.png,nan,0,0", "file,sharpness\na"]
    )
    def test_an_index_that_cannot_be_used_is_named(self, pictures: Path, tmp_path: Path, text: str) -> None:
        folder = shutil.copytree(pictures, tmp_path / "faces")
        (folder / "index.csv").write_text(text)
        for least in (0.0, 100.0):
            with pytest.raises(DataError, match=r"index\.csv cannot be read as an index .*needs the columns"):
                Faces.read(folder, least_sharpness=least)

    def test_soft_photographs_can_be_left_out(self, pictures: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(pictures, tmp_path / "faces")
        rows = [f"{i}.png,{100 * i},0,0" for i in range(5)]
        (folder / "index.csv").write_text("\n".join(["file,sharpness,synthetic,gray", *rows]))
        assert len(Faces.read(folder, least_sharpness=300.0).images) == 3, "and what the index does not name is in"
        (folder / "5.png").unlink()
        with pytest.raises(DataError, match=r"No photograph below .* has a sharpness of 999"):
            Faces.read(folder, least_sharpness=999.0)

    def test_other_sizes_and_grey_files_are_taken_and_broken_ones_left_out_with_a_word(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for place, says in ((tmp_path, "No images below"), (tmp_path / "nowhere", "not a folder")):
            with pytest.raises(DataError, match=says):
                Faces.read(place)
        (tmp_path / "broken.png").write_bytes(b"no picture")
        (tmp_path / "empty.jpg").write_bytes(b"")
        with pytest.raises(DataError, match="can be read as a picture"):
            Faces.read(tmp_path)
        cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 140), 77, np.uint8))
        faces = Faces.read(tmp_path)
        assert faces.images.shape == (1, 3, 256, 256)
        assert (faces.images == 77).all()
        assert "broken.png is not an image" in capsys.readouterr().out

    def test_labels_are_found_by_name_and_others_are_refused(self, pictures: Path, tmp_path: Path) -> None:
        path, points = tmp_path / "labels.npz", np.full((1, len(POINTS), 2), 0.5, np.float32)
        np.savez(path, names=np.array(["3.png"]), points=points, glasses=np.zeros(1))
        assert Faces.read(pictures, path).found.tolist() == [False, False, False, True, False, False]
        np.savez(path, names=np.array(["other.png"]), points=points, glasses=np.zeros(1))
        with pytest.raises(DataError, match="names no photograph of"):
            Faces.read(pictures, path)
        np.savez(path, names=np.array(["3.png"]), points=points[:, 1:], glasses=np.zeros(1))
        with pytest.raises(DataError, match="has other points"):
            Faces.read(pictures, path)
        np.savez(path, names=np.array(["3.png"]), points=points)
        with pytest.raises(DataError, match="cannot be read as labels"):
            Faces.read(pictures, path)

    def test_faces_with_glasses_are_drawn_seldom(self, pictures: Path, tmp_path: Path) -> None:
        grey = cv2.imread(str(pictures / "0.png"), cv2.IMREAD_GRAYSCALE)
        eyes = np.array([100.0, 115.0], np.float32), np.array([156.0, 115.0], np.float32)
        framed = grey.copy()
        for x in (100, 156):
            cv2.circle(framed, (x, 115), 20, 20, 3)
        cv2.line(framed, (118, 110), (138, 110), 20, 3)
        turn = cv2.getRotationMatrix2D((128.0, 128.0), 20.0, 1.0)
        turned = [cv2.warpAffine(each, turn, (256, 256)) for each in (grey, framed)]
        turned_eyes = [(turn @ [*eye, 1.0]).astype(np.float32) for eye in eyes]
        worn = np.array([glasses(each, *eyes) for each in (grey, framed)])
        assert [glasses(each, *turned_eyes) for each in turned] == pytest.approx(worn.tolist(), rel=0.25)
        path = tmp_path / "labels.npz"
        points = np.full((2, len(POINTS), 2), 0.5, np.float32)
        np.savez(path, names=np.array(["0.png", "1.png"]), points=points, glasses=worn)
        plain, rare, *others = Faces.read(pictures, path).weights
        assert plain == others[0]
        assert rare < 0.2 * plain


@pytest.fixture(scope="module")
def bank() -> torch.Tensor:
    return mask_bank(0, 40, workers=1)


def _spot(x: float, y: float, points: torch.Tensor) -> Faces:
    """One face: a white spot on black at a place of the side, and contours of it."""
    image = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(image, (round(256 * x), round(256 * y)), 5, (255, 255, 255), -1)
    return Faces(torch.from_numpy(image).permute(2, 0, 1)[None], np.ones(1), points[None], torch.ones(1, dtype=bool))


class TestViews:
    @pytest.mark.parametrize("size", [64, 128, 256])
    def test_a_batch_depends_on_the_seed_and_its_number_alone(
        self, pictures: Path, labels: Path, bank: torch.Tensor, size: int
    ) -> None:
        faces = Faces.read(pictures, labels)
        views, again = (DamagedViews(faces, bank, size, 3, 5) for _ in range(2))
        first, second = views(0), views(1)
        assert all(torch.equal(a, b) for a, b in zip(vars(again(1)).values(), vars(second).values(), strict=True))
        assert not torch.equal(first.image, second.image)
        assert not torch.equal(first.image, DamagedViews(faces, bank, size, 3, 6)(0).image)
        assert first.image.shape == (3, 3, size, size)
        assert first.hole.shape == (3, 1, size, size)
        assert first.image.min() >= -1.0
        assert first.image.max() <= 1.0
        assert set(first.hole.unique().tolist()) == {0.0, 1.0}

    @pytest.mark.parametrize("size", [64, 256])
    def test_points_move_with_the_picture(self, bank: torch.Tensor, size: int) -> None:
        x, y = 0.4, 0.55
        views = DamagedViews(_spot(x, y, torch.tensor([x, y]).expand(len(POINTS), 2)), bank, size, 60, 1)(0)
        inside = (views.points[:, 0] > 0.03).all(1) & (views.points[:, 0] < 0.97).all(1)
        assert inside.sum() > 50
        at = F.grid_sample(views.image, views.points[:, :1].unsqueeze(2) * 2 - 1, align_corners=False).flatten(1)
        assert (at.mean(1) - views.image.mean((1, 2, 3)))[inside].min() > 0.5
        assert len({round(float(place), 3) for place in views.points[:, 0, 0]}) > 20, "half of the views are moved"
        area = (views.image > 0).float().mean((1, 2, 3))
        assert area.max() > 1.4 * area.median() > 1.9 * area.min()

    def test_a_mirror_exchanges_left_and_right(self, bank: torch.Tensor) -> None:
        names, start = list(CONTOURS), np.cumsum([0, *(len(points) for points, _ in CONTOURS.values())])
        left, right = (int(start[names.index(f"{side}_eye")]) for side in ("left", "right"))
        points = torch.full((len(POINTS), 2), 0.5)
        points[left], points[right] = torch.tensor([0.6, 0.45]), torch.tensor([0.35, 0.45])
        views = DamagedViews(_spot(0.6, 0.45, points), bank, 256, 40, 1)(0)
        places = views.points[:, [left, right, right + 1]].unsqueeze(2) * 2 - 1
        at = F.grid_sample(views.image, places, align_corners=False).mean((1, 3)) - views.image.mean((1, 2, 3))[:, None]
        both = (at[:, :2] > 0.5).sum(1)
        assert (both <= 1).all()
        assert (both == 1).float().mean() > 0.9
        assert 0.25 < (at[:, 0] > 0.5).float().mean() < 0.75

    def test_blots_hide_parts_of_faces_that_are_known(self) -> None:
        points = torch.rand(len(POINTS), 2, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
        face, none = _spot(0.5, 0.5, points), torch.zeros(20, 256 * 256 // 8, dtype=torch.uint8)
        views = DamagedViews(face, none, 64, 200, 1)(0)
        hidden = views.hole.flatten(1).any(1)
        assert 0.15 < hidden.float().mean() < 0.35
        over = F.grid_sample(views.hole, views.points[:, None] * 2 - 1, align_corners=False)[:, 0, 0]
        assert (over > 0.5).any(1)[hidden].float().mean() > 0.95
        assert 0.1 < (over > 0.5).all(1)[hidden].float().mean() < 0.7
        face.found[:] = False
        assert not DamagedViews(face, none, 64, 200, 1)(0).hole.any()
