"""Which photograph of a folder has which mask, and where its result goes."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from restore_sdk._util.reading import is_folder, is_there
from restore_sdk.errors import InputError, OutputError

#: Extensions that name a photograph; those after the first line are not read, and each gets an answer that says so.
PHOTO_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf"),
)

#: What a run keeps in the output folder besides results: its log, and a folder with its lock and unfinished files.
LOG_NAME, STATE_NAME = "restore-sdk.jsonl", ".restore-sdk"


@dataclass(frozen=True, slots=True)
class Job:
    """One photograph to restore.

    Attributes:
        name: the photograph's path in the input folder, with ``/``; what the log calls it.
        photo: where it lies.
        mask: its mask's file; ``None`` where the photograph itself says what is to be repainted.
        output: where the result goes.
    """

    name: str
    photo: Path
    mask: Path | None
    output: Path

    def stamp(self) -> list[int]:
        """Size and time of photograph and mask; another one means that one of them was changed."""
        stamp: list[int] = []
        for path in (self.photo, self.mask):
            if path is not None:
                try:
                    found = path.stat()
                except (OSError, ValueError):  # reading it will say why
                    return []
                stamp += [found.st_size, found.st_mtime_ns]
        return stamp


@dataclass(frozen=True, slots=True)
class Refusal:
    """A photograph that cannot be a job, and why; ``unmarked``: only because it has no mask."""

    name: str
    photo: Path
    message: str
    hint: str
    unmarked: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a folder holds.

    Attributes:
        jobs: photographs with their masks, by name.
        refusals: photographs that cannot be jobs.
        orphans: masks that no photograph has asked for.
        notes: what else was seen and left alone, one line each.
    """

    jobs: tuple[Job, ...]
    refusals: tuple[Refusal, ...]
    orphans: tuple[Path, ...]
    notes: tuple[str, ...]


def find_jobs(
    source: Path, masks: Path | None, target: Path, *, suffix: str | None = None, mask_suffix: str = ""
) -> Plan:
    """Pair every photograph below ``source`` with its mask.

    A mask has the name of its photograph, ``mask_suffix`` and any image extension, in the same subfolder of ``masks``;
    names are compared in Unicode's composed form (NFC). Folders that are links are not entered, files that are links
    are read. Hidden files and the folders ``masks`` and ``target`` are left out.

    Args:
        source: the folder with photographs.
        masks: the folder with masks, or one mask file for all; ``None``: each photograph marks its own damage.
        target: the folder for results, which need not exist yet. A result has its photograph's place in it.
        suffix: extension of all results, such as ``".png"``; ``None`` keeps that of the photograph.
        mask_suffix: as in ``portrait_mask.png`` for ``portrait.jpg``; then masks may also lie beside their photographs.

    Raises:
        InputError: ``source`` or ``masks`` does not exist, or there is no photograph.
        OutputError: ``target`` is one of the input folders.
    """
    if not is_folder(source):
        raise InputError(f"no folder at {source}", "name a folder with photographs")
    folder = masks if masks is not None and is_folder(masks) else None
    if masks is not None and not is_there(masks):
        raise InputError(f"there are no masks at {masks}", "name a folder with masks, or one mask for all")
    if mask_suffix and folder is None:
        raise InputError("--mask-suffix is for a folder of masks, and there is none", "leave it out")
    mixed = folder is not None and _same(folder, source)
    if mixed and not mask_suffix:
        raise InputError("photographs and masks lie in one folder", "tell them apart: --mask-suffix _mask")
    for other in (source, folder):
        if other is not None and _same(target, other):
            raise OutputError(f"the output folder {target} holds the input", "name another output folder")
    notes: list[str] = []
    photos = list(_images(source, [target] if mixed or folder is None else [target, folder], notes))
    if mixed:
        photos = [path for path in photos if not _normal(path.stem).endswith(_normal(mask_suffix))]
    elif folder is None and masks is not None:
        photos = [path for path in photos if not _same(path, masks)]
    if not photos:
        raise InputError(f"there is no photograph in {source}", "PNG, JPEG, WebP, BMP and TIFF are read")
    choose = _Chooser(masks, folder, mask_suffix, [target] if mixed else [target, source], notes)
    twins = _twins(_key(source, photo) for photo in photos) if folder is not None else set()
    outputs = {photo: _output(source, photo, target, suffix) for photo in photos}
    collisions = _twins(_fold(path) for path in outputs.values())
    jobs: list[Job] = []
    refusals: list[Refusal] = []
    for photo in photos:
        name, key, output = photo.relative_to(source).as_posix(), _key(source, photo), outputs[photo]
        mask, problem = choose.mask_of(key)
        if key in twins:
            problem = (f"several photographs share the name {key}", "rename one: whose mask is it?", False)
        elif _fold(output) in collisions:
            problem = (f"several photographs would become {output}", "rename one, or leave out --format", False)
        if problem is None:
            jobs.append(Job(name, photo, mask, output))
        else:
            refusals.append(Refusal(name, photo, *problem))
    jobs, spoilt = _spare_inputs(jobs, [*photos, *choose.all])
    return Plan(tuple(jobs), (*refusals, *spoilt), tuple(choose.orphans), tuple(notes))


