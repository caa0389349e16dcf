"""The stage chain on an NVIDIA Triton Inference Server: this host prepares and pastes, the server computes.

Needs the extra ``triton``.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import numpy as np

from restore_sdk._util.terminal import install_command
from restore_sdk.bundle.manifest import tensor_contract
from restore_sdk.errors import DeviceError, InputError, MissingDependencyError
from restore_sdk.runtime import FACTS, MODEL_WITH_EDGES
from restore_sdk.runtime.base import INPUTS, OUTPUTS, U8, Inference, PooledRunner, mapped_errors

try:
    from tritonclient import grpc
except ImportError as error:
    raise MissingDependencyError(f"tritonclient does not load: {error}", f"run: {install_command('triton')}") from error

_mapped_errors = partial(mapped_errors, hint="check that it is reachable: /v2/health/ready")


class TritonRunner(PooledRunner):
    """What ``restore-sdk triton`` wrote, on a server: ``RestoreEngine(runtime=TritonRunner("gpu:8001"))``.

    The server does not tell the two stages' times apart: ``repair_ms`` is the whole call, ``edge_ms`` is 0.

    Args:
        url: host and port of the server's gRPC endpoint, without ``http://``.
        model: name of the ensemble that gives the completed edges, too.
        slots: how many requests may be under way at a time, each on a connection of its own.
        timeout_s: seconds after which a call is given up.

    Raises:
        DeviceError: there is no server, or it does not serve the model.
        InputError: what it serves by that name is no model that ``restore-sdk triton`` wrote; ``slots`` or
            ``timeout_s`` out of range.
    """

    def __init__(
        self, url: str = "127.0.0.1:8001", *, model: str = MODEL_WITH_EDGES, slots: int = 4, timeout_s: float = 60.0
    ) -> None:
        if not 1 <= slots <= 256 or not 0 < timeout_s < 86_400:
            raise InputError(f"slots is {slots}, timeout_s {timeout_s}", "pass 1 to 256, and seconds above 0")
        clients = []
        try:
            with _mapped_errors(f"the Triton server at {url} cannot be used", DeviceError):
                clients = [grpc.InferenceServerClient(url) for _ in range(slots)]  # not for several threads at a time
                server = clients[0].get_server_metadata(client_timeout=timeout_s)
                if not clients[0].is_model_ready(model, client_timeout=timeout_s):
                    raise DeviceError(
                        f"the Triton server at {url} serves no model {model!r}",
                        "write one: restore-sdk triton OUT_DIR, and look into the server's log",
                    )
                config = clients[0].get_model_config(model, client_timeout=timeout_s).config
            bundle = _bundle_facts(config)
        except BaseException:
            for client in clients:
                client.close()
            raise
        facts = {
            "runtime": "triton",
            "runtime_version": str(server.version),
            "device": f"Triton at {url}",
            "precision": "the server's",
            "bundle": {**bundle, "path": f"{url}/{model}"},
        }
        connections = [_Connection(client, url, model, timeout_s) for client in clients]
        super().__init__(connections, max(1, int(config.max_batch_size)), facts)


class _Connection:
    """One caller's at a time."""

    def __init__(self, client: Any, url: str, model: str, timeout_s: float) -> None:
        self._client, self._url, self._model, self._timeout = client, url, model, timeout_s

    def run(self, images: U8, masks: U8) -> Inference:
        inputs = []
        for name, array in zip(INPUTS, (images, masks), strict=True):
            tensor = grpc.InferInput(name, array.shape, "UINT8")
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        outputs = [grpc.InferRequestedOutput(name) for name in OUTPUTS]
        with _mapped_errors(f"the Triton server at {self._url} failed"):
            started = time.perf_counter()
            result = self._client.infer(self._model, inputs, outputs=outputs, client_timeout=self._timeout)
            # What the client returns is a view of the message.
            restored, completed = (np.array(result.as_numpy(name)) for name in OUTPUTS)
            return Inference(restored, completed, 0.0, 1e3 * (time.perf_counter() - started))

    def free(self) -> None:
        self._client.close()


def _bundle_facts(config: Any) -> dict[str, Any]:
    """The bundle's facts out of the served model's configuration, once its tensors are a restoration's."""
    served = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in (*config.input, *config.output)}
    uint8 = grpc.model_config_pb2.TYPE_UINT8
    expected = {name: (uint8, tensor_contract(name).shape[1:]) for name in (*INPUTS, *OUTPUTS)}
    if served != expected or FACTS not in config.parameters:
        raise InputError(
            f"the served model {config.name!r} with tensors {', '.join(sorted(served))} is none of restore-sdk's",
            f"name the ensemble that restore-sdk triton wrote: {MODEL_WITH_EDGES}",
        )
    facts: dict[str, Any] = json.loads(config.parameters[FACTS].string_value)
    return facts
