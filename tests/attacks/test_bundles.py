"""Bundles from elsewhere: each ends in the SDK's own error, soon, in bounded memory, or is sound."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
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
from restore_sdk.bundle.onnxfile import self_contained
from restore_sdk.engines.store import graph_sha256
from restore_sdk.errors import BundleError
from restore_sdk.measure.bench import verify
from tests.attacks.caught import error_of
from tests.attacks.graphs import ATTACKS, LIMIT_BYTES, SERVED
from tests.child import python
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
    if name == SERVED:
        assert found["known_pixels_equal"] is True
        return
    assert found.get("error") in vars(errors), found
    assert found["hint"]
    if name.startswith("external"):
        assert found["error"] == "BundleError"
        assert "another file" in found["text"]


def outside(*places: dict[str, str]) -> bytes:
    """The toy edge stage with a further tensor of two floats for each place, kept in another file."""
    model = onnx.load_from_string(edge_graph())
    for i, place in enumerate(places):
        tensor = model.graph.initializer.add(name=f"far{i}", data_type=onnx.TensorProto.FLOAT, dims=[2])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def test_graphs_cut_or_changed_at_any_byte() -> None:
    """Told in words, or found sound; never another exception, never a read past the end."""
    graph = outside({"location": "w", "offset": "8", "length": "8"})
    for at in range(0, len(graph), 3):
        for sample in (graph[:at], graph[:at] + bytes([graph[at] ^ (1 << at % 8)]) + graph[at + 1 :]):
            error = error_of(ValueError, self_contained, sample, lambda _name: bytes(16))
            assert error is None or str(error).startswith(("it ", "its ", "a tensor "))


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ([{"offset": "12", "length": "8"}], "lies outside w"),
        ([{"offset": "-8", "length": "8"}], "lies outside w"),
        ([{"offset": "0", "length": "-8"}], "lies outside w"),
        ([{"offset": "0", "length": "16"}] * 2, "or they overlap there"),
        ([{"offset": "0"}], "does not say where its bytes lie"),
        ([{"offset": "0", "length": "eight"}], "does not say where its bytes lie"),
        ([{"length": "8"}, {"length": "8", "location": "x"}], "in more than one file"),
    ],
)
def test_tensors_that_lie_where_they_cannot(places: list[dict[str, str]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        self_contained(outside(*({"location": "w"} | place for place in places)), lambda _name: bytes(range(16)))


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


def archive(shape: str, kind: str = "'|u1'", data: bytes = b"") -> bytes:
    """An archive of one array that says of itself what is asked for."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("image.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    return file.getvalue()


GOLDEN = {
    "terabytes": archive("(99999999999999,)"),
    "pickle": archive("(1,)", "'|O'", b"cos\nmkdir\n(S'it-ran'\ntR."),
    "a call": archive("__import__('os').mkdir('it-ran')"),
    "short": archive("(2,)", data=b"a"),
    "a bomb": archive("(314572800,)", data=bytes(300 * 1024 * 1024)),
    "no archive": b"PK\x03\x04 and no more",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_hostile_golden_vectors(writable_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(writable_bundle.parent)
    root, data = json.loads((writable_bundle / "manifest.json").read_bytes()), GOLDEN[name]
    root["files"]["golden.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (writable_bundle / "manifest.json").write_text(json.dumps(root))
    (writable_bundle / "golden.npz").write_bytes(data)
    with pytest.raises(BundleError):
        Bundle.load(writable_bundle).golden()
    assert not Path("it-ran").exists()


def test_whatever_names_a_file_is_refused() -> None:
    """Also in a field that only other parsers take for one of a tensor: they drop the bits of a tag above 32."""

    def field(number: int, payload: bytes, high: int = 0) -> bytes:
        tag, out = (number << 3 | 2) + high, bytearray()
        while tag > 0x7F:
            out.append(tag & 0x7F | 0x80)
            tag >>= 7
        return bytes([*out, tag, len(payload)]) + payload

    entries = [field(1, key) + field(2, value) for key, value in ((b"location", b"secret.bin"), (b"length", b"4"))]
    tensor = b"\x08\x01\x10\x01" + field(8, b"w") + b"".join(field(13, entry, 1 << 32) for entry in entries)
    with pytest.raises(ValueError, match="kept in another file"):
        self_contained(b"\x08\x0a" + field(7, field(5, tensor)), lambda _name: b"")
