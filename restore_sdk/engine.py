"""``RestoreEngine``: a damaged photograph and a mask in, the restored photograph out."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from restore_sdk import __version__
from restore_sdk._util.ordered import chunked, ordered_map
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError, InputError, ShapeError
from restore_sdk.imaging.image import MODEL_SIZE, Color, MaskWarning
from restore_sdk.runtime import Runtime
from restore_sdk.runtime.base import StageRunner, checked
from restore_sdk.runtime.select import ExtraStages, open_runner
from restore_sdk.tiling.crop import Crop
from restore_sdk.tiling.damage import Damage, Sensitivity, find_damage
from restore_sdk.tiling.faces import FaceStage
from restore_sdk.tiling.request import (
    Detail,
    ImageLike,
    MaskLike,
    OptionKeywords,
    Request,
    RestoreOptions,
    check_int,
)

if TYPE_CHECKING:
    import PIL.Image


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock milliseconds of one request, by part; looking for faces is a part of ``prepare``."""

    prepare_ms: float
    edge_ms: float
    repair_ms: float
    paste_ms: float
    wait_ms: float = 0.0

    def parts(self) -> dict[str, float]:
        """Milliseconds by part, in their order."""
        return {part: getattr(self, f"{part}_ms") for part in ("prepare", "wait", "edge", "repair", "paste")}

    @property
    def host_ms(self) -> float:
        """What is not the two stages: checks, faces, crop, paste."""
        return self.prepare_ms + self.paste_ms

    @property
    def total_ms(self) -> float:
        """All of the request, with :attr:`wait_ms`: waiting for a free slot, and the slot's first set-up."""
        return self.host_ms + self.wait_ms + self.edge_ms + self.repair_ms


@dataclass(frozen=True, slots=True)
class Restoration:
    """Everything that one request gave.

    Attributes:
        image: the restored image, as :meth:`RestoreEngine.restore` returns it; of a PIL image its pixels.
        edges: the completed edge map in the photograph's frame: ``(H, W)`` ``uint8``, 0..255, zero outside ``crops``.
        timings: milliseconds by part, over all crops.
        crops: the parts of the photograph that the model saw, in order; none where the mask was empty.
        detail: ``"match"`` where grain or detail was added to what the model gave.
        notes: what is odd about the mask, of which the other methods warn (:class:`MaskWarning`).
    """

    image: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    timings: Timings
    crops: tuple[Crop, ...]
    detail: Detail = "none"
    notes: tuple[str, ...] = ()


#: Arrays give arrays, PIL images give PIL images.
_Image = TypeVar("_Image", NDArray[np.uint8], "PIL.Image.Image")
_Item = tuple[str, ImageLike, MaskLike]


