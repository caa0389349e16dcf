"""An engine on a real Triton server: the repository loads, pictures come back right, failures are clear."""

from __future__ import annotations

import json
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.cluster import write_repository
from restore_sdk.errors import ClosedError, DeviceError, ExecutionError, InputError, ShapeError
from restore_sdk.runtime.triton import TritonRunner
from tests.child import python
from tests.cluster.triton.server import Server, serving
from tests.conftest import make_pairs
from tests.docs.pages import ROOT, assert_restored
from tests.toy_bundle import golden_vectors


def statistics(server: Server, model: str) -> tuple[int, int]:
    """Tiles that a model has served, and in how many runs."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http}/v2/models/{model}/stats", timeout=30) as answer:
        (stats,) = json.load(answer)["model_stats"]
    return int(stats.get("inference_count", 0)), int(stats.get("execution_count", 0))


def test_an_engine_on_the_server_gives_what_one_here_gives(server: Server, engine: RestoreEngine) -> None:
    with RestoreEngine(runtime=TritonRunner(server.url, slots=2)) as remote:
        for photo, mask in make_pairs(3):
            here, there = engine.run(photo, mask), remote.run(photo, mask)
            assert np.array_equal(here.image, there.image)
            assert np.array_equal(here.edges, there.edges)
            assert there.timings.repair_ms > 0
        facts = remote.info()
    assert (facts["runtime"], facts["max_batch"], facts["slots"], facts["reason"]) == ("triton", 8, 2, "handed in")
    local = engine.info()["bundle"]
    assert facts["bundle"] == {**local, "path": f"{server.url}/restore_with_edges"}
    with pytest.raises(ClosedError):
        remote.run(*make_pairs(1)[0])


def test_many_users_share_runs_and_get_their_own_pictures(server: Server, engine: RestoreEngine) -> None:
    asked = make_pairs(48)
    wanted = [engine(*pair) for pair in asked]
    before = statistics(server, "restore_edge")
    with RestoreEngine(runtime=TritonRunner(server.url, slots=8)) as remote, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: remote(*pair), asked))
        batch = remote.restore_batch([photo for photo, _ in asked[:20]], [mask for _, mask in asked[:20]])
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(batch, wanted[:20], strict=True))
    tiles, runs = (after - earlier for after, earlier in zip(statistics(server, "restore_edge"), before, strict=True))
    assert tiles == 68
    assert runs < 48, "no two requests ever shared a run"


def test_the_shipped_model(tmp_path: Path, server: Server) -> None:
    """Of the session's server only its being there is needed: the shipped graphs get one of their own."""
    write_repository(tmp_path / "models", Bundle.load(), max_batch=2)
    photo = cv2.imread(str(ROOT / "examples" / "portrait_damaged.png"))
    mask = cv2.imread(str(ROOT / "examples" / "portrait_mask.png"), cv2.IMREAD_GRAYSCALE)
    with (
        serving(tmp_path / "models", tmp_path) as own,
        RestoreEngine() as local,
        RestoreEngine(runtime=TritonRunner(own.url, slots=1)) as remote,
    ):
        here, there = (each.run(photo, mask, color="bgr", faces=None) for each in (local, remote))
        assert np.array_equal(here.image, there.image)
        assert np.array_equal(here.edges, there.edges)
        assert remote.info()["bundle"]["parameters"] == local.info()["bundle"]["parameters"]
        own.process.send_signal(signal.SIGKILL)
        own.process.wait()
        with pytest.raises(ExecutionError, match=f"{own.url} failed"):
            remote.run(photo, mask)


def test_what_cannot_be_used_is_reported(server: Server) -> None:
    with pytest.raises(DeviceError, match=r"127\.0\.0\.1:9 cannot be used"):
        TritonRunner("127.0.0.1:9", timeout_s=5)
    with pytest.raises(DeviceError, match="serves no model 'none'"):
        TritonRunner(server.url, model="none")
    with pytest.raises(InputError, match="'restore_edge' with tensors completed_edges, image, mask is none of"):
        TritonRunner(server.url, model="restore_edge")
    for options in ({"slots": 0}, {"timeout_s": 0}):
        with pytest.raises(InputError):
            TritonRunner(server.url, **options)
    runner = TritonRunner(server.url)
    for more in ({"slots": 2}, {"bundle": Bundle.load()}, {"device": 1}):
        with pytest.raises(InputError, match="a runner brings"):
            RestoreEngine(runtime=runner, **more)
    with RestoreEngine(runtime=runner) as engine, pytest.raises(ShapeError):
        engine(*(array[: 10 + 5 * index] for index, array in enumerate(make_pairs(1)[0])))
    runner.close()


def test_the_example(server: Server, tmp_path: Path) -> None:
    done = python(ROOT / "examples" / "ask_triton.py", server.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_restored(tmp_path / "restored.png")
    refused = python(ROOT / "examples" / "ask_triton.py", "127.0.0.1:9", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("the Triton server at 127.0.0.1:9 cannot be used")


def test_a_client_may_name_the_one_output(server: Server) -> None:
    """An ensemble whose output is another stage's input can be asked for all outputs only; ``restore`` has but one."""
    golden = golden_vectors(2)
    inputs = []
    for name in ("image", "mask"):
        inputs.append(InferInput(name, golden[name].shape, "UINT8"))
        inputs[-1].set_data_from_numpy(golden[name])
    with InferenceServerClient(server.url) as client:
        answer = client.infer("restore", inputs, outputs=[InferRequestedOutput("restored")])
        assert np.array_equal(answer.as_numpy("restored"), golden["restored"])
        with pytest.raises(InferenceServerException, match="deadlock"):
            client.infer("restore_with_edges", inputs, outputs=[InferRequestedOutput("restored")])
