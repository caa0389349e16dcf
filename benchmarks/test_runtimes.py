"""Each stage and the chain of both at 256 x 256: the PyTorch reference, every runtime of the SDK, the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks import cases, peers
from benchmarks.cases import Case
from benchmarks.inputs import BATCHES
from benchmarks.subjects import REFERENCE, RUNTIMES, Subject
from restore_sdk.errors import RestoreError
from restore_sdk.runtime.base import Inference
from restore_sdk.runtime.cores import threads_alone

Open = Callable[..., Subject]
Measure = Callable[[Case], None]

#: Least PSNR in dB of a peer in half precision against itself in float32: untrained weights, so the gate of the SDK's
#: own runtimes says nothing about it.
PEER_DB = 25.0

_stage_seconds = 0.0


def stage_clock() -> float:
    """A clock that only runs while the stage under test computes, by the runner's own account."""
    return _stage_seconds


@pytest.mark.parametrize("key", [*REFERENCE, *RUNTIMES])
def test_chain(key: str, subject: Open, reference: Inference, measure: Measure) -> None:
    measure(cases.chain(subject(key), reference))


@pytest.mark.parametrize("stage", ["edge", "repair"])
@pytest.mark.parametrize("key", [*REFERENCE, *RUNTIMES])
@pytest.mark.benchmark(timer=stage_clock)
def test_stage(key: str, stage: str, subject: Open, reference: Inference, measure: Measure) -> None:
    case = cases.chain(subject(key), reference)

    def call() -> Inference:
        global _stage_seconds
        result: Inference = case.call()
        _stage_seconds += case.parts(result)[stage] / 1e3
        return result

    measure(replace(case, group=f"{stage} stage", call=call))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("key", RUNTIMES)
def test_threads(key: str, threads: int, subject: Open, reference: Inference, measure: Measure) -> None:
    case = cases.chain(subject(key, threads=threads), reference)
    assert case.facts["threads"] in (threads, None), "the runtime did not take the number of threads"
    measure(replace(case, group=f"chain, {threads} threads"))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("key", ["pytorch"])
def test_batch_of_the_reference(key: str, batch: int, subject: Open, reference: Inference, measure: Measure) -> None:
    measure(replace(cases.chain(subject(key), reference, batch), group="batch"))


@pytest.mark.parametrize("key", peers.KEYS)
def test_edgeconnect(key: str, subject: Open, measure: Measure) -> None:
    right = subject("edgeconnect-pytorch").runner.infer(*cases.portrait().batch(1))
    half = subject(key).facts["precision"] != "fp32"
    measure(replace(cases.chain(subject(key), right, least=PEER_DB if half else cases.LEAST_DB), group="peer"))


@pytest.mark.parametrize("backend", peers.BACKENDS)
def test_stack_of_convolutions(backend: str, measure: Measure) -> None:
    try:
        case = cases.stack(backend, threads_alone())
    except RestoreError as error:
        pytest.skip(f"{backend}: {error}")
    measure(replace(case, group="peer"))


@pytest.mark.parametrize("method", [0, 1], ids=["telea", "navier-stokes"])
def test_opencv(method: int, measure: Measure) -> None:
    measure(replace(cases.opencv()[method], group="peer"))
