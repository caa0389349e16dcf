"""``python -m training.damage train | weights | evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(prog="python -m training.damage", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("train", help="train, or go on training")
    fit.add_argument("--data", type=Path, required=True, help="photographs of 256 x 256, index.csv beside the folder")
    fit.add_argument("--others", type=Path, help="a folder of other whole photographs, of anything and any size")
    fit.add_argument("--out", type=Path, required=True)
    fit.add_argument("--minutes", type=float, default=90, help="by the clock (default: 90)")
    take = commands.add_parser("weights", help="take the averaged weights out of a run")
    take.add_argument("--run", type=Path, required=True, help="--out of train")
    take.add_argument("--out", type=Path, required=True, help="weights.safetensors to write, in half precision")
    take.add_argument("--offset", type=float, default=0.0, help="added to every logit: above 0 more is found")
    judge = commands.add_parser("evaluate", help="precision and recall by kind, whole photographs, restoring, time")
    judge.add_argument("--bundle", help="default, faithful, or the folder of a bundle with a damage stage")
    judge.add_argument("--faces", type=Path, required=True, help="photographs that training did not see")
    judge.add_argument("--others", type=Path, help="other whole photographs that training did not see")
    judge.add_argument("--count", type=int, default=200, help="prints and photographs (default: 200)")
    judge.add_argument("--json", type=Path, help="also write the report there")
    args = parser.parse_args()
    if args.command == "train":
        from training.damage.train import train
        from training.data import find_images

        train(args.data, find_images(args.others) if args.others else [], args.out, args.minutes)
    elif args.command == "weights":
        from training.damage.net import save_weights
        from training.damage.train import averaged

        save_weights(averaged(args.run), args.out, args.offset)
    else:
        from restore_sdk.bundle import Bundle
        from training.damage.evaluate import evaluate, markdown

        report = evaluate(Bundle.load(args.bundle), args.faces, args.others, args.count)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        print(markdown(report))


if __name__ == "__main__":
    main()
