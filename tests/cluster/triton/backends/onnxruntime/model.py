"""A double of Triton's ONNX Runtime backend, as a Python-based backend: the same graphs on ONNX Runtime from Python.

NVIDIA's own backend is not to be had from a package index; the server around this one is real. Loaded by the server,
not by the tests: ``triton_python_backend_utils`` exists only there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One instance of a model, as the server wants it."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        graph = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for configured, found in (
            (config["input"], self._session.get_inputs()),
            (config["output"], self._session.get_outputs()),
        ):
            # As the real backend checks: same tensors, and a first axis that may be a batch.
            wanted = {tensor["name"]: [int(side) for side in tensor["dims"]] for tensor in configured}
            if wanted != {tensor.name: tensor.shape[1:] for tensor in found}:
                raise triton.TritonModelException(f"{graph} has other tensors than config.pbtxt")
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        # By DLPack: the server's own conversion to and from numpy was built for numpy 1, and gives empty tensors on 2.
        feeds = {name: np.from_dlpack(triton.get_input_tensor_by_name(request, name)) for name in self._inputs}
        results = self._session.run(self._outputs, feeds)
        tensors = [triton.Tensor.from_dlpack(*named) for named in zip(self._outputs, results, strict=True)]
        return triton.InferenceResponse(tensors)
