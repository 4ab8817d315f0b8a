"""What lies in a database is a part of it, also when it is opened by a URL of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import zdb
from zdb.engine.store import places_above
from zdb.errors import (
    DatabaseNotFoundError,
    InvalidKeyError,
    KeyClaimedError,
    KeyConflictError,
    KeyExistsError,
    NotADatabaseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from places import Place


def below(place: Place, key: str, mode: Any = "a") -> zdb.Database:
    return zdb.open(f"{place.url}/{key}", mode, place.options)


@pytest.fixture
def whole(shared_place: Place) -> zdb.Database:
    db = shared_place.open()
    db["sub/value"] = 1
    return db


def test_it_is_the_same_as_the_sub_database(shared_place: Place, whole: zdb.Database) -> None:
    sub = below(shared_place, "sub")
    assert sub.url == whole["sub"].url == f"{shared_place.url}/sub"
    sub["array"] = np.arange(3)
    np.testing.assert_array_equal(whole["sub/array"], np.arange(3))
    assert sub.verify().ok
    assert below(shared_place, "sub", "r").verify().ok
    assert not any(path.startswith("sub/_zdb") for path in whole._engine.nodes.list_objects(""))


def test_one_that_is_made_becomes_a_sub_database(shared_place: Place, whole: zdb.Database) -> None:
    below(shared_place, "new/deep")["x"] = 2
    assert whole["new/deep/x"] == 2
    below(shared_place, "made", "w-")["x"] = 3
    assert whole["made/x"] == 3
    with pytest.raises(KeyExistsError, match="exists"):
        below(shared_place, "made", "w-")
    for mode in ("r", "r+"):
        with pytest.raises(DatabaseNotFoundError):
            below(shared_place, "other", mode)
    assert sorted(whole) == ["made", "new", "sub"]


def test_what_can_be_no_sub_database(shared_place: Place, whole: zdb.Database) -> None:
    with pytest.raises(NotADatabaseError, match="is a value"):
        below(shared_place, "sub/value")
    with pytest.raises(KeyConflictError, match="sub/value is a value"):
        below(shared_place, "sub/value/deeper")
    with pytest.raises(InvalidKeyError, match="contains ' '"):
        below(shared_place, "sub/my results")


def test_it_shares_the_claims(shared_place: Place, whole: zdb.Database) -> None:
    sub = below(shared_place, "sub")
    whole.create("sub/filled", np.zeros((4, 2)))
    with pytest.raises(KeyClaimedError):
        sub["filled"] = np.zeros(3)
    sub.write_region("filled", np.ones((4, 2)), {"dim_0": slice(0, 4)})
    whole.finish("sub/filled")
    np.testing.assert_array_equal(sub["filled"], np.ones((4, 2)))


def test_nothing_is_lost_between_the_two(shared_place: Place, whole: zdb.Database) -> None:
    whole.set("sub/grown", np.zeros((0, 1)), chunks=(4, 1))
    sub = below(shared_place, "sub")

    def add(append: Callable[[Any], None], start: int) -> None:
        for number in range(start, start + 10):
            append(np.full((1, 1), float(number)))

    threads = [
        threading.Thread(target=add, args=(lambda part: whole.append("sub/grown", part), 0)),
        threading.Thread(target=add, args=(lambda part: sub.append("grown", part), 100)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(whole["sub/grown"].ravel()) == [*range(10), *range(100, 110)]


def test_neither_is_copied_into_the_other(shared_place: Place, whole: zdb.Database) -> None:
    sub = below(shared_place, "sub")
    for source, target in ((sub, whole), (whole, sub)):
        with pytest.raises(KeyConflictError, match="one lies in the other"):
            source.sync_to(target, delete=True)
    assert whole["sub/value"] == 1


def test_a_failed_import_takes_away_no_more_than_itself(tmp_path: Path) -> None:
    from zdb.opening import discard_empty

    db = zdb.open(tmp_path / "x.zdb")
    db["a"] = 1
    discard_empty(zdb.open(tmp_path / "x.zdb" / "imported"))
    assert list(db) == ["a"]
    assert zdb.open(tmp_path / "x.zdb")["a"] == 1


def test_a_link_leads_into_the_database(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["sub/a"] = 1
    (tmp_path / "link").symlink_to(tmp_path / "x.zdb" / "sub")
    zdb.open(tmp_path / "link")["b"] = 2
    assert db["sub/b"] == 2
    assert db.verify().ok


def test_a_database_in_a_folder_of_databases_is_none_of_its_own(tmp_path: Path) -> None:
    """A plain Zarr group above is no database."""
    import zarr

    zarr.open_group(tmp_path / "group", mode="w")
    db = zdb.open(tmp_path / "group" / "x.zdb")
    assert db._path == ""


def test_places_above(tmp_path: Path) -> None:
    assert list(places_above("s3://bucket/a/b")) == [("s3://bucket/a", "b"), ("s3://bucket", "a/b")]
    assert list(places_above("s3://bucket")) == []
    assert list(places_above("memory://a/b")) == []
    assert list(places_above("zip://x::s3://bucket/a.zip")) == []
    assert list(places_above("/a/b")) == [("/a", "b"), ("/", "a/b")]
    assert next(places_above(Path("b").resolve()))[1] == "b"
    assert next(places_above(f"file://{tmp_path}/x"))[1] == "x"
