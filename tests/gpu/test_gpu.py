"""Build, verify, measure and serve on the GPU at hand, all through the commands that users have.

    pytest tests/gpu -s

prints one JSON object with everything a maintainer needs for each edition of TensorRT that is installed;
``RESTORE_SDK_GPU_REPORT=FILE`` adds it to a file. Each command runs in a process of its own: an error of a GPU leaves a
process unusable, and the other tests of a session may have loaded the driver double.
"""

from __future__ import annotations

import importlib.util
import json
import os
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

_OPEN = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from restore_sdk.bundle import Bundle
from restore_sdk.errors import ClosedError
from restore_sdk.imaging.quality import Drift
from restore_sdk.runtime.cuda import Gpu
from restore_sdk.runtime.select import open_runner
bundle = Bundle.load()
golden = bundle.golden()
pairs = [[golden[name][i:i + 1] for name in ("image", "mask")] for i in range(len(golden["image"]))]
"""

#: Many requests of many threads against serial ones, a batch, a fork, and opening and closing a hundred times.
_SERVE = (
    _OPEN
    + """
runner, _ = open_runner(sys.argv[1], bundle, slots=2)
serial = [runner.infer(*pair) for pair in pairs]
with ThreadPoolExecutor(8) as pool:
    work = list(range(len(pairs))) * 25
    parallel = list(pool.map(lambda i: runner.infer(*pairs[i]), work))
size = min(runner.max_batch, len(pairs))
batch = runner.infer(*(np.ascontiguousarray(golden[n][:size]) for n in ("image", "mask")))
kept, known = np.concatenate([r.restored for r in serial]), golden["mask"] <= 127
if not (child := os.fork()):
    try:
        runner.infer(*pairs[0])
    except ClosedError:
        os._exit(33)
    os._exit(1)
told = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
after_fork = np.array_equal(runner.infer(*pairs[0]).restored, serial[0].restored)
runner.close()
gpu, free = Gpu(0), []
for _ in range(100):
    open_runner(sys.argv[1], bundle)[0].close()
    with gpu.current():
        free.append(gpu.cuda.mem_get_info()[0])
print(json.dumps({
    "requests": len(work),
    "differing_from_serial": sum(not np.array_equal(r.restored, serial[i].restored) for i, r in zip(work, parallel)),
    "batch_worst_db": min(Drift().add(kept[:size], batch.restored).worst_db, 999.0),
    "known_pixels_equal": bool(np.array_equal(kept[known], golden["image"][known])),
    "forked_child_is_told": told == 33 and after_fork,
    "lost_bytes": free[0] - free[-1],
}))
"""
)

#: PyTorch works in the primary context before the runner is opened, while it is open, and after it was closed.
_TORCH = (
    _OPEN
    + """
if sys.argv[2] == "before":
    import torch
    assert float(torch.ones(8, device="cuda").sum()) == 8
runner, _ = open_runner(sys.argv[1], bundle)
first = runner.infer(*pairs[0])
import torch
tensor = torch.ones(1 << 20, device="cuda")
for _ in range(20):
    tensor = tensor * 1.0
    assert np.array_equal(runner.infer(*pairs[0]).restored, first.restored)
runner.close()
assert float(tensor.sum()) == 1 << 20
assert float(torch.ones(8, device="cuda").sum()) == 8
"""
)


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def edition(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    probe = python("-c", _PROBE)
    if probe.returncode:
        pytest.skip(f"no GPU here: {probe.stderr.strip().splitlines()[-1]}")
    for needed in (name, "pycuda"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"a GPU, but no {needed}: see docs/gpu.md")
    served = python("-c", _SERVED, name)
    if served.returncode:
        pytest.skip((served.stderr.strip() or f"{name} does not load").splitlines()[-1])
    return name


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A store of this run's own, for all editions: what is measured was built here and now."""
    return {"RESTORE_SDK_STORE": str(tmp_path_factory.mktemp("gpu") / "store")}


def done(code: str, *arguments: str, environment: dict[str, str]) -> str:
    """What the code printed, in a process that must succeed."""
    ended = python("-c", code, *arguments, environment=environment, timeout=60 * MINUTES)
    assert ended.returncode == 0, f"{' '.join(arguments)}: {ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_build_verify_measure_and_serve(edition: str, environment: dict[str, str]) -> None:
    def command(*arguments: str) -> Any:
        code = "import sys; from restore_sdk.cli.main import main; sys.exit(main(sys.argv[1:]))"
        return json.loads(done(code, *arguments, "--json", environment=environment))

    report = {
        "edition": edition,
        "doctor": command("doctor")["findings"],
        "build": command("build", "--edition", edition),
        "verify": command("verify", "--runtime", edition),
        "bench": [command("bench", "--runtime", edition, "--batch", batch) for batch in ("1", "4")],
        "serve": json.loads(done(_SERVE, edition, environment=environment)),
    }
    print(f"\n{json.dumps(report, indent=2)}")
    if named := os.environ.get("RESTORE_SDK_GPU_REPORT"):
        with Path(named).open("a") as file:
            file.write(json.dumps(report) + "\n")
    assert report["verify"]["passed"]
    served = report["serve"]
    assert served["differing_from_serial"] == 0
    assert served["batch_worst_db"] >= 55
    assert served["known_pixels_equal"]
    assert served["forked_child_is_told"]
    assert served["lost_bytes"] < 32 << 20


@pytest.mark.parametrize("imported", ["before", "after"])
def test_beside_pytorch(edition: str, environment: dict[str, str], imported: str) -> None:
    probe = python("-c", "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 'no CUDA in this PyTorch')")
    if probe.returncode:
        pytest.skip(f"no PyTorch with CUDA: {probe.stderr.strip().splitlines()[-1]}")
    done(_TORCH, edition, imported, environment=environment)
