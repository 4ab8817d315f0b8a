"""One key whose metadata cannot be read hides no other, and is said to be what it is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from zdb.cli import main
from zdb.errors import CorruptChunkError, UnreadableValueError, UnsupportedVersionError

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place

    from zdb import Database

ADVICE = r"a/zarr\.json is not valid Zarr metadata: .*repair.*delete it"
WITHOUT_SHAPE = b'{"zarr_format": 3, "node_type": "group", "attributes": {"zdb_kind": "value"}, \
"consolidated_metadata": {"metadata": {"data": {"node_type": "array"}}}}'


def with_damage(place: Place, contents: bytes) -> Database:
    db = place.open()
    for key in ("s/a", "s/b/c"):
        db[key] = np.arange(3.0)
    db._engine.nodes.set("s/a/zarr.json", contents)
    return place.open()


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"[]", b'{"zarr_format": 3, "node_type": "group", "attributes": [1]}', WITHOUT_SHAPE],
    ids=["empty", "cut", "list", "attributes", "without shape"],
)
def test_the_others_are_listed(place: Place, contents: bytes) -> None:
    db = with_damage(place, contents)
    assert db.keys(recursive=True) == ["s/a", "s/b/c"]
    found = db.find()
    assert list(found["key"]) == ["s", "s/a", "s/b", "s/b/c"]
    assert list(db.find(kind="unreadable")["key"]) == ["s/a"]
    (line,) = (line for line in repr(db).splitlines() if "a " in line and "b" not in line.partition(" ")[0])
    assert line.split()[-2:] == ["a", "unreadable"]
    assert "float64 (3)" in str(db.tree())
    assert "unreadable" in db._repr_html_()
    assert "s/a" in db
    assert "s/other" not in db
    with pytest.raises(CorruptChunkError, match="repair"):
        db.info("s/a")


FIELDS = ("shape", "data_type", "codecs", "chunk_grid", "chunk_key_encoding", "node_type")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("deep", [True, False])
def test_an_array_whose_metadata_lack_a_field(place: Place, field: str, deep: bool) -> None:
    db = place.open()
    db["s/a"] = db["b"] = np.arange(3.0)
    nodes = db._engine.nodes
    document = json.loads(nodes.get("s/a/zarr.json") or b"")
    del document["consolidated_metadata"]["metadata"]["data"][field]
    nodes.set("s/a/zarr.json", json.dumps(document).encode())
    db = place.open()
    for read in (lambda: db["s/a"], lambda: db.get("s/a", rows=0), lambda: db.dataset("s/a")):
        with pytest.raises(CorruptChunkError, match=f"the metadata of s/a makes no sense: .*{field}.*repair"):
            read()
    assert {problem.key for problem in db.verify(deep=deep, progress=False).problems} == {"s/a"}
    assert db.repair(dry_run=False, progress=False).repairs
    np.testing.assert_array_equal(db["s/a"], np.arange(3.0))


@pytest.mark.parametrize("field", FIELDS[:-1])
def test_an_array_of_plain_zarr_whose_metadata_lack_a_field(place: Place, field: str) -> None:
    db = place.open()
    nodes = db._engine.nodes
    root = zarr.open_group(nodes.zarr_store(reading=False), mode="a")
    root.create_array("array", data=np.arange(3.0))
    root.create_group("group").create_array("a", data=np.arange(3.0), dimension_names=["x"])
    for key, path in {"array": "array/zarr.json", "group": "group/a/zarr.json"}.items():
        document = json.loads(nodes.get(path) or b"")
        del document[field]
        nodes.set(path, json.dumps(document).encode())
        for read in (db.__getitem__, db.dataset):
            with pytest.raises(CorruptChunkError, match=f"the metadata of {path[:-10]} makes no sense: .*{field}"):
                read(key)


def test_groups_of_plain_zarr_that_are_no_dataset(place: Place) -> None:
    db = place.open()
    root = zarr.open_group(db._engine.nodes.zarr_store(reading=False), mode="a")
    group = root.create_group("s").create_group("unnamed")
    for name in ("a", "b"):
        group.create_array(name, data=np.arange(3.0))
    for name, size in (("a", 3), ("b", 4)):
        root.require_group("unlike").create_array(name, data=np.arange(size), dimension_names=["x"])
    db = place.open()
    unlike = {
        "s/unnamed": r"its arrays a, b have no dimension_names",
        "unlike": "ValueError: conflicting sizes for dimension 'x'",
    }
    for key, reason in unlike.items():
        said = f"^{re.escape(place.url)}: {key} is plain Zarr that xarray cannot open, {reason}.*; read its arrays by "
        for read in (db.__getitem__, db.dataset):
            with pytest.raises(UnreadableValueError, match=said) as caught:
                read(key)
        assert f"zarr.open_group('{place.url}/{key}', mode='r')" in str(caught.value)
        assert f"db['{key}/a']" in str(caught.value)
        np.testing.assert_array_equal(db[f"{key}/a"], np.arange(3))


@pytest.mark.parametrize("contents", [b"", b"{"])
def test_reading_it_says_where_it_is_and_what_to_do(place: Place, contents: bytes) -> None:
    db = with_damage(place, contents)
    items = iter(db["s"].items())
    for read in (lambda: next(items), lambda: db["s/a"], lambda: db.consolidate(), lambda: db.folder("s").ls("")):
        with pytest.raises(CorruptChunkError, match=ADVICE) as caught:
            read()
        assert db.url in str(caught.value)
    assert [key for key, _ in db.items()] == ["s"]


def test_what_lies_in_an_unreadable_value_is_no_key(place: Place) -> None:
    db = with_damage(place, b"{")
    assert "s/a/data" not in db


def test_the_command_line_lists_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from places import Place

    url = str(tmp_path / "x.zdb")
    with_damage(Place(url), b"")
    for command in (["ls", "-r"], ["find"], ["tree"], ["ls", "-lr"], ["ls", "-lr", "--json"]):
        assert main([*command[:1], url, *command[1:]]) == 0
        printed = capsys.readouterr().out
        assert "a" in printed
        assert ("unreadable" in printed) == (command[0] == "tree" or "-lr" in command)
    assert [row["kind"] for row in json.loads(printed)] == ["unreadable", "value"]


def test_a_key_of_a_newer_version_is_in_its_database(place: Place) -> None:
    db = place.open()
    db["a"] = 1
    document = json.loads(db._engine.nodes.get("a/zarr.json") or b"")
    document["attributes"]["zdb_version"] = 2
    db._engine.nodes.set("a/zarr.json", json.dumps(document).encode())
    assert "a" in db
    assert list(db) == ["a"]
    with pytest.raises(UnsupportedVersionError):
        db["a"]
