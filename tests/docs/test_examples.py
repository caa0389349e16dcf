"""The example scripts run as a reader would run them, in Python and in Node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore_sdk import psnr
from restore_sdk.bundle import SHIPPED, Bundle
from restore_sdk.runtime.onnxruntime import OnnxRunner
from tests.child import python
from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return python(EXAMPLES / script, *arguments, cwd=folder)


SCRIPTS = [
    ("restore_photo.py", (), "restored.png"),
    ("find_damage.py", (), "found.jpg"),
    ("batch.py", (), "restored/portrait.png"),
    ("pictures.py", ("before_after", "out.png"), "out.png"),
    ("pictures.py", ("two_models", "out.png"), "out.png"),
    ("pictures.py", ("failures", "out.png"), "out.png"),
]


@pytest.mark.parametrize(("script", "arguments", "written"), SCRIPTS)
def test_example_runs(script: str, arguments: tuple[str, ...], written: str, tmp_path: Path) -> None:
    finished = run(script, *arguments, folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert cv2.imread(str(tmp_path / written)) is not None


def test_a_large_photograph_is_restored_better_in_its_own_resolution(tmp_path: Path) -> None:
    """The shipped model on a real photograph: what one tile around all damage loses."""
    lines = run("large_photo.py", "out.png", folder=tmp_path).stdout.splitlines()
    assert (tmp_path / "out.png").exists()
    single, usual = (float(re.findall(r"([\d.]+) dB", line)[0]) for line in lines[:2])
    assert usual > single + 1
    assert usual > 22


def test_every_script_is_tested_and_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    # below, and by their rooms
    elsewhere = {"large_photo.py", "make_damage.py", "ask_service.py", "ask_triton.py", "ray_pipeline.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == {script for script, *_ in SCRIPTS} | elsewhere
    assert all(f"`{path.name}`" in listed for path in EXAMPLES.iterdir() if path.suffix in (".py", ".png", ".jpg"))


@pytest.mark.parametrize("script", ["restore_photo.py", "batch.py"])
def test_example_ends_clearly_without_a_photo(script: str, tmp_path: Path) -> None:
    arguments = ("no.png", "no.png", "out.png") if script == "restore_photo.py" else (str(tmp_path),)
    finished = run(script, *arguments, folder=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(("cannot read no.png", "no *_damaged.png in"))


def test_damage_is_what_the_seed_says(tmp_path: Path) -> None:
    finished = run("make_damage.py", "--out", str(tmp_path), folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for name in ("portrait_damaged.png", "portrait_mask.png"):
        committed, drawn = (cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for folder in (EXAMPLES, tmp_path))
        assert np.array_equal(committed, drawn), f"{name} is not what make_damage.py draws"


def test_pictures_of_the_pages_are_small() -> None:
    pictures = [*EXAMPLES.glob("*.png"), *(ROOT / "docs" / "images").iterdir()]
    assert [path.name for path in pictures if path.stat().st_size > 400_000] == []


@pytest.fixture
def program(node_folder: Path) -> Path:
    """The example beside what its lock names."""
    return Path(shutil.copy(EXAMPLES / "embed.mjs", node_folder))


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
