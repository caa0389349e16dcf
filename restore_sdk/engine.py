"""``RestoreEngine``: a damaged photograph and a mask in, the restored photograph out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk import __version__
from restore_sdk.bundle import Bundle
from restore_sdk.crop import Crop, cut, paste, paste_edges, plan_crops
from restore_sdk.errors import ClosedError, InputError, ShapeError
from restore_sdk.image import MODEL_SIZE, Color, as_hole, as_pixels, canny_edges
from restore_sdk.ordered import chunked, ordered_map
from restore_sdk.runtime.base import StageRunner
from restore_sdk.runtime.select import Runtime, open_runner


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall-clock milliseconds of one request, by part."""

    prepare_ms: float
    edge_ms: float
    repair_ms: float
    paste_ms: float
    wait_ms: float = 0.0

    @property
    def host_ms(self) -> float:
        """What is not the two stages: checks, crop, Canny, paste."""
        return self.prepare_ms + self.paste_ms

    @property
    def total_ms(self) -> float:
        """The whole request, with :attr:`wait_ms`: waiting for a free slot, and the slot's first set-up."""
        return self.host_ms + self.wait_ms + self.edge_ms + self.repair_ms


@dataclass(frozen=True, slots=True)
class Restoration:
    """Everything that one request gave.

    Attributes:
        image: the restored image, as :meth:`RestoreEngine.restore` returns it.
        edges: the completed edge map in the photograph's frame: ``(H, W)`` ``uint8``, 0..255, zero outside ``crop``.
        timings: milliseconds by part.
        crop: the part of the photograph that the model saw; ``None`` where the mask was empty and no model ran.
    """

    image: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    timings: Timings
    crop: Crop | None


@dataclass(frozen=True, slots=True)
class _Work:
    """What the model is given for one request."""

    crop: Crop
    square: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    edges: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Request:
    """One checked request; ``work`` is ``None`` where the mask is empty and a copy is the answer."""

    pixels: NDArray[np.uint8]
    hole: NDArray[np.bool_]
    color: Color
    work: _Work | None


