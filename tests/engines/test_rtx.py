"""Real builds with the real TensorRT for RTX: every compute capability, and everything that it refuses."""

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from restore_sdk.bundle import Bundle
from restore_sdk.engines import builder as builder_module
from restore_sdk.engines.builder import Built, build_stage
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.progress import Watch
from restore_sdk.engines.recipe import Recipe, load_recipe
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import (
    BuildCancelledError,
    BuildError,
    BuildOutOfMemoryError,
    BuildParseError,
    BuildPrecisionError,
    BuildProfileError,
)
from tests.engines.conftest import half_graph, rtx_recipe

CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def build(
    trt: TensorRT, bundle: Bundle, graph: bytes | None = None, stage: int = 0, recipe: Recipe | None = None, **more: Any
) -> Built:
    spec = bundle.stages[stage]
    graph = bundle.read(bundle.file(spec.name, "fp16")) if graph is None else graph
    watch = more.pop("watch", None) or Watch()
    return build_stage(
        trt, graph, spec, recipe or rtx_recipe(), gpu=None, store=EngineStore(os.devnull), watch=watch, **more
    )


def test_this_version_builds_for_these(rtx: TensorRT) -> None:
    assert set(CAPABILITIES) <= set(rtx.ahead_of_time)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("stage", [0, 1], ids=["edge", "repair"])
def test_the_shipped_stages(rtx: TensorRT, shipped: Bundle, stage: int, capability: str) -> None:
    built = build(rtx, shipped, stage=stage, recipe=rtx_recipe(capability))
    spec = shipped.stages[stage]
    graph = shipped.manifest.files[spec.files["fp16"]].bytes
    assert graph < len(built.plan) < 5 * graph
    assert not built.plan.startswith(b"\x08")
    names = [(tensor.name, tensor.mode, tensor.dtype, tensor.shape[0]) for tensor in built.tensors]
    assert names == [
        *((tensor.name, "input", "uint8", -1) for tensor in spec.inputs),
        *((tensor.name, "output", "uint8", -1) for tensor in spec.outputs),
    ]
    assert built.precision["float16"] > 50
    assert built.precision.get("float32", 0) <= built.precision["float16"] // 10
    assert built.build["log"]
    assert built.build["seconds"] > 0


def test_one_engine_for_all(rtx: TensorRT, shipped: Bundle) -> None:
    assert build(rtx, shipped, recipe=load_recipe("any-rtx")).plan


