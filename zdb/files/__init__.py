"""Stored files as a file system of fsspec."""
