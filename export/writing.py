"""A model bundle written in one step: nothing invalid, nothing half-written, nothing of somebody else's replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import set_external_data

from restore_sdk._util.disk import check_owned, write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.bundle import weights_name
from restore_sdk.bundle.manifest import (
    EXTRA_STAGES,
    STAGE_CONTRACT,
    FileSpec,
    Golden,
    Manifest,
    StageSpec,
    parse_manifest,
    tensor_contract,
)
from restore_sdk.errors import BundleError

#: Bytes from which on a tensor is kept once for all graphs that hold it.
_SHARED_FROM = 1024


@dataclass(frozen=True, slots=True)
class StageFiles:
    """What an export made of one stage: ``name`` is ``"edge"`` or ``"repair"``, the graphs are serialised ONNX."""

    name: str
    fp32: bytes
    fp16: bytes
    parameters: int
    macs: int
    max_activation: float | None = None


def check_bundle_target(path: str | os.PathLike[str]) -> None:
    """Raise :class:`restore_sdk.errors.OutputError` unless a bundle may be written at ``path``; touches nothing.

    It may where nothing stands, into an empty folder, and in place of a bundle with nothing else in its folder.
    """
    check_owned(Path(path), "manifest.json", "bundle")


def write_bundle(
    path: str | os.PathLike[str],
    *,
    name: str,
    version: str,
    edge: StageFiles,
    repair: StageFiles,
    golden: Mapping[str, NDArray[np.uint8]],
    training: Mapping[str, Any],
    quality: Mapping[str, Any],
    weights: bytes = b"",
    created: str | None = None,
) -> Bundle:
    """Write a whole bundle in one step and open it.

    Everything is checked and laid out in a temporary folder beside ``path``, synced to disk, then renamed. A bundle
    that stands at ``path`` is replaced; see :func:`check_bundle_target` for what is refused.

    Args:
        path: the folder to write; its parent must exist.
        name: name of the model. ``version``: version of the model, free text.
        edge: the edge stage's graphs. ``repair``: the repair stage's.
        golden: ``uint8`` arrays ``image``, ``mask``, ``completed_edges`` and ``restored``, N first; the
            last two as the PyTorch reference gives them in float32.
        training: ``{"data": [{"name", "licence", "images"}...], "images_seen": int, ...}``, JSON types only; images of
            full size.
        quality: the evaluation table, JSON types only.
        weights: what the graphs have in common, kept once: see :func:`share_weights`.
        created: ISO 8601 date and time in UTC; ``None`` means now.

    Raises:
        BundleError (manifest): what was handed in would make an invalid manifest.
        BundleError (integrity): the golden arrays do not fit the stages.
        OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    check_bundle_target(path)
    archive = io.BytesIO()
    arrays: dict[str, Any] = {key: np.ascontiguousarray(array) for key, array in sorted(golden.items())}
    np.savez_compressed(archive, **arrays)
    files = {"golden.npz": archive.getvalue(), **_named(weights)}
    stages = []
    for stage, (label, inputs, outputs) in zip((edge, repair), STAGE_CONTRACT, strict=True):
        if stage.name != label:
            raise BundleError(
                f"stage {stage.name!r} was handed in as {label!r}", "check the arguments", reason="manifest"
            )
        files |= {f"{label}.onnx": stage.fp32, f"{label}.fp16.onnx": stage.fp16}
        stages.append(
            StageSpec(
                name=label,
                files={"fp32": f"{label}.onnx", "fp16": f"{label}.fp16.onnx"},
                inputs=tuple(map(tensor_contract, inputs)),
                outputs=tuple(map(tensor_contract, outputs)),
                parameters=stage.parameters,
                macs=stage.macs,
                max_activation=stage.max_activation,
            )
        )
    manifest = Manifest(
        name=name,
        version=version,
        stages=tuple(stages),
        files={},
        golden=Golden("golden.npz"),
        training=dict(training),
        quality=dict(quality),
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
    )
    Bundle(Path(path), manifest).check_golden(golden)
    return _write(path, manifest, files)


