"""Benchmarks of the whole way, with real processes. See README.md."""
