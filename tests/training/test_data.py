from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from training.augment import random_view
from training.data import DamagedFaces, DataError, find_images, read_rgb, samples_of, sampling_weights, stream
from training.masks import DAMAGES, random_mask


def test_masks_are_seeded_and_keep_to_their_share() -> None:
    ratios = []
    for seed in range(90):
        mask = random_mask(np.random.default_rng(seed))
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask, random_mask(np.random.default_rng(seed)))
        ratios.append((mask > 0).mean())
    assert min(ratios) > 0
    assert max(ratios) <= 0.9
    assert np.histogram(ratios, [0, 0.1, 0.3, 0.5, 0.9])[0].min() >= 5, "all sizes of hole occur"
    assert np.mean(np.array(ratios) > 0.35) > 0.45, "wide ones more often"


def test_wide_masks_are_of_wide_damage_keep_off_the_rim_and_are_closed_oftener(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool, bool, float]] = []

    def drawn(kinds: Any, rng: Any, size: int, target: float, largest: float, closed_odds: float) -> Any:
        share = target * (size / 256) ** 2
        asked.append((0.51 <= share <= 0.6, max(kinds) < 4, size < 256, closed_odds))
        return np.zeros((size, size), np.uint8)

    monkeypatch.setattr("training.masks._drawn", drawn)
    for seed in range(3000):
        random_mask(np.random.default_rng(seed))
    (wide, narrow) = (np.array([each[1:] for each in asked if each[0] is which]) for which in (True, False))
    assert len(wide) > 700
    chunky, off_the_rim, closed = wide.mean(axis=0) - narrow.mean(axis=0)
    assert chunky > 0.12  # some of these are ordinary masks that happen to be as wide
    assert off_the_rim > 0.04
    assert closed > 0.06


def test_a_quarter_of_the_reframed_views_is_smaller_for_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that is made smaller than the picture is averaged first; one that is not, is not."""
    shrunk: list[bool] = []
    real = cv2.resize

    def resize(*arguments: Any, **named: Any) -> Any:
        shrunk.append(True)
        return real(*arguments, **named)

    monkeypatch.setattr("training.augment.cv2.resize", resize)
    image = np.zeros((256, 256, 3), np.uint8)
    for seed in range(600):
        random_view(image, np.random.default_rng(seed))
    often = len(shrunk) / 600
    shrunk.clear()
    monkeypatch.setattr("training.augment._SMALLER_ODDS", 0.0)
    for seed in range(600):
        random_view(image, np.random.default_rng(seed))
    assert 0.26 < often < 0.36
    assert often > len(shrunk) / 600 + 0.03


def test_a_picture_too_small_for_a_face_is_left_out(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in pictures.iterdir():
        shutil.copy(path, tmp_path)
    cv2.imwrite(str(tmp_path / "line.png"), np.zeros((1, 300, 3), np.uint8))
    samples = DamagedFaces(tmp_path, 0, 0, 60)
    for index in range(60):
        samples[index]
    assert "line.png is 300 x 1 px" in capsys.readouterr().out


def test_masks_can_be_kept_small() -> None:
    assert max((random_mask(np.random.default_rng(seed), largest=0.1) > 0).mean() for seed in range(40)) <= 0.1


@pytest.mark.parametrize(("draw", "_odds"), DAMAGES)
def test_every_kind_of_damage_leaves_a_mark(draw: object, _odds: float) -> None:
    shares = []
    for seed in range(20):
        canvas = np.zeros((256, 256), np.uint8)
        draw(canvas, np.random.default_rng(seed))  # type: ignore[operator]
        shares.append((canvas > 0).mean())
    assert np.median(shares) > 0.0005
    assert max(shares) < 0.9


def test_an_index_is_found_from_the_folder_itself(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "faces"
    shutil.copytree(pictures, folder)
    files = find_images(folder)
    rows = [f"faces/{path.name},{sharp},0,0" for path, sharp in zip(files, (800, 50), strict=False)]
    (tmp_path / "index.csv").write_text("\n".join(["file,sharpness,synthetic,gray", *rows]))
    weights = sampling_weights(folder, files)
    assert weights[0] / weights[1] == pytest.approx(1.6 / 0.5)
    monkeypatch.chdir(folder)
    assert np.array_equal(sampling_weights(Path(), find_images(Path())), weights)


@pytest.mark.parametrize("text", ["name\n0.png", "file,sharpness,synthetic,gray\n0.png,nan,0,0", "file,sharpness\na"])
def test_an_index_that_cannot_be_used_is_named(pictures: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(pictures, tmp_path / "faces")
    index = tmp_path / "faces" / "index.csv"
    index.write_text(text)
    with pytest.raises(DataError, match=r"index\.csv cannot be read as an index .*needs the columns"):
        sampling_weights(index.parent, find_images(index.parent))


def test_an_error_of_the_samples_process_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    loader = stream(DamagedFaces(tmp_path, 0, 0, 4), 2, workers=1)
    with pytest.raises(DataError, match=r"^Twenty files in a row could not be read\. Check the data folder\.$"):
        next(samples_of(loader))


def test_a_program_ends_though_its_loader_is_still_there(pictures: Path) -> None:
    code = """
