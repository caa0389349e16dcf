"""Both stages into the store: all or nothing, once among many processes, proven where there is a device."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restore_sdk._util import atomic
from restore_sdk.bundle import Bundle, StageFiles
from restore_sdk.engines.chain import build_chain
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.plan import BuildPlan
from restore_sdk.engines.progress import Watch
from restore_sdk.engines.sidecar import Host
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import (
    BuildCancelledError,
    BuildPrecisionError,
    DriftError,
    EngineIncompatibleError,
    MissingDependencyError,
    OutOfMemoryError,
    OutputError,
)
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


def test_both_stages(plan: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
    outcomes = build_chain(half_bundle, plan, store)
    assert [(one.sidecar.key.stage, one.reused) for one in outcomes] == [("edge", False), ("repair", False)]
    host = Host("tensorrt_rtx", plan.trt.version, "8.6", "NVIDIA GeForce RTX 3090")
    for stage, outcome in zip(("edge", "repair"), outcomes, strict=True):
        found = store.find(half_bundle, stage, host)
        assert found.sidecar == outcome.sidecar
        assert found.path == outcome.path
        assert found.sidecar.target == "test"
        assert found.sidecar.precision["float16"] > 0
        assert found.sidecar.precision_source == "network"
        assert not found.sidecar.verified
        assert found.sidecar.verification["status"] == "not run"
    assert len(files(store)) == 4


def test_the_second_time_it_is_there(plan: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
    first = build_chain(half_bundle, plan, store)
    again = build_chain(half_bundle, plan, store)
    assert [one.reused for one in again] == [True, True]
    assert [one.path for one in again] == [one.path for one in first]
    forced = build_chain(half_bundle, plan, store, force=True)
    assert [one.reused for one in forced] == [False, False]
    assert len(files(store)) == 4  # the old plans are gone
    other = replace(plan, recipe=rtx_recipe("8.6", max_batch=2))
    assert [one.reused for one in build_chain(half_bundle, other, store)] == [False, False]
    assert len(files(store)) == 8


def test_a_spoiled_engine_is_built_again(plan: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
    edge, _ = build_chain(half_bundle, plan, store)
    edge.path.write_bytes(b"torn")
    assert [one.reused for one in build_chain(half_bundle, plan, store)] == [False, True]
    assert all(entry.error is None for entry in store.verify())


@pytest.fixture
def sibling(tmp_path: Path) -> Bundle:
    """Another model that shares the edge stage."""
    other = half_graph("repair", operator="Max")
    return write_half_bundle(tmp_path / "sibling", repair=StageFiles("repair", repair_graph(), other, 1, 1))


class TestModelsThatShareAStage:
    def test_its_engine_is_taken_and_stays(
        self, plan: BuildPlan, half_bundle: Bundle, sibling: Bundle, store: EngineStore
    ) -> None:
        edge, _ = build_chain(half_bundle, plan, store)
        before = {path.name: path.read_bytes() for path in store.root.glob("edge.*")}
        shared, own = build_chain(sibling, plan, store)
        assert (shared.reused, own.reused, shared.path) == (True, False, edge.path)
        assert {path.name: path.read_bytes() for path in store.root.glob("edge.*")} == before
        for bundle in (half_bundle, sibling):
            assert [one.reused for one in build_chain(bundle, plan, store)] == [True, True]
        host = Host("tensorrt_rtx", plan.trt.version, "8.6", "NVIDIA GeForce RTX 3090")
        plans = [store.find(bundle, "repair", host).path for bundle in (half_bundle, sibling)]
        assert plans[0] != plans[1]

    @pytest.mark.parametrize("now", ["passed", "refused", "no pycuda", "no memory"])
    def test_it_is_proven_with_the_other_model(
        self,
        plan: BuildPlan,
        half_bundle: Bundle,
        sibling: Bundle,
        store: EngineStore,
        monkeypatch: pytest.MonkeyPatch,
        now: str,
    ) -> None:
        here = TestProof().plan(plan, monkeypatch)
        answers: list[Exception | None] = [
            None,
            {
                "passed": None,
                "refused": DriftError("too far", "build it again"),
                "no pycuda": MissingDependencyError("no pycuda", "install it"),
                "no memory": OutOfMemoryError("another process has it", "end it"),
            }[now],
            None,
        ]
        proven: list[list[str]] = []

        def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
            proven.append(sorted(plans))
            answer = answers.pop(0)
            if answer is not None:
                raise answer
            return {"device": GPU.name, "driver_cuda": GPU.cuda, "tensorrt": plan.trt.version, "run": len(proven)}

        edge, _ = build_chain(half_bundle, here, store, validate=validate)
        if now == "no memory":
            with pytest.raises(OutOfMemoryError):
                build_chain(sibling, here, store, validate=validate)
            assert len(files(store)) == 4
            return
        shared, own = build_chain(sibling, here, store, validate=validate)
        assert proven == [["edge", "repair"]] * (3 if now == "refused" else 2)
        assert (shared.reused, own.reused) == (now != "refused", False)
        assert own.sidecar.verified == (now != "no pycuda")
        noted = store.lookup(edge.sidecar.key)
        assert noted is not None
        assert noted.verified
        assert noted.verification["run"] == {"passed": 2, "refused": 3, "no pycuda": 1}[now]


def test_a_stage_that_fails_publishes_neither(plan: BuildPlan, store: EngineStore, tmp_path: Path) -> None:
    bundle = write_half_bundle(tmp_path / "bundle")
    spoiled = write_half_bundle(tmp_path / "spoiled", edge=half_graph("edge", mixed=True))
    with pytest.raises(BuildPrecisionError):
        build_chain(spoiled, plan, store)
    assert files(store) == []
    build_chain(bundle, plan, store)
    before = files(store)
    with pytest.raises(BuildPrecisionError):
        build_chain(spoiled, plan, store)
    assert files(store) == before


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.5])
def test_a_timeout_leaves_nothing(plan: BuildPlan, shipped: Bundle, store: EngineStore, seconds: float) -> None:
    """Whether it strikes before the first stage, in it, or in the second."""
    with pytest.raises(BuildCancelledError):
        build_chain(shipped, plan, store, watch=Watch(seconds), progress=lambda *_: time.sleep(0.001))
    assert files(store) == []


def test_a_disk_that_is_full_at_the_second_plan(
    plan: BuildPlan, half_bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomic.write_synced

    def full(path: Path, data: bytes) -> None:
        if "repair" in path.name:
            path.write_bytes(data[:10])
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(atomic, "write_synced", full)
    with pytest.raises(OutputError, match="No space left"):
        build_chain(half_bundle, plan, store)
    assert all(entry.error is None for entry in store.verify())  # what stands is whole
    assert not [name for name in files(store) if name.startswith("repair")]


class TestProof:
    """The golden vectors, on a device that is made up; the engines are real."""

    def plan(self, plan: BuildPlan, monkeypatch: pytest.MonkeyPatch) -> BuildPlan:
        from contextlib import nullcontext

        from restore_sdk.engines import builder

        monkeypatch.setattr(builder, "current", lambda gpu: nullcontext())
        monkeypatch.setattr(builder, "inspect", lambda *_: ({"float16": 9}, 4096))
        return replace(plan, gpu=GPU)

    def test_engines_that_pass(
        self, plan: BuildPlan, half_bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[str, bytes] = {}

        def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
            seen.update(plans)
            assert files(store) == []  # nobody sees the engines before
            return {"worst_db": 71.0}

        outcomes = build_chain(half_bundle, self.plan(plan, monkeypatch), store, validate=validate)
        assert seen == {one.sidecar.key.stage: one.path.read_bytes() for one in outcomes}
        for one in outcomes:
            assert one.sidecar.verified
            assert one.sidecar.verification == {"status": "passed", "worst_db": 71.0}
            assert (one.sidecar.precision, one.sidecar.precision_source) == ({"float16": 9}, "engine")
            assert one.sidecar.build["device_memory_bytes"] == 4096

    def test_engines_that_drift_are_not_published(
        self, plan: BuildPlan, half_bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def validate(*_: Any) -> Mapping[str, Any]:
            raise DriftError("20 dB", "do not use it")

        with pytest.raises(DriftError):
            build_chain(half_bundle, self.plan(plan, monkeypatch), store, validate=validate)
        assert files(store) == []

    def test_without_pycuda_the_engines_are_not_validated(
        self,
        plan: BuildPlan,
        half_bundle: Bundle,
        store: EngineStore,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def validate(*_: Any) -> Mapping[str, Any]:
            raise MissingDependencyError("no pycuda", "install it")

        for one in build_chain(half_bundle, self.plan(plan, monkeypatch), store, validate=validate):
            assert not one.sidecar.verified
            assert one.sidecar.verification == {"status": "not run", "reason": "no pycuda"}
        assert "not validated" in caplog.text

    @pytest.mark.parametrize("now", ["passed", "refused", "no pycuda", "no memory"])
    def test_stored_engines_are_proven_before_they_are_said_to_be_there(
        self, plan: BuildPlan, half_bundle: Bundle, store: EngineStore, monkeypatch: pytest.MonkeyPatch, now: str
    ) -> None:
        here, answers, seen = self.plan(plan, monkeypatch), ["no pycuda", now, "passed", "passed"], []

        def validate(bundle: Bundle, plans: Mapping[str, bytes], plan: BuildPlan) -> Mapping[str, Any]:
            seen.append(answers.pop(0))
            if seen[-1] == "no pycuda":
                raise MissingDependencyError("no pycuda", "install it")
            if seen[-1] == "no memory":
                raise OutOfMemoryError("another process has it", "end it")
            if seen[-1] == "refused":
                raise EngineIncompatibleError("TensorRT refuses the plan", "build it again")
            return {"device": GPU.name, "driver_cuda": GPU.cuda, "tensorrt": plan.trt.version}

        assert not any(one.reused for one in build_chain(half_bundle, here, store, validate=validate))
        second = build_chain(half_bundle, here, store, validate=validate)
        assert [one.reused for one in second] == [now != "refused"] * 2
        assert seen == ["no pycuda", now, "passed"][: 3 if now == "refused" else 2]
        assert [one.sidecar.verified for one in second] == [now in ("passed", "refused")] * 2
        proven = [entry.sidecar.verified for entry in store.entries() if entry.sidecar]
        assert proven == [now in ("passed", "refused")] * 2
        build_chain(half_bundle, here, store, validate=validate)
        assert len(seen) == {"passed": 2, "refused": 3, "no pycuda": 3, "no memory": 3}[now], (
            "once proven, they are not proven again"
        )


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
    assert all(entry.error is None for entry in store.verify())
    assert len(files(store)) == 4


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_interrupted(rtx: TensorRT, shipped: Bundle, store: EngineStore, number: int, code: int) -> None:
    with subprocess.Popen(
        command(store, shipped), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=NO_GPU
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "building edge ...\n"
        process.send_signal(number)
        assert process.wait(120) == code
        err = process.stderr.read()
        assert process.stdout.read() == ""
    assert "Traceback" not in err
    assert ("interrupted" in err) is (number == signal.SIGINT)
    assert files(store) == []
    with store.lock("build"):  # free again
        pass


def test_waiting_for_another_build_ends_with_the_time(plan: BuildPlan, half_bundle: Bundle, store: EngineStore) -> None:
    said: list[str] = []
    with store.lock("build"), pytest.raises(BuildCancelledError, match="another build"):
        build_chain(half_bundle, plan, store, watch=Watch(0.2), progress=lambda _s, _x, what: said.append(what))
    assert "waiting for another build" in said[0]
    assert files(store) == []
