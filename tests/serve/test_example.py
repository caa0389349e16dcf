"""The example client against a real service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.docs.pages import ROOT
from tests.serve.conftest import Service


def ask(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / "ask_service.py"), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env={**os.environ}
    )


def test_the_example_client(service: Service, tmp_path: Path) -> None:
    done = ask(service.url, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    restored, damaged = (
        cv2.imread(str(path)) for path in (tmp_path / "restored.png", ROOT / "examples" / "portrait_damaged.png")
    )
    mask = cv2.imread(str(ROOT / "examples" / "portrait_mask.png"), cv2.IMREAD_GRAYSCALE) > 127
    assert np.array_equal(restored[~mask], damaged[~mask])
    assert not np.array_equal(restored, damaged)


def test_the_example_client_ends_clearly(service: Service, tmp_path: Path) -> None:
    portrait = ROOT / "examples" / "portrait.png"
    refused = ask(service.url, portrait, ROOT / "README.md", "out.png", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("415: the mask is no image of a known format")
    assert "cannot read none.png" in ask(service.url, "none.png", portrait, "out.png", folder=tmp_path).stderr
    assert "no service at" in ask("http://127.0.0.1:9", folder=tmp_path).stderr
