"""Deltas: what one file changes of another, and bundles that are kept so."""

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import bundle as bundle_export
from export.cli import main
from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle, StageFiles
from restore_sdk.bundle import bundle as bundles
from restore_sdk.bundle.delta import apply_delta, make_delta
from restore_sdk.errors import BundleError, BundleIntegrityError, BundleManifestError, OutputError
from tests.toy_bundle import repair_graph, write_toy_bundle


def delta(*stretches: tuple[int, int], data: bytes = b"", count: int | None = None) -> bytes:
    table = b"".join(struct.pack("<II", *each) for each in stretches)
    return b"RSDELTA1" + struct.pack("<I", len(stretches) if count is None else count) + table + data


@given(st.data())
def test_it_makes_the_other_file_again(data: st.DataObject) -> None:
    base = data.draw(st.binary(max_size=300))
    changed = bytearray(base)
    for at in data.draw(st.lists(st.integers(0, max(len(base) - 1, 0)), max_size=8)) if base else []:
        changed[at] ^= data.draw(st.integers(1, 255))
    made = make_delta(base, bytes(changed), apart=data.draw(st.integers(1, 40)))
    assert apply_delta(base, made) == changed


def test_it_sends_what_differs_and_little_more() -> None:
    base = bytes(1_000_000)
    changed = bytearray(base)
    changed[1000:2000] = b"x" * 1000
    changed[2010] = 1  # near: one stretch
    changed[900_000] = 1
    made = make_delta(base, bytes(changed))
    assert made == delta((1000, 1011), (900_000, 1), data=b"x" * 1000 + bytes(10) + b"\x01\x01")
    assert make_delta(base, base) == delta()


def test_many_scattered_changes_are_sent_in_fewer_pieces() -> None:
    base = bytes(6_000_000)
    changed = bytearray(base)
    changed[::40] = b"x" * len(changed[::40])
    assert apply_delta(base, make_delta(base, bytes(changed))) == changed


def test_files_of_two_lengths_have_none() -> None:
    with pytest.raises(ValueError, match="3 and 2 bytes"):
        make_delta(b"abc", b"ab")


