"""Ports for servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket

__all__ = ["free_ports"]


def free_ports(number: int) -> list[int]:
    """Ports below the ephemeral range, so that no client takes them before the server does."""
    found: list[int] = []
    while len(found) < number:
        port = random.randint(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found
