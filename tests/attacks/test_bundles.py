"""Bundles and built engines from elsewhere: each ends in the SDK's own error, soon, in bounded memory, or is sound."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.writing import StageFiles
from restore_sdk import errors
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.bundle import weights_name
from restore_sdk.bundle.manifest import parse_manifest
from restore_sdk.bundle.onnxfile import check_self_contained, with_weights
from restore_sdk.cli.main import main
from restore_sdk.engines.sidecar import dump_sidecar, parse_sidecar
from restore_sdk.engines.store import EngineStore, StoredEngine, graph_sha256
from restore_sdk.errors import BundleError, EngineError
from restore_sdk.measure.verify import verify
from tests.attacks.caught import error_of
from tests.attacks.graphs import ATTACKS, LIMIT_BYTES, SERVED
from tests.child import python
from tests.engines.conftest import HOST, made_up, write_half_bundle
from tests.toy_bundle import edge_graph, write_toy_bundle

#: Seconds that no attack takes, on a busy host either.
SOON = 10.0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each hostile graph, in a child of limited memory whose working directory holds a secret."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "secret.bin").write_bytes(np.float32(0.25).tobytes())
    done = python("-m", "tests.attacks.graphs", folder, cwd=folder)
    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"died within {LIMIT_BYTES} bytes after {list(found)[-1:]}: {done.stderr[-2000:]}"
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_graphs(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    found = outcomes[name]
    assert found["seconds"] < SOON
    if name in SERVED:
        assert found["known_pixels_equal"] is True
        return
    assert found.get("error") in vars(errors), found
    assert found["hint"]
    if name.startswith("external"):
        assert found["error"] == "BundleError"
        assert "another file" in found["text"]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_graphs_cut_at_every_byte(size: int) -> None:
    """Or with one byte changed: told in words, or found sound; never another exception, never a read past the end."""
    graph = outside({"location": "w", "offset": "8", "length": "8"})
    for at in range(len(graph)):
        for sample in (graph[:at], graph[:at] + bytes([graph[at] ^ (1 << size)]) + graph[at + 1 :]):
            for check in (check_self_contained, lambda data: with_weights(data, lambda _name: bytes(16))):
                error = error_of(ValueError, check, sample)
                assert error is None or str(error).startswith(("it ", "its ", "a tensor "))


def outside(*places: dict[str, str]) -> bytes:
    """The toy edge stage with a further tensor of two floats for each place, kept in another file."""
    model = onnx.load_from_string(edge_graph())
    for i, place in enumerate(places):
        tensor = model.graph.initializer.add(name=f"far{i}", data_type=onnx.TensorProto.FLOAT, dims=[2])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ([{"offset": "16", "length": "8"}], "lies outside w"),
        ([{"offset": "12", "length": "8"}], "lies outside w"),
        ([{"offset": "-8", "length": "8"}], "lies outside w"),
        ([{"offset": "0", "length": "-8"}], "lies outside w"),
        ([{"offset": "0", "length": "17"}], "lies outside w"),
        ([{"offset": str(1 << 64), "length": "8"}], "lies outside w"),
        ([{"offset": "0", "length": "16"}] * 2, "or they overlap there"),
        ([{"offset": "0"}], "does not say where its bytes lie"),
        ([{"offset": "0", "length": "eight"}], "does not say where its bytes lie"),
        ([{"offset": "0", "length": "9" * 5000}], "does not say where its bytes lie"),
        ([{"length": "8"}, {"length": "8", "location": "x"}], "in more than one file"),
    ],
)
def test_tensors_that_lie_where_they_cannot(places: list[dict[str, str]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_weights(outside(*({"location": "w"} | place for place in places)), lambda _name: bytes(range(16)))


def kept_outside(folder: Path, weights: bytes, location: str = "") -> Bundle:
    """A toy bundle whose edge stage has a tensor in a file of weights, or in what ``location`` says."""
    name = weights_name(hashlib.sha256(weights).hexdigest())
    graph = outside({"location": location or name, "offset": "8", "length": "8"})
    return write_toy_bundle(folder, edge=StageFiles("edge", graph, graph, 0, 0), weights=weights)


def test_weights_in_a_file_of_the_bundle_are_put_into_the_graph(tmp_path: Path) -> None:
    bundle = kept_outside(tmp_path / "bundle", bytes(range(16)))
    bundle.verify_files()
    far = onnx.load_from_string(bundle.read("edge.onnx")).graph.initializer[-1]
    assert numpy_helper.to_array(far).tobytes() == bytes(range(8, 16))
    assert verify(bundle).passed
    other = kept_outside(tmp_path / "other", bytes(range(1, 17)))
    assert graph_sha256(other, "edge") != graph_sha256(bundle, "edge"), "engines of other weights are not taken"
    assert other.fingerprint != bundle.fingerprint


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "golden.npz", "repair.onnx", "weights-0.bin", "."]
)
def test_weights_lie_in_no_other_file(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    bundle = kept_outside(tmp_path / "bundle", bytes(16), location)
    with pytest.raises(BundleError, match=r"edge\.onnx is no graph .* kept in another file") as caught:
        bundle.read("edge.onnx")
    assert caught.value.reason == "integrity"


def test_weights_that_were_changed_or_exchanged_are_refused(tmp_path: Path) -> None:
    bundle = kept_outside(tmp_path / "bundle", bytes(16))
    (path,) = bundle.path.glob("weights-*.bin")
    path.write_bytes(bytes(15) + b"\1")
    with pytest.raises(BundleError, match=rf"{path.name} is not the file that the bundle's manifest names") as caught:
        bundle.read("edge.onnx")
    assert caught.value.reason == "integrity"
    root = json.loads((bundle.path / "manifest.json").read_bytes())
    root["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (bundle.path / "manifest.json").write_text(json.dumps(root))
    with pytest.raises(BundleError, match="kept in another file"):  # listed now, but under the name of other weights
        Bundle.load(bundle.path).read("edge.onnx")
    path.unlink()
    with pytest.raises(BundleError):
        bundle.read("edge.onnx")


def test_graphs_without_end_are_not_walked() -> None:
    deep = b""
    for _ in range(100):  # an attribute with a graph with a node with an attribute ...
        deep = b"\x32" + _length(deep)
        deep = b"\x2a" + _length(deep)
        deep = b"\x0a" + _length(deep)
    with pytest.raises(ValueError, match="deeply"):
        check_self_contained(b"\x3a" + _length(deep))
    with pytest.raises(ValueError, match="too many"):
        check_self_contained(b"\x08\x01" * 250_001)
    with pytest.raises(ValueError, match="too many"):
        with_weights(b"\x3a" + _length(b"\x08\x01" * 250_001), lambda _name: b"")
    bundle = Bundle.load()
    for name in (name for stage in bundle.stages for name in stage.files.values()):
        check_self_contained(bundle.read(name))  # those of the shipped model stand alone


def _length(data: bytes) -> bytes:
    size, out = len(data), b""
    while size > 0x7F:
        out, size = out + bytes([size & 0x7F | 0x80]), size >> 7
    return out + bytes([size]) + data


HOSTILE_VALUES = [
    *(None, True, -1, 1.5, 10**400, -(10**4000), 1e308, "", "\x1b[2J\x1b[1;1Hall is well", "two\nlines", "\ud800"),
    *("\u202egnp.exe", "x" * 100_000, "../../etc/passwd", [], [[[]]], {}, {"": None}),
]


def leaves(root: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in a JSON document, to those of objects and lists too."""
    yield path
    if isinstance(root, dict | list):
        for key in root if isinstance(root, dict) else range(len(root)):
            yield from leaves(root[key], (*path, key))