def add_extra_stage(
    bundle: Bundle, stage: str, graph: bytes, parameters: int, macs: int, data: list[dict[str, Any]] | None = None
) -> Bundle:
    """Write a bundle anew where it stands, with one of ``EXTRA_STAGES`` in place of one that it may have, and open it.

    Args:
        bundle: its other files stay as they are, after a check of their hashes.
        stage: its name.
        graph: serialised ONNX. ``parameters`` and ``macs``: its cost, for 256 x 256 pixels.
        data: what it was trained on, as in the data card, where that is not what the model was; kept under
            ``training`` by the stage's name.

    Raises:
        BundleError: a file of the bundle is missing or altered. OutputError: its folder cannot be written.
    """
    name = f"{stage}.onnx"
    files = {other: bundle.checked(other) for other in bundle.manifest.files} | {name: graph}
    changes: dict[str, Any] = {
        stage: StageSpec(stage, {"fp32": name}, *EXTRA_STAGES[stage], parameters, macs),
        "training": {**bundle.manifest.training, **({stage: data} if data else {})},
    }
    return _write(bundle.path, msgspec.structs.replace(bundle.manifest, **changes), files)


def add_int8(bundle: Bundle, path: Path, graphs: Mapping[str, bytes], facts: Mapping[str, Any]) -> Bundle:
    """Write a bundle anew with 8-bit graphs, and open it.

    Args:
        bundle: all else is taken from it, its name, version and date too; graphs in 8 bits that it has are replaced.
        path: the folder to write, which may be the bundle's own.
        graphs: serialised ONNX by stage.
        facts: how they were made and how far they are from float32, JSON types; kept under ``quality.int8``.

    Raises:
        BundleError: a file of ``bundle`` is missing or altered.
        OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    manifest = bundle.manifest
    names = {stage: f"{stage}.int8.onnx" for stage in graphs}
    held = sorted({name for spec in manifest.stages for name in spec.files.values()} - set(names.values()))
    shared, weights = share_weights(
        {name: bundle.read(name) for name in held} | {names[stage]: graph for stage, graph in graphs.items()}
    )
    replaced = {*held, *names.values()}
    others = [name for name, spec in manifest.files.items() if name not in replaced | {weights_name(spec.sha256)}]
    named = msgspec.structs.replace(
        manifest,
        stages=tuple(
            msgspec.structs.replace(spec, files=spec.files | {"int8": names[spec.name]}) for spec in manifest.stages
        ),
        quality={**manifest.quality, "int8": dict(facts)},
    )
    return _write(path, named, {name: bundle.read(name) for name in others} | shared | _named(weights))


def share_weights(graphs: Mapping[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """The same graphs with the tensors that more than one of them holds in one file besides, as ONNX external data.

    Args:
        graphs: serialised ONNX, whole.

    Returns:
        The graphs by the same keys, and the file's bytes, which they name by
        :func:`restore_sdk.bundle.bundle.weights_name`.
    """
    models = {key: onnx.load_from_string(graph) for key, graph in graphs.items()}
    held = {
        key: dict.fromkeys(bytes(t.raw_data) for t in model.graph.initializer if len(t.raw_data) >= _SHARED_FROM)
        for key, model in models.items()
    }
    counts = Counter(data for each in held.values() for data in each)
    places: dict[bytes, int] = {}
    content = bytearray()
    for data, count in counts.items():
        if count > 1:
            places[data] = len(content)
            content += data + bytes(-len(data) % 16)
    name = weights_name(hashlib.sha256(content).hexdigest())
    for model in models.values():
        for tensor in model.graph.initializer:
            data = bytes(tensor.raw_data)
            if data in places:
                set_external_data(tensor, name, places[data], len(data))
                tensor.ClearField("raw_data")
    return {key: model.SerializeToString() for key, model in models.items()}, bytes(content)


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON, such that :func:`parse_manifest` gives back the same."""
    try:
        root = msgspec.to_builtins(manifest)
        for name in EXTRA_STAGES:
            if root[name] is None:  # as versions read it that do not know this stage
                del root[name]
        text = json.dumps(root, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"the manifest cannot be written as JSON: {error}", "use plain numbers", reason="manifest"
        ) from error
    return (text + "\n").encode()


def _named(weights: bytes) -> dict[str, bytes]:
    return {weights_name(hashlib.sha256(weights).hexdigest()): weights} if weights else {}


def _write(path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write the manifest, whatever files it names, and these files, where a reader would not refuse them."""
    check_bundle_target(path)
    specs = {key: FileSpec(hashlib.sha256(data).hexdigest(), len(data)) for key, data in files.items()}
    data = dump_manifest(msgspec.structs.replace(manifest, files=specs))
    parse_manifest(data)
    write_folder(Path(path), {**files, "manifest.json": data})
    return Bundle.load(path)
