"""Benchmarks of zdb against its peers: ``python -m benchmarks``."""
