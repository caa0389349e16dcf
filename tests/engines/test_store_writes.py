"""Writing into the store: publishing, pruning, marking; beside readers, other processes and full disks."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from restore_sdk._util import atomic
from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import OutputError
from tests.engines.conftest import HOST, PLAN, made_up


def test_publishing_again_replaces(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    other = b"ftrt other"
    store.publish(other, made_up(half_bundle, plan=other))
    assert store.find(half_bundle, "edge", HOST).plan == other
    assert [path.name for path in store.root.glob("*.plan")] == [made_up(half_bundle, plan=other).plan_file]


def test_readers_never_see_a_mixture(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    plans = [b"ftrt" + bytes([index]) * 5000 for index in range(8)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for plan in plans:
                store.publish(plan, made_up(half_bundle, plan=plan))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(150):
            assert store.find(half_bundle, "edge", HOST).plan in (PLAN, *plans)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_full_disk_leaves_the_old_engine(
    store: EngineStore, half_bundle: Bundle, stored: StoredEngine, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """At the plan, and at the sidecar after it."""
    real, calls = atomic.write_synced, []

    def full(path: Path, data: bytes, mode: int | None = None) -> None:
        calls.append(path)
        if len(calls) == fails_at + 1:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(path, data, mode)

    monkeypatch.setattr(atomic, "write_synced", full)
    other = b"ftrt other"
    with pytest.raises(OutputError, match="No space left"):
        store.publish(other, made_up(half_bundle, plan=other))
    monkeypatch.undo()
    assert store.find(half_bundle, "edge", HOST).plan == PLAN
    assert not list(store.root.glob(".*.part"))
    store.prune()
    assert sorted(path.name for path in store.root.glob("edge*")) == [stored.sidecar.file, stored.path.name][::-1]


def test_prune(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    repair = store.publish(PLAN, made_up(half_bundle, "repair"))
    some, other = "0123456789abcdef01234567", "fedcba9876543210"
    names = f"edge.{some}.{other}.plan", f".edge.{some}.json.{other[:12]}.part", f"repair.{some}.json"
    torn = [store.root / name for name in names]
    names = [
        "package.json",
        "model.plan",
        ".download.part",
        ".movie.avi.part",
        ".data.zip.0123456789ab",
        "edge.ab.json",
    ]
    foreign = [store.root / name for name in names]
    for path in (*torn, *foreign):
        path.write_bytes(b"torn")
    (store.root / "a folder.json").mkdir()
    assert store.prune(dry_run=True) == sorted(torn)
    assert all(path.exists() for path in torn)
    assert store.prune() == sorted(torn)
    assert not any(path.exists() for path in torn)
    assert {entry.sidecar.key.stage for entry in store.entries() if entry.sidecar} == {"edge", "repair"}
    gone = store.prune(everything=True)
    assert {path.name for path in gone} >= {repair.path.name, repair.sidecar.file}
    left = {path.name for path in store.root.iterdir()}
    assert left == {".store.lock", "a folder.json", *(path.name for path in foreign)}, "what is not ours stays"


def test_note_verified(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    assert not stored.sidecar.verified
    store.note_verified([stored], {"worst_db": 71.5})
    found = store.find(half_bundle, "edge", HOST)
    assert found.sidecar.verified
    assert found.sidecar.verification == {"status": "passed", "worst_db": 71.5}
    other = b"ftrt other"
    store.publish(other, made_up(half_bundle, plan=other))
    store.note_verified([stored], {"worst_db": 1.0})  # of the plan that was replaced
    assert not store.find(half_bundle, "edge", HOST).sidecar.verified


def test_the_lock_holds_against_other_processes(store: EngineStore) -> None:
    code = (
        "import sys; from restore_sdk.engines.store import EngineStore\n"
        f"with EngineStore({str(store.root)!r}).lock('store'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        waited: list[float] = []

        def poll(seconds: float) -> None:
            waited.append(seconds)
            if seconds > 0.2:
                raise TimeoutError

        with pytest.raises(TimeoutError), store.lock("store", poll):
            pytest.fail("two held the lock")
        assert len(waited) >= 3
        other.kill()  # a process that dies holds nothing
    with store.lock("store", poll):
        pass
