"""The commands ``build`` and ``engines``, the fleet, and what doctor says of engines."""

import json
from pathlib import Path
from typing import Any

import pytest

from engines import fleet
from restore_sdk.bundle import Bundle
from restore_sdk.cli import engines as cli_engines
from restore_sdk.cli import main as cli
from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.store import EngineStore
from restore_sdk.measure.doctor import examine
from tests.engines.conftest import made_up

PLAN = b"ftrt" + bytes(500)


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
        assert err == "building edge ...\nbuilding repair ...\n"
        code, report = run.json("build", "--target", "any-rtx", "--bundle", half_bundle.path)
        assert (code, report["ok"], report["device"]) == (0, True, None)
        assert [(one["stage"], one["reused"], one["verified"]) for one in report["engines"]] == [
            ("edge", True, False),
            ("repair", True, False),
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
        assert (report["target"], report["engines"][0]["batch"]) == ("mine", [1, 1, 2])

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
            (("--timeout", "0"), 2),
            (("--timeout", "nan"), 2),
            (("--target", "rtx4090", "--edition", "tensorrt"), 2),
            (("--target", "rtx4090", "--timeout", "0.01"), 4),
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

    def test_list(self, run: Run) -> None:
        code, out, _ = run("engines", "list")
        assert code == 0
        assert "a10" in out
        assert "2 engine(s)" in out
        assert [one["stage"] for one in run.json("engines", "list")[1]["engines"]] == ["edge", "repair"]

    def test_show(self, run: Run, half_bundle: Bundle) -> None:
        code, out, _ = run("engines", "show", "edge")
        assert code == 0
        assert "NVIDIA A10" in out
        assert "INFO: made up" in out
        name = f"repair.{made_up(half_bundle, 'repair').key.digest[:8]}"  # as in the list
        assert run.json("engines", "show", name)[1]["engine"]["key"]["stage"] == "repair"
        for name in ("nothing", ""):
            assert run("engines", "show", name)[0] == 4

    def test_verify(self, run: Run, half_bundle: Bundle) -> None:
        assert run("engines", "verify")[0] == 0
        (run.store.root / made_up(half_bundle).plan_file).write_bytes(b"torn")
        code, report = run.json("engines", "verify")
        assert (code, report["ok"]) == (5, False)
        assert [one["valid"] for one in report["engines"]] == [False, True]
        assert "truncated" in run("engines", "verify")[1]

    def test_an_invalid_one_is_listed_and_pruned(self, run: Run) -> None:
        path = next(run.store.root.glob("edge.*.json"))
        path.write_text("{")
        assert "not valid" in run("engines", "list")[1]
        assert run("engines", "show", "edge")[0] == 5
        assert len(run.json("engines", "prune", "--dry-run")[1]["removed"]) == 2
        assert path.exists()
        assert len(run.json("engines", "prune")[1]["removed"]) == 2
        assert [one["stage"] for one in run.json("engines", "list")[1]["engines"]] == ["repair"]

    def test_prune_of_other_models(self, run: Run, half_bundle: Bundle, toy_bundle: Bundle) -> None:
        assert run.json("engines", "prune", "--other-models", "--bundle", half_bundle.path)[1]["removed"] == []
        assert len(run.json("engines", "prune", "--other-models", "--bundle", toy_bundle.path)[1]["removed"]) == 4

    def test_prune_of_other_versions(self, run: Run, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
        from restore_sdk.engines import edition

        monkeypatch.setattr(edition, "installed", lambda: ("tensorrt_rtx",))
        assert len(run.json("engines", "prune", "--other-versions")[1]["removed"]) == 4

    def test_prune_of_all(self, run: Run) -> None:
        assert len(run.json("engines", "prune", "--all")[1]["removed"]) == 4
        assert run.json("engines", "list")[1]["engines"] == []

    def test_a_store_that_others_can_write(self, run: Run) -> None:
        run.store.root.chmod(0o777)
        for command in (("list",), ("show", "edge"), ("verify",), ("prune",)):
            code, _, err = run("engines", *command)
            assert code == 5
            assert "chmod" in err

    def test_doctor(self, run: Run, monkeypatch: pytest.MonkeyPatch, half_bundle: Bundle) -> None:
        monkeypatch.setenv("RESTORE_SDK_STORE", str(run.store.root))

        def finding() -> Any:
            return next(one for one in examine() if one.name == "engines")

        assert (finding().status, finding().detail.split()[0]) == ("ok", "2")
        (run.store.root / made_up(half_bundle).plan_file).write_bytes(b"torn")
        found = finding()
        assert (found.status, found.detail.split(" in ")[0]) == ("warning", "1 of 2")
        assert "engines prune" in found.hint


def test_an_empty_store(run: Run) -> None:
    assert run.json("engines", "list")[1]["engines"] == []
    assert run("engines", "verify")[0] == 0
    assert run("engines", "prune")[0] == 0
    assert not run.store.root.exists()


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    display = cli_engines.Display(quiet=False)
    display("edge", 0.5, "Timing tactics")
    display("edge", 0.51, "too soon to be shown")
    display.end()
    err = capsys.readouterr().err
    assert err.startswith("\redge  50 %  Timing tactics\r")
    assert "too soon" not in err
    assert err.endswith(" \r")


class TestFleet:
    @pytest.fixture(autouse=True)
    def no_gpu_for_children(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def test_named_targets(
        self, rtx: TensorRT, half_bundle: Bundle, store: EngineStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = ["rtx3090", "rtx4090", "--store", str(store.root), "--bundle", str(half_bundle.path)]
        assert fleet.main(line) == 0
        out = capsys.readouterr().out.splitlines()
        assert [row.split()[:2] for row in out] == [["built", "rtx3090"], ["built", "rtx4090"]]
        assert fleet.main([*line, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["ok"]
        assert all("already" in one["detail"] for one in report["targets"])
        assert len(store.entries()) == 4

    def test_what_cannot_be_built_here(
        self,
        half_bundle: Bundle,
        store: EngineStore,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        line = ["jetson-orin", "--store", str(store.root)]
        assert fleet.main([*line, "--bundle", str(half_bundle.path)]) == 1
        captured = capsys.readouterr()
        assert captured.out.startswith("skipped  jetson-orin")
        assert captured.err == "", "said once"

    def test_a_crash(self, store: EngineStore, capsys: pytest.CaptureFixture[str]) -> None:
        line = ["rtx3090", "--store", str(store.root), "--bundle", "x", "--timeout", "0"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fleet.sys, "executable", "/bin/false")
            assert fleet.main(line) == 1
        assert "exit code 1: it said nothing" in capsys.readouterr().out

    def test_an_interrupt(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(fleet, "build", interrupted)
        assert fleet.main(["rtx3090"]) == 130
        assert "interrupted" in capsys.readouterr().err

    def test_nothing_built_is_no_success(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fleet, "build", lambda target, _: fleet.Result(target, "skipped", "no driver", {}))
        assert fleet.main([]) == 1
        assert "skipped" in capsys.readouterr().out

    def test_a_failure(
        self, rtx: TensorRT, tmp_path: Path, store: EngineStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from tests.engines.conftest import half_graph, write_half_bundle

        bundle = write_half_bundle(tmp_path / "b", edge=half_graph("edge", mixed=True))
        assert fleet.main(["rtx3090", "--store", str(store.root), "--bundle", str(bundle.path), "--json"]) == 1
        (one,) = json.loads(capsys.readouterr().out)["targets"]
        assert one["status"] == "failed"
        assert "Half" in one["detail"]

    def test_an_unknown_target(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            fleet.main(["gtx"])
        assert "any-rtx" in capsys.readouterr().err
