"""Measurements of the SDK: ``python -m benchmarks``."""
