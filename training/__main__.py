"""``python -m training``: fit, info, evaluate, ablate, weights, plot."""

from training.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
