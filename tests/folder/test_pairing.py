"""Which photograph gets which mask, and what is said about those that get none."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from restore_sdk.errors import InputError, OutputError
from restore_sdk.folder.jobs import Plan, find_jobs
from tests.folder.conftest import Folder


def plan(folder: Folder, **more: object) -> Plan:
    return find_jobs(folder.source, folder.masks, folder.target, **more)  # type: ignore[arg-type]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_by_name_in_subfolders(folder: Folder) -> None:
    names = ["a.jpg", "b.c.png", "sub/a.TIFF", "sub/deep er/d.webp"]
    touch(*(folder.source / name for name in names), folder.source / "notes.txt", folder.source / ".hidden.png")
    touch(*((folder.masks / name).with_suffix(".png") for name in names))
    found = plan(folder)
    assert [job.name for job in found.jobs] == names
    assert [job.output for job in found.jobs] == [folder.target / name for name in names]
    assert all(job.mask == (folder.masks / job.name).with_suffix(".png") for job in found.jobs)
    assert (found.refusals, found.orphans, found.notes) == ((), (), ())
    assert [job.output.suffix for job in plan(folder, suffix=".png").jobs] == [".png"] * 4


def test_one_mask_for_all_may_lie_among_the_photographs(folder: Folder) -> None:
    touch(folder.source / "a.png", folder.source / "b.png", folder.source / "mask.png")
    found = find_jobs(folder.source, folder.source / "mask.png", folder.target)
    assert [(job.name, job.mask) for job in found.jobs] == [
        (name, folder.source / "mask.png") for name in ("a.png", "b.png")
    ]


def test_masks_beside_their_photographs(folder: Folder) -> None:
    touch(*(folder.source / name for name in ("a.png", "a_mask.png", "b.jpg", "b_mask.png", "c.jpg")))
    found = find_jobs(folder.source, folder.source, folder.target, mask_suffix="_mask")
    assert [(job.name, job.mask and job.mask.name) for job in found.jobs] == [
        ("a.png", "a_mask.png"),
        ("b.jpg", "b_mask.png"),
    ]
    assert [refusal.name for refusal in found.refusals] == ["c.jpg"]
    with pytest.raises(InputError, match="--mask-suffix"):
        find_jobs(folder.source, folder.source, folder.target)


def test_masks_and_results_may_lie_inside_the_source(folder: Folder) -> None:
    touch(folder.source / "a.png", folder.source / "masks" / "a.png", folder.source / "done" / "a.png")
    found = find_jobs(folder.source, folder.source / "masks", folder.source / "done")
    assert [job.name for job in found.jobs] == ["a.png"]


def test_composed_and_decomposed_names_are_one(folder: Folder) -> None:
    touch(
        folder.source / unicodedata.normalize("NFC", "Zoë é.png"),
        folder.masks / unicodedata.normalize("NFD", "Zoë é.png"),
    )
    assert len(plan(folder).jobs) == 1


def test_a_suffix_is_found_composed_or_decomposed(folder: Folder) -> None:
    suffix = "_máscara"
    touch(folder.source / "a.png", folder.source / unicodedata.normalize("NFD", f"a{suffix}.png"))
    (job,) = find_jobs(
        folder.source, folder.source, folder.target, mask_suffix=unicodedata.normalize("NFC", suffix)
    ).jobs
    assert (job.name, job.mask is not None) == ("a.png", True)


def test_a_suffix_without_a_folder_of_masks_is_refused(folder: Folder) -> None:
    touch(folder.source / "a.png", folder.source / "mask.png")
    for masks in (folder.source / "mask.png", None):
        with pytest.raises(InputError, match="--mask-suffix is for a folder of masks"):
            find_jobs(folder.source, masks, folder.target, mask_suffix="_mask")


def test_what_does_not_fit(folder: Folder) -> None:
    touch(*(folder.source / name for name in ("twin.jpg", "twin.png", "two.png", "alone.png", "good.png")))
    touch(*(folder.masks / name for name in ("twin.png", "two.png", "two.jpg", "good.png", "orphan.png")))
    found = plan(folder)
    assert [job.name for job in found.jobs] == ["good.png"]
    why = {refusal.name: (refusal.message, refusal.unmarked) for refusal in found.refusals}
    assert why["twin.jpg"] == why["twin.png"] == ("several photographs share the name twin", False)
    assert why["two.png"] == ("several masks have its name: two.jpg, two.png", False)
    assert why["alone.png"] == (f"no mask has its name in {folder.masks}", True)
    assert [path.name for path in found.orphans] == ["orphan.png"]


def test_two_photographs_with_one_result(folder: Folder) -> None:
    touch(*(folder.source / name for name in ("a.jpg", "a.png", "B.png", "b.jpg", "c.png")))
    mask = folder.place / "mask.png"
    touch(mask)
    assert len(find_jobs(folder.source, mask, folder.target).jobs) == 5
    found = find_jobs(folder.source, mask, folder.target, suffix=".png")
    assert [job.name for job in found.jobs] == ["c.png"]
    assert all("several photographs would become" in refusal.message for refusal in found.refusals)


def test_links(folder: Folder) -> None:
    touch(folder.place / "elsewhere" / "a.png", folder.masks / "a.png", folder.masks / "gone.png")
    (folder.source / "a.png").symlink_to(folder.place / "elsewhere" / "a.png")
    (folder.source / "gone.png").symlink_to(folder.place / "nowhere")
    (folder.source / "loop").symlink_to(folder.source)
    found = plan(folder)
    assert [job.name for job in found.jobs] == ["a.png", "gone.png"]
    assert found.notes == (f"the folder {folder.source / 'loop'} is a link and was not entered",)


def test_no_output_is_an_input(folder: Folder) -> None:
    touch(folder.source / "a.png", folder.source / "b.png", folder.masks / "a.png", folder.masks / "b.png")
    for target in (folder.source, folder.masks, folder.source / ".." / "in"):
        with pytest.raises(OutputError, match="holds the input"):
            find_jobs(folder.source, folder.masks, target)
    folder.target.mkdir()
    (folder.target / "a.png").hardlink_to(folder.source / "a.png")
    (folder.target / "b.png").symlink_to(folder.masks / "b.png")
    found = plan(folder)
    assert found.jobs == ()
    assert ["is an input" in refusal.message for refusal in found.refusals] == [True, True]


def test_nothing_there(folder: Folder) -> None:
    with pytest.raises(InputError, match="no photograph"):
        plan(folder)
    touch(folder.source / "a.png")
    with pytest.raises(InputError, match="no masks at"):
        find_jobs(folder.source, folder.place / "no", folder.target)
    with pytest.raises(InputError, match="no folder"):
        find_jobs(folder.place / "no", None, folder.target)


def test_a_folder_that_cannot_be_read_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(folder.source / "a.png", folder.source / "shut" / "b.png", folder.masks / "a.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert plan(folder).notes == (f"the folder {folder.source / 'shut'} cannot be read: Permission denied",)
