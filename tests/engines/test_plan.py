"""Recipes, and what is built with what, on which device: decided before anything is built. The devices are made up."""

import importlib.metadata
import sys
import tomllib
import types
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace as changed

from restore_sdk.bundle import Bundle
from restore_sdk.engines import chain, edition
from restore_sdk.engines.chain import BuildPlan, prepare
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT, load
from restore_sdk.engines.recipe import TARGETS, load_recipe, names, parse_recipe
from restore_sdk.errors import DeviceError, InputError, MissingDependencyError
from tests.engines.conftest import rtx_recipe

A10 = DeviceFacts(0, "NVIDIA A10", "8.6", 24 << 30, "13.0")
H100 = DeviceFacts(0, "NVIDIA H100 80GB HBM3", "9.0", 80 << 30, "13.0")


def fake(name: str, version: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    if name == "tensorrt_rtx":
        names = ("NONE", "CURRENT", "SM75", "SM86", "SM120")
        module.ComputeCapability = types.SimpleNamespace(__members__=dict.fromkeys(names))  # type: ignore[attr-defined]
    return module


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both editions are installed."""
    for name, version in (("tensorrt", "10.16.1.11"), ("tensorrt_rtx", "1.7.1.116")):
        monkeypatch.setitem(sys.modules, name, fake(name, version))
    monkeypatch.setattr(edition.importlib.util, "find_spec", lambda name: object())


def on(gpu: DeviceFacts | None, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = DeviceError("no GPU", "build elsewhere: restore-sdk build --target any-rtx")
    monkeypatch.setattr(chain, "device_facts", Mock(side_effect=[gpu] * 9 if gpu else refused))


@pytest.mark.usefixtures("both")
class TestPlans:
    """What comes of a GPU, a target and an edition."""

    @pytest.mark.parametrize(
        ("build", "expected"),
        [
            ((A10, None, None), ("tensorrt", ("8.6",), True, "NVIDIA A10")),
            ((A10, None, "tensorrt_rtx"), ("tensorrt_rtx", ("8.6",), True, "")),
            ((A10, "a10", None), ("tensorrt", ("8.6",), True, "NVIDIA A10")),
            ((A10, "rtx3090", None), ("tensorrt_rtx", ("8.6",), True, "")),  # the golden vectors can run
            ((A10, rtx_recipe("12.0"), None), ("tensorrt_rtx", ("12.0",), False, "")),  # ahead of time, for others
            ((None, rtx_recipe("7.5"), None), ("tensorrt_rtx", ("7.5",), False, "")),
            ((H100, "h100", None), ("tensorrt", ("9.0",), True, "")),  # for every card of its capability
        ],
    )
    def test_what_can_be_built(
        self, monkeypatch: pytest.MonkeyPatch, half_bundle: Bundle, build: Any, expected: tuple[object, ...]
    ) -> None:
        gpu, target, edition = build
        on(gpu, monkeypatch)
        found = prepare(target, edition)
        key = found.key(half_bundle, "edge")
        assert (key.edition, key.compute_capabilities, found.gpu is not None, key.device_name) == expected
        assert key.version == {"tensorrt": "10.16.1.11", "tensorrt_rtx": "1.7.1.116"}[key.edition]

    @pytest.mark.parametrize(
        ("build", "why", "hint"),
        [
            ((None, None, None), "no GPU", "--target any-rtx"),
            ((None, "t4", None), "target t4 is built on the GPU that it is for", "--target any-rtx"),
            ((A10, "t4", None), r"t4 is for compute capability 7\.5, GPU 0 here is NVIDIA A10 \(8", ""),
            ((None, "rtx4090", None), r"8\.9", "[tensorrt]'"),  # a capability that this version lacks
            ((H100, None, "tensorrt_rtx"), r"9\.0 \(NVIDIA H100 80GB HBM3\), only for 7\.5 8\.6 12\.0", "[tensorrt]'"),
            ((A10, "a10", "tensorrt_rtx"), "target a10 is built with tensorrt, not tensorrt_rtx", "--edition"),
        ],
    )
    def test_what_cannot(self, monkeypatch: pytest.MonkeyPatch, build: Any, why: str, hint: str) -> None:
        gpu, target, edition = build
        on(gpu, monkeypatch)
        with pytest.raises((DeviceError, InputError), match=why) as caught:
            prepare(target, edition)
        assert hint in caught.value.hint

    def test_a_driver_too_old_for_this_tensorrt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on(A10, monkeypatch)
        monkeypatch.setattr(edition, "_cuda_major", lambda *_: "14")
        for target in (None, "a10"):
            with pytest.raises(DeviceError, match=r"is for CUDA 14, the driver of NVIDIA A10 serves CUDA up to 13\.0"):
                prepare(target)
        assert prepare("rtx3090").gpu is None  # built ahead of time: the GPU is for trying the engine alone

    def test_a_named_device_that_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on(None, monkeypatch)
        with pytest.raises(DeviceError):
            prepare(rtx_recipe("7.5"), device=7)


def test_everything_that_matters_is_in_the_key(monkeypatch: pytest.MonkeyPatch, half_bundle: Bundle) -> None:
    trt = TensorRT(fake("tensorrt", "10.16.1.11"), "tensorrt", "10.16.1.11")
    base = BuildPlan(load_recipe("a10"), trt, A10)
    recipe = base.recipe
    others = [
        base,
        replace(base, recipe=changed(recipe, max_batch=8)),
        replace(base, recipe=changed(recipe, opt_batch=2)),
        replace(base, recipe=changed(recipe, workspace_mib=8)),
        replace(base, recipe=changed(recipe, optimization_level=1)),
        replace(base, recipe=changed(recipe, hardware="capability")),
        replace(base, trt=replace(trt, version="10.16.1.12")),
        replace(base, trt=replace(trt, cuda="12")),
        replace(base, gpu=replace(A10, name="NVIDIA A40")),
        replace(base, gpu=replace(A10, multiprocessors=8)),  # boards of one name
        replace(base, gpu=replace(A10, compute_capability="8.9")),
    ]
    digests = {one.key(half_bundle, stage).digest for one in others for stage in ("edge", "repair")}
    assert len(digests) == 2 * len(others)
    same = replace(base, recipe=changed(recipe, name="other", description="other"))
    assert same.key(half_bundle, "edge") == base.key(half_bundle, "edge")


class TestEditions:
    def test_none_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(edition.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match="no TensorRT") as caught:
            load()
        assert "[tensorrt]'" in caught.value.hint
        assert "[rtx]'" in caught.value.hint
        with pytest.raises(InputError):
            load("tensorrt_lite")  # type: ignore[arg-type]

    @pytest.mark.parametrize(("version", "good"), [("10.12.0.36", False), ("10.13.3.9", True), ("11.4.0.106", True)])
    def test_old_versions(self, monkeypatch: pytest.MonkeyPatch, version: str, good: bool) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", fake("tensorrt", version))
        if good:
            assert load("tensorrt").version == version
            assert load("tensorrt").ahead_of_time == ()
        else:
            with pytest.raises(MissingDependencyError, match=r"is older than 10\.13"):
                load("tensorrt")

    @pytest.mark.parametrize(
        ("packages", "cuda"),
        [
            ({"tensorrt-cu12": "10.16.1.11"}, "12"),
            ({"tensorrt-cu13-bindings": "10.16.1.11"}, "13"),
            ({"tensorrt-cu12": "10.13.3.9", "tensorrt-cu13": "10.16.1.11"}, "13"),
            ({"tensorrt-cu12": "10.16.1.11", "tensorrt-cu13": "10.16.1.11"}, ""),
            ({"tensorrt": "10.16.1.11"}, ""),
        ],
    )
    def test_the_cuda_that_it_is_for(
        self, monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], cuda: str
    ) -> None:
        """JetPack and archives leave no package; where two would fit, none is guessed."""

        def version(name: str) -> str:
            if name not in packages:
                raise importlib.metadata.PackageNotFoundError(name)
            return packages[name]

        monkeypatch.setitem(sys.modules, "tensorrt", fake("tensorrt", "10.16.1.11"))
        monkeypatch.setattr(edition.importlib.metadata, "version", version)
        assert load("tensorrt").cuda == cuda

    def test_half_an_installation(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Left-over folders import as empty namespaces; libraries that do not load raise all kinds of things."""
        (tmp_path / "tensorrt").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        with pytest.raises(MissingDependencyError, match="does not load"):
            load("tensorrt")
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        (tmp_path / "tensorrt" / "__init__.py").write_text("raise OSError('libnvinfer.so.10: no such file')")
        with pytest.raises(MissingDependencyError, match=r"libnvinfer\.so\.10"):
            load("tensorrt")


VALID = {"description": "x", "edition": "tensorrt", "compute_capabilities": ["8.6"]}


def test_the_shipped_recipes() -> None:
    for name in names():
        recipe = load_recipe(name)
        assert (recipe.edition == "tensorrt_rtx") == ("rtx" in name)
        # A precision is in the graph; no version has a flag for it.
        assert not [key for key in tomllib.loads((TARGETS / f"{name}.toml").read_text()) if "fp" in key]


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no target 'gtx'") as caught:
        load_recipe("gtx")
    assert "any-rtx" in caught.value.hint
    for name in ("../any-rtx", "a/b", "", "."):
        with pytest.raises(InputError):
            load_recipe(name)
    with pytest.raises(InputError, match="cannot read"):
        load_recipe(str(tmp_path / "no.toml"))
    for data in (b"\xff\xfe = 1", b"max_batch = " + b"9" * 5000, b"edition = " + b"[" * 5000):
        (tmp_path / "bad.toml").write_bytes(data)
        with pytest.raises(InputError, match="no TOML"):
            load_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    "change",
    [
        *({field: ...} for field in VALID),
        {"fp16": True},
        {"name": "other"},
        {"edition": "tensorflow"},
        {"hardware": "ampere_plus"},
        {"compute_capabilities": []},
        {"compute_capabilities": ["86"]},
        {"platforms": ["linux-x86_64"]},
        {"opt_batch": 0},
        {"max_batch": 65},
        {"opt_batch": 5, "max_batch": 4},
        {"optimization_level": 6},
        {"edition": "tensorrt_rtx"},
    ],
)
def test_invalid_recipes_are_refused(change: dict[str, object]) -> None:
    assert parse_recipe(VALID, "valid").max_batch == 4
    with pytest.raises(InputError, match="not valid") as caught:
        parse_recipe({key: value for key, value in (VALID | change).items() if value is not ...}, "mine")
    assert all(field in str(caught.value) for field in change)
