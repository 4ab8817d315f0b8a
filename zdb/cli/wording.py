"""Messages of errors, which speak of arguments in Python, in the words of the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["in_options"]

WORDS = {
    r"; mode='a' would create it": "",
    r"read it with mode='r', or make": "make",
    r"let zdb repair, or db\.repair\(dry_run=False\),": "let zdb repair --yes",
    r"relocate=\{[^}]*\}": "--relocate OLD=NEW",
    r"\b(missing|on_error|mode)=[\"'](report|link)[\"']": lambda found: f"--{found[1].replace('_', '-')} {found[2]}",
    r"zdb\.catalog\.search\(folder\)": "zdb catalog search FOLDER",
    r"\ballow_pickle=True": "--allow-pickle",
    r"\bstorage_options=,": "--storage-options,",
    r"\bstorage_options=\{[^}]*\}": '--storage-options \'{"key": "…", "secret": "…"}\'',
}


def in_options(message: str, options: argparse.Namespace) -> str:
    """Say a message by the options of the command that was run."""
    for pattern, words in WORDS.items():
        message = re.sub(pattern, words, message)  # type: ignore[call-overload]
    if hasattr(options, "no_overwrite"):
        return message.replace("overwrite=False", "--no-overwrite")
    option = "--force" if hasattr(options, "force") else "--overwrite"
    message = message.replace(", and overwrite=False was given", f"; {option} replaces it")
    return message.replace("overwrite=True", option)
