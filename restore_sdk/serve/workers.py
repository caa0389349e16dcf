"""The threads that decode, restore and encode, and the line in front of them.

A worker takes one job, and with a small photograph as many more small ones as are waiting and fit into one run of the
model. Nobody is made to wait for company. Only the jobs that a worker holds are decoded, so memory is bounded by the
workers, not by the line.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import Restoration, RestoreEngine
from restore_sdk.errors import ClosedError, ExecutionError, InputError
from restore_sdk.files.photo import Photo
from restore_sdk.serve.body import Asked, Wishes
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.pictures import Format, check_answer, decode_mask, decode_photo, encode, encode_edges
from restore_sdk.serve.settings import SMALL_PIXELS, Settings
from restore_sdk.tiling.crop import Crop

_LOG = logging.getLogger("restore_sdk.serve")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: encoded pictures, and the seconds that each part took.

    ``notes``: what of the photograph's metadata is not in ``image``.
    """

    image: bytes
    format: Format
    notes: tuple[str, ...]
    edges: bytes | None
    width: int
    height: int
    crops: tuple[Crop, ...] | None
    seconds: dict[str, float]


@dataclass(slots=True)
class _Job:
    asked: Asked
    pixels: int
    future: Future[Answer] = field(default_factory=Future)
    queued: float = field(default_factory=time.perf_counter)
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class _Decoded:
    job: _Job
    photo: Photo
    mask: NDArray[np.uint8]
    seconds: float


