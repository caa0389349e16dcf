"""Build, verify, serve and measure on the GPU at hand, all through the commands that users have.

    pytest tests/gpu -s

prints one JSON object with everything a maintainer needs, by edition of TensorRT: each that is installed has its turn.
``RESTORE_SDK_GPU_REPORT=FILE`` writes it to a file. Each command runs in a process of its own: an error of a GPU leaves
a process unusable, and the other tests of a session may have loaded the driver double.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.child import python

pytestmark = pytest.mark.gpu
MINUTES = 30

_PROBE = """
from restore_sdk.engines.driver import device_facts
facts = device_facts(0)
print(facts.name, facts.compute_capability)
"""

#: Whether an edition builds for the GPU at hand; loaded after the probe only: without a driver it may crash.
_SERVED = """
import sys
from restore_sdk.engines.edition import load
from restore_sdk.engines.driver import device_facts
trt = load(sys.argv[1])
capability = device_facts(0).compute_capability
if trt.edition == "tensorrt_rtx" and capability not in trt.ahead_of_time:
    sys.exit(f"{trt.label} does not serve compute capability {capability}, only {' '.join(trt.ahead_of_time)}")
"""

#: PyTorch works in the primary context before the runner is opened, while it is open, and after it was closed.
_TORCH = """
import sys
import numpy as np
if sys.argv[2] == "before":
    import torch
    assert float(torch.ones(8, device="cuda").sum()) == 8
from restore_sdk.bundle import Bundle
from restore_sdk.runtime.select import open_runner
bundle = Bundle.load()
golden = [bundle.golden()[name][:1] for name in ("image", "mask")]
runner, _ = open_runner(sys.argv[1], bundle, device=0, slots=1, threads=None)
first = runner.infer(*golden)
import torch
tensor = torch.ones(1 << 20, device="cuda")
for _ in range(20):
    tensor = tensor * 1.0
    assert np.array_equal(runner.infer(*golden).restored, first.restored)
runner.close()
assert float(tensor.sum()) == 1 << 20
assert float(torch.ones(8, device="cuda").sum()) == 8
"""

#: A child of a fork is told, and ends as it wants; the parent goes on.
_FORK = """
import os, sys
import numpy as np
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError
from restore_sdk.runtime.select import open_runner
bundle = Bundle.load()
golden = [bundle.golden()[name][:1] for name in ("image", "mask")]
runner, _ = open_runner(sys.argv[1], bundle, device=0, slots=1, threads=None)
first = runner.infer(*golden)
child = os.fork()
if not child:
    try:
        runner.infer(*golden)
    except ClosedError:
        os._exit(33)
    os._exit(1)
told = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert told == 33, told
assert np.array_equal(runner.infer(*golden).restored, first.restored)
runner.close()
"""

#: Compares, over many requests, threads and batches, with ONNX Runtime on the same host.
_SERVE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from restore_sdk.bundle import Bundle
from restore_sdk.imaging.quality import Drift
from restore_sdk.runtime.select import open_runner
bundle = Bundle.load()
golden = bundle.golden()
names, count = ("image", "mask"), len(golden["image"])
runner, _ = open_runner(sys.argv[1], bundle, device=0, slots=2, threads=None)
serial = [runner.infer(*(golden[n][i:i + 1] for n in names)) for i in range(count)]
with ThreadPoolExecutor(8) as pool:
    work = list(range(count)) * 25
    parallel = list(pool.map(lambda i: runner.infer(*(golden[n][i:i + 1] for n in names)), work))
differing = sum(not np.array_equal(r.restored, serial[i].restored) for i, r in zip(work, parallel))
size = min(runner.max_batch, count)
batch = runner.infer(*(np.ascontiguousarray(golden[n][:size]) for n in names))
drift = Drift().add(np.concatenate([r.restored for r in serial[:size]]), batch.restored)
known = golden["mask"] <= 127
kept = np.concatenate([r.restored for r in serial])
print(json.dumps({
    "requests": len(work), "differing_from_serial": differing,
    "batch": size, "batch_worst_db": min(drift.worst_db, 999.0),
    "known_pixels_equal": bool(np.array_equal(kept[known], golden["image"][known])),
}))
runner.close()
"""

