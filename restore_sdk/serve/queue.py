"""The queue of requests and the worker threads that decode, restore and encode.

A worker takes one request, and with a small photograph as many more small ones as are waiting and fit into one run of
the model; there is no batching delay. Only the requests that a worker has are decoded, so memory is bounded by the
workers, not by the queue. All but :meth:`RestoreQueue._work` runs on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, InputError, OutputError
from restore_sdk.files import Photo, encode
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.problems import ProblemError, problem_of, stopping
from restore_sdk.serve.schemas import RestoreRequest, RestoreResponse
from restore_sdk.serve.settings import SMALL_PIXELS, Settings
from restore_sdk.serve.uploads import decode
from restore_sdk.tiling.request import RestoreOptions

_LOG = logging.getLogger("restore_sdk.serve")


@dataclass(slots=True, eq=False)
class Job:
    """A request in the queue. ``result`` is cancelled where nobody waits for it any more."""

    request: RestoreRequest
    batchable: bool
    result: asyncio.Future[RestoreResponse]
    queued: float = field(default_factory=time.perf_counter)
    timings_ms: dict[str, float] = field(default_factory=dict)
    abandoned: bool = False


#: With the photograph and the mask, ``(H, W)``.
_Decoded = tuple[Job, Photo, NDArray[np.uint8]]


class RestoreQueue:
    """``settings.workers`` threads on one engine, and what waits for them."""

    def __init__(self, engine: RestoreEngine, settings: Settings, metrics: Metrics) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        self._pool = ThreadPoolExecutor(settings.workers, "restore-worker")
        self._waiting: deque[Job] = deque()
        self._inside = self._busy = 0
        self._pace = 0.1  # seconds that a request keeps a worker, a running mean
        self._failed = self._probing = False
        self.stopping = self._closed = False
        metrics.waiting.set_function(lambda: len(self._waiting))
        metrics.inside.set_function(lambda: self._inside)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of ``max_requests`` places, kept from before the upload to the result; 503 where there is none."""
        if self.stopping:
            raise stopping()
        if self._inside >= self._settings.max_requests:
            seconds = self.retry_after
            headers = {"Retry-After": str(seconds)}
            raise ProblemError(503, "Busy", "the service is full", f"try again in {seconds} s", headers)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @property
    def retry_after(self) -> int:
        """Seconds after which a place may be free, 1 to 60."""
        return min(60, max(1, math.ceil(len(self._waiting) * self._pace / self._settings.workers)))

    def submit(self, request: RestoreRequest, pixels: int) -> Job:
        """Put a request into the queue; ``pixels`` is what the larger of its two headers claims.

        The job's ``result`` raises :class:`ProblemError`.
        """
        if self._closed:
            raise stopping()
        plain = request.model_fields_set <= {"photo", "mask", "format"}
        job = Job(request, plain and pixels <= SMALL_PIXELS, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._start()
        return job

    def abandon(self, job: Job) -> None:
        """Let go of a job at once, unless a worker has it, which then keeps its place until it is done."""
        if job in self._waiting:
            self._waiting.remove(job)
        elif not job.result.done():
            job.abandoned = True
            self._inside += 1
        job.result.cancel()

    async def is_healthy(self) -> bool:
        """Whether the model's last run did not fail; after one that did, the model is tried again first.

        One at a time: probes of a model that hangs must not take all threads.
        """
        if self._failed and not self._probing:
            self._probing = True
            try:
                await asyncio.to_thread(self._engine.warmup)
                self._failed = False
            except Exception:
                _LOG.exception("the model still fails", extra={"facts": {"event": "probe"}})
            finally:
                self._probing = False
        return not self._failed

    async def close(self) -> None:
        """Drop what waits, and wait for what runs."""
        self.stopping = self._closed = True
        while self._waiting:
            self._waiting.popleft().result.set_exception(stopping())
        await asyncio.to_thread(self._pool.shutdown)

    def _start(self) -> None:
        """Give idle workers what waits."""
        while self._waiting and self._busy < self._settings.workers:
            jobs = [self._waiting.popleft()]
            while jobs[0].batchable and len(jobs) < self._settings.batch and self._waiting:
                if not self._waiting[0].batchable:
                    break
                jobs.append(self._waiting.popleft())
            for job in jobs:
                self._took(job, "wait", time.perf_counter() - job.queued)
            run = asyncio.get_running_loop().run_in_executor(self._pool, self._work, jobs)
            self._busy += 1  # only now: the system may give no thread
            run.add_done_callback(partial(self._finished, jobs, time.perf_counter()))

    def _finished(self, jobs: list[Job], started: float, run: asyncio.Future[None]) -> None:
        self._busy -= 1
        self._inside -= sum(job.abandoned for job in jobs)
        self._pace += 0.1 * ((time.perf_counter() - started) / len(jobs) - self._pace)
        self._start()

    def _took(self, job: Job, part: str, seconds: float) -> None:
        job.timings_ms[part] = round(1e3 * seconds, 3)
        self._metrics.parts.labels(part).observe(seconds)

    # What follows runs in the worker threads.

    def _work(self, jobs: list[Job]) -> None:
        items: list[_Decoded] = []
        for job in jobs:
            with self._errors_answered(job):
                items.append(self._decode(job))
        if len(items) < 2 or not self._restore_together(items):
            for item in items:
                with self._errors_answered(item[0]):
                    self._restore_alone(*item)

    def _decode(self, job: Job) -> _Decoded:
        started = time.perf_counter()
        photo, mask = decode(job.request, self._settings.max_pixels)
        self._took(job, "decode", time.perf_counter() - started)
        return job, photo, mask

    def _restore_together(self, items: list[_Decoded]) -> bool:
        """Whether they were answered: where one is invalid, none is, since it must not spoil the others."""
        started = time.perf_counter()
        jobs, photos, masks = zip(*items, strict=True)
        with self._errors_answered(*jobs):
            try:
                images = self._engine.restore_batch(
                    [photo.eight for photo in photos], masks, color="bgr", faces=self._settings.face_detector
                )
            except InputError:
                return False
            self._succeeded(len(items))
            seconds = time.perf_counter() - started
            for job, photo, image in zip(jobs, photos, images, strict=True):
                with self._errors_answered(job):
                    self._took(job, "restore", seconds)
                    self._answer(job, photo, image)
        return True

    def _restore_alone(self, job: Job, photo: Photo, mask: NDArray[np.uint8]) -> None:
        options = job.request.model_dump(include={option.name for option in fields(RestoreOptions)})
        if options["faces"] is None:
            options["faces"] = self._settings.face_detector
        restored = self._engine.run(photo.eight, mask, color="bgr", **options)
        self._succeeded(1)
        for part in ("prepare", "wait", "edge", "repair", "paste"):
            self._took(job, "slot" if part == "wait" else part, getattr(restored.timings, f"{part}_ms") / 1e3)
        edges = restored.edges if job.request.edges else None
        self._answer(job, photo, restored.image, edges, [crop.to_json() for crop in restored.crops])

    def _answer(
        self,
        job: Job,
        photo: Photo,
        image: NDArray[np.uint8],
        edges: NDArray[np.uint8] | None = None,
        crops: list[dict[str, int]] | None = None,
    ) -> None:
        started = time.perf_counter()
        file = photo.encode(f"photo.{job.request.format}", photo.with_restored(image))
        drawn = None if edges is None else encode(Path("edges.png"), edges).data
        self._took(job, "encode", time.perf_counter() - started)
        result = RestoreResponse(
            image=file.data,
            media_type=f"image/{job.request.format}",
            edges=drawn,
            notes=file.notes,
            width=image.shape[1],
            height=image.shape[0],
            crops=crops,
            timings_ms=job.timings_ms,
        )
        self._settle(job, result)

    def _succeeded(self, photos: int) -> None:
        self._failed = False
        self._metrics.batch.observe(photos)

    @contextmanager
    def _errors_answered(self, *jobs: Job) -> Iterator[None]:
        """Errors become the answers of these jobs; one that they are not to blame for is logged."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, InputError | OutputError | ProblemError):
                self._failed = self._failed or isinstance(error, ExecutionError)
                _LOG.exception("a restoration failed: %s", error, extra={"facts": {"event": "restoration_failed"}})
            for job in jobs:
                self._settle(job, problem_of(error))

    def _settle(self, job: Job, result: RestoreResponse | ProblemError) -> None:
        """Hand a job its result on the event loop, unless it has one, or nobody waits for it any more."""

        def settle() -> None:
            if not job.result.done():
                job.result.set_exception(result) if isinstance(result, Exception) else job.result.set_result(result)

        job.result.get_loop().call_soon_threadsafe(settle)