class Workers:
    """``settings.workers`` threads on one engine. Thread-safe; :meth:`close` finishes what runs and drops the rest."""

    def __init__(self, engine: RestoreEngine, settings: Settings, metrics: Metrics) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        self._line: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._pace = 0.1  # seconds a job keeps a worker, a running mean
        self._failed = False
        self._probing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"restore-worker-{number}", daemon=True)
            for number in range(settings.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the line."""
        return len(self._line)

    @property
    def closed(self) -> bool:
        """Whether no more orders are taken."""
        return self._closed

    @property
    def healthy(self) -> bool:
        """Whether all threads live and the model's last run did not fail."""
        return not self._failed and not self._closed and all(thread.is_alive() for thread in self._threads)

    def submit(self, asked: Asked, pixels: int) -> Future[Answer]:
        """Put what was asked into the line; ``pixels`` is what the larger of both headers claims.

        Cancelling the future takes it out of the line, unless a worker has it.
        """
        job = _Job(asked, pixels)
        with self._changed:
            if self._closed:
                raise ClosedError("the service is stopping", "try again soon")
            self._line.append(job)
            self._changed.notify()
        job.future.add_done_callback(self._forget)  # not with the job: it would keep itself, and its bytes, alive
        return job.future

    def patience(self) -> int:
        """Seconds after which a place may be free, for ``Retry-After``: 1 to 60."""
        return min(60, max(1, math.ceil(len(self._line) * self._pace / self._settings.workers)))

    def probe(self) -> None:
        """After a failed run: try the model again, so that a service that recovered says so. One at a time: another
        call returns at once, so that probes of a model that hangs do not take all threads."""
        if not self._probing.acquire(blocking=False):
            return
        try:
            self._engine.warmup()
        except Exception:
            _LOG.exception("the model still fails", extra={"event": "probe"})
        else:
            self._failed = False
        finally:
            self._probing.release()

    def close(self) -> None:
        """Drop the line, wait for what runs. Idempotent."""
        with self._changed:
            self._closed = True
            dropped = list(self._line)
            self._line.clear()
            self._changed.notify_all()
        for job in dropped:
            job.future.cancel()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            started = time.perf_counter()
            try:
                self._serve(jobs)
            except BaseException as error:  # whatever it was, its clients get an answer and the thread lives on
                _LOG.exception("a worker failed", extra={"event": "worker_failed"})
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(error)
            self._pace += 0.1 * ((time.perf_counter() - started) / len(jobs) - self._pace)

    def _forget(self, future: Future[Answer]) -> None:
        """Let go of a cancelled job at once: its place in the house is given away, so its bytes must not stay."""
        if future.cancelled():
            with self._changed:
                self._line = deque(job for job in self._line if job.future is not future)

    def _next(self) -> list[_Job]:
        with self._changed:
            while True:
                jobs = self._take()
                if jobs or self._closed:
                    return jobs
                self._changed.wait()

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        while self._line and len(jobs) < self._settings.batch:
            if jobs and not (_shareable(jobs[0]) and _shareable(self._line[0])):
                break
            job = self._line.popleft()
            if job.future.set_running_or_notify_cancel():
                job.waited = time.perf_counter() - job.queued
                self._metrics.part("wait", job.waited)
                jobs.append(job)
        return jobs

    def _serve(self, jobs: list[_Job]) -> None:
        decoded = [item for item in map(self._decode, jobs) if item is not None]
        if len(decoded) > 1:
            try:
                self._together(decoded)
                return
            except InputError:
                pass  # one of them is unsound; it must not spoil the others
        for item in decoded:
            self._alone(item)

    def _decode(self, job: _Job) -> _Decoded | None:
        started = time.perf_counter()
        try:
            limit = self._settings.max_pixels
            photo, mask = decode_photo(job.asked.photo, limit), decode_mask(job.asked.mask, limit)
            check_answer(photo, job.asked.wishes.format)  # before the model runs
        except Exception as error:
            self._refuse(job, error)
            return None
        return _Decoded(job, photo, mask, time.perf_counter() - started)

    def _together(self, items: list[_Decoded]) -> None:
        started = time.perf_counter()
        try:
            photos, masks = [item.photo.eight for item in items], [item.mask for item in items]
            images = self._engine.restore_batch(photos, masks, color="bgr", faces=self._settings.face_detector)
        except InputError:
            raise
        except Exception as error:
            self._broken(error)
            for item in items:
                item.job.future.set_exception(error)
            return
        self._failed = False
        self._metrics.ran(len(items))
        seconds = time.perf_counter() - started
        for item, image in zip(items, images, strict=True):
            self._answer(item, image, None, None, {"restore": seconds})

    def _alone(self, item: _Decoded) -> None:
        try:
            wishes = item.job.asked.wishes
            result: Restoration = self._engine.run(
                item.photo.eight,
                item.mask,
                color="bgr",
                faces=self._settings.face_detector if wishes.faces is None else wishes.faces,
                dilate=wishes.dilate,
                feather=wishes.feather,
                max_crops=wishes.max_crops,
            )
        except Exception as error:
            if not isinstance(error, InputError):
                self._broken(error)
            item.job.future.set_exception(error)
            return
        self._failed = False
        self._metrics.ran(1)
        timings = result.timings
        seconds = {
            "prepare": timings.prepare_ms / 1e3,
            "slot": timings.wait_ms / 1e3,
            "edge": timings.edge_ms / 1e3,
            "repair": timings.repair_ms / 1e3,
            "paste": timings.paste_ms / 1e3,
        }
        edges = result.edges if wishes.edges else None
        self._answer(item, result.image, edges, result.crops, seconds)

    def _answer(
        self,
        item: _Decoded,
        image: NDArray[np.uint8],
        edges: NDArray[np.uint8] | None,
        crops: tuple[Crop, ...] | None,
        seconds: dict[str, float],
    ) -> None:
        wishes, started = item.job.asked.wishes, time.perf_counter()
        try:
            file = encode(item.photo, image, wishes.format)
            drawn = None if edges is None else encode_edges(edges)
        except Exception as error:
            self._refuse(item.job, error)
            return
        parts = {
            "wait": item.job.waited,
            "decode": item.seconds,
            **seconds,
            "encode": time.perf_counter() - started,
        }
        for part, duration in parts.items():
            if part != "wait":  # counted when it ended
                self._metrics.part(part, duration)
        height, width = image.shape[:2]
        item.job.future.set_result(Answer(file.data, wishes.format, file.notes, drawn, width, height, crops, parts))

    def _refuse(self, job: _Job, error: Exception) -> None:
        """Answer with an error; one that the request is not to blame for is logged."""
        if not isinstance(error, InputError):
            _LOG.error("a photograph failed: %s", error, extra={"event": "photo_failed"}, exc_info=error)
        job.future.set_exception(error)

    def _broken(self, error: Exception) -> None:
        self._failed = self._failed or isinstance(error, ExecutionError)
        _LOG.error("the model failed: %s", error, extra={"event": "model_failed"}, exc_info=error)


def _shareable(job: _Job) -> bool:
    return job.pixels <= SMALL_PIXELS and job.asked.wishes.model_copy(update={"format": "png"}) == Wishes()
