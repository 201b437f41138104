"""Benchmarks that measure ratios: both sides in one run, alternating."""
