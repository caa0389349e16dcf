"""Which photograph gets which mask, and what is said about those that get none."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.errors import InputError, OutputError
from restore_sdk.folder.pairing import Pairing, find_pairs
from tests.folder.conftest import Folder


def find(folder: Folder, masks: str | None = "masks", target: str = "out", **more: Any) -> Pairing:
    return find_pairs(folder.source, masks and folder.place / masks, folder.place / target, **more)  # type: ignore[arg-type]


def touch(place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def masks_of(found: Pairing) -> dict[str, str | None]:
    """Names of photographs that can be restored, with those of their masks."""
    return {pair.name: pair.mask and pair.mask.name for pair in found.pairs if pair.problem is None}


def problems(found: Pairing) -> dict[str, str]:
    return {pair.name: pair.problem.message for pair in found.pairs if pair.problem is not None}


def test_by_name_in_subfolders(folder: Folder) -> None:
    names = ["a.jpg", "b.c.png", "sub/a.TIFF", "sub/deep er/d.webp"]
    touch(folder.source, *names, ".hidden.png")
    touch(folder.masks, *(str(Path(name).with_suffix(".png")) for name in names))
    found = find(folder)
    assert [(pair.name, pair.output) for pair in found.pairs] == [(name, folder.target / name) for name in names]
    assert all(pair.mask == (folder.masks / pair.name).with_suffix(".png") for pair in found.pairs)
    assert (problems(found), found.orphans, found.notes) == ({}, [], [])
    assert {pair.output.suffix for pair in find(folder, suffix=".png").pairs} == {".png"}


def test_every_extension_of_a_format(folder: Folder) -> None:
    names = ["a.mpo", "b.jif", "c.jpe", "d.dib", "e.apng", "f.heic"]
    touch(folder.source, *names, "notes.txt", "clip.MOV", "other.mov", "empty")
    os.mkfifo(folder.source / "pipe")
    found = find(folder, None)
    assert [pair.name for pair in found.pairs] == names
    assert [pair.output.name for pair in found.pairs] == names
    assert found.notes == [
        f"5 other file(s) in {folder.source} were left aside: 2 of .mov, 2 of no extension, 1 of .txt"
    ]


def test_masks_that_are_named_almost_like_their_photograph_are_suggested(folder: Folder) -> None:
    touch(folder.source, "carl.jpg", "Dora.jpg", "emil.jpg", "fay.jpg")
    touch(folder.masks, "carl_mask.png", "dora.png", "emilia.png", "Fay-m 1.png")
    hints = [pair.problem and pair.problem.hint for pair in find(folder).pairs]
    assert hints == [
        "there is dora: give both the same capitals",
        "there is carl_mask: --mask-suffix=_mask",
        "add it, or see --unmarked",
        "there is Fay-m 1: --mask-suffix='-m 1', and give both the same capitals",
    ]
    (hint,) = (pair.problem.hint for pair in find(folder, mask_suffix="_Mask").pairs[1:2] if pair.problem)
    assert hint == "there is carl_mask: give both the same capitals"


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
    found = find(folder, masks, target, mask_suffix=suffix)
    assert (masks_of(found), problems(found)) == (expected, {})


def test_composed_and_decomposed_names_are_one(folder: Folder) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë_máscara.png") for form in ("NFC", "NFD"))
    touch(folder.source, composed)
    touch(folder.masks, decomposed)
    assert masks_of(find(folder)) == {composed: decomposed}
    touch(folder.source, "a.png", unicodedata.normalize("NFD", "a_máscara.png"))
    found = find(folder, "in", mask_suffix=unicodedata.normalize("NFC", "_máscara"))
    assert list(masks_of(found)) == ["a.png"]


def test_what_does_not_fit(folder: Folder) -> None:
    touch(folder.source, "twin.jpg", "twin.png", "two.png", "alone.png", "good.png")
    touch(folder.masks, "twin.png", "two.png", "two.jpg", "good.png", "orphan.png")
    found = find(folder)
    assert masks_of(found) == {"good.png": "good.png"}
    assert problems(found) == {
        "twin.jpg": "several photographs share the name twin",
        "twin.png": "several photographs share the name twin",
        "two.png": "several masks have its name: two.jpg, two.png",
        "alone.png": f"no mask has its name in {folder.masks}",
    }
    assert [path.name for path in found.orphans] == ["orphan.png"]


def test_two_photographs_with_one_result(folder: Folder) -> None:
    touch(folder.source, "a.jpg", "a.png", "B.png", "b.jpg", "c.png")
    touch(folder.place, "mask.png")
    assert len(masks_of(find(folder, "mask.png"))) == 5
    found = find(folder, "mask.png", suffix=".png")
    assert list(masks_of(found)) == ["c.png"]
    assert all("several photographs would become" in message for message in problems(found).values())


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
    found = find(folder)
    assert list(masks_of(found)) == ["a.png", "gone.png"]
    assert found.notes == [
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
    assert ["is an input" in message for message in problems(find(folder)).values()] == [True, True]


@pytest.mark.parametrize(
    ("files", "masks", "suffix", "message"),
    [
        ([], "masks", "", "no photograph in"),
        (["in/a.png"], "no", "", "there are no masks at"),
        (["in/a.png"], "long" * 100, "", "there are no masks at"),
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