class RestoreEngine:
    """The two-stage model, opened once and used for many images.

    Images are ``uint8``: ``(H, W, 3)`` RGB (``color="bgr"`` for OpenCV's order), grey ``(H, W)`` or ``(H, W, 1)``,
    ``(H, W, 4)`` with alpha (kept as it is), or PIL images (``L``, ``RGB``, ``RGBA``; the result is an array). Masks
    are ``(H, W)``, ``bool`` or ``uint8`` above 127: white is what to repaint. Sizes from 1 x 1 up.

    The result is a fresh contiguous array in the form of the image, and outside the hole byte-equal to it. The hole is
    restored at the model's 256 x 256: a square with the hole and its surroundings is scaled to that and back (see
    :func:`restore_sdk.crop.plan_crops`), so a large hole comes out softer than the photograph around it.

    Threads may share one engine: ``slots`` of them compute at a time, the others wait. Same input, same output,
    whatever the number of slots. An engine does not survive a fork: open one in each process, started by ``spawn``,
    since ONNX Runtime does not support a fork: a forked child that ends by ``sys.exit`` hangs or aborts in its library.

    Args:
        bundle: a model bundle or its folder; ``None`` is the one inside the wheel.
        runtime: ``"auto"`` takes what serves best on this host and logs it; one asked for by name never falls back.
        device: index of the GPU, for runtimes that use one.
        slots: how many requests may compute at the same time.
        threads: CPU threads that one request computes with at most: its own, and ``threads - 1`` of a pool shared by
            the slots. ``None`` takes the usable cores, less one for each further slot, but at most 8.
        cuda_graph: where TensorRT serves, queue each request as one CUDA graph; ``info()["cuda_graph"]`` says if it is.

    Raises:
        BundleError: the bundle is missing, altered, or does not load.
        MissingDependencyError, EngineNotBuiltError, DeviceError: the runtime cannot be had on this host.
        InputError: an argument out of its range.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str] | None = None,
        *,
        runtime: Runtime = "auto",
        device: int = 0,
        slots: int = 1,
        threads: int | None = None,
        cuda_graph: bool = False,
    ) -> None:
        for name, count in (("slots", slots), ("threads", 1 if threads is None else threads)):
            _check_count(name, count)
        self._bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self._asked = runtime
        self._runner, self._reason = open_runner(
            runtime, self._bundle, device=device, slots=slots, threads=threads, cuda_graph=cuda_graph
        )
        self._process = os.getpid()
        self._closed = False

    def __call__(self, image: object, mask: object, *, color: Color = "rgb") -> NDArray[np.uint8]:
        """Same as :meth:`restore`."""
        return self.restore(image, mask, color=color)

    def restore(self, image: object, mask: object, *, color: Color = "rgb") -> NDArray[np.uint8]:
        """The image with its hole restored. An empty mask gives a copy, without running the model.

        Args:
            image: see the class. ``mask``: ``(H, W)`` of the same height and width.
            color: channel order of ``image`` and of the result.

        Returns:
            A fresh contiguous ``uint8`` array, shaped as the image.

        Raises:
            ImageError: the image's form is not taken.
            MaskError: the mask's form is not taken, or all of it is hole.
            ShapeError: image and mask differ in size.
            ExecutionError: the runtime failed.
            ClosedError: the engine was closed, or opened in another process.
        """
        return self._restore_chunk([(image, mask)], color)[0]

    def run(self, image: object, mask: object, *, color: Color = "rgb") -> Restoration:
        """As :meth:`restore`, with the completed edges, the crop and the time that each part took."""
        runner = self._open()
        started = time.perf_counter()
        request = _prepare(image, mask, color)
        prepared = time.perf_counter()
        work = request.work
        if work is None:
            copy = _copy(request.pixels)
            timings = Timings(1e3 * (prepared - started), 0.0, 0.0, 1e3 * (time.perf_counter() - prepared))
            return Restoration(copy, np.zeros(request.hole.shape, np.uint8), timings, None)
        result = runner.infer(work.square[None], work.mask[None], work.edges[None])
        computed = time.perf_counter()
        restored = _finish(request, work, result.restored[0])
        pasted = time.perf_counter()
        edges = paste_edges(request.hole.shape, work.crop, result.completed_edges[0])
        timings = Timings(
            prepare_ms=1e3 * (prepared - started),
            edge_ms=result.edge_ms,
            repair_ms=result.repair_ms,
            paste_ms=1e3 * (pasted - computed),
            wait_ms=max(0.0, 1e3 * (computed - prepared) - result.edge_ms - result.repair_ms),
        )
        return Restoration(restored, edges, timings, work.crop)

    def restore_batch(
        self, images: Sequence[object], masks: Sequence[object], *, color: Color = "rgb"
    ) -> list[NDArray[np.uint8]]:
        """Restore many images, of mixed sizes and forms, in as few runs of the model as it allows.

        Returns:
            One array an image, in order; each as :meth:`restore` gives it.

        Raises:
            ShapeError: not as many masks as images. The rest as :meth:`restore`; the message names the item.
        """
        if len(images) != len(masks):
            raise ShapeError(f"{len(images)} images but {len(masks)} masks", "pass one mask an image")
        runner = self._open()
        chunks = chunked(enumerate(zip(images, masks, strict=True)), runner.max_batch)
        results = ordered_map(lambda chunk: self._restore_numbered(chunk, color), chunks, runner.slots + 1)
        return [image for chunk in results for image in chunk]

    def stream(self, pairs: Iterable[tuple[object, object]], *, color: Color = "rgb") -> Iterator[NDArray[np.uint8]]:
        """Restore ``(image, mask)`` pairs as they come; yields the results in order.

        Reads only a few pairs ahead of the results taken, so that a stream may be endless. Decoding and pasting of
        some overlap with the computing of others. A result that is ready is yielded before more is read; ``pairs`` is
        read in the caller's thread, so while a live source blocks, a result that gets ready waits for its next pair.
        An error is raised in its pair's place and ends the stream.
        """
        return ordered_map(
            lambda numbered: self._restore_numbered([numbered], color)[0], enumerate(pairs), self._open().slots + 1
        )

    def warmup(self) -> float:
        """Run the model once in every slot, so that the first request is as fast as the next; returns milliseconds."""
        runner = self._open()
        started = time.perf_counter()
        square = np.zeros((1, MODEL_SIZE, MODEL_SIZE), np.uint8)
        mask = square.copy()
        mask[:, : MODEL_SIZE // 2] = 255
        for _ in range(runner.slots):
            runner.infer(np.zeros((*square.shape, 3), np.uint8), mask, square)
        return 1e3 * (time.perf_counter() - started)

    def info(self) -> dict[str, Any]:
        """Facts about this engine, of JSON types: versions, runtime and why it was chosen, device, slots, bundle."""
        runner = self._open()
        manifest = self._bundle.manifest
        return {
            "version": __version__,
            "asked": self._asked,
            "reason": self._reason,
            **runner.info(),
            "bundle": {
                "name": manifest.name,
                "version": manifest.version,
                "path": str(self._bundle.path),
                "created": manifest.created,
                "size": manifest.size,
                "parameters": sum(stage.parameters for stage in manifest.stages),
                "macs": sum(stage.macs for stage in manifest.stages),
            },
        }

    def close(self) -> None:
        """Wait for running requests, then free the model. Closing twice is fine; any other use then raises."""
        self._closed = True
        if os.getpid() == self._process:  # a forked child must not touch the locks of its parent
            self._runner.close()

    def __enter__(self) -> RestoreEngine:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> StageRunner:
        if self._closed:
            raise ClosedError("the engine is closed", "open a new RestoreEngine")
        if os.getpid() != self._process:
            raise ClosedError("the engine was opened before this process forked", "open an engine in each process")
        return self._runner

    def _restore_numbered(
        self, chunk: Sequence[tuple[int, tuple[object, object]]], color: Color
    ) -> list[NDArray[np.uint8]]:
        return self._restore_chunk([pair for _, pair in chunk], color, first=chunk[0][0])

    def _restore_chunk(
        self, pairs: Sequence[tuple[object, object]], color: Color, first: int | None = None
    ) -> list[NDArray[np.uint8]]:
        """Restore at most ``max_batch`` pairs in one run; ``first`` is the number of the first one, for messages."""
        runner = self._open()
        requests = []
        for number, (image, mask) in enumerate(pairs, first or 0):
            try:
                requests.append(_prepare(image, mask, color))
            except InputError as error:
                if first is None:
                    raise
                raise type(error)(f"item {number}: {error.message}", error.hint) from error
        works = [request.work for request in requests if request.work is not None]
        if not works:
            return [_copy(request.pixels) for request in requests]
        result = runner.infer(
            np.stack([work.square for work in works]),
            np.stack([work.mask for work in works]),
            np.stack([work.edges for work in works]),
        )
        restored = iter(result.restored)
        return [
            _copy(request.pixels) if request.work is None else _finish(request, request.work, next(restored))
            for request in requests
        ]


def _prepare(image: object, mask: object, color: Color) -> _Request:
    pixels = as_pixels(image, color)
    hole = as_hole(mask, pixels.shape[:2])
    crops = plan_crops(hole)
    if not crops:
        return _Request(pixels, hole, color, None)
    square, missing = cut(pixels, hole, crops[0], color)
    white = missing.view(np.uint8) * np.uint8(255)
    return _Request(pixels, hole, color, _Work(crops[0], square, white, canny_edges(square, missing)))


def _finish(request: _Request, work: _Work, restored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = _copy(request.pixels)
    paste(picture, request.hole, work.crop, restored, request.color)
    return picture


def _copy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(pixels, order="C", copy=True, subok=False)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise InputError(f"{name} is {value!r}", f"pass a whole number from 1 up for {name}")
