"""Which photograph of a folder has which mask, and where its result goes."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from restore_sdk.errors import InputError, MaskError, OutputError, RestoreError
from restore_sdk.files import FORMATS

#: Extensions that name a photograph; those after the first line are not written, many not read, and each gets an answer
#: that says so.
PHOTO_SUFFIXES = (
    *FORMATS,
    *(".gif", ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".psd", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf"),
)


class NothingMaskedError(MaskError):
    """The photograph has no mask, or an empty one: nothing is to be restored."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph and its mask.

    Attributes:
        name: the photograph's path in the input folder, with ``/``; what the log calls it.
        mask: ``None`` where the photograph itself says what is to be repainted.
        problem: why it cannot be restored, as far as names tell.
    """

    name: str
    photo: Path
    mask: Path | None
    output: Path
    problem: RestoreError | None = None

    def made_from(self) -> list[int]:
        """Size and time of photograph and mask; others mean that one of them was changed."""
        return [number for path in (self.photo, self.mask) if path is not None for number in fingerprint(path)]


def fingerprint(path: Path) -> list[int]:
    """Size and time of a file; nothing where they cannot be had, which reading it will explain.

    In microseconds: finer times are not kept by every network file system.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return []
    return [found.st_size, found.st_mtime_ns // 1000]


def proposed_mask(output: Path) -> Path:
    """Where the mask of a photograph lies that is to be proposed: beside its result."""
    return output.with_name(f"{output.stem}_mask.png")


def find_pairs(
    source: Path,
    masks: Path | None,
    target: Path,
    *,
    suffix: str | None = None,
    mask_suffix: str = "",
    auto: bool = False,
) -> tuple[list[Pair], list[str]]:
    """Pair every photograph below ``source`` with its mask; also returns a note on all else that was left alone.

    A mask has the name of its photograph, ``mask_suffix`` and any image extension, in the same subfolder of ``masks``;
    names are compared in Unicode's composed form (NFC). Folders that are links are not entered, files that are links
    are read. Hidden files and the folders ``masks`` and ``target`` are left out.

    Args:
        masks: the folder with masks, or one mask file for all; ``None``: each photograph marks its own damage.
        target: the folder for results, which need not exist yet. A result has its photograph's place in it.
        suffix: extension of all results, such as ``".png"``; ``None`` keeps that of the photograph.
        auto: without ``masks``, a mask is to be proposed, and lies beside the result: :func:`proposed_mask`.
        mask_suffix: as in ``portrait_mask.png`` for ``portrait.jpg``; then masks may also lie beside their photographs.

    Raises:
        InputError: ``source`` or ``masks`` does not exist, or there is no photograph.
        OutputError: ``target`` is one of the input folders.
    """
    if not os.path.isdir(source):
        raise InputError(f"no folder at {source}", "name a folder with photographs")
    if masks is not None and not os.path.exists(masks):
        raise InputError(f"there are no masks at {masks}", "name a folder with masks, or one mask for all")
    folder = masks if masks is not None and os.path.isdir(masks) else None
    if mask_suffix and folder is None:
        raise InputError("--mask-suffix is for a folder of masks, and there is none", "leave it out")
    mixed = folder is not None and _same_file(folder, source)
    if mixed and not mask_suffix:
        raise InputError("photographs and masks lie in one folder", "tell them apart: --mask-suffix _mask")
    folders = [source] if folder is None else [source, folder]
    if any(_same_file(target, other) for other in folders):
        raise OutputError(f"the output folder {target} holds the input", "name another output folder")

    notes: list[str] = []
    photos = list(_images(source, [*folders, target], notes))
    masks_of: dict[str, list[Path]] = defaultdict(list)
    if folder is not None:
        ending = _normal(mask_suffix)
        for path in photos if mixed else _images(folder, [*folders, target], notes):
            if (key := _key(folder, path)).endswith(ending):
                masks_of[key.removesuffix(ending)].append(path)
    given = {path for paths in masks_of.values() for path in paths}
    if auto:  # made by hand, or proposed when the results lay here
        own = {proposed_mask(path).with_suffix("") for path in photos}
        if beside := {path for path in photos if path.with_suffix("") in own}:
            notes.append(f"{len(beside)} mask(s) beside photographs left alone, the first: {min(beside)}; see --masks")
            given |= beside
    photos = [path for path in photos if path not in given and not (masks and _same_file(path, masks))]
    if not photos:
        hint = "; ".join(["PNG, JPEG, WebP, BMP, TIFF, AVIF and HEIC are read", *notes])
        raise InputError(f"there is no photograph in {source}", hint)

    keys = {photo: _key(source, photo) for photo in photos}
    outputs = {photo: (target / photo.relative_to(source)).with_suffix(suffix or photo.suffix) for photo in photos}
    of_key, of_output = Counter(keys.values()), Counter(map(_casefold, outputs.values()))
    of_proposal = Counter(_casefold(proposed_mask(output)) for output in outputs.values())
    inputs = {_identity(path) for path in (*photos, *given, *([masks] if masks else []))} - {None}
    pairs = []
    for photo, key in keys.items():
        output, found = outputs[photo], masks_of.get(key, [])
        mask = found[0] if found else None
        if folder is None:
            mask = proposed_mask(output) if auto else masks
        problem: RestoreError | None = None
        if folder is not None and of_key[key] > 1:
            problem = InputError(f"several photographs share the name {key}", "rename one: whose mask is it?")
        elif of_output[_casefold(output)] > 1:
            problem = InputError(f"several photographs would become {output}", "rename one, or leave out --format")
        elif len(found) > 1:
            names = ", ".join(path.name for path in found)
            problem = InputError(f"several masks have its name: {names}", "keep one of them")
        elif folder is not None and not found:
            hint = "add it, or see --mask-suffix and --unmarked"
            problem = NothingMaskedError(f"no mask has its name in {folder}", hint)
        elif _identity(output) in inputs:  # links, and folders in folders, make that possible
            problem = InputError(f"its output {output} is an input", "name another output folder")
        elif auto and mask is not None and of_proposal[_casefold(mask)] + of_output[_casefold(mask)] > 1:
            problem = InputError(f"its mask would be {mask}, which another one needs", "rename one")
        pairs.append(Pair(photo.relative_to(source).as_posix(), photo, mask, output, problem))
    if orphans := [path for key in masks_of.keys() - set(keys.values()) for path in masks_of[key]]:
        notes.append(f"{len(orphans)} mask(s) without a photograph, the first: {min(orphans)}")
    return pairs, notes


def _images(folder: Path, without: list[Path], notes: list[str]) -> Iterator[Path]:
    """Files below ``folder`` that are images by their extension, by name.

    What is left aside is noted: folders that cannot be read, and other files.
    """
    others: Counter[str] = Counter()

    def unreadable(error: OSError) -> None:
        notes.append(f"the folder {error.filename} cannot be read: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=unreadable):
        directory = Path(root)
        visible = [name for name in folders if not name.startswith(".")]
        links = [directory / name for name in visible if (directory / name).is_symlink()]
        notes += [f"the folder {link} is a link and was not entered" for link in links]
        folders[:] = sorted(name for name in visible if not any(_same_file(directory / name, path) for path in without))
        for name in sorted(name for name in files if not name.startswith(".")):
            suffix = Path(name).suffix.lower()
            if suffix in PHOTO_SUFFIXES:
                yield directory / name
            else:
                others[suffix or "no extension"] += 1
    if others:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in others.most_common(8))
        notes.append(f"{others.total()} other file(s) in {folder} were left aside: {kinds}")


def _key(folder: Path, path: Path) -> str:
    """What photograph and mask share: subfolder and name without extension."""
    return _normal(path.relative_to(folder).with_suffix("").as_posix())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _same_file(first: Path, second: Path) -> bool:
    identity = _identity(first)
    return identity is not None and identity == _identity(second)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _casefold(path: Path) -> str:
    """A name as file systems compare it that know no capitals."""
    return _normal(str(path)).casefold()
