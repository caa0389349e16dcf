"""The shipped graphs in Node, without Python, as ``docs/embedding.md`` says; their answer against Python's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore_sdk import psnr
from restore_sdk.bundle import SHIPPED, Bundle
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.docs.pages import ROOT, blocks
from tests.needs import unavailable

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example beside what its lock names."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("embed.mjs", "package.json", "package-lock.json"):
        shutil.copy(EXAMPLES / name, folder)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if finished.returncode:
        unavailable(f"npm cannot install onnxruntime-web: {finished.stderr[-500:]}")
    return folder / "embed.mjs"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_node_gives_what_python_gives(program: Path, tmp_path: Path, name: str) -> None:
    image = cv2.cvtColor(cv2.imread(str(EXAMPLES / "portrait_damaged.png")), cv2.COLOR_BGR2RGB)
    mask = cv2.imread(str(EXAMPLES / "portrait_mask.png"), cv2.IMREAD_GRAYSCALE)
    files = [tmp_path / each for each in ("image.rgb", "mask.grey", "restored.rgb")]
    files[0].write_bytes(image.tobytes())
    files[1].write_bytes(mask.tobytes())
    command = ["node", str(program), str(SHIPPED[name]), *map(str, files)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr[-500:]
    restored = np.frombuffer(files[2].read_bytes(), np.uint8).reshape(256, 256, 3)
    runner = OnnxRunner(Bundle.load(name))
    wanted = runner.infer(image[None], mask[None]).restored[0]
    runner.close()
    assert np.array_equal(restored[mask <= 127], image[mask <= 127])
    assert (restored[mask > 127] != image[mask > 127]).any()
    assert psnr(restored, wanted) > 60


def test_the_page_shows_the_example() -> None:
    (shown,) = blocks(ROOT / "docs" / "embedding.md", "js")
    example = (EXAMPLES / "embed.mjs").read_text(encoding="utf-8")
    for line in ("for (const stage of", "const feeds =", "Object.assign(tensors"):
        found = next(each for each in shown.splitlines() if line in each)
        assert found.replace("manifest.stages", "stages") in example
