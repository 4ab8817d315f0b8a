"""Locks for processes on one or many machines: one interface, with files or a server behind it."""
