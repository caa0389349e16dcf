"""``python -m export int8``: a bundle with 8-bit graphs besides its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from export.command import decibel, status
from export.errors import ExportError


def main(argv: Sequence[str]) -> int:
    """Add the graphs; 0 when the bundle was written, 1 when the gate stopped it, 2 on a mistake of the caller's."""
    parser = argparse.ArgumentParser(
        prog="python -m export int8",
        description="Quantise the convolutions of a bundle that stand it, for runtime openvino-int8. Takes minutes.",
    )
    parser.add_argument("--bundle", help="default, faithful, or the folder of another bundle")
    parser.add_argument("--faces", type=Path, required=True, help="photographs to calibrate on; they stay out of it")
    parser.add_argument("--limit", type=int, default=128, help="how many of --faces to take, evenly (default: 128)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle; may be that of --bundle")
    options = parser.parse_args(argv)
    if options.limit < 1:
        parser.error("--limit must be at least 1")
    return status(lambda: _add(options))


def _add(options: argparse.Namespace) -> None:
    from export.bundle import add_int8
    from export.calibrate import quantize_bundle
    from export.writing import check_bundle_target
    from restore_sdk.bundle import Bundle
    from training.data import DataError
    from training.protocol import read_faces

    bundle = Bundle.load(options.bundle)
    check_bundle_target(options.out)  # before the long work
    try:
        photos = [photo for _, photo in read_faces(options.faces, options.limit)]
    except DataError as error:
        raise ExportError(str(error), "see: python -m export int8 --help") from error
    made = quantize_bundle(bundle, photos, _progress)
    _progress("")
    add_int8(bundle, options.out, made.graphs, made.facts)
    drift, count = made.facts["psnr_db"], sum(map(len, made.facts["convolutions"].values()))
    print(
        f"wrote {options.out}: {count} convolutions in 8 bits, {made.facts['macs_share']:.0%} of the multiplications, "
        f"{decibel(drift['pooled'])} from float32, worst {decibel(drift['worst'])}; "
        f"{sum(map(len, made.graphs.values())) / 1e6:.2f} MB more"
    )


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line:<78}", end="" if line else "\r", file=sys.stderr, flush=True)
