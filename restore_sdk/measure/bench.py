"""How long a request takes on the runtimes of this host, what of it is host work, and how far the result drifts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import DeviceError, InputError, RestoreError
from restore_sdk.measure import host
from restore_sdk.measure.contender import Contender
from restore_sdk.measure.fresh import fresh_process
from restore_sdk.runtime.select import Runtime, open_runner

#: Schema of the report, and the kind that it says it is.
SCHEMA = 1
KIND = "restore-sdk bench"

#: The requests that count come in as many rounds; between two rounds of a runtime, all others have theirs. What slows
#: the machine down for a while then slows all of them, and the rounds' medians show how much it does.
ROUNDS = 5

#: How the chain is queued on TensorRT: one way or the other, or both, taking turns.
Graphs = Literal["both", "on", "off"]

#: Every runtime that has a name of its own.
NAMED: tuple[Runtime, ...] = tuple(name for name in get_args(Runtime) if name != "auto")


def measure(
    bundle: Bundle,
    runtimes: Sequence[Runtime] = (),
    *,
    requests: int = 200,
    batch: int = 1,
    slots: int = 1,
    threads: int | None = None,
    device: int = 0,
    cuda_graph: Graphs = "both",
    processes: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time the two stages and whole requests on golden inputs, the runtimes taking turns.

    Args:
        runtimes: those to measure; one that cannot be opened is an error. None named: all that open on this host, and
            the report says why the others do not.
        requests: how many are counted, after :data:`restore_sdk.measure.contender.WARMUP` that are not.
        batch: images a request of the stages and of the throughput.
        slots: how many requests may compute at the same time; one-after-another latency does not depend on it.
        threads: see :class:`restore_sdk.RestoreEngine`.
        cuda_graph: on TensorRT, ``"both"`` measures two ways, with the chain queued call by call and as one CUDA graph;
            ``"on"`` and ``"off"`` measure one. On a CPU there is no such thing.
        processes: also start a fresh process a runtime, for its start and its memory.
        progress: told what is being done.

    Returns:
        JSON types. ``host``: see :func:`restore_sdk.measure.host.facts`. ``absent``: what does not open. ``runs``:
        one entry a way of running, with ``name`` (what ran, never only what was asked for), ``runtime`` (facts on the
        runner, device memory among them), ``open_ms`` (from nothing to ready), ``drift`` (PSNR in dB against the
        float32 reference, ``None`` where equal), ``latency_ms`` (of ``request``, wall-clock, and of its parts ``edge``,
        ``repair``, on a GPU also ``upload``, ``download``, ``compute``: each ``p50``, ``p95``, ``p99``, ``max``),
        ``photo_ms`` (the same of a 256 x 256 photograph from file to file: ``decode``, ``prepare``, ``wait``, ``edge``,
        ``repair``, ``paste``, ``encode``, ``total``), ``images_per_second`` with all slots busy, ``rounds`` (medians
        of each round), and ``process`` (see :func:`restore_sdk.measure.fresh.fresh_process`).

    Raises:
        InputError: an argument out of its range, or a CUDA graph asked for where there is none. The rest as
            :func:`restore_sdk.runtime.select.open_runner`.
    """
    if requests < 1 or batch < 1 or slots < 1:
        raise InputError("requests, batch and slots count from 1", "pass whole numbers from 1 up")
    if threads is not None and threads < 1:
        raise InputError("threads count from 1", "pass a whole number from 1 up, or leave it out")
    if cuda_graph not in get_args(Graphs):
        raise InputError(f"cuda_graph is {cuda_graph!r}", f"choose one of {', '.join(get_args(Graphs))}")
    settings = {"slots": slots, "threads": threads, "device": device}
    about = host.facts()  # now: later its load is what this has made
    with ExitStack() as stack:
        contenders, absent = _open(bundle, runtimes, cuda_graph, settings, stack, progress)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder())))
        for contender in contenders:
            contender.load(bundle, batch, folder)
        rounds = min(ROUNDS, requests)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            share = requests * (number + 1) // rounds - requests * number // rounds
            for contender in _turned(contenders, number):
                contender.round(share)
        runs = [contender.report() for contender in contenders]
    if processes:
        for run in runs:
            progress(f"a fresh process on {run['name']}")
            graph = bool(run["runtime"].get("cuda_graph"))
            run["process"] = fresh_process(
                bundle.path, run["asked"], requests=requests, threads=threads, device=device, cuda_graph=graph
            )
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "requests": requests,
        "batch": batch,
        **settings,
        "host": about,
        "absent": absent,
        "runs": runs,
    }


def _open(
    bundle: Bundle,
    runtimes: Sequence[Runtime],
    graphs: Graphs,
    settings: dict[str, Any],
    stack: ExitStack,
    progress: Callable[[str], None],
) -> tuple[list[Contender], list[dict[str, str]]]:
    """What was asked for, or all that opens, and what does not and why."""
    contenders: list[Contender] = []
    absent: list[dict[str, str]] = []
    for name in dict.fromkeys(runtimes or NAMED):
        progress(f"opening {name}")
        try:
            contenders += _ways(bundle, name, graphs, settings, stack, absent)
        except RestoreError as error:
            if runtimes:
                raise
            absent.append({"runtime": name, "why": error.message, "hint": error.hint})
    if not contenders:
        raise DeviceError("no runtime opens on this host", "run: restore-sdk doctor")
    return contenders, absent


def _ways(
    bundle: Bundle,
    name: Runtime,
    graphs: Graphs,
    settings: dict[str, Any],
    stack: ExitStack,
    absent: list[dict[str, str]],
) -> list[Contender]:
    def opened(cuda_graph: bool) -> Contender:
        with ExitStack() as own:  # closed at once where only a part opens
            started = time.perf_counter()
            runner, reason = open_runner(name, bundle, cuda_graph=cuda_graph, **settings)
            own.callback(runner.close)
            open_ms = 1e3 * (time.perf_counter() - started)
            engine = own.enter_context(RestoreEngine(bundle, runtime=name, cuda_graph=cuda_graph, **settings))
            stack.push(own.pop_all())
        return Contender(name, runner, reason, open_ms, engine)

    first = opened(graphs == "on")
    if graphs != "both" or "cuda_graph" not in first.facts:
        return [first]
    try:
        second = opened(True)
    except RestoreError as error:
        absent.append({"runtime": f"{name}, CUDA graph", "why": error.message, "hint": error.hint})
        return [first]
    return [first, second]


def _turned(contenders: Sequence[Contender], by: int) -> Iterable[Contender]:
    first = by % len(contenders)
    return (*contenders[first:], *contenders[:first])


def fast_folder() -> str | None:
    """A folder in memory, where there is one: encoding is measured, not the disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
