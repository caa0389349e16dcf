"""``config.pbtxt`` of the repository's models, in the text form of Triton's protobuf message ``ModelConfig``.

Fields and their meaning: Triton Inference Server, "Model Configuration" and ``model_config.proto``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec, TensorSpec
from restore_sdk.errors import InputError
from restore_sdk.runtime.tritonnames import FACTS

Device = Literal["auto", "cpu", "gpu"]
_KINDS: Mapping[str, str] = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How Triton is to run the stages.

    Attributes:
        device: ``"auto"`` takes the GPUs where there are some, else the CPU.
        instances: copies of each stage that run at the same time, on each GPU or on the CPU.
        queue_delay_us: microseconds that a stage may wait for company. 0 takes what waits anyway, as
            ``restore-sdk serve`` does.
    """

    device: Device = "auto"
    instances: int = 1
    queue_delay_us: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("instances", 1, 64), ("queue_delay_us", 0, 10**6)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}", f"pass {least} to {most} for {name}")


def stage_config(
    name: str, stage: StageSpec, backend: str, files: Mapping[str, str], max_batch: int, serving: Serving
) -> str:
    """A stage as a model of its own.

    Args:
        max_batch: most squares in one run; a request may hold as many.
        files: name of the model's file by compute capability, as in ``"8.6"``; under ``""`` the one for any device.
    """
    delay = f" max_queue_delay_microseconds: {serving.queue_delay_us} " if serving.queue_delay_us else " "
    lines = [
        f"backend: {_text(backend)}",
        *([f"default_model_filename: {_text(files[''])}"] if "" in files else []),
        *(f"cc_model_filenames {{ key: {_text(cc)} value: {_text(file)} }}" for cc, file in files.items() if cc),
        *_head(stage.inputs, stage.outputs, max_batch),
        f"instance_group [ {{ kind: {_KINDS[serving.device]} count: {serving.instances} }} ]",
        f"dynamic_batching {{{delay}}}",
        # Ready only after a run: the first one allocates, and chooses kernels on a GPU.
        f'model_warmup [ {{ name: "one square" batch_size: 1 {" ".join(map(_zeros, stage.inputs))} }} ]',
    ]
    return _config(name, lines)


def ensemble_config(name: str, models: Sequence[str], bundle: Bundle, max_batch: int, *, edges: bool) -> str:
    """The two stages in a row; tensors keep their names.

    Args:
        models: names of the edge and of the repair model.
        edges: give the completed edges, too. A client then has to ask for both outputs: where the output of a stage
            is left out, Triton leaves out the stage, and what comes after it waits in vain.
    """
    edge, repair = bundle.stages
    steps = []
    for model, stage in zip(models, (edge, repair), strict=True):
        maps = [f'input_map {{ key: "{tensor.name}" value: "{tensor.name}" }}' for tensor in stage.inputs]
        maps += [f'output_map {{ key: "{tensor.name}" value: "{tensor.name}" }}' for tensor in stage.outputs]
        steps.append(f"    {{ model_name: {_text(model)} model_version: -1\n      " + "\n      ".join(maps) + " }")
    lines = [
        'platform: "ensemble"',
        *_head(edge.inputs, (*repair.outputs, *(edge.outputs if edges else ())), max_batch),
        "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}",
        f"parameters {{ key: {_text(FACTS)} value {{ string_value: {_text(json.dumps(bundle.facts()))} }} }}",
    ]
    return _config(name, lines)


def _config(name: str, lines: Sequence[str]) -> str:
    return "\n".join((f"name: {_text(name)}", *lines, "version_policy { latest { num_versions: 1 } }", ""))


def _head(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch: int) -> list[str]:
    return [
        f"max_batch_size: {max_batch}",  # the first axis of every tensor, which dims leave out
        "input [\n" + ",\n".join(map(_tensor, inputs)) + "\n]",
        "output [\n" + ",\n".join(map(_tensor, outputs)) + "\n]",
    ]


def _tensor(tensor: TensorSpec) -> str:
    return f"  {{ name: {_text(tensor.name)} data_type: {_dtype(tensor)} dims: {_dims(tensor)} }}"


def _zeros(tensor: TensorSpec) -> str:
    value = f"data_type: {_dtype(tensor)} dims: {_dims(tensor)} zero_data: true"
    return f"inputs {{ key: {_text(tensor.name)} value {{ {value} }} }}"


def _dtype(tensor: TensorSpec) -> str:
    return f"TYPE_{tensor.dtype.upper()}"


def _dims(tensor: TensorSpec) -> str:
    return f"[ {', '.join(map(str, tensor.shape[1:]))} ]"


def _text(value: str) -> str:
    """A quoted string: printable ASCII, which protobuf's text form and JSON escape alike."""
    return json.dumps(value)
