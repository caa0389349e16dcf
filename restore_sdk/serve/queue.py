"""The queue of requests and the worker threads that decode, restore and encode.

Only the requests that a worker has are decoded, so memory is bounded by the workers, not by the queue. All but
:meth:`RestoreQueue._restored` runs on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TypeAlias

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, InputError, OutputError
from restore_sdk.files import encode
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.problems import ProblemError, problem_of, stopping
from restore_sdk.serve.schemas import DamageRequest, DamageResponse, RestoreRequest, RestoreResponse
from restore_sdk.serve.settings import Settings
from restore_sdk.serve.uploads import decode, decode_photo
from restore_sdk.tiling.request import RestoreOptions

_LOG = logging.getLogger("restore_sdk.serve")


Response: TypeAlias = RestoreResponse | DamageResponse


@dataclass(slots=True, eq=False)
class Job:
    """A request in the queue. ``result`` is cancelled where nobody waits for it any more."""

    request: RestoreRequest | DamageRequest
    result: asyncio.Future[Response]
    queued: float = field(default_factory=time.perf_counter)
    timings_ms: dict[str, float] = field(default_factory=dict)
    abandoned: bool = False


def model_name(engine: RestoreEngine) -> str:
    """The name of an engine's bundle; ``"model"`` of a runner that brings none."""
    return str(engine.info().get("bundle", {}).get("name", "model"))


class RestoreQueue:
    """``settings.workers`` threads on the engines, and what waits for them."""

    def __init__(
        self, engine: RestoreEngine, settings: Settings, metrics: Metrics, also: Iterable[RestoreEngine] = ()
    ) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        self._engines = {model_name(each): each for each in (engine, *also)}
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

    @property
    def models(self) -> list[str]:
        """Names that a request may ask for; the first is taken unless one is named."""
        return list(self._engines)

    def submit(self, request: RestoreRequest | DamageRequest) -> Job:
        """Put a request into the queue; the job's ``result`` raises :class:`ProblemError`."""
        if self._closed:
            raise stopping()
        if isinstance(request, RestoreRequest) and request.model not in (None, *self._engines):
            raise ProblemError(422, "BadRequest", "model: no model by that name", f"ask for {' or '.join(self.models)}")
        job = Job(request, asyncio.get_running_loop().create_future())
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
                for engine in self._engines.values():
                    await asyncio.to_thread(engine.warmup)
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
            job = self._waiting.popleft()
            self._took(job, "wait", time.perf_counter() - job.queued)
            run = asyncio.get_running_loop().run_in_executor(self._pool, self._restored, job)
            self._busy += 1  # only now: the system may give no thread
            run.add_done_callback(partial(self._finished, job, time.perf_counter()))

    def _finished(self, job: Job, started: float, run: asyncio.Future[Response]) -> None:
        """Answer a job; an error that its client is not to blame for is logged."""
        self._busy -= 1
        self._inside -= job.abandoned
        self._pace += 0.1 * (time.perf_counter() - started - self._pace)
        error = run.exception()
        if error is not None and not isinstance(error, InputError | OutputError | ProblemError):
            self._failed = self._failed or isinstance(error, ExecutionError)
            facts = {"facts": {"event": "restoration_failed"}}
            _LOG.error("a restoration failed: %s", error, exc_info=error, extra=facts)
        if not job.result.done():  # else nobody waits for it any more
            job.result.set_exception(problem_of(error)) if error else job.result.set_result(run.result())
        self._start()

    def _took(self, job: Job, part: str, seconds: float) -> None:
        job.timings_ms[part] = round(1e3 * seconds, 3)
        self._metrics.parts.labels(part).observe(seconds)

    def _restored(self, job: Job) -> Response:
        """Decode, restore and encode, in a worker thread."""
        started = time.perf_counter()
        if isinstance(job.request, DamageRequest):
            return self._found(job, job.request)
        photo, mask = decode(job.request, self._settings.max_pixels)
        self._took(job, "decode", time.perf_counter() - started)
        options = job.request.model_dump(include={option.name for option in fields(RestoreOptions)})
        engine = self._engines[job.request.model or self.models[0]]
        restored = engine.run(photo.eight, mask, color="bgr", **options)
        self._failed = False
        for part in ("prepare", "wait", "edge", "repair", "paste"):
            self._took(job, "slot" if part == "wait" else part, getattr(restored.timings, f"{part}_ms") / 1e3)
        started = time.perf_counter()
        file = photo.encode(f"photo.{job.request.format}", photo.with_restored(restored.image))
        edges = encode(Path("edges.png"), restored.edges).data if job.request.edges else None
        self._took(job, "encode", time.perf_counter() - started)
        return RestoreResponse(
            image=file.data,
            media_type=f"image/{job.request.format}",
            edges=edges,
            notes=(*restored.notes, *file.notes),
            width=restored.image.shape[1],
            height=restored.image.shape[0],
            crops=[crop.to_json() for crop in restored.crops],
            detail=restored.detail,
            timings_ms=job.timings_ms,
        )

    def _found(self, job: Job, request: DamageRequest) -> DamageResponse:
        """Decode, find damage and encode the mask, in a worker thread."""
        started = time.perf_counter()
        photo = decode_photo(request, self._settings.max_pixels)
        self._took(job, "decode", time.perf_counter() - started)
        started = time.perf_counter()
        damage = self._engine.find_damage(photo.eight, sensitivity=request.sensitivity, color="bgr")
        self._took(job, "damage", time.perf_counter() - started)
        height, width = damage.mask.shape
        return DamageResponse(
            image=encode(Path("mask.png"), damage.mask).data,
            media_type="image/png",
            share=damage.share,
            width=width,
            height=height,
            timings_ms=job.timings_ms,
        )