import sys
from pathlib import Path
from training.data import DamagedFaces, stream
batches = iter(stream(DamagedFaces(Path(sys.argv[1]), 0, 0, 64), 2, workers=1))
next(batches)
raise SystemExit(3)
"""
    done = subprocess.run([sys.executable, "-c", code, str(pictures)], check=False, timeout=120)
    assert done.returncode == 3


def test_a_file_that_vanishes_is_an_error_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_rgb(tmp_path / "gone.png")


def test_views_differ_but_are_seeded(pictures: Path) -> None:
    image = read_rgb(pictures / "0.png")
    views = [random_view(image, np.random.default_rng(seed)) for seed in range(12)]
    assert all(view.shape == (256, 256, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) > 6
    assert np.array_equal(views[3], random_view(image, np.random.default_rng(3)))


def test_other_sizes_and_grey_files_are_taken(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 140), 77, np.uint8))
    sample = DamagedFaces(tmp_path, 0, 0, 1)[0]
    assert sample[0].shape == (3, 256, 256)
    assert all(each.shape == (1, 256, 256) for each in sample[1:])


def test_a_stream_goes_on_where_it_was_left(pictures: Path) -> None:
    whole = [torch.stack([p.float().sum() for p in parts]) for parts in stream(DamagedFaces(pictures, 5, 0, 8), 2, 0)]
    rest = [torch.stack([p.float().sum() for p in parts]) for parts in stream(DamagedFaces(pictures, 5, 4, 8), 2, 0)]
    assert len(whole) == 4
    assert torch.equal(torch.stack(whole[2:]), torch.stack(rest))
    assert not torch.equal(whole[0], whole[1])


def test_damaged_edges_do_not_show_the_hole(pictures: Path) -> None:
    _, mask, _edges, damaged = DamagedFaces(pictures, 1, 0, 1)[0]
    assert not ((mask > 0) & (damaged > 0)).any()


def test_broken_files_are_skipped_with_a_word(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(pictures / "0.png", tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    faces = DamagedFaces(tmp_path, 0, 0, 12)
    assert all(faces[i][0].shape == (3, 256, 256) for i in range(12))
    assert "broken.png is not an image" in capfd.readouterr().out


def test_only_broken_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="Twenty files"):
        DamagedFaces(tmp_path, 0, 0, 1)[0]


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No images below"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        find_images(tmp_path / "nowhere")


def test_sampling_favours_sharp_real_colour_photographs(tmp_path: Path) -> None:
    names = ["soft", "sharp", "fake", "grey"]
    files = [tmp_path / "train" / f"{name}.jpg" for name in names]
    (tmp_path / "index.csv").write_text(
        "file,source,synthetic,gray,sharpness\n"
        "train/soft.jpg,a,0,0,30\ntrain/sharp.jpg,a,0,0,400\ntrain/fake.jpg,a,1,0,400\ntrain/grey.jpg,a,0,1,400\n"
    )
    soft, sharp, fake, grey = sampling_weights(tmp_path / "train", files)
    assert sharp > 2 * soft
    assert sharp > 2 * fake
    assert sharp > grey
    assert np.isclose(soft + sharp + fake + grey, 1.0)
    assert len(set(sampling_weights(tmp_path / "elsewhere", [tmp_path / "x.jpg", tmp_path / "y.jpg"]))) == 1


def test_large_faces_are_averaged_down_not_sampled() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    spread = [random_view(noise, np.random.default_rng(seed)).std() for seed in range(16)]
    assert max(spread) < 40, "plain bilinear sampling keeps the spread of noise near 60"
