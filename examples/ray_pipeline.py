"""Restore photographs in a Ray Data pipeline, one engine an actor.

    python examples/ray_pipeline.py [ADDRESS [OUT_DIR]]

ADDRESS is that of a Ray cluster, or "local" to start one here (the default). The photographs are NAME_damaged.png with
NAME_mask.png beside it, in this folder. Needs the extra "ray"; see docs/cluster.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import ray
import ray.data

from restore_sdk import RestoreBatches

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Read on the cluster, restore on the cluster, write here."""
    address, out = (*sys.argv[1:], *("local", "restored")[len(sys.argv) - 1 :])
    ray.init(address=address, logging_level="WARNING", log_to_driver=False)
    photos = [{"photo": str(path)} for path in sorted(HERE.glob("*_damaged.png"))]
    restored = (
        ray.data.from_items(photos)
        .map(read)
        .map_batches(
            RestoreBatches,
            fn_constructor_kwargs={"color": "bgr", "errors": "column"},
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
            batch_size=8,
        )
    )
    Path(out).mkdir(parents=True, exist_ok=True)
    for row in restored.iter_rows():
        name = Path(row["photo"]).name.replace("_damaged", "")
        if row["error"]:
            print(f"{name}: {row['error']}", file=sys.stderr)
        elif not cv2.imwrite(str(Path(out) / name), row["restored"]):
            sys.exit(f"cannot write {Path(out) / name}")


def read(row: dict[str, Any]) -> dict[str, Any]:
    """A photograph and its mask as columns."""
    mask = row["photo"].replace("_damaged", "_mask")
    return {**row, "image": cv2.imread(row["photo"]), "mask": cv2.imread(mask, cv2.IMREAD_GRAYSCALE)}


if __name__ == "__main__":
    main()
