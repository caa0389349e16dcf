"""``restore-sdk restore`` on a folder: results, resuming, what goes wrong, what is said."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from restore_sdk._util import lock
from restore_sdk._util.terminal import shown
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import PhotoMemoryError
from restore_sdk.folder.ledger import open_ledger
from restore_sdk.folder.progress import Progress, clock
from restore_sdk.folder.work import face_detector
from restore_sdk.tiling.request import Request
from tests.conftest import make_photo
from tests.folder.conftest import HEIGHT, WIDTH, Folder
from tests.toy_bundle import golden_vectors, write_toy_bundle
from tests.yunet_double import write_yunet_double

ROOT = Path(__file__).resolve().parents[2]


def fill(folder: Folder, count: int = 4) -> None:
    for number in range(count):
        folder.photo(f"{number}.png", number)
        folder.mask(f"{number}.png")


def test_a_folder(folder: Folder, toy_bundle: Bundle) -> None:
    fill(folder)
    folder.photo("sub dir/x.webp", 9)
    folder.mask("sub dir/x.png")
    code, out, err = folder.run()
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder.target}: 5 restored of 5 photographs in ")
    assert folder.results() == ["0.png", "1.png", "2.png", "3.png", "sub dir/x.webp"]
    with RestoreEngine(toy_bundle) as engine:
        for number in range(4):
            expected = engine.restore(make_photo(HEIGHT, WIDTH, number), folder.hole, color="bgr")
            assert np.array_equal(cv2.imread(str(folder.target / f"{number}.png")), expected)


def test_run_again(folder: Folder) -> None:
    """Only what is new, changed, lost or wanted otherwise is done again."""
    fill(folder)
    assert folder.json()["restored"] == 4
    before = {name: (folder.target / name).stat() for name in folder.results()}
    assert (folder.json()["restored"], folder.json()["resumed"]) == (0, 4)
    assert {name: (folder.target / name).stat() for name in folder.results()} == before
    folder.photo("0.png", 77)
    folder.write(folder.masks / "1.png", cv2.imencode(".png", 255 - folder.hole)[1])
    (folder.target / "2.png").unlink()
    folder.photo("new.png")
    folder.mask("new.png")
    report = folder.json()
    assert (report["restored"], report["resumed"], report["code"]) == (4, 1, 0)
    assert (folder.target / "3.png").stat() == before["3.png"]


def test_the_border_of_the_masks(folder: Folder, toy_bundle: Bundle) -> None:
    fill(folder, 1)
    assert folder.run("--dilate", 4, "--feather", 2)[0] == 0
    with RestoreEngine(toy_bundle) as engine:
        expected = engine(make_photo(HEIGHT, WIDTH, 0), folder.hole, color="bgr", dilate=4, feather=2)
    assert np.array_equal(cv2.imread(str(folder.target / "0.png")), expected)
    assert folder.json("--dilate", 5)["restored"] == 1  # looks otherwise, so it is done again


def test_another_model_of_the_same_name_restores_again(folder: Folder, writable_bundle: Path) -> None:
    fill(folder, 2)
    folder.run()
    folder.bundle = writable_bundle
    assert folder.json()["resumed"] == 2  # the same model at another place
    write_toy_bundle(folder.place / "other", golden={k: v[:1] for k, v in golden_vectors().items()})
    folder.bundle = folder.place / "other"
    assert folder.json()["restored"] == 2


def test_another_face_detector_of_the_same_name_restores_again(folder: Folder) -> None:
    fill(folder, 1)
    model = write_yunet_double(folder.place / "yunet_double.onnx")
    assert folder.json("--face-detector", model)["restored"] == 1
    moved = model.rename(folder.place / "moved.onnx")
    assert folder.json("--face-detector", moved)["resumed"] == 1
    face_detector.cache_clear()  # as in another process
    assert folder.json("--face-detector", write_yunet_double(moved, any_size=True))["restored"] == 1


def test_names_that_no_system_takes(folder: Folder) -> None:
    fill(folder, 1)
    for where in ({"masks": folder.place / ("long" * 100)}, {"masks": folder.place / "null\0"}):
        code, _, err = folder.run(**where)
        assert code == 2
        assert "there are no masks at" in err
    for target in (folder.place / ("long" * 100), folder.place / "null\0"):
        code, _, err = folder.run(out=target)
        assert code == 2
        assert "cannot be made" in err
    for photo in ("long" * 100, "null\0"):
        folder.source = folder.place / photo
        code, _, err = folder.run(masks=folder.masks / "0.png", out=folder.place / "out.png")
        assert code == 2
        assert "cannot be read" in err


def test_a_file_system_without_locks(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fill(folder, 1)
    monkeypatch.setattr(lock, "_try_lock", no_locks)
    code, _, err = folder.run()
    assert code == 2
    assert "No locks available" in err


def test_a_copied_output_folder_goes_on(folder: Folder) -> None:
    """Other times and other inodes, the same bytes: still done."""
    fill(folder)
    folder.run()
    for name in folder.results():
        data = (folder.target / name).read_bytes()
        (folder.target / name).unlink()
        (folder.target / name).write_bytes(data)
    assert folder.json()["resumed"] == 4


def test_what_somebody_else_put_there_stays(folder: Folder) -> None:
    fill(folder)
    folder.write(folder.target / "1.png", b"precious")
    report = folder.json()
    assert (report["code"], report["restored"], report["failed"]) == (9, 3, 1)
    assert "none of this folder's results" in report["failures"][0]["message"]
    assert (folder.target / "1.png").read_bytes() == b"precious"
    report = folder.json("--overwrite")
    assert (report["code"], report["restored"], report["resumed"]) == (0, 1, 3)
    (folder.target / "2.png").write_bytes(b"touched up by hand")
    assert folder.json()["code"] == 9
    assert (folder.target / "2.png").read_bytes() == b"touched up by hand"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_somebody_puts_there_during_the_run_stays_too(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    fill(folder, 2)
    real = RestoreEngine.run

    def run(self: RestoreEngine, *arguments: Any, **named: Any) -> Any:
        (folder.target / "1.png").write_bytes(b"precious")
        return real(self, *arguments, **named)

    monkeypatch.setattr(RestoreEngine, "run", run)
    report = folder.json(*(["--overwrite"] if overwrite else []))
    assert (report["restored"], report["failed"]) == ((2, 0) if overwrite else (1, 1))
    assert ((folder.target / "1.png").read_bytes() == b"precious") is not overwrite


BAD = {
    "html.png": b"<!doctype html><html>",
    "empty.png": b"",
    "liar.jpg": bytes.fromhex("ffd8ffc0001108ea60ea6003012200021101031101ffda0002ffd9"),
    "film.gif": b"GIF89a" + bytes(50),
    "really a png.heic": cv2.imencode(".png", make_photo(40, 50))[1].tobytes(),
}


@pytest.fixture
def bad(folder: Folder) -> Folder:
    fill(folder)
    for name, data in BAD.items():
        folder.write(folder.source / name, data)
        folder.mask(f"{Path(name).stem}.png")
    half = folder.photo("half.png").read_bytes()
    folder.write(folder.source / "half.png", half[: len(half) // 2])
    folder.mask("half.png")
    (folder.source / "gone.png").symlink_to(folder.place / "nowhere")
    folder.mask("gone.png")
    os.mkfifo(folder.source / "pipe.png")
    folder.mask("pipe.png")
    folder.photo("maskless.png")
    folder.photo("small mask.png")
    folder.write(folder.masks / "small mask.png", cv2.imencode(".png", folder.hole[:50])[1])
    folder.photo("black mask.png")
    folder.write(folder.masks / "black mask.png", cv2.imencode(".png", folder.hole * 0)[1])
    return folder


def test_bad_input_is_answered_and_the_others_go_on(bad: Folder) -> None:
    report = bad.json()
    assert (report["code"], report["ok"], report["restored"], report["failed"]) == (9, False, 4, 11)
    assert bad.results() == ["0.png", "1.png", "2.png", "3.png"]
    why = {failure["photo"]: failure for failure in report["failures"]}
    for name, message in {
        "html.png": "known format",
        "empty.png": "empty file",
        "liar.jpg": "60000 x 60000 px, over the limit",
        "film.gif": "known format",
        "really a png.heic": "unknown extension",
        "half.png": "damaged or truncated",
        "gone.png": "does not exist",
        "pipe.png": "no plain file",
        "maskless.png": "no mask has its name",
        "small mask.png": "the mask is 120 x 50 px",
        "black mask.png": "all black",
    }.items():
        assert message in why[name]["message"], name
        assert why[name]["hint"], name
    logged = {line["photo"]: line for line in bad.log() if line.get("status") == "failed"}
    assert sorted(logged) == sorted(why)
    code, _, err = bad.run()  # tried again, as they may have been mended
    assert (code, len(err.splitlines())) == (9, 11)
    assert bad.json("--unmarked", "skip")["unmarked"] == 2


def test_photographs_too_large_for_this_host_do_not_end_the_run(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three in a row: what a runtime that is out of order would look like."""
    for number in range(4):
        folder.photo(f"{number}.png")
        folder.mask(f"{number}.png")
    real, calls = Request.__init__, []

    def too_large(self: Request, *arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) <= 3:
            raise PhotoMemoryError("not enough memory for the photograph", "make it smaller")
        real(self, *arguments, **options)

    monkeypatch.setattr(Request, "__init__", too_large)
    report = folder.json("--workers", "1", "--slots", "1")
    assert (report["code"], report["restored"], report["failed"]) == (9, 1, 3)


