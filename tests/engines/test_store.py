"""The store: what it hands out, what it refuses, what it leaves behind, and writing beside readers."""

import os
import stat
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from restore_sdk.bundle import Bundle
from restore_sdk.engines.driver import DeviceFacts
from restore_sdk.engines.edition import TensorRT, host_platform
from restore_sdk.engines.sidecar import dump_sidecar, parse_sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine, default_root
from restore_sdk.errors import EngineError, OutputError
from tests.engines.conftest import GPU, HOST, PLAN, TRT, made_up


def other_host(**changes: Any) -> tuple[TensorRT, DeviceFacts]:
    of_trt = {name: changes.pop(name) for name in ("edition", "version", "cuda") if name in changes}
    return replace(TRT, **of_trt), replace(GPU, **changes)


def test_what_was_published_is_found(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    found = store.find(half_bundle, "edge", *HOST)
    assert found.plan == PLAN
    assert found.sidecar == made_up(half_bundle)
    assert found.path.read_bytes() == PLAN  # nothing before the plan, nothing after it
    assert store.stored(found.sidecar.key) == found


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_the_owner_gets_in(store: EngineStore, stored: StoredEngine) -> None:
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    for path in store.root.iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


def test_a_folder_that_may_not_be_read_is_not_empty(
    store: EngineStore, half_bundle: Bundle, stored: StoredEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("restore_sdk.engines.store.os.listdir", denied)
    with pytest.raises(EngineError, match=r"cannot read the engine store .*Permission denied"):
        store.find(half_bundle, "edge", *HOST)


@pytest.mark.parametrize(
    ("engine", "host", "sides"),
    [
        ({}, {"edition": "tensorrt_rtx"}, ("TensorRT edition", "tensorrt", "tensorrt_rtx")),
        ({}, {"version": "10.16.1.12"}, ("version", "10.16.1.11", "10.16.1.12")),
        ({"cuda": "12"}, {"cuda": "13"}, ("CUDA that tensorrt is for", "12", "13")),
        ({"platform": "win32-x86_64"}, {}, ("platform", "win32-x86_64", host_platform())),
        ({}, {"compute_capability": "8.9"}, ("compute capability", "8.6", "8.9")),
        ({}, {"name": "NVIDIA A40"}, ("device", "NVIDIA A10", "NVIDIA A40")),
        ({"onnx_sha256": "0" * 64}, {}, ("model", "000000000000", "half 1.0")),
    ],
)
def test_a_mismatch_names_both_sides_and_the_command(
    store: EngineStore, half_bundle: Bundle, engine: dict[str, str], host: dict[str, str], sides: tuple[str, ...]
) -> None:
    store.publish(PLAN, made_up(half_bundle, **engine))
    with pytest.raises(EngineError) as caught:
        store.find(half_bundle, "edge", *other_host(**host))
    for side in sides:
        assert side in caught.value.message
    edition = host.get("edition", "tensorrt")
    assert f"restore-sdk build --edition {edition} --bundle {half_bundle.path} --store" in caught.value.hint


@pytest.mark.parametrize(
    ("engine", "host"),
    [
        ({"hardware": "capability", "device_name": ""}, {"name": "NVIDIA A40"}),
        ({"compute_capabilities": ("8.6", "8.9"), "hardware": "capability"}, {"compute_capability": "8.9"}),
    ],
)
def test_compatible_engines_are_found(
    store: EngineStore, half_bundle: Bundle, engine: dict[str, str], host: dict[str, str]
) -> None:
    store.publish(PLAN, made_up(half_bundle, **engine))
    assert store.find(half_bundle, "edge", *other_host(**host)).plan == PLAN


def test_the_engine_that_was_built_last_serves(store: EngineStore, half_bundle: Bundle) -> None:
    own, other = b"ftrt own", b"ftrt other"
    store.publish(own, made_up(half_bundle, plan=own))
    newer = made_up(half_bundle, plan=other, hardware="capability", device_name="")
    store.publish(other, changed(newer, created="2027-01-01T00:00:00+00:00"))
    assert store.find(half_bundle, "edge", *HOST).plan == other
    store.publish(own, changed(made_up(half_bundle, plan=own), created="2027-01-01T00:00:01+00:00"))
    assert store.find(half_bundle, "edge", *HOST).plan == own
    assert store.find(half_bundle, "edge", *other_host(name="NVIDIA A40")).plan == other


def test_nothing_built(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    with pytest.raises(EngineError, match="repair") as caught:
        store.find(half_bundle, "repair", *other_host(index=3))
    assert "--device 3" in caught.value.hint
    with pytest.raises(EngineError):
        EngineStore(store.root / "nowhere").find(half_bundle, "edge", *HOST)
    assert not (store.root / "nowhere").exists()  # looking makes nothing


class TestSpoiledPlans:
    """Nothing but the very bytes that were published comes out."""

    def refused(self, store: EngineStore, bundle: Bundle, match: str) -> str:
        with pytest.raises(EngineError, match=match) as caught:
            store.find(bundle, "edge", *HOST)
        (entry,) = (entry for entry in store.entries(plans=True) if entry.path.name.startswith("edge"))
        assert isinstance(entry.error, EngineError)
        assert store.stored(made_up(bundle).key) is None
        return caught.value.hint

    @pytest.mark.parametrize(
        ("spoil", "why"),
        [
            (lambda path: path.write_bytes(PLAN[:100]), "100 of 504 bytes"),
            (lambda path: path.write_bytes(b'{"json": 1}' + PLAN), "515 of 504 bytes"),
            (lambda path: path.write_bytes(PLAN[:-1] + b"x"), "SHA-256 differs"),
            (lambda path: path.unlink(), "is gone"),
            (lambda path: (path.unlink(), path.mkdir()), "cannot read"),
            (lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))), "is a link"),
            (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "not a plain file"),
        ],
    )
    def test_they_are_refused(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, spoil: Any, why: str
    ) -> None:
        spoil(stored.path)
        hint = self.refused(store, half_bundle, why)
        if " bytes" in why:
            assert "restore-sdk engines prune" in hint
            assert "--edition tensorrt --target a10 --bundle " in hint


