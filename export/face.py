"""``python -m export face``: a bundle with the stage besides that frames faces, of the weights of a training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from export import GateError
from export.graph import cpu_graph
from export.pictures import drawn_face, mask_of
from export.stages import cpu_session
from export.writing import add_extra_stage
from restore_sdk.bundle import Bundle
from training.networks.stages import FaceStage
from training.weights import load_networks

#: Largest difference of the graph's output to PyTorch's.
MAX_DIFFERENCE = 1e-3


def add_face(bundle: Bundle, weights: Path) -> None:
    """Write the bundle anew where it stands; its other files stay as they are.

    Raises:
        training.checkpoint.CheckpointError: the weights cannot be read.
        GateError: the graph computes something else than PyTorch.
    """
    networks, _ = load_networks(weights)
    stage = FaceStage(networks.edge.shape).eval().requires_grad_(False)
    graph = cpu_graph("face", stage).SerializeToString()
    image = np.stack([drawn_face(seed) for seed in range(4)])
    mask = np.stack([mask_of(share, seed) for seed, share in enumerate((0.05, 0.3, 0.5, 0.85))])
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        expected = stage(torch.from_numpy(image), torch.from_numpy(mask)).numpy()
    found = cpu_session(graph).run(None, {"image": image, "mask": mask})[0]
    if found.shape != expected.shape or not np.abs(found - expected).max() <= MAX_DIFFERENCE:
        raise GateError("the face graph computes something else than PyTorch", "check export/graph.py")
    parameters = sum(weight.numel() for weight in networks.edge.shape.parameters())
    macs = counter.get_total_flops() // 2 // len(image)
    made = add_extra_stage(bundle, "face", graph, parameters, macs)
    print(f"wrote {made.path}: {parameters} parameters, {macs / 1e6:.0f} MMAC, {len(graph) / 1e6:.2f} MB more")
