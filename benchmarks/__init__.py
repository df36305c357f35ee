"""Measures the engine beside its rivals on one machine, in one go: ``python -m benchmarks``."""
