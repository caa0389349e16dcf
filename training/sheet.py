"""A sheet of the same few faces, drawn again and again as a run goes on: it says more than any loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from restore_sdk.files import write_file
from training.networks.stages import pull_push, to_unit
from training.protocol import Case, cases
from training.weights import Networks


class Sheet:
    """Some faces under wide masks, grown until they hide 54 to 89%."""

    def __init__(self, faces: Path, masks: Path, count: int = 24) -> None:
        found = [case for case in cases(faces, masks, count) if case.bucket == "50-60%"]
        self.cases = [_wider(case, 0.54 + 0.35 * i / max(len(found) - 1, 1)) for i, case in enumerate(found)]

    def write(self, path: Path, networks: Networks) -> None:
        """One row a face: damaged, completed edges, the coarse guess, restored, original."""
        edge, repair = networks.stages()
        device = next(networks.parameters()).device
        rows = []
        with torch.inference_mode():
            for case in self.cases:
                image, mask = (torch.from_numpy(each)[None].to(device) for each in (case.image, case.mask))
                completed = edge(image, mask)
                restored = repair(image, mask, completed)[0].cpu().numpy()
                unit, hole = to_unit(image.permute(0, 3, 1, 2).float()), (mask > 127).float()[:, None]
                guess = pull_push(unit, hole)
                _, residual = networks.repair.coarse(guess, completed[:, None].float() / 255.0, hole)
                small, hole = F.avg_pool2d(guess, 4) + residual, F.avg_pool2d(hole, 4)
                coarse = F.interpolate(
                    F.avg_pool2d(unit, 4) * (1.0 - hole) + hole * small, scale_factor=4, mode="nearest"
                )
                coarse = ((coarse[0].permute(1, 2, 0) + 1.0) * 127.5).clamp(0, 255).byte().cpu().numpy()
                lines = cv2.cvtColor(completed[0].cpu().numpy(), cv2.COLOR_GRAY2RGB)
                rows.append(np.hstack([case.damaged, lines, coarse, restored, case.image]))
        half = (len(rows) + 1) // 2
        columns = [np.vstack(rows[:half]), np.vstack(rows[half:])] if len(rows) > 1 and len(rows) % 2 == 0 else rows
        _, encoded = cv2.imencode(".jpg", np.hstack(columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        write_file(path, encoded.tobytes())


def _wider(case: Case, share: float) -> Case:
    mask = case.mask
    while (mask > 127).mean() < share:
        mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    return Case(case.bucket, case.name, case.image, mask)
