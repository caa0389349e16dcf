import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.writing import StageFiles, check_bundle_target
from restore_sdk.bundle import SHIPPED, Bundle
from restore_sdk.errors import BundleError, OutputError
from tests.toy_bundle import edge_graph, golden_vectors, write_toy_bundle


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_bytes())  # type: ignore[no-any-return]


def edit(folder: Path, *path: Any, value: Any) -> None:
    """Set a value in a bundle's manifest; ``...`` removes it."""
    root = place = manifest(folder)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    if value is ...:
        del place[path[-1]]
    (folder / "manifest.json").write_text(json.dumps(root))


def test_what_was_written_is_what_is_read(toy_bundle: Bundle) -> None:
    bundle = Bundle.load(toy_bundle.path)
    assert bundle == toy_bundle
    assert bundle.name == "toy 1.0"
    assert [stage.name for stage in bundle.stages] == ["edge", "repair"]
    assert bundle.read(bundle.file("edge", "fp32")) == edge_graph()
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "edge.fp16.onnx",
        "edge.onnx",
        "golden.npz",
        "manifest.json",
        "repair.fp16.onnx",
        "repair.onnx",
    ]
    golden = golden_vectors()
    assert all(np.array_equal(array, golden[name]) for name, array in bundle.golden().items())
    bundle.verify_files()


def test_the_manifest_on_disk_is_the_documented_one(toy_bundle: Bundle) -> None:
    root = manifest(toy_bundle.path)
    assert root["schema"] == 2
    assert root["size"] == 256
    assert root["mask"] == {"hole_above": 127, "polarity": "white is hole"}
    assert root["stages"][1]["files"] == {"fp32": "repair.onnx", "fp16": "repair.fp16.onnx"}
    assert root["stages"][0]["inputs"][0] == {
        "name": "image",
        "dtype": "uint8",
        "layout": "NHWC",
        "shape": ["batch", 256, 256, 3],
        "range": [0, 255],
    }
    data = (toy_bundle.path / "edge.onnx").read_bytes()
    assert root["files"]["edge.onnx"] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert set(root["files"]) == {path.name for path in toy_bundle.path.iterdir()} - {"manifest.json"}
    assert root["golden"]["reference"] == "pytorch float32"


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"lacks manifest\.json"):
        Bundle.load(tmp_path)


def test_every_changed_byte_is_found(writable_bundle: Path) -> None:
    bundle = Bundle.load(writable_bundle)
    for name in bundle.manifest.files:
        path = writable_bundle / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(BundleError, match=name):
            bundle.read(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.symlink_to(path.rename(path.parent.parent / "elsewhere")),  # even to the very same bytes
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["shorter", "longer", "empty", "gone", "link", "folder", "pipe"],
)
def test_a_file_that_is_not_the_one(writable_bundle: Path, change: Any) -> None:
    change(writable_bundle / "repair.onnx")
    bundle = Bundle.load(writable_bundle)  # files are read when they are used
    bundle.read("edge.onnx")
    for use in (lambda: bundle.read("repair.onnx"), bundle.verify_files):
        with pytest.raises(BundleError):
            use()


