"""A database is found by ids that it had before."""

from __future__ import annotations

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import zdb
from zdb.catalogs import CatalogWarning, _warned
from zdb.errors import DatabaseNotFoundError, InvalidReferenceError, NotADatabaseError, ReadOnlyError

OTHER = "2023-05-17_1_abcdefg"


@pytest.fixture(autouse=True)
def own_catalog(tmp_path):
    _warned.clear()
    with zdb.config.set({"catalog": str(tmp_path / "catalog")}):
        yield tmp_path / "catalog"


@pytest.fixture
def known(db):
    db["a.txt"] = b"text"
    db.add_id(OTHER)
    return db


def content(uri):
    with zdb.open_file(uri) as file:
        return file.read()


def test_it_is_found_by_both(known):
    for id in (OTHER, known.info().id):
        assert zdb.open(id=id)["a.txt"] == b"text"
        assert content(f"mdb://{id}/a.txt") == b"text"
        assert content(f"zdb://{id}/a.txt") == b"text"
    assert known.info().id != OTHER
    assert known.verify().ok


def test_after_a_move(known, tmp_path):
    own = known.info().id
    moved = tmp_path / "moved.zdb"
    shutil.move(known.url, moved)
    with pytest.raises(DatabaseNotFoundError):
        content(f"mdb://{OTHER}/a.txt")
    zdb.open(moved)
    assert zdb.open(id=OTHER).url == zdb.open(id=own).url == str(moved)


def test_in_another_catalog(known, tmp_path):
    with zdb.config.set({"catalog": str(tmp_path / "other")}):
        found = zdb.catalog.search(tmp_path)
        assert set(found.id) == {known.info().id, OTHER}
        assert set(found.state) == {"new"}
        assert content(f"mdb://{OTHER}/a.txt") == b"text"
        assert set(zdb.catalog.heal([tmp_path]).state) == {"ok"}
        assert zdb.catalog.find("a.txt").key.tolist() == ["a.txt"]


def test_it_takes_the_place_of_what_had_the_id(known, tmp_path):
    second = zdb.open(tmp_path / "second.zdb")
    with warnings.catch_warnings(action="error"):
        second.add_id(OTHER)
    assert zdb.open(id=OTHER).url == second.url


def test_twice_is_once(known, own_catalog):
    known.add_id(OTHER)
    known.add_id(known.info().id)
    assert len(list(own_catalog.glob("*.json"))) == 2
    known.add_id("third")
    assert {zdb.open(id=id).url for id in (OTHER, "third", known.info().id)} == {known.url}


def test_several_at_once(db):
    ids = [f"id-{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id: zdb.open(db.url).add_id(id), ids))
    with zdb.config.set({"catalog": f"{db.url}-catalog"}):
        zdb.open(db.url)
        assert {zdb.open(id=id).url for id in ids} == {db.url}


def test_a_copy_with_an_id_of_its_own_is_not_found_by_the_others(known, tmp_path):
    copy = tmp_path / "copy.zdb"
    shutil.copytree(known.url, copy)
    with pytest.warns(CatalogWarning, match="one is a copy"):
        zdb.open(copy)
    assert zdb.open(id=OTHER).url == known.url
    zdb.catalog.renew(copy)
    zdb.open(copy)
    assert zdb.open(id=OTHER).url == known.url


def test_what_is_refused(known):
    for bad in ("", "../secrets", "a b", "-x", "a/b"):
        with pytest.raises(InvalidReferenceError):
            known.add_id(bad)
    with pytest.raises(NotADatabaseError):
        known.database("sub", create=True).add_id("x")
    with pytest.raises(ReadOnlyError):
        zdb.open(known.url, "r").add_id("x")
    shutil.rmtree(known.url)
    with pytest.raises(DatabaseNotFoundError):
        known.add_id("x")


def test_a_catalog_that_fails_stops_nothing(db):
    with zdb.config.set({"catalog": "/proc/nowhere"}), pytest.warns(CatalogWarning, match="not registered"):
        db.add_id(OTHER)
    with zdb.config.set({"catalog": False}):
        db.add_id("x")
    zdb.open(db.url)
    assert zdb.open(id=OTHER).url == zdb.open(id="x").url == db.url


@pytest.mark.parametrize("damaged", ["{", '"x"', "[1, null]", '["../x"]'])
def test_damaged_ids_are_passed_over(db, damaged):
    path = Path(db.url, "zarr.json")
    document = json.loads(path.read_bytes())
    document["attributes"]["zdb_former_ids"] = damaged
    path.write_text(json.dumps(document))
    assert zdb.open(db.url).info().id == db.info().id
    zdb.open(db.url).add_id(OTHER)
    assert zdb.open(id=OTHER).url == db.url
