"""Restore a photograph with the model on an NVIDIA Triton server; this host only prepares and pastes.

    python examples/ask_triton.py [HOST:PORT [PHOTO MASK OUT]]

Without arguments: the example portrait, the server's gRPC port on this host, into restored.png in the current folder.
The server has a repository that ``restore-sdk triton`` wrote; see docs/cluster.md. Needs the extra "triton".
"""

from __future__ import annotations

import sys
from pathlib import Path

from restore_sdk import RestoreEngine, RestoreError, read_mask, read_photo, write_image

HERE = Path(__file__).resolve().parent
DEFAULTS = ("127.0.0.1:8001", HERE / "portrait_damaged.png", HERE / "portrait_mask.png", "restored.png")


def main() -> None:
    """An engine as any other, but for where the model runs."""
    url, photo, mask, out = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]][:4]
    try:
        from restore_sdk import TritonRunner

        with RestoreEngine(runtime=TritonRunner(str(url))) as engine:
            restored = engine.run(read_photo(Path(photo)), read_mask(Path(mask)), color="bgr")
        write_image(Path(out), restored.image)
    except RestoreError as error:
        sys.exit(str(error))
    print(f"{out}: {restored.timings.total_ms:.0f} ms, {restored.timings.repair_ms:.0f} of them the server's")


if __name__ == "__main__":
    main()
