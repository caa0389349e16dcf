"""On a real GPU: ``pytest tests/gpu -s``. Skips by itself where there is none; nothing here has a double in it."""
