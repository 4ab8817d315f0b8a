"""Servers that the tests need, started on free ports of loopback: one module each, with a function ``start``."""
