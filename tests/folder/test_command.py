"""``restore-sdk restore`` on a folder: results, resuming, what goes wrong, what is said."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import ExecutionError, OutOfMemoryError
from tests.child import python
from tests.conftest import make_photo
from tests.folder.conftest import ENVIRONMENT, HEIGHT, LOG, STATE, WIDTH, Folder
from tests.toy_bundle import golden_vectors, write_toy_bundle


def test_a_folder(filled: Folder, toy_bundle: Bundle) -> None:
    filled.photo("sub dir/x.webp")
    filled.mask("sub dir/x.png")
    code, out, err = filled.run("--dilate", 4, "--feather", 2)
    assert (code, err) == (0, "")
    assert out.startswith(f"{filled.target}: 5 restored of 5 photographs in ")
    assert filled.results() == ["0.png", "1.png", "2.png", "3.png", "sub dir/x.webp"]
    with RestoreEngine(toy_bundle) as engine:
        for number in range(4):
            photo = make_photo(HEIGHT, WIDTH, number)
            expected = engine.restore(photo, filled.masked, color="bgr", dilate=4, feather=2)
            assert np.array_equal(cv2.imread(str(filled.target / f"{number}.png")), expected)


def test_run_again(filled: Folder) -> None:
    """Only what is new, changed, lost or wanted otherwise is done again."""
    assert filled.json()["restored"] == 4
    before = {name: (filled.target / name).stat() for name in filled.results()}
    assert (filled.json()["restored"], filled.json()["resumed"]) == (0, 4)
    assert {name: (filled.target / name).stat() for name in filled.results()} == before
    filled.photo("0.png", 77)
    filled.write(filled.masks / "1.png", cv2.imencode(".png", 255 - filled.masked)[1])
    (filled.target / "2.png").unlink()
    filled.fill("new.png")
    report = filled.json()
    assert (report["restored"], report["resumed"], report["code"]) == (4, 1, 0)
    assert (filled.target / "3.png").stat() == before["3.png"]
    assert filled.json("--dilate", 5)["restored"] == 5


def test_another_model_of_the_same_name_restores_again(filled: Folder, writable_bundle: Path) -> None:
    filled.run()
    filled.bundle = writable_bundle
    assert filled.json()["resumed"] == 4  # the same model at another place
    write_toy_bundle(filled.place / "other", golden={k: v[:1] for k, v in golden_vectors().items()})
    filled.bundle = filled.place / "other"
    assert filled.json()["restored"] == 4


def test_what_somebody_else_put_there_stays(filled: Folder) -> None:
    filled.write(filled.target / "1.png", b"precious")
    report = filled.json()
    assert (report["code"], report["restored"], report["failed"]) == (9, 3, 1)
    assert "none of this folder's results" in report["failures"][0]["message"]
    assert (filled.target / "1.png").read_bytes() == b"precious"
    report = filled.json("--overwrite")
    assert (report["code"], report["restored"], report["resumed"]) == (0, 1, 3)
    (filled.target / "2.png").write_bytes(b"touched up by hand")
    assert filled.json()["code"] == 9
    assert (filled.target / "2.png").read_bytes() == b"touched up by hand"


def test_a_file_where_a_folder_should_be_stops_nobody_else(folder: Folder) -> None:
    folder.fill("1.png", "sub/2.png", "sub/deep/3.png", "z.png")
    folder.write(folder.target / "sub", b"precious")
    report = folder.json()
    assert (report["code"], report["restored"], report["failed"]) == (9, 2, 2)
    assert all("cannot be made" in failure["message"] for failure in report["failures"])
    assert (folder.target / "sub").read_bytes() == b"precious"


@pytest.mark.parametrize(("options", "counts"), [([], (3, 1)), (["--overwrite"], (4, 0))])
def test_what_somebody_puts_there_during_the_run_stays_too(
    filled: Folder, monkeypatch: pytest.MonkeyPatch, options: list[str], counts: tuple[int, int]
) -> None:
    real = RestoreEngine.run

    def run(self: RestoreEngine, *arguments: Any, **named: Any) -> Any:
        (filled.target / "3.png").write_bytes(b"precious")
        return real(self, *arguments, **named)

    monkeypatch.setattr(RestoreEngine, "run", run)
    report = filled.json(*options)
    assert (report["restored"], report["failed"]) == counts
    assert ((filled.target / "3.png").read_bytes() == b"precious") is (not options)


#: Files that are no photographs, and what is said of them.
BAD = {
    "html.png": (b"<!doctype html><html>", "known format"),
    "empty.png": (b"", "empty file"),
    "liar.jpg": (
        bytes.fromhex("ffd8ffc0001108ea60ea6003012200021101031101ffda0002ffd9"),
        "60000 x 60000 px, over the limit",
    ),
    "film.gif": (b"GIF89a" + bytes(50), "known format"),
    "really a png.heic": (cv2.imencode(".png", make_photo(40, 50))[1].tobytes(), "is read, and not written"),
    "half.png": (cv2.imencode(".png", make_photo(HEIGHT, WIDTH))[1].tobytes()[:5000], "damaged or truncated"),
}


@pytest.fixture
def bad(filled: Folder) -> Folder:
    for name, (data, _) in BAD.items():
        filled.write(filled.source / name, data)
        filled.mask(f"{Path(name).stem}.png")
    filled.fill("small mask.png", "black mask.png", "gone.png", "pipe.png", "maskless.png")
    filled.write(filled.masks / "small mask.png", cv2.imencode(".png", filled.masked[:50])[1])
    filled.write(filled.masks / "black mask.png", cv2.imencode(".png", filled.masked * 0)[1])
    for name in ("gone.png", "pipe.png"):
        (filled.source / name).unlink()
    (filled.source / "gone.png").symlink_to(filled.place / "nowhere")
    os.mkfifo(filled.source / "pipe.png")
    (filled.masks / "maskless.png").unlink()
    return filled


def test_bad_input_is_answered_and_the_others_go_on(bad: Folder) -> None:
    report = bad.json()
    assert (report["code"], report["ok"], report["restored"], report["failed"]) == (9, False, 4, 11)
    assert bad.results() == ["0.png", "1.png", "2.png", "3.png"]
    why = {failure["photo"]: failure for failure in report["failures"]}
    for name, message in {
        **{name: message for name, (_, message) in BAD.items()},
        "gone.png": "does not exist",
        "pipe.png": "no plain file",
        "maskless.png": "no mask has its name",
        "small mask.png": "the mask is 120 x 50 px",
        "black mask.png": "all black",
    }.items():
        assert message in why[name]["message"], name
        assert why[name]["hint"], name
    assert sorted(line["photo"] for line in bad.log() if line.get("status") == "failed") == sorted(why)
    code, _, err = bad.run()  # tried again, as they may have been mended
    assert (code, len(err.splitlines())) == (9, 11)
    assert bad.json("--unmarked", "skip")["unmarked"] == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("too large", "make it smaller", reason="photo"), 9),
        (ExecutionError("the GPU is gone", "look for it"), 7),
    ],
)
def test_only_a_runtime_that_fails_again_and_again_ends_the_run(
    filled: Folder, monkeypatch: pytest.MonkeyPatch, error: ExecutionError, code: int
) -> None:
    real = RestoreEngine.run

    def run(self: RestoreEngine, photo: Any, *rest: Any, **named: Any) -> Any:
        if not np.array_equal(photo, make_photo(HEIGHT, WIDTH, 3)):
            raise error
        return real(self, photo, *rest, **named)

    monkeypatch.setattr(RestoreEngine, "run", run)
    found, _, err = filled.run()
    assert (found, filled.results()) == (code, ["3.png"] if code == 9 else [])
    assert err.count(error.message) == (3 if code == 9 else 4)


def test_names(folder: Folder) -> None:
    names = [
        "with space.png",
        "new\nline.png",
        "Ünïcödé.png",
        "照片.png",
        "-rf.png",
        "'\";$(x).png",
        os.fsdecode(b"caf\xe9.png"),
    ]
    folder.fill(*names)
    folder.write(folder.source / os.fsdecode(b"bad\xff\n.png"), b"")
    code, out, err = folder.run()
    assert (code, folder.results()) == (9, sorted(names))
    assert out.encode()
    assert err.startswith(r"restore-sdk: bad\udcff\n.png: ")
    assert len(err.splitlines()) == 1
    assert folder.json()["resumed"] == len(names)


def test_two_runs_at_once(filled: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, others = RestoreEngine.run, []

    def run(self: RestoreEngine, *arguments: Any, **named: Any) -> Any:
        if not others:
            others.append(
                subprocess.run(filled.process(), env=ENVIRONMENT, capture_output=True, text=True, check=False)
            )
        return real(self, *arguments, **named)

    monkeypatch.setattr(RestoreEngine, "run", run)
    assert filled.json("--slots", 1)["restored"] == 4
    assert (others[0].returncode, others[0].stdout) == (2, "")
    assert "another run is writing to" in others[0].stderr


@pytest.mark.parametrize("limit", [50, 8_000])
def test_a_full_disk_ends_the_run_and_loses_nothing(filled: Folder, limit: int) -> None:
    """A limit on the size of files stands for the disk: the log does not fit, or the pictures do not."""
    done = subprocess.run(
        filled.process(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert filled.results() == []
    assert filled.json()["restored"] == 4
    filled.log()  # every line is whole


def test_a_folder_that_cannot_be_written(filled: Folder) -> None:
    file = filled.write(filled.place / "file", b"")
    for out in (file, file / "out", Path("/proc/no"), filled.place / ("long" * 100), filled.place / "null\0"):
        code, _, err = filled.run(out=out)
        assert code == 2
        assert "cannot" in err
    (filled.target / STATE).mkdir(parents=True)
    (filled.target / LOG).symlink_to(filled.place / "other")
    assert filled.run()[0] == 2
    assert not (filled.place / "other").exists()


def test_a_log_that_was_cut_or_spoilt(filled: Folder) -> None:
    filled.run()
    log = filled.target / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b"not json\n", b'{"event": "photo"}\n', *lines[2:], b'{"event": "pho']))
    assert filled.json()["resumed"] == 4
    assert b'{"event": "pho{' not in log.read_bytes()
    log.unlink()  # nothing is known then, and nothing is touched
    assert filled.json()["failed"] == 4


def test_killed_at_every_line(tmp_path: Path) -> None:
    """Nothing is lost, half-written or done twice. Exhaustive, with a double of the model: see the script."""
    script = Path(__file__).with_name("kill_everywhere.py")
    done = python(script, tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr
    assert min(map(int, done.stdout.split())) > 150


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_stopped_again_and_again(folder: Folder, kind: signal.Signals) -> None:
    """The real command, its model and threads: what is there stays, and is whole."""
    folder.fill(*(f"{number}.png" for number in range(150)))
    kept: dict[str, int] = {}
    for _ in range(3):
        with subprocess.Popen(
            folder.process("--slots", 2), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 60
            while len(list(folder.target.glob("*.png"))) == len(kept):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.send_signal(kind)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130 if kind == signal.SIGINT else -kind, "")
        if kind == signal.SIGINT:
            hint = "  hint: run it again, and it goes on where it was"
            assert err.splitlines() == ["restore-sdk: error: interrupted", hint]
        there = {path.name: path.stat().st_mtime_ns for path in folder.target.glob("*.png")}
        assert kept.items() <= there.items()
        kept = there
    report = folder.json()
    assert report["resumed"] == len(kept)
    assert report["restored"] + report["resumed"] == 150
    assert all(cv2.imread(str(path)) is not None for path in folder.target.glob("*.png"))
    assert set(os.listdir(folder.target / STATE)) == {"lock"}


@pytest.mark.parametrize(
    ("options", "out", "message"),
    [
        (["--edges", "e.png"], "out", "--edges is for one photograph"),
        (["--slots", "0"], "out", "slots"),
        ([], "out.png", "names an image"),
    ],
)
def test_options_that_make_no_sense(filled: Folder, options: list[str], out: str, message: str) -> None:
    code, _, err = filled.run(*options, out=filled.place / out)
    assert code == 2
    assert message in err
    filled.source = filled.source / "0.png"
    code, _, err = filled.run("--overwrite", masks=filled.masks / "0.png", out=filled.place / "one.png")
    assert code == 2
    assert "--overwrite is for a folder" in err
