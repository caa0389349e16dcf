"""Plans torn and spoiled at every byte, and sidecars edited by hand: none is handed out.

Links, foreign and writable files, other users and other hosts are in tests/engines/test_store.py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.engines.sidecar import dump_sidecar, parse_sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine
from restore_sdk.errors import EngineError
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


def test_torn_at_every_byte(stored: tuple[EngineStore, StoredEngine], bundle: Bundle) -> None:
    """Cut there, or one bit changed there, or one byte put in."""
    store, engine = stored
    for at in range(len(PLAN)):
        for torn in (PLAN[:at], PLAN[:at] + bytes([PLAN[at] ^ 1]) + PLAN[at + 1 :], PLAN[:at] + b"\0" + PLAN[at:]):
            engine.path.write_bytes(torn)
            error = error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, HOST)
            assert error is not None, f"handed out, torn at {at}"
            assert "build" in error.hint
    engine.path.write_bytes(PLAN)
    assert store.find(bundle, engine.sidecar.key.stage, HOST).plan == PLAN


def test_every_value_of_a_sidecar_replaced(stored: tuple[EngineStore, StoredEngine], bundle: Bundle) -> None:
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
    path.write_bytes(with_checksum(root))
    assert store.find(bundle, engine.sidecar.key.stage, HOST).plan == PLAN, "what is spoiled above would be taken"


def test_an_edited_sidecar_without_its_checksum_or_a_huge_one(
    stored: tuple[EngineStore, StoredEngine], bundle: Bundle
) -> None:
    store, engine = stored
    path = store.root / engine.sidecar.file
    text = path.read_text()
    for change in (text.replace(f'"{engine.sidecar.target}"', '"other"'), text.replace("false", "true"), text[:-9]):
        assert change != text
        path.write_text(change)
        assert error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, HOST) is not None
    path.write_text(text)
    with path.open("ab") as file:
        file.truncate(1 << 33)  # sparse
    assert error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, HOST) is not None


@pytest.mark.parametrize("stage", ["../edge", "/edge", "edge/../..", "", "edge\n", "e" * 99, "Edge"])
def test_a_stage_is_no_path(bundle: Bundle, stage: str) -> None:
    sidecar = made_up(bundle)
    root: dict[str, Any] = json.loads(dump_sidecar(sidecar))
    root.pop("checksum")
    root["key"]["stage"] = stage
    key = type(sidecar.key)(**{**root["key"], "compute_capabilities": tuple(root["key"]["compute_capabilities"])})
    with pytest.raises(EngineError):
        parse_sidecar(with_checksum(root), f"{stage}.{key.digest}.json")


def with_checksum(root: Any) -> bytes:
    if not isinstance(root, dict):
        return json.dumps(root).encode()
    text = json.dumps(root, sort_keys=True, separators=(",", ":"))
    return json.dumps({**root, "checksum": hashlib.sha256(text.encode()).hexdigest()}).encode()
