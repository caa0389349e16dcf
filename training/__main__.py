"""``python -m training``: fit, evaluate, info."""

from training.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
