"""The chain gives what ONNX Runtime gives, with the copies and the waits that it must have and no more."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.errors import ShapeError
from restore_sdk.runtime.base import SlotPool
from restore_sdk.runtime.onnxruntime import OnnxRunner
from restore_sdk.runtime.tensorrt import TensorRtRunner
from tests.cuda_double.double import Double
from tests.runtime.tensorrt.conftest import Open, plans, requests, same


@pytest.mark.parametrize("slots", [1, 2])
def test_equal_to_onnx_runtime(open_runner: Open, reference: OnnxRunner, slots: int) -> None:
    with open_runner(slots=slots) as runner:
        for request in 2 * (requests(10) + requests(5, batch=3)):
            assert same(runner.infer(*request), reference.infer(*request))


def test_copies_and_waits_of_a_request(open_runner: Open, double: Double) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        runner.infer(*request)
        before = double.counters()
        for _ in range(10):
            runner.infer(*request)
        done = double.counters().since(before)
    assert (done.to_device, done.to_host) == (20, 20)
    assert done.on_device == 0, "the stages share an address, nothing is copied between them"
    assert done.pageable == 0, "every copy is between the device and pinned memory"
    assert done.synchronisations == 10, "one wait a request"
    assert done.allocations == 0, "a request allocates nothing"
    assert done.calls == 40, "two stages, each two pieces of work of the stage double"


def test_the_stages_share_an_address_and_the_workspace(open_runner: Open, toy_bundle: Bundle) -> None:
    with open_runner(slots=2) as runner:
        pipelines = runner._pool.close()
        try:
            for pipeline in pipelines:
                edge, repair = (context.context for context in pipeline._contexts)
                assert edge._addresses["completed_edges"] == repair._addresses["completed_edges"]
                assert edge._workspace == repair._workspace
            assert len({pipeline._contexts[0].context._workspace for pipeline in pipelines}) == 2, "one a slot"
            assert len({pipeline._memory["completed_edges"].address for pipeline in pipelines}) == 4, "one a pipeline"
        finally:
            runner._pool = SlotPool(pipelines)
            del pipeline, edge, repair


def test_the_larger_workspace_and_the_smaller_profile_count(toy_bundle: Bundle, trt: ModuleType) -> None:
    edge, repair = (
        plans(toy_bundle, workspace=200_000, max_batch=3)[0],
        plans(toy_bundle, workspace=400_000, max_batch=2)[1],
    )
    runner = TensorRtRunner(toy_bundle, edge, repair, trt, slots=3)
    try:
        assert runner.max_batch == 2
        assert runner.info()["workspace_bytes"] == 3 * 2 * 400_000
    finally:
        runner.close()


def test_results_are_copies(open_runner: Open) -> None:
    first_request, second_request = requests(2)
    with open_runner() as runner:
        first = runner.infer(*first_request)
        kept = first.restored.copy()
        for _ in range(4):
            runner.infer(*second_request)
        assert np.array_equal(first.restored, kept)
        assert first.restored.flags.c_contiguous
        assert first.restored.flags.owndata


def test_times_of_copies_and_stages(open_runner: Open, trt: ModuleType) -> None:
    (request,) = requests(1)
    with open_runner() as runner:
        for _ in range(6):
            runner.infer(*request)
        trt.control.pause = 0.02
        result = runner.infer(*request)
    for stage, copies in ((result.edge_ms, result.upload_ms), (result.repair_ms, result.download_ms)):
        assert 20 <= stage - copies < 200
        assert 0 <= copies < 20
    assert result.total_ms >= result.edge_ms + result.repair_ms - 0.1


def test_wrong_input_is_refused_before_anything_is_copied(open_runner: Open, double: Double) -> None:
    (request,) = requests(1)
    images, masks = request
    wrong = [
        (images.astype(np.float32), masks),
        (images[..., :2], masks),
        (images, masks[:, :128]),
        (images, masks.astype(bool)),
        (images, np.repeat(masks, 2, axis=0)),
        (images[:0], masks[:0]),
        tuple(np.repeat(part, 5, axis=0) for part in request),
        (images[0], masks[0]),
        (images.tolist(), masks),
        (np.uint8(3), masks),
    ]
    with open_runner() as runner:
        before = double.counters()
        for arguments in wrong:
            with pytest.raises(ShapeError) as caught:
                runner.infer(*arguments)
            assert caught.value.hint
        assert double.counters() == before


def test_arrays_that_are_not_contiguous_are_gathered(open_runner: Open, reference: OnnxRunner) -> None:
    images, masks = requests(1)[0]
    mirrored = (images[:, ::-1, :, ::-1], masks[:, ::-1])
    straight = tuple(np.ascontiguousarray(part) for part in mirrored)
    with open_runner() as runner:
        assert same(runner.infer(*mirrored), reference.infer(*straight))


def test_facts(open_runner: Open) -> None:
    with open_runner(slots=2, max_batch=3) as runner:
        info = runner.info()
    assert info["device"] == "CUDA driver double (no GPU)"
    assert (info["slots"], info["max_batch"]) == (2, 3)
    assert info["compute_capability"] == "8.6"
    assert info["device_memory_bytes"] > info["workspace_bytes"] > 0
