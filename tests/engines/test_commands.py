"""The commands ``build`` and ``engines``, the fleet, and what doctor says of engines."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from engines import __main__ as fleet
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.store import EngineStore
from restore_sdk.measure.doctor import examine
from tests.engines.conftest import PLAN, half_graph, made_up, write_half_bundle


class Run:
    """Runs ``restore-sdk`` on a store."""

    def __init__(self, store: EngineStore, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self._capsys = store, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = cli.main([*map(str, arguments), "--store", str(self.store.root)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: object) -> tuple[int, Any]:
        code, out, err = self(*arguments, "--json")
        if code in (0, 5):
            assert err == ""
        return code, json.loads(out)


@pytest.fixture
def run(store: EngineStore, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(store, capsys)


class TestBuild:
    def test_a_target(self, run: Run, rtx: TensorRT, half_bundle: Bundle) -> None:
        code, out, err = run("build", "--target", "any-rtx", "--bundle", half_bundle.path)
        assert code == 0
        assert out.startswith(f"any-rtx: half 1.0 with TensorRT for RTX {rtx.version}")
        assert err == ""
        code, report = run.json("build", "--target", "any-rtx", "--bundle", half_bundle.path)
        assert (code, report["ok"], report["device"]) == (0, True, None)
        assert [(one["key"]["stage"], one["reused"], one["validation"]) for one in report["engines"]] == [
            ("edge", True, {}),
            ("repair", True, {}),
        ]
        assert Path(report["engines"][0]["path"]).stat().st_size == report["engines"][0]["plan_bytes"]

    def test_a_recipe_of_one_s_own(self, run: Run, rtx: TensorRT, half_bundle: Bundle, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(
            'description = "mine"\nedition = "tensorrt_rtx"\nhardware = "capability"\n'
            'compute_capabilities = ["8.9"]\nmax_batch = 2\n'
        )
        code, report = run.json("build", "--target", path, "--bundle", half_bundle.path)
        assert code == 0
        assert (report["target"], report["engines"][0]["key"]["max_batch"]) == ("mine", 2)

    def test_without_a_gpu(self, run: Run, half_bundle: Bundle) -> None:
        for more in ((), ("--target", "t4")):
            code, out, err = run("build", "--bundle", half_bundle.path, *more)
            assert (code, out) == (3, "")
            assert "--target any-rtx" in err.splitlines()[1]
        assert not run.store.root.exists()

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("--target", "gtx"), 2),
            (("--target", "no.toml"), 2),
            (("--target", "rtx4090", "--edition", "tensorrt"), 2),
            (("--bundle", "nowhere"), 5),
        ],
    )
    def test_errors(self, run: Run, rtx: TensorRT, shipped: Bundle, arguments: tuple[str, ...], code: int) -> None:
        found, out, err = run("build", *arguments)
        assert (found, out) == (code, "")
        lines = [line for line in err.splitlines() if not line.startswith("building")]
        assert [line[:20] for line in lines] == ["restore-sdk: error: ", lines[1][:20]]
        assert lines[1].startswith("  hint: ")
        assert not run.store.root.exists() or not list(run.store.root.glob("[!.]*"))

    def test_list(self, run: Run) -> None:
        code, out, _ = run("build", "--list")
        assert code == 0
        assert len(out.splitlines()) == 10
        assert {one["name"] for one in run.json("build", "--list")[1]["targets"]} >= {"t4", "any-rtx"}


class TestEngines:
    @pytest.fixture(autouse=True)
    def engines(self, run: Run, half_bundle: Bundle) -> None:
        for stage in ("edge", "repair"):
            run.store.publish(PLAN, made_up(half_bundle, stage))

    def test_list(self, run: Run, tmp_path: Path) -> None:
        code, out, _ = run("engines", "list")
        assert code == 0
        assert "a10" in out
        assert "2 engine(s)" in out
        assert [one["key"]["stage"] for one in run.json("engines", "list")[1]["engines"]] == ["edge", "repair"]
        run.store = EngineStore(tmp_path / "empty")
        assert [run("engines", command)[0] for command in ("list", "prune")] == [0, 0]
        assert not run.store.root.exists()

    def test_a_torn_one_is_listed_and_pruned(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, half_bundle: Bundle
    ) -> None:
        (run.store.root / made_up(half_bundle).plan_file).write_bytes(b"torn")
        code, report = run.json("engines", "list")
        assert (code, report["ok"]) == (5, False)
        assert [one["valid"] for one in report["engines"]] == [False, True]
        assert "4 of 504 bytes" in run("engines", "list")[1]
        monkeypatch.setenv("RESTORE_SDK_STORE", str(run.store.root))
        found = next(one for one in examine() if one.name == "engines")
        assert (found.status, found.detail.split(" in ")[0]) == ("broken", "1 of 2")
        assert "engines prune" in found.hint
        assert len(run.json("engines", "prune")[1]["removed"]) == 2
        assert [one["key"]["stage"] for one in run.json("engines", "list")[1]["engines"]] == ["repair"]
        run.json("engines", "prune", "--all")
        assert run.json("engines", "list")[1]["engines"] == []


class TestFleet:
    @pytest.fixture(autouse=True)
    def no_gpu_for_children(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(self, capfd: pytest.CaptureFixture[str], *line: object) -> tuple[int, str]:
        code = fleet.main(list(map(str, line)))
        return code, capfd.readouterr().out

    def test_named_targets(
        self, rtx: TensorRT, half_bundle: Bundle, store: EngineStore, capfd: pytest.CaptureFixture[str]
    ) -> None:
        line = "rtx3090", "rtx4090", "--store", store.root, "--bundle", half_bundle.path
        code, out = self.run(capfd, *line)
        assert code == 0
        assert out.endswith("built    rtx3090\nbuilt    rtx4090\n")
        assert "was there already" in self.run(capfd, *line)[1]
        assert len(store.entries()) == 4

    def test_what_is_not_built(
        self, rtx: TensorRT, tmp_path: Path, store: EngineStore, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A target of another host, and one whose graph TensorRT refuses."""
        bundle = write_half_bundle(tmp_path / "b", edge=half_graph("edge", mixed=True))
        code, out = self.run(capfd, "jetson-orin", "rtx3090", "--store", store.root, "--bundle", bundle.path)
        assert code == 1
        assert out.endswith("skipped  jetson-orin\nfailed   rtx3090\n")

    def test_nothing_built_is_no_success(
        self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fleet.subprocess, "run", Mock(return_value=Mock(returncode=3)))
        assert self.run(capfd)[0] == 1
        monkeypatch.setattr(fleet.subprocess, "run", Mock(side_effect=KeyboardInterrupt))
        assert self.run(capfd, "rtx3090")[0] == 130
