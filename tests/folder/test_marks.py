"""The command on photographs that mark their own damage, and on those of another kind: deep, turned, with metadata."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.cli import main as cli
from tests.conftest import make_photo
from tests.folder.conftest import HEIGHT, WIDTH, Folder

MAGENTA = (255, 0, 255)


def marked(folder: Folder) -> NDArray[np.uint8]:
    """A photograph whose damage is painted over."""
    picture = make_photo(HEIGHT, WIDTH)
    picture[folder.hole > 0] = MAGENTA
    return picture


def restored(folder: Folder, photo: Path, out: str, *options: object, code: int = 0) -> Path:
    target = folder.place / out
    words = ["restore", photo, "-o", target, "--bundle", folder.bundle, *options]
    assert cli.main([str(word) for word in words]) == code
    return target


def test_a_colour(folder: Folder) -> None:
    picture = marked(folder)
    Image.fromarray(picture).save(folder.source / "a.png")
    out = restored(folder, folder.source / "a.png", "out.png", "--mask-color", "#ff00ff")
    result = np.asarray(Image.open(out))
    hole = folder.hole > 0
    assert np.array_equal(result[~hole], picture[~hole])
    assert not (result == MAGENTA).all(axis=2).any()


def test_a_colour_that_jpeg_has_blurred(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(marked(folder)).save(folder.source / "a.jpg", quality=90)
    out = restored(folder, folder.source / "a.jpg", "out.jpg", "--mask-color", "f0f", "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["lossless"], report["quality"]) == (False, 90)
    result = np.asarray(Image.open(out)).astype(int)
    magenta = (result[..., 0] > result[..., 1] + 90) & (result[..., 2] > result[..., 1] + 90)
    assert np.count_nonzero(magenta & (folder.hole > 0)) < 10
    restored(folder, folder.source / "a.jpg", "no.png", "--mask-color", "#00ff00", code=2)
    assert "nothing in the photo" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency(folder: Folder, suffix: str) -> None:
    picture = np.dstack((make_photo(HEIGHT, WIDTH), 255 - folder.hole))
    Image.fromarray(picture).save(folder.source / f"a{suffix}", lossless=True, exact=True)
    for target in (f"out{suffix}", "out.jpg"):  # the result is opaque, so any format will do
        result = np.asarray(Image.open(restored(folder, folder.source / f"a{suffix}", target, "--mask-alpha")))
        assert result.shape == (HEIGHT, WIDTH, 3)
        if suffix in target:
            hole = folder.hole > 0
            assert np.array_equal(result[~hole], picture[~hole][:, :3])
            assert not np.array_equal(result[hole], picture[hole][:, :3])


def test_sixteen_bits(folder: Folder) -> None:
    deep = make_photo(HEIGHT, WIDTH).astype(np.uint16) * 257 + 100
    for suffix in (".png", ".tif"):
        cv2.imwrite(str(folder.source / f"a{suffix}"), deep)
        out = restored(folder, folder.source / f"a{suffix}", f"out{suffix}", "--mask", folder.mask("m.png"))
        result = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
        hole = folder.hole > 0
        assert result.dtype == np.uint16
        assert np.array_equal(result[~hole], deep[~hole])
        assert not np.array_equal(result[hole], deep[hole])


def test_a_photograph_on_its_side(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """The mask is that of the picture as it is shown."""
    exif = Image.Exif()
    exif[274], exif[271] = 6, "A camera"
    stored = Image.fromarray(np.rot90(make_photo(HEIGHT, WIDTH)))
    stored.save(folder.source / "a.jpg", exif=exif, quality=95)
    out = restored(folder, folder.source / "a.jpg", "out.jpg", "--mask", folder.mask("m.png"))
    with Image.open(out) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert (image.getexif()[274], image.getexif()[271]) == (1, "A camera")
    mask = folder.place / "lying.png"
    cv2.imwrite(str(mask), np.ascontiguousarray(np.rot90(folder.hole)))
    capsys.readouterr()
    restored(folder, folder.source / "a.jpg", "no.jpg", "--mask", mask, code=2)
    assert "as it is stored, not as it is shown" in capsys.readouterr().err


def test_a_folder_that_marks_itself(folder: Folder) -> None:
    for number in range(3):
        Image.fromarray(marked(folder)).save(folder.source / f"{number}.png")
    folder.photo("sound.png")
    words = ["restore", folder.source, "-o", folder.target, "--bundle", folder.bundle, "--mask-color", "#ff00ff"]
    assert cli.main([str(word) for word in words]) == 9
    assert cli.main([str(word) for word in [*words, "--unmarked", "skip"]]) == 0
    assert folder.results() == ["0.png", "1.png", "2.png"]
    assert cli.main([str(word) for word in [*words, "--format", "webp", "--unmarked", "skip", "--quality", "80"]]) == 0
    assert folder.results()[:2] == ["0.png", "0.webp"]
    assert folder.log()[-1]["restored"] == 3
    with Image.open(folder.target / "0.webp") as image:
        assert image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--mask", "m.png", "--mask-alpha"],
        ["--mask-color", "#ff00ff", "--mask-alpha"],
    ],
)
def test_one_thing_says_what_is_damaged(folder: Folder, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        restored(folder, folder.photo("a.png"), "out.png", *options)
    assert caught.value.code == 2
    assert "--mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mask-color", "pink"], "no colour"),
        (["--mask-color", "#fff", "--mask-tolerance", "256"], "0 to 255"),
        (["--mask-alpha", "--mask-tolerance", "3"], "with --mask-color"),
        (["--mask-alpha", "--quality", "0"], "1 to 100"),
        (["--mask-alpha"], "no alpha channel"),
    ],
)
def test_options_that_make_no_sense(
    folder: Folder, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = restored(folder, folder.photo("a.png"), "out.png", *options, code=2)
    assert message in capsys.readouterr().err
    assert not out.exists()
