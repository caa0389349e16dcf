"""Both stages into the store: all or nothing, once among many processes, validated where there is a device."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from export.writing import StageFiles
from restore_sdk.bundle import Bundle
from restore_sdk.engines import builder
from restore_sdk.engines.chain import BuildPlan, build_chain
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import BuildError, DriftError, MissingDependencyError, OutOfMemoryError
from tests.engines.conftest import half_graph, rtx_recipe, write_half_bundle
from tests.toy_bundle import repair_graph

#: For children, on a host that has one.
NO_GPU = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
GPU = DeviceFacts(0, "NVIDIA GeForce RTX 3090", "8.6", 24 << 30, "13.0")


@pytest.fixture
def plan(rtx: TensorRT) -> BuildPlan:
    return BuildPlan(rtx_recipe("8.6"), rtx, None)


def files(store: EngineStore) -> list[str]:
    """All but the locks."""
    return sorted(path.name for path in store.root.iterdir() if not path.name.endswith(".lock"))


def test_both_stages_and_the_second_time_they_are_there(
    plan: BuildPlan, half_bundle: Bundle, store: EngineStore
) -> None:
    first = build_chain(half_bundle, plan, store)
    assert [(one.sidecar.key.stage, one.reused) for one in first] == [("edge", False), ("repair", False)]
    for outcome in first:
        found = store.find(half_bundle, outcome.sidecar.key.stage, plan.trt, GPU)
        assert (found.sidecar, found.path) == (outcome.sidecar, outcome.path)
        assert found.sidecar.target == "test"
        assert found.sidecar.precision["float16"] > 0
        assert found.sidecar.validation == {}
    again = build_chain(half_bundle, plan, store)
    assert [one.reused for one in again] == [True, True]
    assert [one.path for one in again] == [one.path for one in first]
    assert not any(one.reused for one in build_chain(half_bundle, plan, store, force=True))
    assert len(files(store)) == 4  # the old plans are gone
    other = replace(plan, recipe=rtx_recipe("8.6", max_batch=2))
    assert not any(one.reused for one in build_chain(half_bundle, other, store))
    assert len(files(store)) == 8


def test_a_spoiled_engine_is_built_again(plan: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
    edge, _ = build_chain(half_bundle, plan, store)
    edge.path.write_bytes(b"torn")
    assert [one.reused for one in build_chain(half_bundle, plan, store)] == [False, True]
    assert all(entry.error is None for entry in store.entries(plans=True))


@pytest.fixture
def sibling(tmp_path: Path) -> Bundle:
    """Another model that shares the edge stage."""
    other = half_graph("repair", operator="Max")
    return write_half_bundle(tmp_path / "sibling", repair=StageFiles("repair", repair_graph(), other, 1, 1))


def test_the_engine_of_a_shared_stage_is_taken_and_stays(
    plan: BuildPlan, half_bundle: Bundle, sibling: Bundle, store: EngineStore
) -> None:
    edge, _ = build_chain(half_bundle, plan, store)
    before = {path.name: path.read_bytes() for path in store.root.glob("edge.*")}
    shared, own = build_chain(sibling, plan, store)
    assert (shared.reused, own.reused, shared.path) == (True, False, edge.path)
    assert {path.name: path.read_bytes() for path in store.root.glob("edge.*")} == before
    for bundle in (half_bundle, sibling):
        assert [one.reused for one in build_chain(bundle, plan, store)] == [True, True]
    plans = [store.find(bundle, "repair", plan.trt, GPU).path for bundle in (half_bundle, sibling)]
    assert plans[0] != plans[1]


def test_a_stage_that_fails_publishes_neither(
    plan: BuildPlan, half_bundle: Bundle, store: EngineStore, tmp_path: Path
) -> None:
    spoiled = write_half_bundle(tmp_path / "spoiled", edge=half_graph("edge", mixed=True))
    with pytest.raises(BuildError):
        build_chain(spoiled, plan, store)
    assert files(store) == []
    build_chain(half_bundle, plan, store)
    before = files(store)
    with pytest.raises(BuildError):
        build_chain(spoiled, plan, store)
    assert files(store) == before


#: What the golden vectors may come to.
ANSWERS: dict[str, Exception] = {
    "refused": DriftError("too far", "build it again"),
    "no pycuda": MissingDependencyError("no pycuda", "install it"),
    "no memory": OutOfMemoryError("another process has it", "end it"),
}


class TestValidation:
    """On a device that is made up; the engines are real. On the driver double: tests/runtime/tensorrt/test_build.py."""

    @pytest.fixture
    def here(self, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> BuildPlan:
        monkeypatch.setattr(builder, "current", lambda gpu: nullcontext())
        return replace(plan, gpu=GPU)

    def test_engines_that_pass(self, here: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
        def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
            assert files(store) == []  # nobody sees the engines before
            seen.update(plans)
            return {"device": GPU.name}

        seen: dict[str, bytes] = {}
        outcomes = build_chain(half_bundle, here, store, validate=validate)
        assert seen == {one.sidecar.key.stage: one.path.read_bytes() for one in outcomes}
        assert [one.sidecar.validation for one in outcomes] == [{"device": GPU.name}] * 2
        assert all(one.reused for one in build_chain(half_bundle, here, store, validate=validate))

    def test_without_pycuda_the_engines_are_not_validated(
        self, here: BuildPlan, half_bundle: Bundle, store: EngineStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        validate = Mock(side_effect=ANSWERS["no pycuda"])
        for one in build_chain(half_bundle, here, store, validate=validate):
            assert one.sidecar.validation == {}
        assert "not validated" in caplog.text

    @pytest.mark.parametrize("answer", [None, "refused", "no memory"])
    def test_a_shared_stage_is_validated_with_the_other_model(
        self, here: BuildPlan, half_bundle: Bundle, sibling: Bundle, store: EngineStore, answer: str | None
    ) -> None:
        build_chain(half_bundle, here, store)
        validate = Mock(return_value={}, side_effect=ANSWERS.get(answer or ""))
        if answer is None:
            shared, own = build_chain(sibling, here, store, validate=validate)
            assert (shared.reused, own.reused) == (True, False)
        else:
            with pytest.raises(type(ANSWERS[answer])) as caught:
                build_chain(sibling, here, store, validate=validate)
            assert f"restore-sdk build --edition tensorrt_rtx --force --bundle {sibling.path}" in caught.value.hint
            assert len(files(store)) == 4
        assert sorted(validate.call_args.args[1]) == ["edge", "repair"]


def command(store: EngineStore, bundle: Bundle, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "restore_sdk", "build", "--target", "rtx3090", "--store", str(store.root),
        "--bundle", str(bundle.path), *more,
    ]  # fmt: skip


def test_processes_that_build_the_same(rtx: TensorRT, half_bundle: Bundle, store: EngineStore) -> None:
    """One builds, the others wait for it and take what it built."""
    line = command(store, half_bundle, "--json")
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=NO_GPU) for _ in range(3)]
    reports = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(report["engines"][0]["reused"] for report in reports) == [False, True, True]
    assert len({report["engines"][1]["plan_sha256"] for report in reports}) == 1
    assert all(entry.error is None for entry in store.entries(plans=True))
    assert len(files(store)) == 4


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_interrupted(rtx: TensorRT, shipped: Bundle, store: EngineStore, number: int, code: int) -> None:
    with subprocess.Popen(
        command(store, shipped), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=NO_GPU
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while not (store.root / ".build.lock").exists():
            time.sleep(0.05)
        time.sleep(1)  # and it builds
        process.send_signal(number)
        assert process.wait(120) == code
        err = process.stderr.read()
        assert process.stdout.read() == ""
    assert "Traceback" not in err
    assert ("interrupted" in err) is (number == signal.SIGINT)
    # a kill in the midst of writing leaves an unfinished file, which nothing takes for an engine
    assert [name for name in files(store) if number == signal.SIGINT or not name.endswith(".part")] == []
    assert store.entries() == []
    with store.lock("build"):  # free again
        pass
