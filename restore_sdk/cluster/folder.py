"""Restoring the photographs of a folder on a Ray cluster.

The workers read photographs and masks from the paths that the caller has, so those lie on a file system that all nodes
share, and give back encoded results. Only the caller writes. Whatever is lost with a worker is computed again by
another, and published once.

Needs the extra ``ray``.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from restore_sdk import __version__
from restore_sdk._util.extras import install
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import (
    BundleIntegrityError,
    DeviceError,
    ExecutionError,
    InputError,
    MissingDependencyError,
    RestoreError,
)
from restore_sdk.folder.batch import Outcome, Restorer
from restore_sdk.folder.jobs import Job
from restore_sdk.folder.work import Done, Failure, Settings, restore_job
from restore_sdk.runtime.select import Runtime

#: Photographs that one task of a worker takes; what is lost with a worker is at most a few of these.
TASK_PHOTOS = 4

#: Seconds for a connection to the head node.
CONNECT_S = 10.0

#: A folder is cut into at most so many tasks; in larger ones a task takes more photographs.
MAX_TASKS = 4096


def on_ray(address: str, bundle: Bundle, settings: Settings, *, runtime: Runtime, workers: int | None) -> Restorer:
    """A restorer on the Ray cluster at ``address``.

    Args:
        address: as ``ray.init`` takes it: ``"HOST:6379"``, ``"auto"`` for the cluster that this host is part of,
            ``"local"`` to start one here.
        bundle: the model; the workers open it by its name or path, and refuse another one there.
        runtime: on the workers. A TensorRT runtime takes a GPU for each worker, the others a core.
        workers: how many; ``None`` takes as many as the cluster has cores, or GPUs.

    Raises:
        MissingDependencyError: Ray is not installed.
        DeviceError, from the restorer: there is no such cluster, or nothing in it to work with.
        ExecutionError, from the restorer: a worker cannot start, or the cluster failed.
    """

    ray = _import_ray()

    def restore(jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        todo = list(jobs)
        detector = None if settings.face_detector is None else str(Path(settings.face_detector).absolute())
        resource = "GPU" if runtime.startswith("tensorrt") else "CPU"
        with _connected(ray, address), _mapped_errors(ray):
            there = int(ray.cluster_resources().get(resource, 0))
            if there < 1:
                raise DeviceError(f"the Ray cluster at {address} has no {resource}", "add a node, or another --runtime")
            tasks = min(math.ceil(len(todo) / TASK_PHOTOS), MAX_TASKS)
            # The rows exist already: tasks that make them would wait for cores, all of which the workers hold.
            numbers = ray.data.from_items([{"id": number} for number in range(len(todo))], override_num_blocks=tasks)
            rows = numbers.map_batches(
                _Worker,
                fn_constructor_kwargs={
                    "jobs": [_anywhere(job) for job in todo],
                    "settings": replace(settings, face_detector=detector),
                    "bundle": bundle.address,
                    "fingerprint": bundle.fingerprint,
                    "runtime": runtime,
                    "version": __version__,
                },
                compute=ray.data.ActorPoolStrategy(size=min(workers or there, tasks)),
                batch_size=1,  # a photograph's result leaves the worker before it takes the next one
                batch_format="pyarrow",
                num_cpus=1,
                num_gpus=1 if resource == "GPU" else None,
            )
            for row in rows.iter_rows():
                yield todo[row["id"]], _outcome(row["data"], json.loads(row["told"]))

    return restore


def _anywhere(job: Job) -> Job:
    """The job with paths that mean the same to a worker, whose working directory is another."""
    mask = None if job.mask is None else job.mask.absolute()
    return replace(job, photo=job.photo.absolute(), mask=mask, output=job.output.absolute())


class _Worker:
    """An actor with an engine; its rows are numbers of jobs, and outcomes in return."""

    def __init__(
        self,
        jobs: list[Job],
        settings: Settings,
        bundle: str,
        fingerprint: str,
        runtime: Runtime,
        version: str,
    ) -> None:
        self._jobs, self._settings = jobs, settings
        self._facts = {"worker": f"{socket.gethostname()}:{os.getpid()}"}
        self._engine: RestoreEngine | None = None
        try:
            if version != __version__:
                raise InputError(f"it has restore-sdk {__version__}, the caller {version}", "install one version")
            model = Bundle.load(bundle)
            if model.fingerprint != fingerprint:
                raise BundleIntegrityError(f"{bundle} is another model there", "put the same bundle on all nodes")
            self._engine = RestoreEngine(model, runtime=runtime, threads=1)
        except RestoreError as error:  # told by the first row: Ray would make a long text of it
            self._refusal = {
                "refusal": [f"the worker {self._facts['worker']} cannot start: {error.message}", error.hint]
            }

    def __call__(self, batch: Any) -> Any:
        """Restore the jobs whose numbers stand in the column ``id`` of an Arrow table."""
        import pyarrow  # comes with Ray Data

        numbers = batch["id"].to_pylist()
        answers = [self._answer(self._jobs[number]) for number in numbers]
        data = pyarrow.array([data for data, _ in answers], pyarrow.large_binary())
        return pyarrow.table({"id": batch["id"], "data": data, "told": [json.dumps(told) for _, told in answers]})

    def _answer(self, job: Job) -> tuple[bytes, dict[str, Any]]:
        if self._engine is None:
            return b"", self._refusal
        outcome = restore_job(self._engine, job, self._settings)
        if isinstance(outcome, Failure):
            return b"", {"failure": asdict(outcome)}
        return outcome.data, {"stamp": outcome.stamp, "facts": {**outcome.facts, **self._facts}}


def _outcome(data: bytes, told: dict[str, Any]) -> Outcome:
    if "refusal" in told:
        raise ExecutionError(*told["refusal"])
    return Failure(**told["failure"]) if "failure" in told else Done(data, told["stamp"], told["facts"])


def _import_ray() -> Any:
    """Ray with its part ``data``; not before it is needed, since its import takes a second and makes sockets."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # who has said nothing is not counted by anybody
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(f"Ray cannot be imported: {error}", f"run: {install('ray')}") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to the cluster, unless this process has one; quiet, since the caller shows progress.

    What Ray has to say of lost workers it prints; that goes to standard error, since the other stream is the caller's.
    """
    logging.getLogger("ray").setLevel(logging.WARNING)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    with redirect_stdout(sys.stderr):
        yield from _session(ray, address)


def _session(ray: Any, address: str) -> Iterator[None]:
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises many kinds
        raise DeviceError(
            f"no Ray cluster can be reached at {address}: {error}", "start one: ray start --head, or --ray local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _mapped_errors(ray: Any) -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ExecutionError(f"the Ray cluster failed: {error}", "look into its logs: ray logs") from error
