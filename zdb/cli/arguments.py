"""Types of the arguments of the command line, for argparse."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["column_list", "duration", "json_object", "positive", "row_slice", "storage_options"]

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def storage_options(text: str) -> dict[str, Any]:
    """Parse the options of a file system: a JSON object, or @ and the file that holds it."""
    # No message may repeat the text: it holds secrets.
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise argparse.ArgumentTypeError("not valid JSON; put it in single quotes") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('not a JSON object such as {"anon": true}')
    return found


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text}")
    return found


def row_slice(text: str) -> slice:
    """Parse START:STOP."""
    start, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return slice(*(int(bound) if bound else None for bound in (start, stop)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START:STOP, such as 0:100 or 100:") from None


def column_list(text: str) -> list[str]:
    """Parse names that are joined by commas."""
    return text.split(",")


def duration(text: str) -> float:
    """Parse a time such as 30s, 10min, 12h or 7d, or 0; return seconds."""
    if text == "0":
        return 0
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        return float(number) * _SECONDS[text[len(number) :]]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30s, 10min, 12h or 7d") from None


def positive(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
