"""A real Ray cluster of several nodes on this host: ``python -m tests.cluster.nodes COUNT``.

Says its address in one line, then obeys lines: ``kill NUMBER`` ends a node as a power cut would, but for the first,
which holds the cluster together. Ends with its input.
"""

from __future__ import annotations

import os
import sys

#: Ray then takes 127.0.0.1 for this host's address, and listens nowhere else; it tells nobody that it is used; and its
#: workers, which else are very nice to others, get their share of a busy machine.
SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


def main() -> None:
    os.environ.update(SETTINGS)
    from ray.cluster_utils import Cluster

    cpu = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    head = {"include_dashboard": False, "node_ip_address": "127.0.0.1", **cpu}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        # One of them says that it has a GPU, for a test of what happens where it has none after all.
        nodes = [
            cluster.head_node,
            *(cluster.add_node(num_gpus=int(n == 0), **cpu) for n in range(int(sys.argv[1]) - 1)),
        ]
        print(cluster.address, flush=True)
        for line in sys.stdin:
            cluster.remove_node(nodes[int(line.split()[1])], allow_graceful=False)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
