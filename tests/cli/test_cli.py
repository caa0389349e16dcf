import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk import RestoreEngine, errors
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from tests.child import python
from tests.conftest import make_photo
from tests.toy_bundle import golden_vectors, write_toy_bundle

COMMAND = ("-m", "restore_sdk")


class Case:
    """A folder with a photo, a mask and a toy bundle, and the command run in it."""

    def __init__(self, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.bundle, self._capsys = folder, bundle, capsys
        self.photo = make_photo(300, 260)
        self.mask = np.zeros((300, 260), np.uint8)
        self.mask[100:150, 60:140] = 255
        self.save("photo.png", self.photo[..., ::-1])
        self.save("mask.png", self.mask)

    def save(self, name: str, picture: NDArray[Any]) -> Path:
        (self.folder / name).write_bytes(cv2.imencode(Path(name).suffix, picture)[1].tobytes())
        return self.folder / name

    def run(self, *arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def restore(self, *more: object, photo: str = "photo.png", mask: str = "mask.png", out: str = "out.png") -> Any:
        f = self.folder
        return self.run("restore", f / photo, "--mask", f / mask, "-o", f / out, "--bundle", self.bundle, *more)

    def refused(self, *more: object, code: int = 2, **names: str) -> str:
        """The error of a ``restore`` that must fail: one line and a hint, and nothing written."""
        before = sorted(os.listdir(self.folder))
        found, out, err = self.restore(*more, **names)
        lines = err.splitlines()
        assert found == code
        assert out == ""
        assert len(lines) == 2
        assert lines[0].startswith("restore-sdk: error: ")
        assert lines[1].startswith("  hint: ")
        assert sorted(os.listdir(self.folder)) == before
        return lines[0]


@pytest.fixture
def case(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, toy_bundle.path, capsys)


def test_restore(case: Case, toy_bundle: Bundle) -> None:
    code, out, err = case.restore("--edges", case.folder / "edges.png")
    assert (code, err) == (0, "")
    assert "out.png: 260 x 300 px, restored in" in out
    with RestoreEngine(toy_bundle) as engine:
        result = engine.run(case.photo, case.mask)
    assert np.array_equal(cv2.imread(str(case.folder / "out.png"))[..., ::-1], result.image)
    assert np.array_equal(cv2.imread(str(case.folder / "edges.png"), cv2.IMREAD_UNCHANGED), result.edges)
    assert sorted(os.listdir(case.folder)) == ["edges.png", "mask.png", "out.png", "photo.png"]


def test_restore_json(case: Case) -> None:
    code, out, err = case.restore("--json")
    report = json.loads(out)
    assert (code, err, report["ok"]) == (0, "", True)
    assert (report["width"], report["height"], report["runtime"]) == (260, 300, "onnxruntime")
    assert report["lossless"] is True
    assert [(crop["width"], crop["height"]) for crop in report["crops"]] == [(256, 256)]
    parts = report["timings_ms"]
    assert parts["total"] == pytest.approx(sum(parts[key] for key in parts if key != "total"), abs=0.01)
    assert json.loads(case.restore("--json", out="out.jpg")[1])["lossless"] is False


def test_the_border_of_the_mask(case: Case, toy_bundle: Bundle) -> None:
    assert case.restore("--dilate", 5, "--feather", 3, "--max-crops", 2, "--detail", "none")[0] == 0
    with RestoreEngine(toy_bundle) as engine:
        expected = engine(case.photo, case.mask, dilate=5, feather=3, max_crops=2, detail="none")
    assert np.array_equal(cv2.imread(str(case.folder / "out.png"))[..., ::-1], expected)
    (case.folder / "out.png").unlink()
    assert "dilate is -1" in case.refused("--dilate", -1, photo="no.png")  # before any work
    assert "max_crops is 0" in case.refused("--max-crops", 0)


def test_bad_input(case: Case) -> None:
    """One of each kind; the others are in the tests of files and arrays."""
    (case.folder / "half.png").write_bytes((case.folder / "photo.png").read_bytes()[:5000])
    (case.folder / "folder.png").mkdir()
    for name, picture in (
        ("small.png", case.mask[:200]),
        ("black.png", np.zeros_like(case.mask)),
        ("huge.png", np.zeros((20_000, 20_000), np.uint8)),
    ):
        case.save(name, picture)
    for names, said in (
        ({"photo": "no.png"}, "does not exist"),
        ({"photo": "half.png"}, "damaged or truncated"),
        ({"photo": "."}, "is a folder, and -o"),
        ({"photo": "huge.png"}, "20000 x 20000 px"),
        ({"mask": "huge.png"}, "20000 x 20000 px"),
        ({"mask": "small.png"}, "260 x 200 px, the image 260 x 300 px"),
        ({"mask": "black.png"}, "all black"),
        ({"out": "out.xyz"}, "unknown extension"),
        ({"out": "mask.png"}, "is the input"),
        ({"out": "folder.png"}, "is a folder"),
    ):
        assert said in case.refused(**names), names


def test_options_that_cannot_be_used(case: Case) -> None:
    for limit, said in (("0.05", "over the limit of 0.05 MP"), ("0", "above 0"), ("-1", "above 0"), ("nan", "above 0")):
        assert said in case.refused("--max-megapixels", limit)
    assert "is the input" in case.refused("--edges", case.folder / "photo.png")
    assert "both name" in case.refused("--edges", case.folder / "out.png")
    assert "no bundle" in case.refused("--bundle", case.folder / "no", code=5)
    assert "NVIDIA driver" in case.refused("--runtime", "tensorrt", code=3)


def test_bad_input_as_json(case: Case) -> None:
    code, out, err = case.restore("--json", photo="no.png")
    report, error = json.loads(out), json.loads(out)["error"]
    assert (code, report["ok"], error["type"], error["exit_code"]) == (2, False, "ImageError", 2)
    assert error["message"] in err
    assert error["hint"]


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_names_beyond_the_letters_of_the_terminal(case: Case, json: list[str]) -> None:
    photo, mask, out = case.folder / "photo.png", case.folder / "mask.png", case.folder / "猫.png"
    command = [*COMMAND, "restore", photo, "--mask", mask, "-o", out, *json, "--bundle", case.bundle]
    done = python(*command, environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, out.exists()) == (0, True), done.stderr
    assert r"\u732b.png" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["restore"], ["restore", "a.png"], ["nonsense"], ["info", "--runtime", "x"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: restore-sdk" in capsys.readouterr().err


CODES: dict[int, list[BaseException]] = {
    1: [errors.RestoreError("m", "h"), ZeroDivisionError("two\nlines")],
    2: [errors.ImageError("m", "h"), errors.ShapeError("m", "h"), errors.OutputError("m", "h")],
    3: [errors.MissingDependencyError("m", "h"), errors.DeviceError("m", "h")],
    4: [errors.EngineError("m", "h", reason="incompatible"), errors.BuildError("m", "h")],
    5: [errors.BundleError("m", "h")],
    6: [errors.DriftError("m", "h")],
    7: [errors.ExecutionError("m", "h"), errors.ClosedError("m", "h"), MemoryError()],
    130: [KeyboardInterrupt()],
}


@pytest.mark.parametrize("code", CODES)
def test_exit_codes(code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for raised in CODES[code]:

        def fail(*_: object, raised: BaseException = raised) -> None:
            raise raised

        monkeypatch.setattr(Bundle, "load", fail)
        assert cli.main(["info"]) == code
        err = capsys.readouterr().err
        assert err.startswith("restore-sdk: error: ")
        assert "Traceback" not in err
        assert len(err.splitlines()) <= 2
    if code == 1:
        with pytest.raises(ZeroDivisionError, match="two"):
            cli.main(["--traceback", "info"])


def test_info(case: Case) -> None:
    code, out, _ = case.run("info", "--bundle", case.bundle)
    assert (code, "toy 1.0" in out, "onnxruntime" in out) == (0, True, True)
    report = json.loads(case.run("info", "--bundle", case.bundle, "--json")[1])
    assert (report["ok"], report["bundle"]["name"]) == (True, "toy")
    assert report["training"] == {"data": [], "images_seen": 0}


def test_verify(case: Case) -> None:
    code, out, _ = case.run("verify", "--bundle", case.bundle)
    assert (code, "passed" in out) == (0, True)
    report = json.loads(case.run("verify", "--bundle", case.bundle, "--json")[1])
    assert report["passed"] is True
    assert report["restored"] == {"pooled_db": None, "worst_db": None, "worst_picture": 0}  # equal to the last bit


@pytest.mark.parametrize("name", ["restored", "completed_edges"])
def test_verify_finds_drift_in_either_output(case: Case, tmp_path: Path, name: str) -> None:
    golden = golden_vectors()
    golden[name] = golden[name].copy()
    golden[name][1, 0, :] ^= 16  # one row of the second image
    bundle = write_toy_bundle(tmp_path / "drift", golden=golden).path
    code, out, _ = case.run("verify", "--bundle", bundle, "--json")
    report = json.loads(out)
    assert (code, report["ok"], report["passed"]) == (6, False, False)
    assert report[name]["worst_picture"] == 1
    assert report[name]["worst_db"] == pytest.approx(20 * np.log10(255 / 16) + 10 * np.log10(256), abs=0.01)
    code, said, _ = case.run("verify", "--bundle", bundle)
    assert (code, "inf" in said) == (6, False)
    assert case.run("verify", "--bundle", bundle, "--min-psnr", "40")[0] == 0


def test_verify_checks_files_that_the_runtime_does_not_use(case: Case, writable_bundle: Path) -> None:
    (writable_bundle / "edge.fp16.onnx").write_bytes(b"other")
    code, _, err = case.run("verify", "--bundle", writable_bundle)
    assert (code, "edge.fp16.onnx" in err) == (5, True)
    (writable_bundle / "repair.onnx").write_bytes(b"other")
    assert "repair.onnx" in case.refused("--bundle", writable_bundle, code=5)


def test_in_a_process_of_its_own(case: Case) -> None:
    """Nothing on the streams but what the command says, whatever libraries would like to add."""
    half = case.folder / "half.jpg"
    half.write_bytes(cv2.imencode(".jpg", case.photo)[1].tobytes()[:5000])
    names = ["--mask", case.folder / "mask.png", "-o", case.folder / "out.png", "--bundle", case.bundle]
    for photo, wanted in (("photo.png", (0, 1, 0)), ("half.jpg", (2, 0, 2)), ("no.png", (2, 0, 2))):
        done = python(*COMMAND, "restore", case.folder / photo, *names)
        assert (done.returncode, len(done.stdout.splitlines()), len(done.stderr.splitlines())) == wanted


def test_a_closed_pipe_turns_no_failure_into_success(case: Case, tmp_path: Path) -> None:
    golden = golden_vectors()
    golden["restored"] = golden["restored"] ^ 16
    drift = write_toy_bundle(tmp_path / "drift", golden=golden).path
    for arguments, code in (
        (["info", "--bundle", case.bundle], 0),
        (["verify", "--bundle", drift], 6),
        (["info", "--bundle", tmp_path / "no"], 5),
        (["info", "--bundle", tmp_path / "no", "--json"], 5),
    ):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([sys.executable, *COMMAND, *arguments], stdout=write, stderr=write, check=False)
        os.close(write)
        assert done.returncode == code, arguments
