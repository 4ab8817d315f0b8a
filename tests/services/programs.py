"""Programs of servers that not every machine has."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["require_program"]


def require_program(name: str) -> str:
    """Return the path of a program; without it the test is skipped, in CI it fails."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found:
        return found
    reason = f"{name} is not installed; `make services` installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
