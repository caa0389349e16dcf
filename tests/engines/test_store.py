"""The store: what it hands out, what it refuses, what it leaves behind."""

import hashlib
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from restore_sdk.bundle import Bundle
from restore_sdk.engines.sidecar import dump_sidecar, parse_sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine, default_root
from restore_sdk.errors import (
    EngineError,
    EngineIncompatibleError,
    EngineIntegrityError,
    EngineNotBuiltError,
    OutputError,
)
from tests.engines.conftest import HOST, PLAN, made_up, write_half_bundle


def test_what_was_published_is_found(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    found = store.find(half_bundle, "edge", HOST)
    assert found.plan == PLAN
    assert found.sidecar == made_up(half_bundle)
    assert found.path.read_bytes() == PLAN  # nothing before the plan, nothing after it
    assert store.lookup(found.sidecar.key) == found.sidecar


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
        store.find(half_bundle, "edge", HOST)


@pytest.mark.parametrize(
    ("engine", "host", "sides"),
    [
        ({}, {"edition": "tensorrt_rtx"}, ("TensorRT edition", "tensorrt", "tensorrt_rtx")),
        ({}, {"version": "10.16.1.12"}, ("version", "10.16.1.11", "10.16.1.12")),
        ({"cuda": "12"}, {"cuda": "13"}, ("CUDA that tensorrt is for", "12", "13")),
        ({}, {"platform": "win32-x86_64"}, ("platform", HOST.platform, "win32-x86_64")),
        ({}, {"compute_capability": "8.9"}, ("compute capability", "8.6", "8.9")),
        ({}, {"device_name": "NVIDIA A40"}, ("device", "NVIDIA A10", "NVIDIA A40")),
        ({"onnx_sha256": "0" * 64}, {}, ("model", "000000000000", "half 1.0")),
        ({"hardware": "ampere_plus", "device_name": ""}, {"compute_capability": "7.5"}, ("8.0 or later", "7.5")),
        ({"version_compatible": True}, {"version": "10.15.0.1"}, ("version", "10.16.1.11", "10.15.0.1")),
        ({"version_compatible": True}, {"version": "11.4.0.106"}, ("version", "10.16.1.11", "11.4.0.106")),
    ],
)
def test_a_mismatch_names_both_sides_and_the_command(
    store: EngineStore, half_bundle: Bundle, engine: dict[str, str], host: dict[str, str], sides: tuple[str, ...]
) -> None:
    store.publish(PLAN, made_up(half_bundle, **engine))
    with pytest.raises(EngineIncompatibleError) as caught:
        store.find(half_bundle, "edge", replace(HOST, **host))
    for side in sides:
        assert side in caught.value.message
    edition = host.get("edition", "tensorrt")
    assert f"restore-sdk build --edition {edition} --bundle {half_bundle.path} --store" in caught.value.hint


@pytest.mark.parametrize(
    ("engine", "host"),
    [
        ({"hardware": "capability", "device_name": ""}, {"device_name": "NVIDIA A40"}),
        ({"hardware": "ampere_plus", "device_name": ""}, {"compute_capability": "12.0", "device_name": "other"}),
        ({"version_compatible": True}, {"version": "10.17.0.3"}),
        ({"compute_capabilities": ("8.6", "8.9"), "hardware": "capability"}, {"compute_capability": "8.9"}),
    ],
)
def test_compatible_engines_are_found(
    store: EngineStore, half_bundle: Bundle, engine: dict[str, str], host: dict[str, str]
) -> None:
    store.publish(PLAN, made_up(half_bundle, **engine))
    assert store.find(half_bundle, "edge", replace(HOST, **host)).plan == PLAN


def test_the_engine_that_was_built_last_serves(store: EngineStore, half_bundle: Bundle) -> None:
    own, other = b"ftrt own", b"ftrt other"
    store.publish(own, made_up(half_bundle, plan=own))
    newer = made_up(half_bundle, plan=other, hardware="capability", device_name="")
    store.publish(other, changed(newer, created="2027-01-01T00:00:00+00:00"))
    assert store.find(half_bundle, "edge", HOST).plan == other
    store.publish(own, changed(made_up(half_bundle, plan=own), created="2027-01-01T00:00:01+00:00"))
    assert store.find(half_bundle, "edge", HOST).plan == own
    assert store.find(half_bundle, "edge", replace(HOST, device_name="NVIDIA A40")).plan == other


def test_nothing_built(store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
    with pytest.raises(EngineNotBuiltError, match="repair") as caught:
        store.find(half_bundle, "repair", HOST)
    assert "restore-sdk build" in caught.value.hint
    with pytest.raises(EngineNotBuiltError):
        EngineStore(store.root / "nowhere").find(half_bundle, "edge", HOST)
    assert not (store.root / "nowhere").exists()  # looking makes nothing


def test_a_changed_model_makes_the_engine_stale(store: EngineStore, stored: StoredEngine, tmp_path: Path) -> None:
    from tests.engines.conftest import half_graph

    other = write_half_bundle(tmp_path / "other", edge=half_graph("edge", operator="Add"))
    with pytest.raises(EngineIncompatibleError, match="model"):
        store.find(other, "edge", HOST)


class TestSpoiledPlans:
    """Nothing but the very bytes that were published comes out."""

    def refused(self, store: EngineStore, bundle: Bundle, match: str) -> None:
        with pytest.raises(EngineIntegrityError, match=match) as caught:
            store.find(bundle, "edge", HOST)
        assert caught.value.hint
        (entry,) = (entry for entry in store.verify() if entry.path.name.startswith("edge"))
        assert isinstance(entry.error, EngineIntegrityError)

    def test_truncated(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        stored.path.write_bytes(PLAN[:100])
        self.refused(store, half_bundle, "truncated, 100 of 504 bytes")
        stored.path.write_bytes(b"")
        self.refused(store, half_bundle, "truncated, 0 of")

    def test_the_hint_removes_it_and_names_its_recipe(self, store: EngineStore, half_bundle: Bundle) -> None:
        stored = store.publish(PLAN, changed(made_up(half_bundle), target="a10"))
        stored.path.write_bytes(PLAN[:100])
        with pytest.raises(EngineIntegrityError) as caught:
            store.find(half_bundle, "edge", HOST)
        assert "restore-sdk engines prune" in caught.value.hint
        assert "restore-sdk build --edition tensorrt --target a10 --bundle " in caught.value.hint
        store.publish(PLAN, changed(made_up(half_bundle), target="sm86")).path.write_bytes(PLAN[:100])
        with pytest.raises(EngineIntegrityError) as caught:
            store.find(half_bundle, "edge", HOST)
        assert "--target" not in caught.value.hint

    def test_prefixed(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        stored.path.write_bytes(b'{"json": 1}' + PLAN)
        self.refused(store, half_bundle, "11 bytes stand before the plan")

    def test_tampered(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        stored.path.write_bytes(PLAN[:-1] + b"x")
        self.refused(store, half_bundle, "SHA-256 differs")
        stored.path.write_bytes(PLAN + b"x")
        self.refused(store, half_bundle, "SHA-256 differs")

    def test_swapped(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        repair = b"ftrt" + bytes(600)
        store.publish(repair, made_up(half_bundle, "repair", repair))
        stored.path.write_bytes(repair)
        self.refused(store, half_bundle, "the plan of stage repair")

    def test_an_onnx_graph(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        graph = half_bundle.read("edge.fp16.onnx")
        stored.path.write_bytes(graph)
        self.refused(store, half_bundle, "ONNX graph")
        with pytest.raises(EngineIntegrityError, match="ONNX graph"):
            store.publish(graph, made_up(half_bundle, plan=graph))

    def test_missing(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        stored.path.unlink()
        self.refused(store, half_bundle, "is gone")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
    def test_not_a_plain_file(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, tmp_path: Path
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(PLAN)
        elsewhere.chmod(0o600)
        stored.path.unlink()
        stored.path.symlink_to(elsewhere)
        self.refused(store, half_bundle, "cannot read")
        stored.path.unlink()
        os.mkfifo(stored.path, 0o600)
        self.refused(store, half_bundle, "not a plain file")

    def test_a_plan_other_than_its_sidecar_s_is_not_published(self, store: EngineStore, half_bundle: Bundle) -> None:
        with pytest.raises(EngineIntegrityError):
            store.publish(PLAN + b"x", made_up(half_bundle))
        assert not store.root.exists()


def checksum(root: object) -> str:
    text = json.dumps(root, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class TestSpoiledSidecars:
    def refused(self, store: EngineStore, bundle: Bundle, path: Path, text: str) -> None:
        path.write_text(text)
        with pytest.raises(EngineIntegrityError, match=r"sidecar .* is not valid") as caught:
            store.find(bundle, "edge", HOST)
        assert "restore-sdk build" in caught.value.hint

    @pytest.mark.parametrize(
        ("key", "value"), [("plan_bytes", 3), ("verified", True), ("created", "2030"), ("precision", {"float32": 1})]
    )
    def test_edited(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, key: str, value: object
    ) -> None:
        path = store.root / stored.sidecar.file
        root = json.loads(path.read_text())
        assert root[key] != value
        self.refused(store, half_bundle, path, json.dumps(root | {key: value}))

    def test_edited_for_another_gpu(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        """Even with a checksum made anew: the file's name stands for the key."""
        path = store.root / stored.sidecar.file
        key = changed(stored.sidecar.key, compute_capabilities=("8.9",))
        self.refused(store, half_bundle, path, dump_sidecar(changed(stored.sidecar, key=key)).decode())

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"schema": 1}', '{"schema": 2}', "[" * 100_000])
    def test_no_sidecar(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, text: str) -> None:
        self.refused(store, half_bundle, store.root / stored.sidecar.file, text)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda root: root.pop("tensors"),
            lambda root: root.update(extra=1),
            lambda root: root["key"].pop("stage"),
            lambda root: root["key"].update(edition="other"),
            lambda root: root["key"].update(hardware="other"),
            lambda root: root["key"].update(compute_capabilities=None),
            lambda root: root.update(tensors=[1]),
            lambda root: root.update(plan_bytes="504"),
            lambda root: root.update(plan_sha256="../../elsewhere"),
            lambda root: root.update(build=[]),
            lambda root: root["key"].update(max_batch="4"),
            lambda root: root["key"].update(max_batch=True),
            lambda root: root["key"].update(compute_capabilities=[8]),
        ],
    )
    def test_a_sidecar_of_another_form_with_a_valid_checksum(self, half_bundle: Bundle, spoil: object) -> None:
        sidecar = made_up(half_bundle)
        root = json.loads(dump_sidecar(sidecar))
        del root["checksum"]
        before = checksum(root)
        spoil(root)  # type: ignore[operator]
        root["checksum"] = after = checksum(root)
        name = sidecar.file
        if isinstance(root.get("key"), dict) and "stage" in root["key"]:  # not refused for its name alone
            name = f"edge.{checksum(root['key'])[:24]}.json"
        assert before != after
        with pytest.raises(EngineIntegrityError):
            parse_sidecar(json.dumps(root).encode(), name)

    def test_a_valid_engine_is_found_beside_an_invalid_one(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        (store.root / "edge.000000000000000000000000.json").write_text("{")
        (store.root / "edge.000000000000000000000000.json").chmod(0o600)
        assert store.find(half_bundle, "edge", HOST).plan == PLAN
        assert "not valid" in caplog.text

    def test_roundtrip(self, half_bundle: Bundle) -> None:
        sidecar = made_up(half_bundle)
        assert parse_sidecar(dump_sidecar(sidecar), sidecar.file) == sidecar
        marked = sidecar.marked({"device": "x"})
        assert (marked.verified, marked.verification) == (True, {"status": "passed", "device": "x"})


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
class TestOwnership:
    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
    def test_a_folder_that_others_can_write(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, mode: int
    ) -> None:
        store.root.chmod(mode)
        for use in (
            lambda: store.find(half_bundle, "edge", HOST),
            store.entries,
            store.verify,
            store.prune,
            lambda: store.publish(PLAN, made_up(half_bundle)),
        ):
            with pytest.raises(EngineIntegrityError, match="others can write") as caught:
                use()
            assert "chmod" in caught.value.hint

    @pytest.mark.parametrize("which", ["plan", "sidecar"])
    def test_a_file_that_others_can_write(
        self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine, which: str
    ) -> None:
        (stored.path if which == "plan" else store.root / stored.sidecar.file).chmod(0o666)
        with pytest.raises(EngineIntegrityError, match="others can write"):
            store.find(half_bundle, "edge", HOST)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
    def test_another_user_s_store(self, store: EngineStore, half_bundle: Bundle, stored: StoredEngine) -> None:
        os.chown(stored.path, 12345, -1)
        with pytest.raises(EngineIntegrityError, match="another user"):
            store.find(half_bundle, "edge", HOST)
        os.chown(store.root, 12345, -1)
        with pytest.raises(EngineIntegrityError, match="another user"):
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
