"""One key whose metadata cannot be read hides no other, and is said to be what it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from zdb.cli import main
from zdb.errors import CorruptChunkError, UnsupportedVersionError

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
