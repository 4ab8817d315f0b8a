"""Every name of zdb in docs/from-isf.md exists."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import zdb
import zdb.legacy
import zdb.neuro

PAGE = Path(__file__).parent.parent / "docs" / "from-isf.md"
ROOTS = {"zdb": zdb, "db": zdb.Database, "neuro": zdb.neuro, "legacy": zdb.legacy}
CODE = re.compile(r"`([^`]+)`")
NAME = re.compile(r"(zdb|db|neuro|legacy)((?:\.\w+)+)")
ARGUMENT = re.compile(r"`([\w.]+)` with ((?:`\w+=[^`]*`(?:, | and )?)+)")


def cells() -> list[str]:
    """The second column of all tables that map names."""
    rows = [line.strip("|").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [row[1] for row in rows if len(row) == 3 and row[0].strip() != "dumper"]


def find(text: str) -> Any:
    """The object of a dotted name, in the words of the page."""
    match = NAME.fullmatch(text)
    assert match is not None
    found: Any = ROOTS[match[1]]
    for part in match[2][1:].split("."):
        found = getattr(found, part)
    return found


def names() -> list[str]:
    found = {code.partition("(")[0] for cell in cells() for code in CODE.findall(cell)}
    return sorted(name for name in found if NAME.fullmatch(name))


@pytest.mark.parametrize("name", names())
def test_each_name_exists(name: str) -> None:
    assert find(name) is not None


def test_the_page_names_much() -> None:
    assert {"zdb.open", "db.set", "zdb.legacy.open"} <= set(names())


def arguments() -> list[tuple[str, str]]:
    found = [(name, words) for cell in cells() for name, words in ARGUMENT.findall(cell)]
    return [(name, word) for name, words in found for word in re.findall(r"`(\w+)=", words)]


@pytest.mark.parametrize(("name", "argument"), arguments())
def test_each_argument_exists(name: str, argument: str) -> None:
    assert argument in inspect.signature(find(name)).parameters
