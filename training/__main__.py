"""``python -m training``: fit, evaluate, weights, ablation, plot."""

from training.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
