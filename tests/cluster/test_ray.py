"""On a real cluster of three nodes: a folder while a worker and a node are lost, a pipeline, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow
import pytest

from restore_sdk import __version__
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.errors import ExecutionError
from restore_sdk.folder.jobs import LOG_NAME, STATE_NAME, Job
from restore_sdk.folder.work import Settings
from tests.cluster.conftest import ENVIRONMENT, Nodes, python
from tests.conftest import make_photo
from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow

PHOTOS = 48


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``in`` with photographs (one broken), ``mask.png`` for all, and ``serial``, made without a cluster."""
    place = tmp_path_factory.mktemp("ray")
    (place / "in").mkdir()
    for number in range(PHOTOS):
        cv2.imwrite(str(place / "in" / f"photo {number:02}.png"), make_photo(256, 256, number))
    (place / "in" / "broken.png").write_bytes(b"<html>")
    mask = np.zeros((256, 256), np.uint8)
    mask[60:120, 80:170] = 255
    cv2.imwrite(str(place / "mask.png"), mask)
    assert cli.main(command(place, "serial")) == 9
    return place


def command(place: Path, out: str, *more: str) -> list[str]:
    return ["restore", str(place / "in"), "--masks", str(place / "mask.png"), "-o", str(place / out), *more]


def entries(folder: Path) -> list[dict[str, Any]]:
    path = folder / LOG_NAME
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}


def test_a_worker_and_a_node_are_lost_on_the_way(nodes: Nodes, place: Path) -> None:
    # paths as one types them: the workers stand elsewhere
    relative = command(Path(), "ray", "--ray", nodes.address, "--json")
    arguments = [sys.executable, "-m", "restore_sdk", *relative]
    with subprocess.Popen(
        arguments, cwd=place, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            victim = wait_for(lambda: done(place), 3)[0]["worker"]
            os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
            wait_for(lambda: done(place), 10)
            nodes.kill(2)
            out, err = run.communicate(timeout=300)
        finally:
            run.kill()
    report = json.loads(out)
    assert (run.returncode, report["restored"], report["failed"]) == (9, PHOTOS, 1), err
    assert report["failures"][0]["photo"] == "broken.png"
    assert results(place / "ray") == results(place / "serial")
    finished = done(place)
    assert len({entry["photo"] for entry in finished}) == len(finished) == PHOTOS, "something was published twice"
    assert len({entry["worker"] for entry in finished}) >= 2
    assert finished[-1]["worker"] != victim
    assert sorted(os.listdir(place / "ray")) == sorted([*results(place / "serial"), LOG_NAME, STATE_NAME])
    again = python("-m", "restore_sdk", *command(place, "ray", "--json"))  # here, and it goes on where the cluster was
    assert json.loads(again.stdout)["resumed"] == PHOTOS


def done(place: Path) -> list[dict[str, Any]]:
    return [entry for entry in entries(place / "ray") if entry.get("status") == "restored"]


def wait_for(found: Any, count: int) -> list[dict[str, Any]]:
    until = time.monotonic() + 240
    while len(found()) < count:
        assert time.monotonic() < until, "the run does not get on"
        time.sleep(0.02)
    return list(found())


def test_the_example_pipeline(nodes: Nodes, tmp_path: Path) -> None:
    finished = python(ROOT / "examples" / "ray_pipeline.py", nodes.address, tmp_path / "restored")
    assert finished.returncode == 0, finished.stderr
    (written,) = (tmp_path / "restored").iterdir()
    damaged, restored = (cv2.imread(str(path)) for path in (ROOT / "examples" / "portrait_damaged.png", written))
    hole = cv2.imread(str(ROOT / "examples" / "portrait_mask.png"), cv2.IMREAD_GRAYSCALE) > 127
    assert np.array_equal(restored[~hole], damaged[~hole])
    assert not np.array_equal(restored, damaged)


def test_workers_that_cannot_start(nodes: Nodes, place: Path) -> None:
    """A node promised a GPU and has none."""
    finished = python(
        "-m", "restore_sdk", *command(place, "gpu", "--ray", nodes.address, "--runtime", "tensorrt", "--json")
    )
    error = json.loads(finished.stdout)["error"]
    assert error["exit_code"] == finished.returncode == 7, finished.stderr
    assert "cannot start: " in error["message"]
    assert error["hint"]
    assert "Traceback" not in finished.stderr
    assert results(place / "gpu") == {}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--ray", "127.0.0.1:1"], 3, "no Ray cluster can be reached at 127.0.0.1:1"),
        (["--ray", "auto", "--slots", "2"], 2, "--slots"),
    ],
)
def test_what_cannot_be_used_is_said(place: Path, more: list[str], code: int, message: str) -> None:
    finished = python("-m", "restore_sdk", *command(place, "none", *more, "--json"))
    assert finished.returncode == code, finished.stderr
    assert message in json.loads(finished.stdout)["error"]["message"]


def test_without_the_extra(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(command(place, "none", "--ray", "auto")) == 3
    assert re.search(r"pip install '.+\[ray\]'", capsys.readouterr().err)


def test_a_worker_refuses_another_model_or_version(toy_bundle: Bundle) -> None:
    from restore_sdk.cluster.folder import _outcome, _Worker

    job = Job("a", Path("a.png"), Path("m.png"), Path("b.png"))
    asked: dict[str, Any] = {"jobs": [job], "settings": Settings(), "bundle": str(toy_bundle.path), "runtime": "auto"}
    for changes, message in (
        ({"version": "9"}, "the caller 9"),
        ({"fingerprint": "0" * 64}, "another model"),
        ({"bundle": "nowhere"}, "no bundle at nowhere"),
    ):
        worker = _Worker(**{"fingerprint": toy_bundle.fingerprint, "version": __version__, **asked, **changes})
        (told,) = worker(pyarrow.table({"id": [0]}))["told"].to_pylist()
        with pytest.raises(ExecutionError, match=f"cannot start: .*{message}"):
            _outcome(b"", json.loads(told))
