"""Every error is in docs/errors.md, as the builtin that it is said to be."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import zdb.neuro
from zdb import errors

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def all_errors() -> dict[str, type]:
    named = {name: getattr(errors, name) for name in errors.__all__}
    named |= {name: getattr(zdb.neuro, name) for name in zdb.neuro.__all__ if name.endswith("Error")}
    del named["ZdbError"]
    return named


def test_the_page_has_every_error_once_and_no_other() -> None:
    rows = [name for name, *_ in ROW.findall(PAGE.read_text("utf-8"))]
    assert sorted(rows) == sorted(all_errors())


def test_each_is_the_builtin_that_the_page_says() -> None:
    for name, builtin, *_ in ROW.findall(PAGE.read_text("utf-8")):
        assert issubclass(all_errors()[name], getattr(builtins, builtin)), name
        assert builtin in (base.__name__ for base in all_errors()[name].__bases__), name


def test_no_error_is_hidden() -> None:
    """What zdb raises can be imported from zdb.errors or zdb.neuro."""
    defined = set()
    for file in Path(zdb.neuro.__file__).parent.parent.rglob("*.py"):
        defined |= set(re.findall(r"^class (\w+)\((?:zdb\.)?ZdbError", file.read_text("utf-8"), re.MULTILINE))
    assert defined == set(all_errors())
