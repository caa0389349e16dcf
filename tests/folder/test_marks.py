"""The command on photographs that mark their own damage, and what is said of masks that cannot be meant."""

from __future__ import annotations

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


def painted(folder: Folder) -> NDArray[np.uint8]:
    """A photograph whose damage is painted over."""
    picture = make_photo(HEIGHT, WIDTH)
    picture[folder.masked > 0] = MAGENTA
    return picture


def command(folder: Folder, photo: Path, out: Path, *options: object) -> int:
    return cli.main([str(word) for word in ("restore", photo, "-o", out, "--bundle", folder.bundle, *options)])


def restored(folder: Folder, photo: str, out: str, *options: object) -> Path:
    assert command(folder, folder.source / photo, folder.place / out, *options) == 0
    return folder.place / out


def check(folder: Folder, result: NDArray[np.generic], given: NDArray[np.generic]) -> None:
    """Equal outside the mask, and restored inside."""
    masked = folder.masked > 0
    assert (result.dtype, result.shape) == (given.dtype, given.shape)
    assert np.array_equal(result[~masked], given[~masked])
    assert not np.array_equal(result[masked], given[masked])


def test_a_colour(folder: Folder) -> None:
    picture = painted(folder)
    Image.fromarray(picture).save(folder.source / "a.png")
    result = np.asarray(Image.open(restored(folder, "a.png", "out.png", "--mask-color", "#ff00ff")))
    check(folder, result, picture)
    assert not (result == MAGENTA).all(axis=2).any()


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency(folder: Folder, suffix: str) -> None:
    picture = np.dstack((make_photo(HEIGHT, WIDTH), 255 - folder.masked))
    Image.fromarray(picture).save(folder.source / f"a{suffix}", lossless=True, exact=True)
    result = np.asarray(Image.open(restored(folder, f"a{suffix}", f"out{suffix}", "--mask-alpha")))
    check(folder, result, picture[..., :3])
    with Image.open(restored(folder, f"a{suffix}", "out.jpg", "--mask-alpha")) as opaque:  # so any format will do
        assert (opaque.size, opaque.mode) == ((WIDTH, HEIGHT), "RGB")


def test_a_mask_of_the_photograph_as_it_is_stored(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(make_photo(HEIGHT, WIDTH))).save(folder.source / "a.jpg", exif=exif)
    restored(folder, "a.jpg", "out.jpg", "--mask", folder.mask("m.png"))  # which is upright
    lying = folder.write(folder.place / "lying.png", cv2.imencode(".png", np.rot90(folder.masked).copy())[1])
    assert command(folder, folder.source / "a.jpg", folder.place / "no.jpg", "--mask", lying) == 2
    assert "as it is stored, not as it is shown" in capsys.readouterr().err


def test_a_folder_that_marks_itself(folder: Folder) -> None:
    for number in range(3):
        Image.fromarray(painted(folder)).save(folder.source / f"{number}.png")
    folder.photo("undamaged.png")
    marked = [folder.source, folder.target, "--mask-color", "#ff00ff"]
    assert command(folder, *marked) == 9
    assert command(folder, *marked, "--unmarked", "skip") == 0
    assert folder.results() == ["0.png", "1.png", "2.png"]
    assert command(folder, *marked, "--unmarked", "skip", "--format", "webp", "--quality", "80") == 0
    assert folder.results()[:2] == ["0.png", "0.webp"]
    assert folder.log()[-1]["restored"] == 3
    with Image.open(folder.target / "0.webp") as image:
        assert image.size == (WIDTH, HEIGHT)


def test_odd_masks_are_noted_with_the_option_that_helps(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    photo, mask = folder.photo("a.png"), folder.mask("m.png")
    with Image.open(mask) as image:
        Image.fromarray(255 - np.asarray(image)).save(folder.place / "inverted.png")
    for name, more, told in (
        (mask, [], ""),
        ("inverted.png", [], "of the picture; white is what to repaint: see --invert-mask"),
        ("inverted.png", ["--invert-mask"], ""),
        (photo, [], "has many shades, as a photograph; white (above 127) is what to repaint: see --invert-mask"),
    ):
        restored(folder, "a.png", "out.png", "--mask", folder.place / name, *more)
        said = capsys.readouterr().out
        assert told in said
        assert ("note: the mask" in said) == bool(told)
    assert command(folder, folder.source, folder.target, "--mask", folder.place / "inverted.png") == 0
    assert "a.png: note: the mask marks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "hint: pass --mask FILE, --mask auto, --mask-color or --mask-alpha"),
        (["--mask-color", "pink"], "no colour"),
        (["--mask-color", "#fff", "--mask-tolerance", "256"], "0 to 255"),
        (["--mask-color", "#00ff00"], "nothing in the photo"),
        (["--mask-alpha", "--mask-tolerance", "3"], "with --mask-color"),
        (["--mask-alpha", "--quality", "0"], "1 to 100"),
        (["--mask-alpha"], "no alpha channel"),
    ],
)
def test_options_that_make_no_sense(
    folder: Folder, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.place / "out.png"
    assert command(folder, folder.photo("a.png"), out, *options) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
