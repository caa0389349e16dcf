"""The queue of requests and the worker threads that decode, restore and encode.

Only the requests that a worker has are decoded, so memory is bounded by the workers, not by the queue. All but
:meth:`RestoreQueue._restore` runs on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
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

#: Seconds after which a client should try again where the service is full.
RETRY_AFTER_S = 5


class RestoreQueue:
    """``settings.workers`` threads on the engines, and what waits for them.

    A request is inside while its client waits for it, or a worker has it.
    """

    def __init__(
        self, engine: RestoreEngine, settings: Settings, metrics: Metrics, also: Iterable[RestoreEngine] = ()
    ) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        # A runner that brings no bundle has no name.
        self._engines = {str(each.info().get("bundle", {}).get("name", "model")): each for each in (engine, *also)}
        self._pool = ThreadPoolExecutor(settings.workers, "restore-worker")
        self._idle = asyncio.Semaphore(settings.workers)
        self._clients: set[object] = set()
        self._running: set[object] = set()
        self._waiting = 0
        self._failed = self._probing = self.stopping = False
        metrics.waiting.set_function(lambda: self._waiting)
        metrics.inside.set_function(lambda: len(self._clients | self._running))

    @property
    def models(self) -> list[str]:
        """Names that a request may ask for; the first is taken unless one is named."""
        return list(self._engines)

    @contextmanager
    def place(self, key: object) -> Iterator[None]:
        """One of ``max_requests`` places, kept from before the upload to the result; 503 where there is none."""
        if self.stopping:
            raise stopping()
        if len(self._clients | self._running) >= self._settings.max_requests:
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            raise ProblemError(503, "Busy", "the service is full", f"try again in {RETRY_AFTER_S} s", headers)
        self._clients.add(key)
        try:
            yield
        finally:
            self._clients.discard(key)

    async def result(self, key: object, request: RestoreRequest | DamageRequest) -> Response:
        """Wait for a worker, and for its result; raises :class:`ProblemError`.

        Cancelled while it waits, the request is gone at once; cancelled later, the worker keeps its place.
        """
        if isinstance(request, RestoreRequest) and request.model not in (None, *self._engines):
            raise ProblemError(422, "BadRequest", "model: no model by that name", f"ask for {' or '.join(self.models)}")
        timings_ms: dict[str, float] = {}
        started = time.perf_counter()
        self._waiting += 1
        try:
            await self._idle.acquire()
        finally:
            self._waiting -= 1
        self._observe(timings_ms, "wait", started)
        try:
            run = asyncio.get_running_loop().run_in_executor(self._pool, self._restore, request, timings_ms)
        except RuntimeError:  # the system gives no thread
            self._idle.release()
            raise
        self._running.add(key)
        run.add_done_callback(partial(self._finished, key))
        try:
            return await asyncio.shield(run)
        except Exception as error:
            raise problem_of(error) from error

    def _finished(self, key: object, run: asyncio.Future[Response]) -> None:
        """Free the worker; an error that the client did not cause is logged."""
        self._running.discard(key)
        self._idle.release()
        error = run.exception()
        if error is not None and not isinstance(error, InputError | OutputError | ProblemError):
            self._failed = self._failed or isinstance(error, ExecutionError)
            facts = {"facts": {"event": "restoration_failed"}}
            _LOG.error("a restoration failed: %s", error, exc_info=error, extra=facts)

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
        """Wait for what runs."""
        self.stopping = True
        await asyncio.to_thread(self._pool.shutdown)

    def _observe(self, timings_ms: dict[str, float], part: str, started: float) -> None:
        seconds = time.perf_counter() - started
        timings_ms[part] = round(1e3 * seconds, 3)
        self._metrics.parts.labels(part).observe(seconds)

    def _restore(self, request: RestoreRequest | DamageRequest, timings_ms: dict[str, float]) -> Response:
        """Decode, restore and encode, in a worker thread."""
        if isinstance(request, DamageRequest):
            return self._find_damage(request, timings_ms)
        started = time.perf_counter()
        photo, mask = decode(request, self._settings.max_pixels)
        self._observe(timings_ms, "decode", started)
        options = request.model_dump(include={option.name for option in fields(RestoreOptions)})
        engine = self._engines[request.model or self.models[0]]
        restored = engine.run(photo.eight, mask, color="bgr", **options)
        self._failed = False
        for part, ms in restored.timings.parts().items():
            name = "slot" if part == "wait" else part
            timings_ms[name] = round(ms, 3)
            self._metrics.parts.labels(name).observe(ms / 1e3)
        started = time.perf_counter()
        file = photo.encode(f"photo.{request.format}", photo.with_restored(restored.image))
        edges = encode(Path("edges.png"), restored.edges).data if request.edges else None
        self._observe(timings_ms, "encode", started)
        return RestoreResponse(
            image=file.data,
            media_type=f"image/{request.format}",
            edges=edges,
            notes=(*restored.notes, *file.notes),
            width=restored.image.shape[1],
            height=restored.image.shape[0],
            crops=[crop.to_json() for crop in restored.crops],
            detail=restored.detail,
            timings_ms=timings_ms,
        )

    def _find_damage(self, request: DamageRequest, timings_ms: dict[str, float]) -> DamageResponse:
        """Decode, find damage and encode the mask, in a worker thread."""
        started = time.perf_counter()
        photo = decode_photo(request, self._settings.max_pixels)
        self._observe(timings_ms, "decode", started)
        started = time.perf_counter()
        damage = self._engine.find_damage(photo.eight, sensitivity=request.sensitivity, color="bgr")
        self._observe(timings_ms, "damage", started)
        height, width = damage.mask.shape
        return DamageResponse(
            image=encode(Path("mask.png"), damage.mask).data,
            media_type="image/png",
            share=damage.share,
            width=width,
            height=height,
            timings_ms=timings_ms,
        )
