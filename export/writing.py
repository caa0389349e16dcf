"""A model bundle written in one step: nothing invalid, nothing half-written, nothing of somebody else's replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.atomic import check_owned, write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.bundle import weights_name
from restore_sdk.bundle.manifest import (
    DAMAGE,
    STAGE_CONTRACT,
    FileSpec,
    Golden,
    Manifest,
    Precision,
    StageSpec,
    damage_contract,
    parse_manifest,
    tensor_contract,
)
from restore_sdk.errors import BundleError


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


def add_damage_stage(bundle: Bundle, graph: bytes, parameters: int, macs: int) -> Bundle:
    """Write a bundle anew where it stands, with a damage stage in place of one that it may have, and open it.

    Args:
        bundle: its other files stay as they are, after a check of their hashes.
        graph: serialised ONNX. ``parameters`` and ``macs``: its cost, for 256 x 256 pixels.

    Raises:
        BundleError: a file of the bundle is missing or altered. OutputError: its folder cannot be written.
    """
    name = f"{DAMAGE}.onnx"
    check_bundle_target(bundle.path)
    files = {other: bundle.checked(other) for other in bundle.manifest.files if other != name}
    files[name] = graph
    image, damage = damage_contract()
    stage = StageSpec(DAMAGE, {"fp32": name}, (image,), (damage,), parameters, macs)
    sealed = sealed_manifest(msgspec.structs.replace(bundle.manifest, damage=stage), files)
    write_folder(bundle.path, {**files, "manifest.json": sealed})
    return Bundle.load(bundle.path)


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
        weights: what the graphs have in common, kept once: the file that they name by :func:`weights_name`.
        created: ISO 8601 date and time in UTC; ``None`` means now.

    Raises:
        BundleError (manifest): what was handed in would make an invalid manifest.
        BundleError (integrity): the golden arrays do not fit the stages.
        OutputError: ``path`` cannot be written, or holds something that is no bundle.
    """
    target = Path(path)
    check_bundle_target(target)
    archive = io.BytesIO()
    arrays: dict[str, Any] = {key: np.ascontiguousarray(array) for key, array in sorted(golden.items())}
    np.savez_compressed(archive, **arrays)
    files = {"golden.npz": archive.getvalue()}
    if weights:
        files[weights_name(hashlib.sha256(weights).hexdigest())] = weights
    stages = []
    for stage, (label, inputs, outputs) in zip((edge, repair), STAGE_CONTRACT, strict=True):
        if stage.name != label:
            raise BundleError(
                f"stage {stage.name!r} was handed in as {label!r}", "check the arguments", reason="manifest"
            )
        names: dict[Precision, str] = {"fp32": f"{label}.onnx", "fp16": f"{label}.fp16.onnx"}
        files |= {names["fp32"]: stage.fp32, names["fp16"]: stage.fp16}
        stages.append(
            StageSpec(
                name=label,
                files=names,
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
    sealed = sealed_manifest(manifest, files)
    Bundle(target, manifest).check_golden(golden)  # nothing invalid is written
    write_folder(target, {**files, "manifest.json": sealed})
    return Bundle.load(target)


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON, such that :func:`parse_manifest` gives back the same."""
    try:
        root = msgspec.to_builtins(manifest)
        if manifest.damage is None:  # as versions read it that do not know this stage
            del root["damage"]
        text = json.dumps(root, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"the manifest cannot be written as JSON: {error}", "use plain numbers", reason="manifest"
        ) from error
    return (text + "\n").encode()


def sealed_manifest(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """``manifest.json`` of a bundle of these files, whatever files ``manifest`` names.

    Raises :class:`BundleError` where a reader would refuse it.
    """
    specs = {key: FileSpec(hashlib.sha256(data).hexdigest(), len(data)) for key, data in files.items()}
    data = dump_manifest(msgspec.structs.replace(manifest, files=specs))
    parse_manifest(data)
    return data