class TestRefusals:
    """Each comes out as an error of the SDK that says what TensorRT said, and what to do."""

    def refused(self, kind: type[BuildError], match: str, *arguments: Any, **more: Any) -> BuildError:
        with pytest.raises(kind, match=match) as caught:
            build(*arguments, **more)
        assert type(caught.value) is kind
        assert caught.value.hint
        assert "cudaError 35" not in str(caught.value)
        assert "\n" not in caught.value.message
        return caught.value

    def test_mixed_types(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        error = self.refused(
            BuildPrecisionError, "Float.*Half|Half.*Float", rtx, half_bundle, half_graph("edge", mixed=True)
        )
        assert "operator Mul (node 'maps')" in error.message
        assert "stage edge" in error.message

    def test_an_unknown_operator(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        graph = half_graph("edge", operator="Frobnicate")
        error = self.refused(BuildParseError, "Plugin not found", rtx, half_bundle, graph)
        assert "operator Frobnicate (node 'maps')" in error.message
        assert "no such operator" in error.hint

    def test_an_fp32_graph(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        self.refused(
            BuildPrecisionError,
            "in float32",
            rtx,
            half_bundle,
            half_graph("edge", compute=TensorProto.FLOAT),
        )

    def test_an_fp32_export_of_the_shipped_stages(self, rtx: TensorRT, shipped: Bundle) -> None:
        """Built as the FP16 file by mistake: refused by TensorRT, or for the precision that was measured."""
        with pytest.raises((BuildPrecisionError, BuildParseError)):
            build(rtx, shipped, shipped.read("repair.onnx"), stage=1)

    def test_no_profile(self, rtx: TensorRT, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builder_module.networks, "add_profile", lambda *_: None)
        self.refused(BuildProfileError, "no optimization profile", rtx, half_bundle)

    @pytest.mark.parametrize("mib", [0, 1])
    def test_too_small_a_workspace(self, rtx: TensorRT, shipped: Bundle, mib: int) -> None:
        recipe = rtx_recipe(workspace_mib=mib)
        error = self.refused(
            BuildOutOfMemoryError, f"workspace of {mib} MiB, batch 4", rtx, shipped, stage=1, recipe=recipe
        )
        assert "workspace_mib" in error.hint

    @pytest.mark.parametrize("graph", [b"", b"hello" * 100, b"vtrt" + bytes(100), b"\x08\x09"])
    def test_no_graph(self, rtx: TensorRT, half_bundle: Bundle, graph: bytes) -> None:
        """TensorRT calls some of these a success, with an empty network."""
        self.refused(BuildParseError, "stage edge", rtx, half_bundle, graph)

    def test_a_torn_graph(self, rtx: TensorRT, shipped: Bundle) -> None:
        graph = shipped.read("edge.fp16.onnx")
        self.refused(BuildParseError, "parse the ONNX model", rtx, shipped, graph[: len(graph) // 2])

    def test_the_other_stage(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        error = self.refused(BuildParseError, "is expected", rtx, half_bundle, half_graph("repair"))
        assert "completed_edges" in error.message

    @pytest.mark.parametrize("kind", [BuildParseError, RuntimeError, KeyboardInterrupt])
    def test_an_error_keeps_no_object_of_tensorrt(
        self, rtx: TensorRT, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
    ) -> None:
        """Freed with the error's traceback, it would be freed in a thread without the context that it needs."""
        seen: list[weakref.ref[Any]] = []

        def refuse(trt: TensorRT, builder: Any, *_: Any) -> None:
            seen.append(weakref.ref(builder))
            raise kind("refused")

        monkeypatch.setattr(builder_module.networks, "parse", refuse)
        with pytest.raises((BuildError, KeyboardInterrupt)) as caught:
            build(rtx, half_bundle)
        assert "refused" in str(caught.value)
        assert seen[0]() is None

    def test_a_refusal_leaves_the_builder_usable(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        with pytest.raises(BuildParseError):
            build(rtx, half_bundle, b"")
        assert build(rtx, half_bundle).plan


class TestTheEnd:
    def test_timeout(self, rtx: TensorRT, shipped: Bundle) -> None:
        with pytest.raises(BuildCancelledError, match=r"stage repair took longer than 0.05 s"):
            build(rtx, shipped, stage=1, watch=Watch(0.05))

    def test_no_time_at_all(self, rtx: TensorRT, shipped: Bundle) -> None:
        with pytest.raises(BuildCancelledError):
            build(rtx, shipped, watch=Watch(0))

    def test_cancelled_from_another_thread(self, rtx: TensorRT, shipped: Bundle) -> None:
        watch, seen = Watch(), threading.Event()
        threading.Thread(target=lambda: (seen.wait(20), watch.cancel())).start()
        with pytest.raises(BuildCancelledError, match="cancelled"):
            build(rtx, shipped, stage=1, watch=watch, progress=lambda *_: seen.set())

    def test_progress(self, rtx: TensorRT, half_bundle: Bundle) -> None:
        shares: list[float] = []
        threads: set[int] = set()

        def progress(share: float, phase: str) -> None:
            assert phase
            shares.append(share)
            threads.add(threading.get_ident())

        build(rtx, half_bundle, progress=progress)
        assert shares == sorted(shares)
        assert (shares[0] < 0.2, shares[-1]) == (True, 1.0)
        assert threading.get_ident() not in threads  # so that Ctrl-C reaches the main thread

    def test_progress_that_fails_does_not_stop_the_build(
        self, rtx: TensorRT, half_bundle: Bundle, caplog: pytest.LogCaptureFixture
    ) -> None:
        def progress(share: float, phase: str) -> None:
            raise RuntimeError("no terminal")

        assert build(rtx, half_bundle, progress=progress).plan
        assert "no terminal" in caplog.text


def test_builds_at_the_same_time(rtx: TensorRT, half_bundle: Bundle) -> None:
    """In threads of one process: TensorRT allows it, and the logs may mix but nothing else."""
    plans: list[bytes] = []
    threads = [threading.Thread(target=lambda: plans.append(build(rtx, half_bundle).plan)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plans) == 3
    assert all(plans)


def test_nothing_is_printed(rtx: TensorRT, half_bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    build(rtx, half_bundle)
    with pytest.raises(BuildParseError):
        build(rtx, half_bundle, b"")
    assert capfd.readouterr() == ("", "")


def test_a_build_writes_nothing(
    rtx: TensorRT, half_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_stage(
        rtx,
        half_graph("edge"),
        half_bundle.stages[0],
        rtx_recipe(),
        gpu=None,
        store=EngineStore(tmp_path / "store"),
        watch=Watch(),
    )
    assert list(tmp_path.iterdir()) == []