def test_stop_at_the_first_failure(bad: Folder) -> None:
    report = bad.json("--on-error", "stop")
    assert (report["code"], report["failed"], report["restored"]) == (9, 1, 0)
    assert report["pending"] == 14
    for name in (*BAD, "half.png", "gone.png", "pipe.png", "maskless.png", "small mask.png", "black mask.png"):
        (bad.source / name).unlink()
    assert bad.json("--on-error", "stop")["restored"] == 4


@pytest.mark.parametrize(
    "name", ["with space.png", "new\nline.png", "Ünïcödé.png", "照片.png", "فوتو.png", "-rf.png", "'\";$(x).png"]
)
def test_names(folder: Folder, name: str) -> None:
    folder.photo(name)
    folder.mask(name)
    assert folder.json()["restored"] == 1
    assert folder.results() == [name]
    assert folder.json()["resumed"] == 1


def test_a_name_that_is_no_text(folder: Folder) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    folder.photo(name)
    folder.mask(name)
    folder.write(folder.source / os.fsdecode(b"bad\xff\n.png"), b"")
    code, out, err = folder.run()
    assert code == 9
    assert out.encode()
    assert err.startswith(r"restore-sdk: bad\udcff\n.png: ")
    assert len(err.splitlines()) == 1
    assert folder.json()["resumed"] == 1


