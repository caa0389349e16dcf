"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.writing import add_extra_stage
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.runtime.native import ORT_SWITCH
from tests.cuda_double import double as doubles
from tests.cuda_double.build import CannotBuildError
from tests.needs import unavailable
from tests.toy_bundle import damage_graph, write_toy_bundle

# Tests that import ONNX Runtime by themselves shall not report that either.
os.environ.setdefault(ORT_SWITCH, "1")

# Started in the background by a shell, the tests ignore interrupts; the programs that they interrupt would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A sound bundle of two small graphs; do not write into it."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture(scope="session")
def seeing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The toy bundle with a damage stage; do not write into it."""
    bundle = write_toy_bundle(tmp_path_factory.mktemp("bundles") / "seeing")
    return add_extra_stage(bundle, "damage", damage_graph(), 0, 256 * 256, [])


@pytest.fixture(scope="session")
def engine(toy_bundle: Bundle) -> Iterator[RestoreEngine]:
    """An engine on the toy bundle, shared by the tests of a session."""
    with RestoreEngine(toy_bundle) as engine:
        yield engine


@pytest.fixture(scope="session")
def loaded_double() -> doubles.Double:
    """The CUDA driver double, loaded into this process; it stands there as a driver that finds no device."""
    try:
        return doubles.load()
    except CannotBuildError as error:
        unavailable(f"no CUDA driver double: {error}")


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the lock of the examples names in ``node_modules``: onnxruntime-web."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).resolve().parents[1] / "examples" / name, folder)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if finished.returncode:
        unavailable(f"npm cannot install onnxruntime-web: {finished.stderr[-500:]}")
    return folder


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    """A 256 x 256 RGB picture with three different channels, gradients and an outline."""
    return make_photo(256, 256)


@pytest.fixture
def mask() -> NDArray[np.uint8]:
    """A mask for ``photo``: two white shapes."""
    mask = np.zeros((256, 256), np.uint8)
    mask[60:120, 80:170] = 255
    mask[200:210, 20:230] = 255
    return mask


@pytest.fixture
def writable_bundle(tmp_path: Path) -> Path:
    """A toy bundle of the test's own, to spoil."""
    return write_toy_bundle(tmp_path / "bundle").path


def make_pairs(count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Different photos, in colour, grey and with alpha, and masks, so that an exchanged result shows."""
    items = []
    for index in range(count):
        photo = make_photo(200 + 13 * (index % 7), 256, seed=index)
        mask = np.zeros(photo.shape[:2], bool)
        mask[10 + index : 60 + index, 20:90] = True
        items.append(((photo, photo[..., 0], np.dstack((photo, photo[..., 1])))[index % 3], mask))
    return items


def make_photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of any size: gradients in red and green, a bluish square with an outline for Canny, some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack((60 + 120 * y / height, 30 + 90 * x / width, np.full((height, width), 20.0)), axis=-1)
    picture[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] += (0, 100, 180)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