class _Chooser:
    """Finds a photograph's mask, and knows which masks nobody asked for."""

    def __init__(
        self, masks: Path | None, folder: Path | None, mask_suffix: str, without: list[Path], notes: list[str]
    ) -> None:
        self._masks, self._folder = masks, folder
        self._by_key: dict[str, list[Path]] = defaultdict(list)
        self._asked: set[str] = set()
        self.all: list[Path] = [masks] if masks is not None and folder is None else []
        for path in _images(folder, without, notes) if folder is not None else ():
            if _normal(path.stem).endswith(_normal(mask_suffix)):
                key = _key(folder or path, path)
                self._by_key[key.removesuffix(_normal(mask_suffix))].append(path)
                self.all.append(path)

    def mask_of(self, key: str) -> tuple[Path | None, tuple[str, str, bool] | None]:
        """The mask, or what is wrong: message, hint, and whether there simply is none."""
        if self._folder is None:
            return self._masks, None
        self._asked.add(key)
        found = self._by_key.get(key, [])
        if len(found) == 1:
            return found[0], None
        if found:
            names = ", ".join(path.name for path in found)
            return None, (f"several masks have its name: {names}", "keep one of them", False)
        return None, (f"no mask has its name in {self._folder}", "add it, or see --unmarked", True)

    @property
    def orphans(self) -> list[Path]:
        """Masks without a photograph."""
        return [path for key, paths in self._by_key.items() if key not in self._asked for path in paths]


def _images(folder: Path, without: list[Path], notes: list[str]) -> Iterator[Path]:
    """Files below ``folder`` that are images by their extension, by name; folders that cannot be read are noted."""

    def unreadable(error: OSError) -> None:
        notes.append(f"the folder {error.filename} cannot be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(place)
        for name in list(folders):
            path = here / name
            if name.startswith(".") or any(_same(path, other) for other in without):
                folders.remove(name)
            elif path.is_symlink():
                folders.remove(name)
                notes.append(f"the folder {path} is a link and was not entered")
        folders.sort()
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES:
                yield here / name


def _key(folder: Path, path: Path) -> str:
    """What photograph and mask share: subfolder and name without extension."""
    return _normal(path.relative_to(folder).with_suffix("").as_posix())


def _output(source: Path, photo: Path, target: Path, suffix: str | None) -> Path:
    place = target / photo.relative_to(source)
    return place if suffix is None else place.with_suffix(suffix)


def _spare_inputs(jobs: Iterable[Job], inputs: Iterable[Path]) -> tuple[list[Job], list[Refusal]]:
    """Jobs whose output is no input, by whatever name: links and folders in folders make that possible."""
    identities = {found for path in inputs if (found := _identity(path)) is not None}
    sound: list[Job] = []
    refused: list[Refusal] = []
    for job in jobs:
        if _identity(job.output) in identities:
            message = f"its output {job.output} is an input"
            refused.append(Refusal(job.name, job.photo, message, "name another output folder"))
        else:
            sound.append(job)
    return sound, refused


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except (OSError, ValueError):  # one of them is not there
        return False


def _twins(names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    twice: set[str] = set()
    for name in names:
        (twice if name in seen else seen).add(name)
    return twice


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _fold(path: PurePath) -> str:
    """A name as file systems compare it that know no capitals."""
    return _normal(str(path)).casefold()
