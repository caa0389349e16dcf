"""What is timed: each case calls one thing once, and knows when its result is wrong.

The pytest suite and the report take their cases from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.inputs import LEAST_DB, Damaged, portrait, require_close, require_known
from benchmarks.subjects import Subject
from restore_sdk.engine import RestoreEngine
from restore_sdk.files import read_mask, read_photo, write_image
from restore_sdk.imaging.image import HOLE_ABOVE, MODEL_SIZE, canny_edges
from restore_sdk.measure.contender import restore_file
from restore_sdk.runtime.base import U8, Inference
from restore_sdk.tiling.crop import Crop, cut, paste
from training.protocol import navier_stokes, telea

#: Requests that several callers send in one call of a case.
REQUESTS = 8


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        group: what it is compared within.
        what: what runs, from its own facts.
        call: does it once. ``check``: raises ``AssertionError`` where what ``call`` gave is wrong.
        parts: milliseconds by part, from what ``call`` gave.
        images: how many a call restores.
        facts: what else the figure depends on.
    """

    group: str
    what: str
    call: Callable[[], Any]
    check: Callable[[Any], None]
    parts: Callable[[Any], dict[str, float]] = lambda result: {}
    images: int = 1
    facts: dict[str, Any] = field(default_factory=dict)


def chain(subject: Subject, right: Inference | None, batch: int = 1, least: float = LEAST_DB) -> Case:
    """Both stages in a row, on a batch at the model's size; ``right`` is what the reference made of one image."""
    damaged = portrait()
    inputs = damaged.batch(batch)

    def check(found: Inference) -> None:
        assert len(found.restored) == batch
        for restored in found.restored:
            require_known(damaged, restored)
            if right is not None:
                require_close(right.restored[0], restored, least)

    return Case(
        "chain",
        subject.name,
        lambda: subject.runner.infer(*inputs),
        check,
        lambda found: {"edge": found.edge_ms, "repair": found.repair_ms},
        batch,
        {"key": subject.key, "batch": batch, "threads": subject.facts.get("threads")},
    )


def request(
    name: str, engine: RestoreEngine, damaged: Damaged, right: U8, group: str = "request", **facts: Any
) -> Case:
    """A whole request from array to array: checks, crop, Canny, both stages, paste."""

    def check(found: Any) -> None:
        require_known(damaged, found.image)
        require_close(right, found.image)

    def parts(found: Any) -> dict[str, float]:
        times = found.timings
        return {
            "prepare": times.prepare_ms,
            "wait": times.wait_ms,
            "edge": times.edge_ms,
            "repair": times.repair_ms,
            "paste": times.paste_ms,
        }

    height, width = damaged.mask.shape
    return Case(
        group,
        name,
        lambda: engine.run(damaged.photo, damaged.mask),
        check,
        parts,
        facts={"width": width, "height": height, **facts},
    )


def photo(name: str, engine: RestoreEngine, folder: Path, damaged: Damaged, right: U8, **facts: Any) -> Case:
    """From file to file: decode, the whole request, encode; PNG."""
    files = folder / "photo.png", folder / "mask.png", folder / "restored.png"
    write_image(files[0], damaged.photo[..., ::-1])
    write_image(files[1], damaged.mask)

    def check(_: object) -> None:
        found = read_photo(files[2])[..., ::-1]
        require_known(damaged, found)
        require_close(right, found)

    def parts(sample: dict[str, float]) -> dict[str, float]:
        return {part: ms for part, ms in sample.items() if part != "total"}

    return Case("photo", name, lambda: restore_file(engine, *files), check, parts, facts=facts)


def batch(name: str, engine: RestoreEngine, count: int, right: U8, **facts: Any) -> Case:
    """``restore_batch`` of so many photographs."""
    damaged = portrait()
    photos, masks = [damaged.photo] * count, [damaged.mask] * count
    return Case(
        "batch",
        name,
        lambda: engine.restore_batch(photos, masks),
        _all_right(damaged, right, count),
        images=count,
        facts={"batch": count, **facts},
    )