class TestSpoiledSidecars:
    def refused(self, store: EngineStore, bundle: Bundle, stored: StoredEngine, text: str) -> None:
        (store.root / stored.sidecar.file).write_text(text)
        with pytest.raises(EngineError, match=r"sidecar .* is not valid") as caught:
            store.find(bundle, "edge", *HOST)
        assert "restore-sdk build" in caught.value.hint

    def test_edited(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        """Even with a checksum made anew: the file's name stands for the key, and every value has its form."""
        key = changed(stored.sidecar.key, compute_capabilities=("8.9",))
        for change in ({"key": key}, {"plan_sha256": "../" * 22}, {"plan_bytes": "504"}, {"validation": None}):
            self.refused(store, half_bundle, stored, dump_sidecar(changed(stored.sidecar, **change)).decode())
        self.refused(store, half_bundle, stored, dump_sidecar(stored.sidecar).decode().replace('"a10"', '"l4"'))

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"schema": 1}', '{"schema": 3}', "[" * 100_000])
    def test_no_sidecar(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, text: str) -> None:
        self.refused(store, half_bundle, stored, text)

    def test_one_without_end_is_not_read(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        os.truncate(store.root / stored.sidecar.file, 1 << 33)  # sparse
        with pytest.raises(EngineError):
            store.find(half_bundle, "edge", *HOST)

    @pytest.mark.parametrize("stage", ["../edge", "/edge", "", "edge\n", "e" * 99, "Edge"])
    def test_a_stage_is_no_path(self, half_bundle: Bundle, stage: str) -> None:
        sidecar = made_up(half_bundle)
        edited = changed(sidecar, key=changed(sidecar.key, stage=stage))
        with pytest.raises(EngineError):
            parse_sidecar(dump_sidecar(edited), edited.file)

    def test_a_valid_engine_is_found_beside_an_invalid_one(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = store.root / "edge.000000000000000000000000.json"
        other.write_text("{")
        other.chmod(0o600)
        assert store.find(half_bundle, "edge", *HOST).plan == PLAN
        assert "not valid" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
class TestOwnership:
    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
    def test_a_folder_that_others_can_write(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, mode: int
    ) -> None:
        store.root.chmod(mode)
        find, publish = (
            partial(store.find, half_bundle, "edge", *HOST),
            partial(store.publish, PLAN, made_up(half_bundle)),
        )
        for use in (find, store.entries, store.prune, publish):
            with pytest.raises(EngineError, match="others can write") as caught:
                use()
            assert "chmod" in caught.value.hint

    def test_a_file_that_others_can_write(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        for path in (stored.path, store.root / stored.sidecar.file):
            path.chmod(0o666)
            with pytest.raises(EngineError, match="others can write"):
                store.find(half_bundle, "edge", *HOST)
            path.chmod(0o600)
        assert store.find(half_bundle, "edge", *HOST).plan == PLAN

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
    def test_another_user_s_store(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        os.chown(stored.path, 12345, -1)
        with pytest.raises(EngineError, match="another user"):
            store.find(half_bundle, "edge", *HOST)
        os.chown(store.root, 12345, -1)
        with pytest.raises(EngineError, match="another user"):
            store.entries()

    def test_a_store_that_cannot_be(self, tmp_path: Path, half_bundle: Bundle) -> None:
        (tmp_path / "file").write_text("")
        for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
            with pytest.raises((EngineError, OutputError)):
                EngineStore(root).publish(PLAN, made_up(half_bundle))


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTORE_SDK_STORE", str(tmp_path / "mine"))
    assert EngineStore().root == tmp_path / "mine"
    monkeypatch.delenv("RESTORE_SDK_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_root() == tmp_path / "restore-sdk" / "engines"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert default_root() == tmp_path / "home" / ".cache" / "restore-sdk" / "engines"


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
            assert store.find(half_bundle, "edge", *HOST).plan in (PLAN, *plans)
    finally:
        stop.set()
        thread.join()


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
    assert store.prune() == sorted(torn)
    assert not any(path.exists() for path in torn)
    assert {entry.sidecar.key.stage for entry in store.entries() if entry.sidecar} == {"edge", "repair"}
    gone = store.prune(everything=True)
    assert {path.name for path in gone} >= {repair.path.name, repair.sidecar.file}
    left = {path.name for path in store.root.iterdir()}
    assert left == {".store.lock", "a folder.json", *(path.name for path in foreign)}, "what is not ours stays"
