"""Real builds with the real TensorRT for RTX, and everything that it refuses."""

import threading
import weakref
from typing import Any

import pytest
from onnx import TensorProto

from restore_sdk.bundle import Bundle
from restore_sdk.engines import builder as builder_module
from restore_sdk.engines.builder import Built, build_stage
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import Recipe
from restore_sdk.errors import BuildError
from tests.engines.conftest import half_graph, rtx_recipe

CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def build(
    trt: TensorRT, bundle: Bundle, graph: bytes | None = None, stage: int = 0, recipe: Recipe | None = None, **more: Any
) -> Built:
    spec = bundle.stages[stage]
    graph = bundle.read(bundle.file(spec.name, "fp16")) if graph is None else graph
    return build_stage(trt, graph, spec, recipe or rtx_recipe(), gpu=None, **more)


@pytest.mark.parametrize("capabilities", [CAPABILITIES[:1], CAPABILITIES], ids=" ".join)
@pytest.mark.parametrize("stage", [0, 1], ids=["edge", "repair"])
def test_the_shipped_stages(rtx: TensorRT, shipped: Bundle, stage: int, capabilities: tuple[str, ...]) -> None:
    built = build(rtx, shipped, stage=stage, recipe=rtx_recipe(*capabilities))
    spec = shipped.stages[stage]
    graph = len(shipped.read(spec.files["fp16"]))
    assert graph < len(built.plan) < 5 * graph
    assert not built.plan.startswith(b"\x08")
    assert built.precision["float16"] > 50
    assert built.precision.get("float32", 0) <= built.precision["float16"] // 10
    assert built.build["log"]
    assert built.build["seconds"] > 0


class TestRefusals:
    """Each comes out as an error of the SDK that says what TensorRT said, and what to do."""

    def refused(self, reason: str, match: str, *arguments: Any, **more: Any) -> BuildError:
        with pytest.raises(BuildError, match=match) as caught:
            build(*arguments, **more)
        assert caught.value.reason == reason
        assert "cudaError 35" not in str(caught.value)
        assert "\n" not in caught.value.message
        return caught.value

    @pytest.mark.parametrize(
        ("graph", "reason", "match"),
        [
            (
                half_graph("edge", mixed=True),
                "precision",
                r"edge: operator Add \(node 'sum'\).*(Float.*Half|Half.*Float)",
            ),
            (
                half_graph("edge", operator="Frobnicate"),
                "parse",
                r"operator Frobnicate \(node 'maps'\): .*Plugin not found",
            ),
            (half_graph("edge", compute=TensorProto.FLOAT), "precision", "in float32"),
            (half_graph("repair"), "parse", "completed_edges.*its manifest says"),
            *(
                (graph, "parse", "stage edge")
                for graph in (b"", b"hello" * 100, b"vtrt" + bytes(100), b"\x08\x09", half_graph("edge")[:200])
            ),
        ],
        ids=["types", "operator", "float32", "other stage", "empty", "text", "plan", "torn", "half"],
    )
    def test_a_graph(self, rtx: TensorRT, half_bundle: Bundle, graph: bytes, reason: str, match: str) -> None:
        """TensorRT calls some of these a success, with an empty network."""
        self.refused(reason, match, rtx, half_bundle, graph)

    @pytest.mark.parametrize("mib", [0, 1])
    def test_too_small_a_workspace(self, rtx: TensorRT, shipped: Bundle, mib: int) -> None:
        recipe = rtx_recipe(workspace_mib=mib)
        error = self.refused("memory", f"workspace of {mib} MiB, batch 4", rtx, shipped, stage=1, recipe=recipe)
        assert "workspace_mib" in error.hint

    @pytest.mark.parametrize("kind", [BuildError, RuntimeError, KeyboardInterrupt])
    def test_an_error_keeps_no_object_of_tensorrt(
        self, rtx: TensorRT, half_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
    ) -> None:
        """Freed with the error's traceback, it would be freed in a thread without the context that it needs."""
        seen: list[weakref.ref[Any]] = []

        def refuse(trt: TensorRT, builder: Any, *_: Any) -> None:
            seen.append(weakref.ref(builder))
            raise kind("refused", "")

        monkeypatch.setattr(builder_module, "parse", refuse)
        with pytest.raises((BuildError, KeyboardInterrupt)) as caught:
            build(rtx, half_bundle)
        assert "refused" in str(caught.value)
        assert seen[0]() is None


def test_progress(rtx: TensorRT, half_bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """It is told in another thread, so that Ctrl-C reaches this one; that it fails does not stop the build."""
    seen: list[str] = []

    def progress(text: str) -> None:
        assert threading.current_thread() is not threading.main_thread()
        seen.append(text)
        raise RuntimeError("no terminal")

    assert build(rtx, half_bundle, progress=progress).plan
    assert seen[0].startswith("building edge: ")
    assert "no terminal" in caplog.text


def test_a_refusal_prints_nothing_and_leaves_the_builder_usable(
    rtx: TensorRT, half_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BuildError):
        build(rtx, half_bundle, b"")
    assert build(rtx, half_bundle).plan
    assert capfd.readouterr() == ("", "")
