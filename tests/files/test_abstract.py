"""The test suite that fsspec has for its file systems, on ``zdb://`` and on folders."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.tests import abstract
from places import new_place


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture(params=["local by uri", "memory by folder"])
    def db_and_fs(self, request, tmp_path):
        store, _, way = request.param.partition(" by ")
        place = new_place(store, tmp_path, request)
        db = place.open()
        if way == "folder":
            return db, db.folder("top", create=True), "inner"
        return db, fsspec.filesystem("zdb", **place.options), db.uri("top").removeprefix("zdb://")

    @pytest.fixture
    def fs(self, db_and_fs):
        return db_and_fs[1]

    @pytest.fixture
    def fs_path(self, db_and_fs):
        return db_and_fs[2]

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)


class TestCopy(Fixtures, abstract.AbstractCopyTests):
    pass


class TestGet(Fixtures, abstract.AbstractGetTests):
    pass


class TestPut(Fixtures, abstract.AbstractPutTests):
    pass


class TestPipe(Fixtures, abstract.AbstractPipeTests):
    pass


class TestOpen(Fixtures, abstract.AbstractOpenTests):
    pass