def replaced(root: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(root) if isinstance(root, dict) else list(root)
    copy[path[0]] = replaced(root[path[0]], path[1:], value)
    return copy


def test_every_value_of_a_manifest_replaced(toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """By everything that it may not be: refused in words that can be shown, or what it gives can be used and shown."""
    root = json.loads((toy_bundle.path / "manifest.json").read_bytes())
    tried = refused = 0
    for path in leaves(root):
        for value in HOSTILE_VALUES:
            tried += 1
            data = json.dumps(replaced(root, path, value)).encode()
            error = error_of(BundleError, parse_manifest, data)
            if error is not None:
                refused += 1
                assert str(error).isprintable(), (path, value)
                assert len(str(error)) < 1000
                continue
            assert path[:1] in (("training",), ("quality",), ("golden",)) or path[-1] in (
                *("name", "version", "created", "parameters", "macs", "max_activation", "bytes", "schema", "size"),
                *("files", "edge.onnx"),
            ), (path, value)
            manifest = parse_manifest(data)
            assert f"{manifest.name}{manifest.version}{manifest.created}".isprintable()
            for stage in manifest.stages:
                print(f"{stage.parameters / 1e6:.2f} {stage.macs / 1e9:.2f} {stage.max_activation or 0:.1f}")
    assert tried > 1500
    assert refused > 0.8 * tried
    capsys.readouterr()


def test_manifests_nested_to_the_very_limit(toy_bundle: Bundle) -> None:
    """Where reading just works and showing what is wrong would not."""
    text = (toy_bundle.path / "manifest.json").read_text()
    for depth in [*range(900, 1000, 3), 5_000, 50_000]:
        for key in ("mask", "training", "name"):
            root = json.loads(text)
            root[key] = "HERE"
            nested = json.dumps(root).replace('"HERE"', '{"a":' * depth + "1" + "}" * depth)
            error = error_of(BundleError, parse_manifest, nested.encode())
            assert error is None or error.hint


def test_other_encodings_and_what_follows_the_manifest(toy_bundle: Bundle) -> None:
    data = (toy_bundle.path / "manifest.json").read_bytes()
    for sample in (data + b"{}", data + b"\0", b"\xef\xbb\xbf\xef\xbb\xbf" + data, data.replace(b'"', b"'"), data[1:]):
        with pytest.raises(BundleError):
            parse_manifest(sample)


def archive(data: bytes, method: int = zipfile.ZIP_STORED, name: str = "image.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        packed.writestr(name, data)
    return file.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin-1") + data


SOUND = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}\n", b"ab")


def shaped(shape: str, kind: str = "'|u1'", data: bytes = b"") -> bytes:
    return archive(npy(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n", data))


GOLDEN = {
    "terabytes": shaped("(99999999999999,)"),
    "overflow": shaped("(4611686018427387904, 4)"),
    "negative": shaped("(-1,)", data=b"abc"),
    "pickle": shaped("(1,)", "'|O'", b"cos\nsystem\n(S'true'\ntR."),
    "pickle in a record": shaped("(1,)", "[('a', '|O')]", b"x"),
    "a call": archive(npy("__import__('os').system('true')\n")),
    "brackets": archive(npy("(" * 5000 + "\n")),
    "an open string": archive(npy("{'descr': '''\n")),
    "unhashable": archive(npy("{" * 90 + "}" * 90 + "\n")),
    "a future version": archive(b"\x93NUMPY\x09\x09" + SOUND[8:]),
    "empty": archive(b""),
    "short": archive(SOUND[:-1]),
    "path": archive(SOUND, name="../../image.npy"),
    "method": archive(SOUND, zipfile.ZIP_DEFLATED).replace(b"\x08\x00", b"\x63\x00"),
    "torn lzma": archive(SOUND, zipfile.ZIP_LZMA)[:-40],
    "encrypted": archive(SOUND).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"),
    "noise": archive(SOUND)[:40] + b"\xff" * 8 + archive(SOUND)[48:],
    "bare": SOUND,
    "a bomb": archive(bytes(300 * 1024 * 1024), zipfile.ZIP_DEFLATED),
    "no bytes": b"",
    "no archive": b"PK\x03\x04 and no more",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_hostile_golden_vectors(writable_bundle: Path, name: str) -> None:
    root, data = json.loads((writable_bundle / "manifest.json").read_bytes()), GOLDEN[name]
    root["files"]["golden.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (writable_bundle / "manifest.json").write_text(json.dumps(root))
    (writable_bundle / "golden.npz").write_bytes(data)
    with pytest.raises(BundleError) as caught:
        Bundle.load(writable_bundle).golden()
    assert caught.value.hint


def test_files_that_the_manifest_does_not_name_are_not_touched(writable_bundle: Path) -> None:
    (writable_bundle / "evil.so").write_bytes(b"\x7fELF")
    (writable_bundle / "onnxruntime.py").write_text("raise SystemExit('it was imported')")
    bundle = Bundle.load(writable_bundle)
    bundle.verify_files()
    bundle.golden()
    assert "evil.so" not in bundle.manifest.files


def test_the_command_says_it_in_one_line(writable_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = json.loads((writable_bundle / "manifest.json").read_bytes())
    for changes in ({"name": "\x1b]0;owned\x07"}, {"mask": "\x1b[2J"}, {"stages": []}, {"schema": 1}, {"schema": 3}):
        (writable_bundle / "manifest.json").write_text(json.dumps(root | changes))
        assert main(["info", "--bundle", str(writable_bundle)]) not in (0, 1)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.replace("\n", "").isprintable()
        assert "Traceback" not in shown.err


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
            error = error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, *HOST)
            assert error is not None, f"handed out, torn at {at}"
            assert "build" in error.hint
    engine.path.write_bytes(PLAN)
    assert store.find(bundle, engine.sidecar.key.stage, *HOST).plan == PLAN


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
            error = error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, *HOST)
            if error is not None:
                refused += 1
                assert error.hint
            else:
                assert store.find(bundle, engine.sidecar.key.stage, *HOST).plan == PLAN
    assert refused > 0.4 * tried
    path.write_bytes(with_checksum(root))
    assert store.find(bundle, engine.sidecar.key.stage, *HOST).plan == PLAN, "what is spoiled above would be taken"


def test_an_edited_sidecar_without_its_checksum_or_a_huge_one(
    stored: tuple[EngineStore, StoredEngine], bundle: Bundle
) -> None:
    store, engine = stored
    path = store.root / engine.sidecar.file
    text = path.read_text()
    for change in (
        text.replace(f'"{engine.sidecar.target}"', '"other"'),
        text.replace("{}", '{"images": 6}'),
        text[:-9],
    ):
        assert change != text
        path.write_text(change)
        assert error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, *HOST) is not None
    path.write_text(text)
    with path.open("ab") as file:
        file.truncate(1 << 33)  # sparse
    assert error_of(EngineError, store.find, bundle, engine.sidecar.key.stage, *HOST) is not None


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


def test_a_tag_that_only_cxx_parsers_understand_hides_no_file() -> None:
    """They drop the bits of a tag above 32, so that an unknown field is one of external data to them."""

    def field(number: int, payload: bytes, high: int = 0) -> bytes:
        tag, out = (number << 3 | 2) + high, bytearray()
        while tag > 0x7F:
            out.append(tag & 0x7F | 0x80)
            tag >>= 7
        return bytes([*out, tag, len(payload)]) + payload

    for high in (0, 1 << 32):
        entries = [field(1, key) + field(2, value) for key, value in ((b"location", b"secret.bin"), (b"length", b"4"))]
        tensor = b"\x08\x01\x10\x01" + field(8, b"w") + b"".join(field(13, entry, high) for entry in entries)
        with pytest.raises(ValueError, match=r"kept in another file|no valid protobuf"):
            check_self_contained(b"\x08\x0a" + field(7, field(5, tensor)))