class RestoreEngine:
    """The two-stage model, opened once and used for many images.

    Images are ``uint8``: ``(H, W, 3)`` RGB (``color="bgr"`` for OpenCV's order), grey ``(H, W)`` or ``(H, W, 1)``,
    ``(H, W, 4)`` with alpha (kept as it is), or PIL images (``L``, ``RGB``, ``RGBA``, as they lie: see
    ``PIL.ImageOps.exif_transpose``), which give PIL images with the same ``info``. Masks are ``(H, W)``, ``bool`` or
    ``uint8`` above 127: white is what to repaint. Sizes from 1 x 1 up.

    The result is a fresh contiguous array in the form of the image, and outside the mask byte-equal to it. The model
    takes tiles of 256 x 256. Thin damage is restored at the image's own resolution, in as many tiles as it takes.
    Around damage thicker than 64 px the tile is scaled down and its result up again, so wide damage comes out softer
    than the photograph around it (see :func:`restore_sdk.tiling.plan.plan`).

    Threads may share one engine: ``slots`` of them compute at a time, the others wait. Same input, same output,
    whatever the number of slots. An engine does not survive a fork: open one in each process, started by ``spawn``.

    Args:
        bundle: a model bundle, its folder, or the name of one inside the wheel: ``"default"``, as ``None``, or
            ``"faithful"`` (see :data:`restore_sdk.bundle.SHIPPED`).
        runtime: ``"auto"`` takes what serves best on this host and logs it; one asked for by name never falls back. Or
            an open runner, such as :class:`restore_sdk.TritonRunner`, which brings the model and all that the other
            arguments say, and which :meth:`close` closes.
        device: index of the GPU, for runtimes that use one.
        slots: how many requests may compute at the same time.
        threads: CPU threads that one request computes with at most; ``None`` keeps the usable cores busy, at most 8 for
            one request. TensorRT takes none of it.

    Raises:
        BundleError: the bundle is missing, altered, or does not load.
        MissingDependencyError, EngineError (not-built), DeviceError: the runtime cannot be had on this host.
        InputError: an argument out of its range.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str] | None = None,
        *,
        runtime: Runtime | StageRunner = "auto",
        device: int = 0,
        slots: int = 1,
        threads: int | None = None,
    ) -> None:
        slots = check_int("slots", slots, 1, 256)
        threads = None if threads is None else check_int("threads", threads, 1, 256)
        self._bundle: Bundle | None = None
        if isinstance(runtime, str):
            self._bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
            self._runner, reason = open_runner(runtime, self._bundle, device=device, slots=slots, threads=threads)
            facts = {**self._bundle.facts(), "path": str(self._bundle.path)}
            self._facts = {"asked": runtime, "reason": reason, "bundle": facts}
        elif (bundle, device, slots, threads) == (None, 0, 1, None):
            self._runner, self._facts = runtime, {"asked": "handed in", "reason": "handed in"}
        else:
            raise InputError("a runner brings its bundle, device, slots and threads", "pass them to the runner")
        self._extras = None if self._bundle is None else ExtraStages(self._bundle, threads)
        self._process = os.getpid()
        self._closed = False

    def restore(
        self,
        image: _Image,
        mask: MaskLike,
        options: RestoreOptions | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> _Image:
        """The image with its masked pixels restored. An empty mask gives a copy, without running the model.

        The arrays must not change until the result is there: they are not copied first.

        Args:
            image: see the class.
            mask: ``(H, W)`` of the same height and width.
            options: how; ``None`` for the defaults. ``keywords`` are its fields, and replace those of ``options``.

        Returns:
            A fresh contiguous ``uint8`` array, shaped as the image; or a PIL image of its mode.

        Raises:
            ImageError: the image's form is not taken.
            MaskError: the mask's form is not taken, or it marks everything: as it is, dilated, or scaled for the model.
            ShapeError: image and mask differ in size.
            InputError: an option is out of its range.
            BundleError: the stage that finds faces is altered.
            ExecutionError: the runtime failed.
            ClosedError: the engine was closed, or opened in another process.
        """
        restored: _Image = self._restore([("", image, mask)], _options(options, keywords))[0]
        return restored

    __call__ = restore

    def run(
        self,
        image: ImageLike,
        mask: MaskLike,
        options: RestoreOptions | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> Restoration:
        """As :meth:`restore`, with the completed edges, the crops and the time that each part took."""
        clock = _Clock()
        with clock.part("prepare"):
            chosen = _options(options, keywords)
            request = Request(image, mask, chosen, edges=True, find_faces=self._face_stage(chosen))
        self._compute([request], clock)
        with clock.part("paste"):
            restored = request.finish()
        assert request.edges is not None
        crops = tuple(tile.crop for tile in request.plan.tiles)
        return Restoration(restored, request.edges, clock.timings(), crops, request.detail, request.notes)

    def restore_batch(
        self,
        images: Sequence[_Image],
        masks: Sequence[MaskLike],
        options: RestoreOptions | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> list[_Image]:
        """Restore many images, of mixed sizes and forms, in as few runs of the model as it allows.

        Args:
            images, masks: one mask an image.
            options, keywords: as for :meth:`restore`, for all of them.

        Returns:
            One for each image, in order, as :meth:`restore` gives it.

        Raises:
            ShapeError: not as many masks as images. The rest as :meth:`restore`; the message names the item.
        """
        if len(images) != len(masks):
            raise ShapeError(f"{len(images)} images but {len(masks)} masks", "pass one mask an image")
        chosen, runner = _options(options, keywords), self._open()
        chunks = chunked(_named(zip(images, masks, strict=True)), runner.max_batch)
        results = ordered_map(lambda chunk: self._restore(chunk, chosen), chunks, runner.slots + 1)
        return [image for chunk in results for image in chunk]

    def stream(
        self,
        pairs: Iterable[tuple[_Image, MaskLike]],
        options: RestoreOptions | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> Iterator[_Image]:
        """Restore ``(image, mask)`` as they come; yields the results in order.

        Reads only a few pairs ahead of the results taken, so that a stream may be endless. A result that is ready is
        yielded before more is read; ``pairs`` is read in the caller's thread, so while a live source blocks, a result
        that gets ready waits for its next pair. An error is raised in its pair's place and ends the stream. Arrays must
        not change before their result was yielded: a source that fills one buffer again and again has to copy it.
        """
        chosen = _options(options, keywords)
        workers = self._open().slots + 1
        return ordered_map(lambda item: self._restore([item], chosen)[0], _named(pairs), workers)

    @property
    def finds_damage(self) -> bool:
        """Whether the bundle has a damage stage."""
        return self._bundle is not None and self._bundle.manifest.damage is not None

    def find_damage(self, image: ImageLike, *, sensitivity: Sensitivity = "normal", color: Color = "rgb") -> Damage:
        """Propose a mask: scratches, cracks, folds, tears, flaked emulsion, stains, dust. Look at it before you use it.

        Computed by ONNX Runtime on the CPU, whatever restores. Where nothing is found the mask is empty.

        Args:
            image: see the class.
            sensitivity: ``"low"`` marks only what is certain, ``"high"`` also what may be part of the picture.
            color: channel order of a colour array.

        Raises:
            BundleError: the bundle has no damage stage.
            ImageError: the image's form is not taken. ClosedError, ExecutionError: as :meth:`restore`.
        """
        self._open()
        if self._bundle is None or self._extras is None:
            raise InputError("the runner that was handed in finds no damage", "open an engine on a bundle")
        return find_damage(self._extras(self._bundle.damage), image, sensitivity=sensitivity, color=color)

    def warmup(self) -> float:
        """Run the model once in every slot, so that the first request is as fast as the next; returns milliseconds."""
        runner = self._open()
        started = time.perf_counter()
        mask = np.zeros((1, MODEL_SIZE, MODEL_SIZE), np.uint8)
        mask[:, : MODEL_SIZE // 2] = 255
        image = np.zeros((*mask.shape, 3), np.uint8)
        for _ in range(runner.slots):
            runner.infer(image, mask)
        if (find_faces := self._face_stage(RestoreOptions())) is not None:
            find_faces(image, mask)
        return 1e3 * (time.perf_counter() - started)

    def info(self) -> dict[str, Any]:
        """Facts about this engine, of JSON types: versions, runtime and why it was chosen, device, slots, bundle."""
        runner = self._open()
        finds = {"finds_damage": self.finds_damage, "finds_faces": self._face_stage(RestoreOptions()) is not None}
        return {"version": __version__, **finds, **self._facts, **runner.info()}

    def close(self) -> None:
        """Wait for running runs of the model, then free it; a request that needs another run raises ``ClosedError``.

        Closing twice is fine; any other use then raises.
        """
        self._closed, self._extras = True, None
        if os.getpid() == self._process:  # a forked child must not touch the locks of its parent
            self._runner.close()

    def __enter__(self) -> RestoreEngine:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> StageRunner:
        if self._closed:
            raise ClosedError("the engine is closed", "open a new RestoreEngine")
        if os.getpid() != self._process:
            raise ClosedError("the engine was opened before this process forked", "open an engine in each process")
        return self._runner

    def _face_stage(self, options: RestoreOptions) -> FaceStage | None:
        """What finds faces, opened when it is needed, where that is asked for and the bundle can."""
        self._open()
        spec, extras = None if self._bundle is None else self._bundle.manifest.face, self._extras
        if spec is None or extras is None or not options.finds_faces:
            return None
        return lambda image, mask: extras(spec)(image, mask)

    def _restore(self, items: Sequence[_Item], options: RestoreOptions) -> list[Any]:
        """Restore some images together; of each item, the first part is a prefix of its messages."""
        requests: list[Request] = []
        find_faces = self._face_stage(options)
        for name, image, mask in items:
            requests.append(Request(image, mask, options, name=name, find_faces=find_faces))
            for note in requests[-1].notes:
                warnings.warn(note, MaskWarning, stacklevel=3)
        self._compute(requests, _Clock())
        return [_like(request.finish(), image) for request, (_, image, _) in zip(requests, items, strict=True)]

    def _compute(self, requests: Sequence[Request], clock: _Clock) -> None:
        """Run the model on all tiles of the requests, wave by wave, in runs as large as it takes."""
        runner = self._open()
        for waves in zip_longest(*(request.plan.waves for request in requests), fillvalue=()):
            tiles = [(request, tile) for request, wave in zip(requests, waves, strict=True) for tile in wave]
            for group in chunked(tiles, runner.max_batch):
                with clock.part("prepare"):
                    samples = [request.sample(tile) for request, tile in group]
                    images, masks = (np.stack(arrays) for arrays in zip(*samples, strict=True))
                with clock.part("wait"):
                    result = checked(runner.infer(images, masks), len(group))
                clock.computed(result.edge_ms, result.repair_ms)
                with clock.part("paste"):
                    for number, (request, tile) in enumerate(group):
                        request.put(tile, result.restored[number], result.completed_edges[number])


class _Clock:
    """Adds up where the time of a request goes."""

    def __init__(self) -> None:
        self._ms = dict.fromkeys(("prepare", "wait", "edge", "repair", "paste"), 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what the block takes to the part."""
        started = time.perf_counter()
        yield
        self._ms[name] += 1e3 * (time.perf_counter() - started)

    def computed(self, edge_ms: float, repair_ms: float) -> None:
        """What the stages took was no waiting."""
        self._ms["edge"] += edge_ms
        self._ms["repair"] += repair_ms
        self._ms["wait"] -= edge_ms + repair_ms

    def timings(self) -> Timings:
        """The sums."""
        return Timings(**{f"{name}_ms": max(0.0, ms) for name, ms in self._ms.items()})


def _like(picture: NDArray[np.uint8], image: ImageLike) -> Any:
    """The restored pixels in the kind of the image."""
    if isinstance(image, np.ndarray):
        return picture
    import PIL.Image

    pil_image = PIL.Image.fromarray(picture)
    pil_image.info = dict(image.info)
    return pil_image


def _named(pairs: Iterable[tuple[ImageLike, MaskLike]]) -> Iterator[_Item]:
    return ((f"item {number}: ", image, mask) for number, (image, mask) in enumerate(pairs))


def _options(options: RestoreOptions | None, keywords: OptionKeywords) -> RestoreOptions:
    """The options of a request, as they were given and with what the keywords replace."""
    if options is None:
        return RestoreOptions(**keywords)
    if not isinstance(options, RestoreOptions):
        raise InputError(f"options is {options!r}", "pass RestoreOptions(...), or its fields as keywords")
    return replace(options, **keywords)