@pytest.mark.parametrize(
    ("unsound", "why"),
    [
        (b"", "no delta"),
        (b"RSDELTA1\0\0", "no delta"),
        (b"RSDELTA2\0\0\0\0", "no delta"),
        (delta(count=1), "truncated"),
        (delta(count=2**32 - 1), "truncated"),
        (delta((0, 4), data=b"abc"), "not as many bytes"),
        (delta((0, 2), data=b"abc"), "not as many bytes"),
        (delta((9, 2), data=b"ab"), "does not have"),
        (delta((4, 2), (0, 2), data=b"abcd"), "does not have"),
        (delta((0, 4), (3, 2), data=b"abcdef"), "does not have"),
        (delta(*[(0, 0)] * 100_001), "too many pieces"),
    ],
)
def test_unsound_ones_are_refused(unsound: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        apply_delta(b"0123456789", unsound)


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    """The toy, but for one number in its repair stage."""
    graph = repair_graph()
    changed = graph.replace(np.float32(0.25).tobytes(), np.float32(0.125).tobytes())
    assert changed != graph
    return write_toy_bundle(tmp_path / "other", repair=StageFiles("repair", changed, changed, 0, 0), name="other")


@pytest.fixture
def upon_toy(other: Bundle, toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The same as what it changes of the toy, which takes the default's place."""
    monkeypatch.setitem(bundles.SHIPPED, "default", toy_bundle.path)
    monkeypatch.setattr(bundles, "DEFAULT_BUNDLE", toy_bundle.path)
    assert main(["delta", "--bundle", str(other.path), "--out", str(tmp_path / "upon")]) == 0
    return Bundle.load(tmp_path / "upon")


def test_a_bundle_kept_so_reads_as_the_whole_one(upon_toy: Bundle, other: Bundle, tmp_path: Path) -> None:
    kept = sorted(path.name for path in upon_toy.path.iterdir())
    graphs = [f"{name}.onnx.delta" for name in ("edge", "edge.fp16", "repair", "repair.fp16")]
    assert [name for name in kept if not name.startswith("golden")] == sorted([*graphs, "manifest.json"])
    assert {name: upon_toy.read(name) for name in other.manifest.files} == {
        name: other.read(name) for name in other.manifest.files
    }
    assert upon_toy.fingerprint == other.fingerprint
    assert len((upon_toy.path / "edge.onnx.delta").read_bytes()) == 12
    assert len((upon_toy.path / "repair.onnx.delta").read_bytes()) < 30
    assert main(["delta", "--bundle", str(other.path), "--out", str(upon_toy.path)]) == 0  # in place of itself
    with RestoreEngine(upon_toy, runtime="onnxruntime") as engine, RestoreEngine(other, runtime="onnxruntime") as whole:
        photo, mask = other.golden()["image"][0], other.golden()["mask"][0]
        assert np.array_equal(engine(photo, mask), whole(photo, mask))


def test_another_default_is_told(upon_toy: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = repair_graph().replace(np.float32(255).tobytes(), np.float32(254).tobytes())
    release = write_toy_bundle(tmp_path / "later", repair=StageFiles("repair", later, later, 0, 0))
    monkeypatch.setattr(bundles, "DEFAULT_BUNDLE", release.path)
    with pytest.raises(
        BundleIntegrityError, match=r"repair\.onnx\.delta does not make .* changes of the one in"
    ) as caught:
        upon_toy.read("repair.onnx")
    assert "the release" in caught.value.hint
    for other in (later[:-1], later + b"x", None):  # shorter, longer, gone
        path = release.path / "repair.onnx"
        path.unlink() if other is None else path.write_bytes(other)
        with pytest.raises(BundleIntegrityError, match=r"default bundle, which this one is a change of, is damaged: "):
            upon_toy.read("repair.onnx")
    (upon_toy.path / "edge.onnx.delta").unlink()
    with pytest.raises(BundleIntegrityError, match=r"lacks edge\.onnx\.delta"):
        upon_toy.read("edge.onnx")
    (upon_toy.path / "edge.onnx.delta").write_bytes(b"nonsense")
    with pytest.raises(BundleIntegrityError, match=r"edge\.onnx\.delta does not make edge\.onnx: it is no delta"):
        upon_toy.read("edge.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_delta_is_a_plain_file(upon_toy: Bundle, tmp_path: Path, kind: str) -> None:
    path = upon_toy.path / "edge.onnx.delta"
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(BundleError, match=r"edge\.onnx\.delta is|cannot read"):
        upon_toy.read("edge.onnx")


def test_a_delta_does_not_make_a_graph_that_reads_other_files(upon_toy: Bundle) -> None:
    """What a bundle may not hold, it may not hold as a delta either."""
    base = bundles.DEFAULT_BUNDLE / "repair.onnx"
    root = json.loads((upon_toy.path / "manifest.json").read_bytes())
    graph = bytearray(base.read_bytes())
    graph[2:4] = b"\xff\xff"
    root["files"]["repair.onnx"]["sha256"] = hashlib.sha256(graph).hexdigest()
    (upon_toy.path / "manifest.json").write_text(json.dumps(root))
    (upon_toy.path / "repair.onnx.delta").write_bytes(make_delta(base.read_bytes(), bytes(graph)))
    with pytest.raises(BundleIntegrityError, match="no graph that a bundle may hold"):
        Bundle.load(upon_toy.path).read("repair.onnx")


@pytest.mark.parametrize("name", ["../edge.onnx", "manifest.json", "", 7, None])
def test_a_delta_is_a_file_of_the_bundle(upon_toy: Bundle, name: object) -> None:
    path = upon_toy.path / "manifest.json"
    root = json.loads(path.read_bytes())
    root["files"]["edge.onnx"]["delta"] = name
    path.write_text(json.dumps(root))
    with pytest.raises(BundleManifestError, match="a bundle cannot hold"):
        Bundle.load(upon_toy.path)


def test_the_default_is_never_written_over(
    upon_toy: Bundle, other: Bundle, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in toy_bundle.path.iterdir()}
    assert main(["delta", "--bundle", str(other.path), "--out", str(toy_bundle.path)]) == 2
    assert "is the default bundle itself" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in toy_bundle.path.iterdir()} == before


def test_the_default_is_not_exported_anew_under_another_bundle(
    upon_toy: Bundle, toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_export, "DEFAULT_BUNDLE", toy_bundle.path)
    monkeypatch.setattr(bundle_export, "SHIPPED", {"default": toy_bundle.path, "vivid": upon_toy.path})
    monkeypatch.setitem(bundles.SHIPPED, "vivid", upon_toy.path)
    for names in (None, ["repair.onnx"]):
        with pytest.raises(OutputError, match="the bundle vivid is kept as what it changes") as caught:
            bundle_export.require_unshared(toy_bundle.path, names)
        assert "export weights --bundle vivid" in caught.value.hint
    bundle_export.require_unshared(toy_bundle.path, ["repair.int8.onnx"])
    bundle_export.require_unshared(tmp_path, None)


def test_a_name_is_a_string_and_a_path_is_a_folder(
    toy_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_bundle(tmp_path / "vivid")
    monkeypatch.setitem(bundles.SHIPPED, "vivid", toy_bundle.path)
    assert Bundle.load("vivid").path == toy_bundle.path
    assert [Bundle.load(each).path.resolve() for each in (Path("vivid"), "./vivid")] == [tmp_path / "vivid"] * 2
    monkeypatch.setitem(bundles.SHIPPED, "vivid", tmp_path / "nothing")
    with pytest.raises(BundleError, match="holds no vivid bundle"):
        Bundle.load("vivid")
    for wrong in ("Vivid", " vivid", Path("vivd"), "", 3, b"vivid"):
        with pytest.raises(BundleError, match="no bundle") as caught:
            Bundle.load(wrong)  # type: ignore[arg-type]
        assert "one of default, vivid, or the folder" in caught.value.hint