def callers(name: str, engine: RestoreEngine, count: int, right: U8, **facts: Any) -> Case:
    """:data:`REQUESTS` requests from so many threads that share an engine."""
    damaged = portrait()
    pool = ThreadPoolExecutor(count)

    def call() -> list[U8]:
        return list(pool.map(lambda _: engine.restore(damaged.photo, damaged.mask), range(REQUESTS)))

    return Case(
        "callers",
        name,
        call,
        _all_right(damaged, right, REQUESTS),
        images=REQUESTS,
        facts={"callers": count, **facts},
    )


def host_parts(folder: Path) -> list[Case]:
    """What the host does around the two stages, one by one, at 256 x 256 px."""
    damaged, file = portrait(), folder / "part.png"
    hole, whole = damaged.mask > HOLE_ABOVE, Crop(0, 0, MODEL_SIZE, MODEL_SIZE)
    other = 255 - damaged.photo
    write_image(file, damaged.photo[..., ::-1])
    write_image(folder / "part_mask.png", damaged.mask)
    target = damaged.photo.copy()

    def equal(right: U8) -> Callable[[U8], None]:
        def check(found: U8) -> None:
            assert np.array_equal(found, right)

        return check

    def edges_are_right(found: U8) -> None:
        assert not found[hole].any()
        assert found[~hole].any()

    def encoded(_: None) -> None:
        assert np.array_equal(read_photo(folder / "encoded.png"), damaged.photo)

    def pasted() -> U8:
        paste(target, hole, whole, other)
        return target

    calls: Iterable[tuple[str, Callable[[], Any], Callable[[Any], None]]] = (
        ("decode", lambda: read_photo(file), equal(damaged.photo[..., ::-1])),
        ("decode the mask", lambda: read_mask(folder / "part_mask.png"), equal(damaged.mask)),
        ("crop", lambda: cut(damaged.photo, hole, whole)[0], equal(damaged.photo)),
        ("Canny", lambda: canny_edges(damaged.photo, hole), edges_are_right),
        ("paste", pasted, equal(np.where(hole[..., None], other, damaged.photo))),
        ("encode", lambda: write_image(folder / "encoded.png", damaged.photo), encoded),
    )
    return [Case("host part", what, call, check, images=0) for what, call, check in calls]


def stack(backend: str, threads: int) -> Case:
    """The plain stack of eighteen convolutions."""
    given = peers.stack_input()
    network = peers.open_backend("stack", backend, threads)
    right = peers.open_backend("stack", "pytorch", threads)(given)[0]
    precise = network.facts["precision"] == "fp32"

    def check(found: Any) -> None:
        error = float(np.abs(found[0] - right).max() / np.abs(right).max())
        assert error < (1e-4 if precise else 5e-2), f"the largest error is {error:.2g} of the largest value"

    name = f"18 convolutions, {network.facts['runtime']} {network.facts['precision']}"
    return Case("stack", name, lambda: network(given), check, images=0, facts={"key": f"stack-{backend}"})


def opencv() -> list[Case]:
    """OpenCV's two methods at 256 x 256 px, radius 3."""
    damaged = portrait()

    def case(what: str, method: Callable[[U8, U8], U8]) -> Case:
        call = lambda: method(damaged.photo, damaged.mask)  # noqa: E731
        return Case("opencv", what, call, lambda found: require_known(damaged, found), facts={"key": what})

    return [case("OpenCV Telea", telea), case("OpenCV Navier-Stokes", navier_stokes)]


def _all_right(damaged: Damaged, right: U8, count: int) -> Callable[[list[U8]], None]:
    def check(found: list[U8]) -> None:
        assert len(found) == count
        for each in found:
            require_known(damaged, each)
            require_close(right, each)

    return check