def test_two_runs_at_once(folder: Folder) -> None:
    fill(folder)
    with open_ledger(folder.target, {}):
        code, out, err = folder.run()
    assert (code, out) == (2, "")
    assert "another run is writing to" in err
    assert folder.results() == []
    assert folder.run()[0] == 0


def test_a_full_disk_ends_the_run_and_loses_nothing(folder: Folder, toy_bundle: Bundle) -> None:
    """A limit on the size of files stands for the disk: first the log, then the pictures do not fit."""
    fill(folder)
    command = [sys.executable, "-m", "restore_sdk", "restore", folder.source, "--masks", folder.masks]
    command += ["-o", folder.target, "--bundle", toy_bundle.path]
    for limit, code in ((50, 2), (900, 2), (8_000, 9)):

        def limited(bytes_: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))

        done = subprocess.run(
            command,
            preexec_fn=limited,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "File too large" in done.stderr
        assert "Traceback" not in done.stderr
        assert folder.results() == []
        if (folder.target / "restore-sdk.jsonl").exists():
            folder.log()  # every line is whole
    assert folder.json()["restored"] == 4


def test_a_folder_that_cannot_be_written(folder: Folder) -> None:
    fill(folder, 1)
    file = folder.write(folder.place / "file", b"")
    for out in (file, file / "out", Path("/proc/no")):
        code, _, err = folder.run(out=out)
        assert code == 2
        assert "cannot" in err
    (folder.target / ".restore-sdk").mkdir(parents=True)
    (folder.target / "restore-sdk.jsonl").symlink_to(folder.place / "other")
    assert folder.run()[0] == 2
    assert not (folder.place / "other").exists()


def test_a_log_that_was_cut_or_spoilt(folder: Folder) -> None:
    fill(folder)
    folder.run()
    log = folder.target / "restore-sdk.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b"not json\n", b'{"event": "photo"}\n', *lines[2:], b'{"event": "pho']))
    assert folder.json()["resumed"] == 4
    assert b'{"event": "pho{' not in log.read_bytes()
    log.unlink()  # nothing is known then, and nothing is touched
    assert folder.json()["failed"] == 4


def test_interrupted(folder: Folder, toy_bundle: Bundle) -> None:
    fill(folder, 150)
    command = [sys.executable, "-m", "restore_sdk", "restore", folder.source, "--masks", folder.masks]
    command += ["-o", folder.target, "--bundle", toy_bundle.path]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(folder.target.glob("*.png")):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == ["restore-sdk: error: interrupted", "  hint: run it again, and it goes on where it was"]
    report = folder.json()
    assert report["resumed"] > 0
    assert report["restored"] + report["resumed"] == 150


def test_options_of_a_folder_are_refused_on_a_photograph(folder: Folder) -> None:
    photo, mask = folder.photo("a.png"), folder.mask("a.png")
    out = folder.place / "out.png"
    folder.source = photo
    for option in (["--overwrite"], ["--workers", "2"], ["--format", "png"]):
        code, _, err = folder.run(*option, masks=mask, out=out)
        assert code == 2
        assert f"{option[0]} is for a folder" in err
    assert not out.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_only() -> None:
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        progress = Progress(stream, 10, 4)
        for _ in range(6):
            progress.step(failed=False)
        text = stream.getvalue()
        assert (f"[{'#' * 24}] 10/10" in text) == drawn
        assert ("0:00 left" in text) == drawn
        progress.failed("a\nb.png", "why", "what to do")
        assert stream.getvalue().endswith("restore-sdk: a\\nb.png: why (what to do)\n")


def test_how_it_is_written() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3600, 36_061)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
    assert shown("a\x1b[31m\tb") == "a\\x1b[31m\\tb"
