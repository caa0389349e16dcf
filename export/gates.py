"""Gates: the form of a graph, its parity with PyTorch, drift in FP16, known pixels, the hole, headroom."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export import GateError
from export.model import Model, Stage
from export.pictures import Image, drawn_face, mask_of
from export.stages import Bytes, Chain, OnnxStage, Outcome, Probe, TorchStage, batches, stack
from restore_sdk.bundle.manifest import STAGE_CONTRACT, tensor_contract
from restore_sdk.imaging.image import MASKED_ABOVE as HOLE_ABOVE
from restore_sdk.imaging.quality import Drift, psnr
from training.networks.layers import LEAST_HEARD, heard_layers

#: Float32 graphs against PyTorch: largest absolute error before rounding, as a share of full scale.
#: The edge map chooses between neighbours by steep steps, which make more of what rounding leaves.
MAX_ERROR = {"edge": 2e-3, "repair": 1e-3}

#: FP16 chain against the float32 reference, over the painted pixels of each picture (the rest is equal): 60 dB of a
#: picture of which one half is painted. :mod:`export.drift` gates a folder's pool and its worst, and each stage too.
MIN_PSNR_PAINTED = 57.0

#: Shares of the picture that the probes' masks cover.
SHARES = (0.0, 0.001, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98, 1.0)

#: Largest finite FP16 number. The largest activation seen must fit in it so many times over, since not every picture is
#: seen here.
FP16_MAX, MIN_HEADROOM = 65504.0, 8.0

#: What drift is measured of: the edge stage, the repair stage on the reference's edges, and both in a row.
PARTS = ("edge", "repair", "chain")

#: Left-overs of an export that did not fold: no stage needs them on its static shapes.
_UNFOLDED = {"Constant", "Expand", "Gather", "Identity", "If", "Loop", "NonZero", "Range", "Scan", "Shape", "Size"}
_FORM_HINT = "check the exporter's version and what changed in training/networks"
_DRIFT_HINT = "find the layer that loses precision; keep activations small and sums short"


def make_probes(photos: Mapping[str, Image] = {}, seed: int = 100) -> list[Probe]:
    """Damaged pictures from nothing missing to nothing left.

    Every share in :data:`SHARES` meets a drawn face; a few more meet noise, black and white, whose numbers are as
    large as they can be, and a soft-edged mask. Each photograph meets random damage.
    """
    pictures = [
        (f"drawn face, {share:.1%} missing", drawn_face(seed + i), mask_of(share, seed + i))
        for i, share in enumerate(SHARES)
    ]
    noise: Image = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    extremes = {"noise": noise, "black": np.zeros_like(noise), "white": np.full_like(noise, 255)}
    for i, (name, image) in enumerate(extremes.items()):
        pictures += [(f"{name}, {share:.0%} missing", image, mask_of(share, seed + i)) for share in (0.3, 0.95)]
    soft = np.random.default_rng(seed).integers(0, 256, (256, 256), np.uint8)
    pictures.append(("soft mask", drawn_face(seed), soft))
    for i, (name, image) in enumerate(photos.items()):
        pictures.append((name, image, mask_of(SHARES[(i + 8) % len(SHARES)], seed + i)))
    return [Probe(*picture) for picture in pictures]


# -- the form of a graph ----------------------------------------------------------------------------------------------


def check_structure(name: str, graph: onnx.ModelProto, precision: str) -> None:
    """Raise :class:`GateError` unless the graph of a stage in ``"fp32"`` or ``"fp16"`` is sound.

    Both: the ONNX checker in full, strict shape inference, the contract's tensors with a symbolic batch, nothing left
    unfolded, no notes of the exporting machine. FP16 also: strongly typed for TensorRT, which takes a Cast and nothing
    else on ``uint8``, and no other Cast.
    """
    what = f"{name} stage, {precision} graph"
    try:
        onnx.checker.check_model(graph, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GateError(f"{what}: not valid ONNX: {error}", _FORM_HINT) from error
    _, inputs, outputs = next(entry for entry in STAGE_CONTRACT if entry[0] == name)
    for found, expected in ((graph.graph.input, inputs), (graph.graph.output, outputs)):
        have = [(tensor.name, tensor.type.tensor_type.elem_type, _dims(tensor)) for tensor in found]
        want = [(tensor, TensorProto.UINT8, tensor_contract(tensor).shape) for tensor in expected]
        if have != want:
            raise GateError(f"{what}: has tensors {have}, the contract says {want}", _FORM_HINT)
    foreign = sorted({each.domain for each in (*graph.graph.node, *graph.functions)} - {""})
    unfolded = sorted(_UNFOLDED & {node.op_type for node in graph.graph.node})
    if foreign or unfolded:
        raise GateError(f"{what}: holds {', '.join(unfolded or foreign)}", _FORM_HINT)
    if any(node.metadata_props or node.doc_string for node in graph.graph.node):
        raise GateError(f"{what}: carries notes of the exporter", _FORM_HINT)
    if precision == "fp16":
        _check_half(what, inferred.graph)


def _dims(tensor: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim)


def _check_half(what: str, graph: onnx.GraphProto) -> None:
    edges = {tensor.name for tensor in (*graph.input, *graph.output)}
    for node in graph.node:
        at_edge = bool(edges & {*node.input, *node.output})
        if at_edge != (node.op_type == "Cast"):
            fault = "works on uint8" if at_edge else "is a Cast away from the uint8 tensors"
            raise GateError(f"{what}: {node.op_type} {node.name!r} {fault}, which TensorRT refuses", _FORM_HINT)
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize"}  # float32 whatever is resized
    typed = [(value.name, value.type.tensor_type.elem_type) for value in graph.value_info]
    typed += [(tensor.name, tensor.data_type) for tensor in graph.initializer]
    single = [name for name, kind in typed if kind == TensorProto.FLOAT and name not in scales]
    if single:
        raise GateError(f"{what}: {len(single)} tensors are float32, first {single[0]}", _FORM_HINT)


# -- what a graph computes --------------------------------------------------------------------------------------------


def check_numbers(
    model: Model, graphs: Mapping[str, Mapping[str, onnx.ModelProto]], probes: Sequence[Probe]
) -> dict[str, Any]:
    """Run every probe through every form of the model and compare.

    Args:
        model: the reference.
        graphs: by stage and precision.
        probes: what to run, in batches of one and of up to four.

    Returns:
        The figures measured, JSON types only: ``max_error`` by stage, ``fp16_psnr_db`` (pooled and worst,
        ``None``: all equal) by arithmetic, ``largest_activation`` by stage and layer, ``fp16_headroom``, ``probes``.

    Raises:
        GateError: a number is off; the message names gate, stage, probe and figure.
    """
    reference = Chain("PyTorch float32", TorchStage(model.edge), TorchStage(model.repair))
    single = Chain("the fp32 graphs on ONNX Runtime", *(OnnxStage(graphs[name]["fp32"]) for name in graphs))
    errors = {"edge": 0.0, "repair": 0.0}
    for batch in batches(probes):
        inputs = stack(batch)
        wanted = reference(*inputs)
        found = single.edge(*inputs), single.repair(*inputs, wanted[0].output)
        for stage, expected, ours in zip(errors, wanted, found, strict=True):
            errors[stage] = max(errors[stage], _check_parity(stage, batch, expected, ours))
        _check_soundness(single, batch, inputs, single(*inputs))
    halves = [graphs[name]["fp16"] for name in graphs]
    drift, facts = measure_half(model.edge, model.repair, halves, probes, _check_painted)
    for chain in (reference, single, *_half_chains(model.edge, model.repair, halves).values()):
        _check_hole_is_ignored(chain, probes)
    return {
        "probes": len(probes),
        "max_error": {stage: _short(value) for stage, value in errors.items()},
        "fp16_psnr_db": {
            name: {"pooled": _short(parts["chain"].pooled_db), "worst": _short(parts["chain"].worst_db)}
            for name, parts in drift.items()
        },
        **facts,
    }


def _half_chains(edge: Stage, repair: Stage, graphs: Sequence[onnx.ModelProto]) -> dict[str, Chain]:
    return {
        "pytorch_half": Chain("PyTorch half", TorchStage(edge, half=True), TorchStage(repair, half=True)),
        "onnxruntime_fp16": Chain("the fp16 graphs on ONNX Runtime", *map(OnnxStage, graphs)),
    }


def measure_half(
    edge: Stage,
    repair: Stage,
    graphs: Sequence[onnx.ModelProto],
    probes: Sequence[Probe],
    check: Callable[[Chain, Sequence[Probe], Bytes, Bytes], None] = lambda *_: None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, dict[str, Drift]], dict[str, Any]]:
    """Half precision against the stages in float32, in two forms: the same networks in half-precision arithmetic, each
    operator's result rounded to half as a GPU stores it, and the FP16 graphs on ONNX Runtime, whose CPU kernels may
    compute wider than that.

    Args:
        check: is given each batch with the reference's pictures and those of the form, and may raise.
        progress: is told how many probes are done.

    Returns:
        Drift by form and part (:data:`PARTS`); and ``fp16_headroom`` and ``largest_activation`` by stage and layer.

    Raises:
        GateError: NaN, infinity, a changed known pixel, a layer without headroom, or one that has died.
    """
    reference = Chain("PyTorch float32", TorchStage(edge), TorchStage(repair))
    forms = _half_chains(edge, repair, graphs)
    found = {name: {part: Drift() for part in PARTS} for name in forms}
    done = 0
    with (
        watch(edge.generator) as edge_peaks,
        watch(repair.generator) as repair_peaks,
        heard_layers(edge.generator) as edge_heard,
        heard_layers(repair.generator) as repair_heard,
    ):
        for batch in batches(probes):
            inputs = stack(batch)
            wanted = reference(*inputs)
            _check_soundness(reference, batch, inputs, wanted)
            edges, picture = wanted[0].output, wanted[1].output
            for name, chain in forms.items():
                outcomes = chain(*inputs)
                _check_soundness(chain, batch, inputs, outcomes)
                check(chain, batch, picture, outcomes[1].output)
                alone = chain.repair(*inputs, edges).output
                for part, right, ours in (
                    ("edge", edges, outcomes[0].output),
                    ("repair", picture, alone),
                    ("chain", picture, outcomes[1].output),
                ):
                    found[name][part].add(right, ours)
            done += len(batch)
            progress(done)
    for stage, heard in (("edge", edge_heard), ("repair", repair_heard)):
        check_alive(stage, heard)
    peaks = {"edge": edge_peaks, "repair": repair_peaks}
    largest = max(check_headroom(stage, layers) for stage, layers in peaks.items())
    return found, {
        "fp16_headroom": _short(FP16_MAX / largest),
        "largest_activation": {
            stage: {layer: _short(value) for layer, value in layers.items()} for stage, layers in peaks.items()
        },
    }


def _check_parity(stage: str, batch: Sequence[Probe], expected: Outcome, found: Outcome) -> float:
    """Largest error before rounding, as a share of full scale. After rounding, no byte may be off by more than one."""
    errors = np.abs(expected.unrounded - found.unrounded).reshape(len(batch), -1).max(axis=1) / 255.0
    steps = np.abs(expected.output.astype(np.int16) - found.output).reshape(len(batch), -1).max(axis=1)
    for probe, error, step in zip(batch, errors, steps, strict=True):
        if not error <= MAX_ERROR[stage] or step > 1:
            raise GateError(
                f"{stage} stage, fp32 graph, {probe.name}: off by {error:.2e} of full scale before rounding "
                f"and by {step} after; at most {MAX_ERROR[stage]:.0e} and 1 are allowed",
                "the graph computes something else than training/networks: check export/passes.py and the exporter",
            )
    return float(errors.max())


def _check_soundness(
    chain: Chain, batch: Sequence[Probe], inputs: tuple[Bytes, Bytes], outcomes: tuple[Outcome, Outcome]
) -> None:
    """Finite everywhere, and the restored image byte-equal to the input where nothing is missing."""
    image, mask = inputs
    known = mask <= HOLE_ABOVE
    for i, probe in enumerate(batch):
        for stage, outcome in zip(("edge", "repair"), outcomes, strict=True):
            if not np.isfinite(outcome.unrounded[i]).all():
                raise GateError(
                    f"{stage} stage, {chain.name}, {probe.name}: the result holds NaN or infinity",
                    "look for the layer that leaves the range of half precision, or for a division by zero",
                )
        if not np.array_equal(outcomes[1].output[i][known[i]], image[i][known[i]]):
            raise GateError(
                f"repair stage, {chain.name}, {probe.name}: known pixels were changed",
                "composition must give them back byte for byte",
            )


def _check_painted(chain: Chain, batch: Sequence[Probe], wanted: Bytes, found: Bytes) -> None:
    for probe, ours, theirs in zip(batch, wanted, found, strict=True):
        painted = probe.mask > HOLE_ABOVE
        db = psnr(ours[painted], theirs[painted]) if painted.any() else math.inf
        if not db >= MIN_PSNR_PAINTED:
            raise GateError(
                f"{chain.name}, {probe.name}: {db:.1f} dB from the float32 reference where it is painted, at least "
                f"{MIN_PSNR_PAINTED:g} are asked for",
                _DRIFT_HINT,
            )


def _check_hole_is_ignored(chain: Chain, probes: Sequence[Probe]) -> None:
    """Other content under the hole must not change a byte."""
    image, mask = stack([probe for probe in probes if 0.05 < (probe.mask > HOLE_ABOVE).mean() < 1.0][-4:])
    noise = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    other = np.where((mask > HOLE_ABOVE)[..., None], noise, image)
    for stage, first, second in zip(("edge", "repair"), chain(image, mask), chain(other, mask), strict=True):
        if not np.array_equal(first.output, second.output):
            raise GateError(
                f"{stage} stage, {chain.name}: what stands under the hole changes the result",
                "mask every input in the stage before it is used",
            )


def _short(value: float) -> float | None:
    """Four digits; ``None`` for infinite, which JSON has not: no difference at all."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


