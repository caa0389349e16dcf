"""Plans torn and spoiled at every byte, and sidecars edited by hand: none is handed out.

Swapped, prefixed, foreign and writable files, other users and other hosts are in tests/engines/test_store.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engines.sidecar import Sidecar, dump_sidecar, parse_sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import EngineError, EngineIntegrityError
from tests.attacks.caught import error_of
from tests.attacks.test_bundles import HOSTILE_VALUES, leaves, replaced
from tests.engines.conftest import HOST, made_up, write_half_bundle

PLAN = b"ftrt" + bytes(range(100))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_half_bundle(tmp_path_factory.mktemp("bundles") / "half")


@pytest.fixture
def stored(tmp_path: Path, bundle: Bundle) -> tuple[EngineStore, StoredEngine]:
    store = EngineStore(tmp_path / "store")
    return store, store.publish(PLAN, made_up(bundle, plan=PLAN))


def test_torn_at_every_byte(
    stored: tuple[EngineStore, StoredEngine], bundle: Bundle, record_property: pytest.RecordProperty
) -> None:
    """Cut there, or one bit changed there, or one byte put in."""
    store, engine = stored
    tried = 0
    for at in range(len(PLAN)):
        for torn in (
            PLAN[:at],
            PLAN[:at] + bytes([PLAN[at] ^ 1]) + PLAN[at + 1 :],
            PLAN[:at] + b"\0" + PLAN[at:],
        ):
            engine.path.write_bytes(torn)
            error = error_of(EngineIntegrityError, store.find, bundle, engine.sidecar.key.stage, HOST)
            assert error is not None, f"handed out, torn at {at}"
            assert "build" in error.hint
            tried += 1
    engine.path.write_bytes(PLAN)
    assert store.find(bundle, engine.sidecar.key.stage, HOST).plan == PLAN
    record_property("cases", tried)


def test_links_and_other_things_in_its_place(stored: tuple[EngineStore, StoredEngine], bundle: Bundle) -> None:
    store, engine = stored
    stage = engine.sidecar.key.stage
    elsewhere = store.root.parent / "plan"
    elsewhere.write_bytes(PLAN)
    for make in (
        lambda path: path.symlink_to(elsewhere),  # to the very bytes
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: None,
    ):
        engine.path.unlink() if engine.path.is_symlink() or engine.path.is_file() else None
        if engine.path.is_dir():
            engine.path.rmdir()
        make(engine.path)
        assert error_of(EngineError, store.find, bundle, stage, HOST) is not None


def test_every_value_of_a_sidecar_replaced(
    stored: tuple[EngineStore, StoredEngine], bundle: Bundle, record_property: pytest.RecordProperty
) -> None:
    """And its checksum made right: refused, or an engine of the very plan whose hash it gives."""
    store, engine = stored
    path = store.root / engine.sidecar.file
    root = json.loads(path.read_bytes())
    root.pop("checksum")
    tried = refused = 0
    for place in leaves(root):
        for value in HOSTILE_VALUES:
            edited = replaced(root, place, value)
            path.write_bytes(with_checksum(edited))
            tried += 1
            error = error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, HOST)
            if error is not None:
                refused += 1
                assert error.hint
            else:
                assert store.find(bundle, engine.sidecar.key.stage, HOST).plan == PLAN
    assert refused > 0.4 * tried
    record_property("cases", tried)


def test_an_edited_sidecar_without_its_checksum(stored: tuple[EngineStore, StoredEngine], bundle: Bundle) -> None:
    store, engine = stored
    path = store.root / engine.sidecar.file
    text = path.read_text()
    for change in (text.replace(f'"{engine.sidecar.target}"', '"other"'), text.replace("false", "true"), text[:-9]):
        assert change != text
        path.write_text(change)
        assert error_of(EngineIntegrityError, store.find, bundle, engine.sidecar.key.stage, HOST) is not None


def test_huge_sidecars_are_not_read(stored: tuple[EngineStore, StoredEngine], bundle: Bundle) -> None:
    store, engine = stored
    with (store.root / engine.sidecar.file).open("ab") as file:
        file.truncate(1 << 33)  # sparse
    assert error_of(EngineIntegrityError, store.find, bundle, engine.sidecar.key.stage, HOST) is not None


@pytest.mark.parametrize("stage", ["../edge", "/edge", "edge/../..", "", "edge\n", "e" * 99, "Edge"])
def test_a_stage_is_no_path(bundle: Bundle, stage: str) -> None:
    sidecar = made_up(bundle)
    root: dict[str, Any] = json.loads(dump_sidecar(sidecar))
    root.pop("checksum")
    root["key"]["stage"] = stage
    key = type(sidecar.key)(**{**root["key"], "compute_capabilities": tuple(root["key"]["compute_capabilities"])})
    with pytest.raises(EngineIntegrityError):
        parse_sidecar(with_checksum(root), f"{stage}.{key.digest}.json")


def with_checksum(root: Any) -> bytes:
    if not isinstance(root, dict):
        return json.dumps(root).encode()
    text = json.dumps(root, sort_keys=True, separators=(",", ":"))
    return json.dumps({**root, "checksum": hashlib.sha256(text.encode()).hexdigest()}).encode()


def test_the_sidecar_here_is_sound(bundle: Bundle) -> None:
    """What the tests above spoil would be taken as it is."""
    sidecar: Sidecar = made_up(bundle)
    root = json.loads(dump_sidecar(sidecar))
    root.pop("checksum")
    assert parse_sidecar(with_checksum(root), sidecar.file) == sidecar
