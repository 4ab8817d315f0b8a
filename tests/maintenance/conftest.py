"""A database that each test can damage."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from maintenance.samples import fill

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb import Database


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Database]:
    """Return a function that makes the same database anew, always at one place, and opens it."""
    folder = tmp_path_factory.mktemp("template")
    place, template = folder / "x.zdb", folder / "template"
    fill(zdb.open(place))
    place.rename(template)

    def make() -> Database:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)
        return zdb.open(place)

    return make