def test_the_bytes_handed_on_are_the_bytes_that_were_hashed(
    writable_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second read between check and use, which someone could race."""
    bundle, opened = Bundle.load(writable_bundle), []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or real(path, *rest))
    data = bundle.read("edge.onnx")
    assert opened == [writable_bundle / "edge.onnx"]
    assert hashlib.sha256(data).hexdigest() == bundle.manifest.files["edge.onnx"].sha256


def test_names_that_the_manifest_does_not_list(toy_bundle: Bundle) -> None:
    for name in ("manifest.json", "other.onnx", "../toy/edge.onnx"):
        with pytest.raises(BundleError, match="does not list"):
            toy_bundle.read(name)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.onnx",
        "/etc/passwd",
        "a/b.onnx",
        "a\\b.onnx",
        "..",
        "C:x",
        "x\n",
        "manifest.json",
    ],
)
def test_file_names_that_leave_the_bundle(writable_bundle: Path, name: str) -> None:
    edit(writable_bundle, "files", name, value={"sha256": "0" * 64, "bytes": 1})
    with pytest.raises(BundleError, match="cannot hold"):
        Bundle.load(writable_bundle)
    edit(writable_bundle, "files", name, value=...)
    edit(writable_bundle, "stages", 0, "files", "fp32", value=name)
    with pytest.raises(BundleError):
        Bundle.load(writable_bundle)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 3, "schema is 3, this version has 2"),
        ("schema", True, "schema is True"),
        ("size", 512, "size is 512"),
        ("name", ..., "missing required field `name`"),
        ("name", "x" * 201, "length <= 200"),
        ("name", "\x1b[2J", "not printable"),
        ("extra", 1, "unknown field `extra`"),
        ("mask", {"hole_above": 127, "polarity": "black is hole"}, "black is hole"),
        ("golden file", "other.npz", r"other\.npz"),
        ("stages", [], "0 stages"),
        ("stages 0 name", "repair", "stage name"),
        ("stages 0 files", {"fp32": "edge.onnx"}, "fp16"),
        ("stages 0 files fp8", "edge.onnx", "fp8"),
        ("stages 0 files fp32", "missing.onnx", "does not list"),
        ("stages 0 inputs 0 dtype", "float32", "edge inputs"),
        ("stages 1 outputs 0 name", "out", "repair outputs"),
        ("stages 0 macs", 2**63, "macs"),
        ("stages 0 max_activation", 1e305, "max_activation"),
        ("files", {}, "does not list"),
        ("files edge.onnx sha256", "0" * 64 + "\n", "sha256"),
        ("files edge.onnx bytes", 2**40, "bytes"),
    ],
)
def test_manifests_that_are_refused(writable_bundle: Path, path: str, value: Any, message: str) -> None:
    edit(writable_bundle, *(int(key) if key.isdigit() else key for key in path.split()), value=value)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(writable_bundle)
    assert caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b'{"schema": NaN}',
        b"[" * 500_000,
        b'{"schema": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "text", "list", "nan", "deep list", "huge number"],
)
def test_hostile_manifests(writable_bundle: Path, data: bytes) -> None:
    (writable_bundle / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError):
        Bundle.load(writable_bundle)


def test_a_manifest_that_is_huge_or_a_link(writable_bundle: Path) -> None:
    with (writable_bundle / "manifest.json").open("ab") as file:
        file.truncate(1 << 33)  # sparse
    with pytest.raises(BundleError, match="larger than"):
        Bundle.load(writable_bundle)
    path = writable_bundle / "manifest.json"
    path.symlink_to(path.rename(writable_bundle.parent / "manifest.json"))
    with pytest.raises(BundleError, match="link"):
        Bundle.load(writable_bundle)


def test_write_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_toy_bundle(target)
    assert write_toy_bundle(target, version="2.0").name == "toy 2.0"
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="is no bundle"):
        write_toy_bundle(other)
    assert sorted(os.listdir(tmp_path)) == ["bundle", "photos"]
    assert os.listdir(other) == ["mine.jpg"]


def test_a_folder_with_anything_else_in_it_is_never_replaced(writable_bundle: Path) -> None:
    others = {name: writable_bundle.parent / name for name in ("a web app", "link", "notes", "folder", "file")}
    for path in others.values():
        shutil.copytree(writable_bundle, path)
    (others["a web app"] / "manifest.json").write_text('{"name": "photo album", "start_url": "/"}')
    others["link"].symlink_to(others["link"].rename(writable_bundle.parent / "elsewhere"))
    (others["notes"] / "notes.txt").touch()
    (others["folder"] / ".git").mkdir()
    (others["folder"] / ".git" / "HEAD").touch()
    (others["file"] / "edge.onnx").unlink()
    (others["file"] / "edge.onnx").mkdir()
    (others["file"] / "edge.onnx" / "notes.txt").write_text("a folder in a file's place")
    before = sorted(writable_bundle.parent.rglob("*"))
    for target in others.values():
        for attempt in (check_bundle_target, write_toy_bundle):
            with pytest.raises(OutputError) as caught:
                attempt(target)
            assert caught.value.hint
    assert sorted(writable_bundle.parent.rglob("*")) == before


def test_targets_that_a_bundle_may_take(tmp_path: Path, writable_bundle: Path) -> None:
    (writable_bundle / "repair.onnx").write_bytes(b"spoiled: a broken bundle may be written again")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for target in (writable_bundle, tmp_path / "empty", tmp_path / "new"):
        check_bundle_target(target)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(OutputError, match="does not exist"):
        check_bundle_target(tmp_path / "no" / "bundle")


def test_write_bundle_writes_nothing_invalid(tmp_path: Path) -> None:
    golden = golden_vectors()
    stage = StageFiles("repair", b"", b"", 0, 0)
    for changes in (
        {"golden": {name: golden[name] for name in golden if name != "mask"}},
        {"golden": golden | {"restored": golden["restored"][:1]}},
        {"golden": golden | {"restored": golden["restored"].astype(np.float32)}},
        {"edge": stage},
        {"quality": {"psnr": float("nan")}},
        {"quality": {"psnr": object()}},
        {"name": 3},
        {"edge": StageFiles("edge", b"", b"", -1, 0)},
    ):
        with pytest.raises(BundleError):
            write_toy_bundle(tmp_path / "bundle", **changes)
        assert os.listdir(tmp_path) == []


def test_a_name_is_a_string_and_a_path_is_a_folder(
    toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_bundle(tmp_path / "faithful")
    monkeypatch.setitem(SHIPPED, "faithful", toy_bundle.path)
    assert Bundle.load("faithful").path == toy_bundle.path
    folders = [Bundle.load(each).path.resolve() for each in (Path("faithful"), "./faithful")]
    assert folders == [tmp_path / "faithful"] * 2
    monkeypatch.setitem(SHIPPED, "faithful", tmp_path / "nothing")
    with pytest.raises(BundleError, match="holds no faithful bundle"):
        Bundle.load("faithful")
    for wrong in ("Vivid", " faithful", Path("vivd"), "", 3, b"faithful"):
        with pytest.raises(BundleError, match="no bundle") as caught:
            Bundle.load(wrong)  # type: ignore[arg-type]
        assert "one of default, faithful, or the folder" in caught.value.hint
