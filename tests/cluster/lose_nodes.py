"""A pipeline on a real Ray cluster of three nodes on this host, while a worker and then a node are killed.

Prints a JSON object a row: its number, the restored picture's SHA-256, the error, the worker.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import numpy as np
import ray
import ray.data
from ray.cluster_utils import Cluster

from restore_sdk.cluster import RestoreBatches
from tests.cluster.rows import NOT_STARTED, ROWS, row


class Restore(RestoreBatches):
    """Says which worker it was."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**super().__call__(batch), "worker": np.full(len(batch["id"]), os.getpid())}


def main() -> None:
    cpu = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    try:
        light = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
        head = {"node_ip_address": "127.0.0.1", **light, **cpu}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(**cpu) for _ in range(2)]
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    except Exception:  # Ray gives a node's agents 15 seconds to start, which on a busy machine may be too little
        sys.exit(NOT_STARTED)
    rows = [{"id": number, **row(number)} for number in range(ROWS)]
    restored = ray.data.from_items(rows, override_num_blocks=ROWS // 3).map_batches(
        Restore,
        fn_constructor_kwargs={"color": "bgr", "errors": "column"},
        compute=ray.data.ActorPoolStrategy(size=3),
        batch_size=1,
        num_cpus=1,
    )
    for count, found in enumerate(restored.iter_rows(), start=1):
        sha256 = hashlib.sha256(found["restored"].tobytes()).hexdigest()
        told = {"id": int(found["id"]), "sha256": sha256, "error": found["error"], "worker": int(found["worker"])}
        print(json.dumps(told), flush=True)
        if count == 3:
            os.kill(told["worker"], signal.SIGKILL)
        elif count == 10:
            cluster.remove_node(nodes[1], allow_graceful=False)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
