"""The ``zdb`` command. ``docs/cli.md`` describes it for users."""

from zdb.cli.main import main

__all__ = ["main"]
