"""Bringing values from one place to another: between databases, and between databases and files."""
