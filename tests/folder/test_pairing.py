"""Which photograph gets which mask, and what is said about those that get none."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.errors import InputError, OutputError
from restore_sdk.folder.pairing import Pair, find_pairs
from tests.folder.conftest import Folder


def find(folder: Folder, masks: str | None = "masks", target: str = "out", **more: Any) -> tuple[list[Pair], list[str]]:
    return find_pairs(folder.source, masks and folder.place / masks, folder.place / target, **more)  # type: ignore[arg-type]


def touch(place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def masks_of(pairs: list[Pair]) -> dict[str, str | None]:
    """Names of photographs that can be restored, with those of their masks."""
    return {pair.name: pair.mask and pair.mask.name for pair in pairs if pair.problem is None}


def problems(pairs: list[Pair]) -> dict[str, str]:
    return {pair.name: pair.problem.message for pair in pairs if pair.problem is not None}


def test_by_name_in_subfolders(folder: Folder) -> None:
    names = ["a.jpg", "b.c.png", "e.heic", "sub/a.TIFF", "sub/deep er/d.webp"]
    touch(folder.source, *names, ".hidden.png", "notes.txt", "clip.MOV", "other.mov", "empty")
    touch(folder.masks, *(str(Path(name).with_suffix(".png")) for name in names))
    pairs, notes = find(folder)
    assert [(pair.name, pair.output) for pair in pairs] == [(name, folder.target / name) for name in names]
    assert all(pair.mask == (folder.masks / pair.name).with_suffix(".png") for pair in pairs)
    assert problems(pairs) == {}
    assert notes == [f"4 other file(s) in {folder.source} were left aside: 2 of .mov, 1 of no extension, 1 of .txt"]
    assert {pair.output.suffix for pair in find(folder, suffix=".png")[0]} == {".png"}


@pytest.mark.parametrize(
    ("files", "masks", "target", "suffix", "expected"),
    [
        (["a.png", "b.png", "mask.png"], "in/mask.png", "out", "", {"a.png": "mask.png", "b.png": "mask.png"}),
        (
            ["a.png", "a_mask.png", "b.jpg", "b_mask.png"],
            "in",
            "out",
            "_mask",
            {"a.png": "a_mask.png", "b.jpg": "b_mask.png"},
        ),
        (["a.png", "masks/a.png", "done/a.png"], "in/masks", "in/done", "", {"a.png": "a.png"}),
        (["a.png"], None, "out", "", {"a.png": None}),
    ],
    ids=["one for all", "beside the photographs", "inside the source", "none"],
)
def test_where_masks_may_lie(
    folder: Folder, files: list[str], masks: str | None, target: str, suffix: str, expected: dict[str, str | None]
) -> None:
    touch(folder.source, *files)
    pairs, _ = find(folder, masks, target, mask_suffix=suffix)
    assert (masks_of(pairs), problems(pairs)) == (expected, {})


def test_composed_and_decomposed_names_are_one(folder: Folder) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë_máscara.png") for form in ("NFC", "NFD"))
    touch(folder.source, composed)
    touch(folder.masks, decomposed)
    assert masks_of(find(folder)[0]) == {composed: decomposed}


def test_what_does_not_fit(folder: Folder) -> None:
    touch(folder.source, "twin.jpg", "twin.png", "two.png", "alone.png", "good.png")
    touch(folder.masks, "twin.png", "two.png", "two.jpg", "good.png", "orphan.png")
    pairs, notes = find(folder)
    assert masks_of(pairs) == {"good.png": "good.png"}
    assert problems(pairs) == {
        "twin.jpg": "several photographs share the name twin",
        "twin.png": "several photographs share the name twin",
        "two.png": "several masks have its name: two.jpg, two.png",
        "alone.png": f"no mask has its name in {folder.masks}",
    }
    assert notes == [f"1 mask(s) without a photograph, the first: {folder.masks / 'orphan.png'}"]


def test_two_photographs_with_one_result(folder: Folder) -> None:
    touch(folder.source, "a.jpg", "a.png", "B.png", "b.jpg", "c.png")
    touch(folder.place, "mask.png")
    assert len(masks_of(find(folder, "mask.png")[0])) == 5
    pairs, _ = find(folder, "mask.png", suffix=".png")
    assert list(masks_of(pairs)) == ["c.png"]
    assert all("several photographs would become" in message for message in problems(pairs).values())


def test_links_and_folders_that_cannot_be_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(folder.place, "elsewhere/a.png", "masks/a.png", "masks/gone.png", "in/shut/b.png")
    (folder.source / "a.png").symlink_to(folder.place / "elsewhere" / "a.png")
    (folder.source / "gone.png").symlink_to(folder.place / "nowhere")
    (folder.source / "loop").symlink_to(folder.source)
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    pairs, notes = find(folder)
    assert list(masks_of(pairs)) == ["a.png", "gone.png"]
    assert notes == [
        f"the folder {folder.source / 'loop'} is a link and was not entered",
        f"the folder {folder.source / 'shut'} cannot be read: Permission denied",
    ]


def test_no_output_is_an_input(folder: Folder) -> None:
    touch(folder.place, "in/a.png", "in/b.png", "masks/a.png", "masks/b.png")
    for target in ("in", "masks", "in/../in"):
        with pytest.raises(OutputError, match="holds the input"):
            find(folder, target=target)
    folder.target.mkdir()
    (folder.target / "a.png").hardlink_to(folder.source / "a.png")
    (folder.target / "b.png").symlink_to(folder.masks / "b.png")
    assert ["is an input" in message for message in problems(find(folder)[0]).values()] == [True, True]


@pytest.mark.parametrize(
    ("files", "masks", "suffix", "message"),
    [
        ([], "masks", "", "no photograph in"),
        (["in/a.png"], "no", "", "there are no masks at"),
        (["in/a.png"], "null\0", "", "there are no masks at"),
        (["in/a.png", "in/a_mask.png"], "in", "", "--mask-suffix _mask"),
        (["in/a.png", "in/mask.png"], "in/mask.png", "_mask", "--mask-suffix is for a folder of masks"),
        (["in/a.png"], None, "_mask", "--mask-suffix is for a folder of masks"),
    ],
)
def test_what_cannot_be_paired(folder: Folder, files: list[str], masks: str | None, suffix: str, message: str) -> None:
    touch(folder.place, *files)
    with pytest.raises(InputError, match=message):
        find(folder, masks, mask_suffix=suffix)
    folder.source = folder.place / "nowhere"
    with pytest.raises(InputError, match="no folder at"):
        find(folder)
