"""Runnable comparisons: one for each claim about speed, size or memory. Start with ``python -m benchmarks --help``."""