_OPEN_CLOSE = """
import json, sys
from restore_sdk.bundle import Bundle
from restore_sdk.runtime.cuda import Gpu
from restore_sdk.runtime.select import open_runner
bundle, free = Bundle.load(), []
for _ in range(100):
    open_runner(sys.argv[1], bundle, device=0, slots=1, threads=None)[0].close()
    gpu = Gpu(0)
    with gpu.current():
        free.append(gpu.memory()[0])
print(json.dumps({"free_after_first": free[0], "free_after_last": free[-1]}))
"""


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def edition(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    probe = python("-c", _PROBE)
    if probe.returncode:
        pytest.skip(f"no GPU here: {probe.stderr.strip().splitlines()[-1]}")
    if importlib.util.find_spec(name) is None:
        extra = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}[name]
        pytest.skip(f"a GPU, but no {name}: pip install '/path/to/restore-sdk[{extra}]'")
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("a GPU, but no pycuda: pip install pycuda")
    served = python("-c", _SERVED, name)
    if served.returncode:
        pytest.skip((served.stderr.strip() or f"{name} does not load").splitlines()[-1])
    return name


@pytest.fixture(scope="session")
def collected() -> Iterator[dict[str, Any]]:
    """By edition; printed, and written where the environment says, when all tests of the file ran."""
    found: dict[str, Any] = {}
    yield found
    if not found:
        return
    text = json.dumps(found, indent=2)
    print(f"\n{text}")
    if named := os.environ.get("RESTORE_SDK_GPU_REPORT"):
        Path(named).write_text(text + "\n")


@pytest.fixture
def report(edition: str, collected: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = collected.setdefault(edition, {})
    return part


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A store of this run's own, for all editions: what is measured was built here and now."""
    return {"RESTORE_SDK_STORE": str(tmp_path_factory.mktemp("gpu") / "store")}


def done(code: str, *arguments: str, environment: dict[str, str]) -> str:
    """What the code printed, in a process that must succeed."""
    ended = python("-c", code, *arguments, environment=environment, timeout=60 * MINUTES)
    assert ended.returncode == 0, f"{' '.join(arguments)}: {ended.stdout}\n{ended.stderr}"
    return ended.stdout


def command(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    code = "import sys; from restore_sdk.cli.main import main; sys.exit(main(sys.argv[1:]))"
    answer: dict[str, Any] = json.loads(done(code, *arguments, "--json", environment=environment))
    return answer


def test_build(edition: str, environment: dict[str, str], report: dict[str, Any]) -> None:
    report["doctor"] = command(environment, "doctor")["findings"]
    report["build"] = command(environment, "build", "--edition", edition)


def test_verify(edition: str, environment: dict[str, str], report: dict[str, Any]) -> None:
    report["verify"] = command(environment, "verify", "--runtime", edition)
    assert report["verify"]["passed"]


@pytest.mark.parametrize("batch", [1, 4])
def test_bench(edition: str, environment: dict[str, str], report: dict[str, Any], batch: int) -> None:
    report[f"bench_{batch}"] = command(environment, "bench", "--runtime", edition, "--batch", str(batch))


def test_serving_from_eight_threads(edition: str, environment: dict[str, str], report: dict[str, Any]) -> None:
    report["serve"] = json.loads(done(_SERVE, edition, environment=environment))
    assert report["serve"]["differing_from_serial"] == 0
    assert report["serve"]["known_pixels_equal"]
    assert report["serve"]["batch_worst_db"] >= 55


def test_a_hundred_times_open_and_close(edition: str, environment: dict[str, str], report: dict[str, Any]) -> None:
    report["open_close"] = json.loads(done(_OPEN_CLOSE, edition, environment=environment))
    lost = report["open_close"]["free_after_first"] - report["open_close"]["free_after_last"]
    assert lost < 32 << 20, f"{lost >> 20} MiB of GPU memory are gone"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork(edition: str, environment: dict[str, str]) -> None:
    done(_FORK, edition, environment=environment)


@pytest.mark.parametrize("imported", ["before", "after"])
def test_beside_pytorch(edition: str, environment: dict[str, str], imported: str) -> None:
    probe = python("-c", "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 'no CUDA in this PyTorch')")
    if probe.returncode:
        pytest.skip(f"no PyTorch with CUDA: {probe.stderr.strip().splitlines()[-1]}")
    done(_TORCH, edition, imported, environment=environment)