# -- how large the numbers inside become ------------------------------------------------------------------------------


@contextlib.contextmanager
def watch(generator: nn.Module) -> Iterator[dict[str, float]]:
    """Record, while the context lasts, the largest absolute value that any operation inside a network gives.

    Yields:
        The peaks by the innermost layer around the operation, ``generator`` for the network itself; infinite where it
        met NaN or infinity.
    """
    peaks: dict[str, float] = {}
    inside: list[str] = []

    class Operations(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if inside and isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                    peak = float(tensor.detach().abs().max())
                    peaks[inside[-1]] = max(peaks.get(inside[-1], 0.0), peak if peak == peak else math.inf)
            return result

    with contextlib.ExitStack() as hooks:
        for name, module in generator.named_modules():
            known = name or "generator"
            entered = module.register_forward_pre_hook(lambda _module, _inputs, name=known: inside.append(name))
            left = module.register_forward_hook(lambda _module, _inputs, _output: inside.pop() and None)
            hooks.callback(entered.remove)
            hooks.callback(left.remove)
        hooks.enter_context(Operations())
        yield peaks


def check_alive(stage: str, heard: Mapping[str, float]) -> None:
    """Raises :class:`GateError` where an activation has died: see :func:`training.networks.layers.heard_layers`."""
    dead = [name for name, share in heard.items() if share < LEAST_HEARD]
    if dead:
        raise GateError(
            f"{stage} stage: {len(dead)} layer(s) whose channels nearly all are zero on every picture, first {dead[0]}",
            "nothing below is heard: begin these layers anew, and train on",
        )


def check_headroom(stage: str, peaks: dict[str, float]) -> float:
    """The largest activation of a stage. Raises :class:`GateError` where FP16 does not hold it with room to spare."""
    layer, peak = max(peaks.items(), key=lambda entry: entry[1])
    if not peak * MIN_HEADROOM <= FP16_MAX:
        raise GateError(
            f"{stage} stage: layer {layer} reaches {peak:.4g}, FP16 holds {FP16_MAX:.0f}; a headroom of "
            f"{MIN_HEADROOM:.0f} times is asked for",
            "train with a smaller bound on activations",
        )
    return peak
