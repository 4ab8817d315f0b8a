"""Every public name of the framework has a line in docs/from-isf.md, and what it leads to exists."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import zdb
import zdb.legacy
import zdb.neuro
import zdb.neuro.plot

PAGE = Path(__file__).parent.parent / "docs" / "from-isf.md"
ROOTS = {"zdb": zdb, "db": zdb.Database, "neuro": zdb.neuro, "legacy": zdb.legacy}
CODE = re.compile(r"`([^`]+)`")
NAME = re.compile(r"(zdb|db|neuro|legacy)((?:\.\w+)+)")
ARGUMENT = re.compile(r"`([\w.]+)` with ((?:`\w+=[^`]*`(?:, | and )?)+)")


STANDARD = re.compile(
    r"(?:contextlib|csv|dask|difflib|distributed|functools|inspect|io|itertools|json|logging|numpy|pandas|sklearn"
    r"|tempfile|toolz)(?:\.\w+)+"
)
OLD_NAMES = Path(__file__).parent / "isf_names.txt"


def rows() -> list[list[str]]:
    """The lines of all tables."""
    lines = [line.strip("|").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [row for row in lines if len(row) == 3]


def cells() -> list[str]:
    """The second column of all tables that map names."""
    return [row[1] for row in rows() if row[0].strip() != "dumper"]


def codes() -> list[str]:
    """All code in the second and third columns, without arguments."""
    return [code.partition("(")[0] for row in rows() for cell in row[1:] for code in CODE.findall(cell)]


def find(text: str) -> Any:
    """The object of a dotted name, in the words of the page."""
    match = NAME.fullmatch(text)
    assert match is not None
    found: Any = ROOTS[match[1]]
    for part in match[2][1:].split("."):
        found = getattr(found, part)
    return found


def names() -> list[str]:
    return sorted({name for name in codes() if NAME.fullmatch(name)})


def old_names() -> list[str]:
    """The public names of the framework; with their module or class where the name alone is not enough."""
    lines = OLD_NAMES.read_text("utf-8").splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.partition(": ")[2].split()]


@pytest.fixture(scope="module")
def old_words() -> list[set[str]]:
    """The words in the first column, line by line."""
    return [{word for code in CODE.findall(row[0]) for word in re.findall(r"\w+", code)} for row in rows()]


@pytest.mark.parametrize("name", old_names())
def test_each_old_name_has_a_line(name: str, old_words: list[set[str]]) -> None:
    assert any(set(name.split(".")) <= words for words in old_words)


def test_no_old_name_stands_twice() -> None:
    assert len(old_names()) == len(set(old_names())) > 300


@pytest.mark.parametrize("name", sorted({name for name in codes() if STANDARD.fullmatch(name)}))
def test_each_name_of_another_package_exists(name: str) -> None:
    assert pkgutil.resolve_name(name) is not None


def test_attributes_of_info_exist() -> None:
    found = re.findall(r"db\.info\(\w*\)\.(\w+)", PAGE.read_text("utf-8"))
    assert set(found) == {"id", "kind", "format", "nbytes"}
    assert set(found) <= {field.name for field in dataclasses.fields(zdb.Info)}


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
