"""Killed at any moment and run again: nothing lost, nothing half-written, nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from tests.conftest import make_photo
from tests.folder.conftest import ENVIRONMENT, LOG, STATE


def test_at_every_line(tmp_path: Path) -> None:
    """Exhaustive, with a double of the model: see the script."""
    script = Path(__file__).with_name("kill_everywhere.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert min(map(int, done.stdout.split())) > 150


def test_the_command_at_many_moments(tmp_path: Path, toy_bundle: Bundle) -> None:
    """The real command with ONNX Runtime and its threads, killed over and over until it gets through."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    mask = np.zeros((400, 500), np.uint8)  # so that one photograph takes longer than it takes to notice it
    mask[140:160, 150:190] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    expected = {}
    with RestoreEngine(toy_bundle) as engine:
        for number in range(40):
            photo = make_photo(400, 500, number)
            cv2.imwrite(str(source / f"{number}.png"), photo)
            expected[f"{number}.png"] = engine.restore(photo, mask, color="bgr")
    command = [sys.executable, "-m", "restore_sdk", "restore", source, "--mask", tmp_path / "mask.png"]
    command += ["-o", target, "--bundle", toy_bundle.path, "--json"]
    kept: dict[str, tuple[int, int]] = {}
    kills, before = 0, 0
    while True:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and kills < 8:  # until a few photographs more are done, then at once
            assert time.monotonic() < deadline
            if len(found := list(target.glob("*.png"))) > before + kills % 3:
                process.send_signal(signal.SIGKILL)
                before = len(found)
                break
            time.sleep(0.0005)
        out, _ = process.communicate(timeout=60)
        there = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.glob("*.png")}
        for name in there:
            assert np.array_equal(cv2.imread(str(target / name)), expected[name])
        assert {name: there[name] for name in kept} == kept, "something was done twice, or lost"
        kept = there
        before = len(there)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    report = json.loads(out)
    assert kills >= 5
    assert sorted(kept) == sorted(expected)
    assert report["restored"] + report["resumed"] == 40
    assert report["resumed"] >= 5
    assert sorted(os.listdir(target)) == sorted([*expected, LOG, STATE])
