"""How many requests an operation sends to a bucket, as ``docs/architecture.md`` says; retries count, too."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from places import Place, new_place

from zdb import Ragged, export_files
from zdb.errors import ReadOnlyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import zdb

pytestmark = pytest.mark.s3

KEYS = 1000


class Requests:
    """What botocore sends for the store of a database, as names of operations of S3."""

    def __init__(self, db: zdb.Database) -> None:
        from zarr.core.sync import sync

        self.sent: list[str] = []
        files = db._engine.nodes.store.fs  # type: ignore[attr-defined]
        client = sync(files.set_session())
        client.meta.events.register("before-send.s3", self._add)

    def _add(self, event_name: str, **_: Any) -> None:
        self.sent.append(event_name.rpartition(".")[2])

    def of(self, operation: Callable[[], Any]) -> list[str]:
        """Return what an operation sends."""
        self.sent.clear()
        operation()
        return list(self.sent)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    place = new_place("s3", tmp_path, request)
    db = place.open()
    db["sub/first"] = 1  # records and databases are there
    return place


@pytest.fixture
def used(place: Place) -> tuple[zdb.Database, Requests]:
    """A handle that was used, and what it sends."""
    db = place.open()
    db["second"] = 2
    db["sub/second"] = np.arange(3)  # loads packages, which makes another record
    return db, Requests(db)


def test_setting_and_getting_a_small_value(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    for key in ("k", "sub/k"):
        for number in range(3):  # new, then replaced
            assert len(requests.of(lambda key=key, number=number: db.set(key, {"number": number}))) <= 4
            assert requests.of(lambda key=key: db[key]) == ["GetObject"]
        assert requests.of(lambda key=key: key in db) == ["GetObject"]


def test_a_value_that_is_computed_already(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    assert requests.of(lambda: db.compute("second", int)) == ["GetObject"]


def test_the_first_value_of_a_handle(place: Place) -> None:
    db = place.open()
    requests = Requests(db)
    assert len(requests.of(lambda: db.set("sub/k", 1))) <= 12


def test_listing_with_kinds(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    document = db._engine.nodes.get("second/zarr.json")
    assert document is not None
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: db._engine.nodes.set(f"many/key_{n:04d}/zarr.json", document), range(KEYS - 1)))
    many = db.database("many", create=True)
    sent = Counter(requests.of(lambda: str(many.tree(lines=2 * KEYS))))
    assert sent == {"GetObject": KEYS - 1, "ListObjectsV2": 1}
    db["many/last"] = 1
    # S3 lists 1000 names at a time, and the node of the database is one of them.
    sent = Counter(requests.of(lambda: str(many.tree(lines=2 * KEYS))))
    assert sent == {"GetObject": KEYS, "ListObjectsV2": 2}


def test_a_listing_of_nothing(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    nodes = db._engine.nodes
    for listing in (nodes.list_objects, nodes.list_status):
        assert requests.of(lambda listing=listing: listing("nothing")) == ["ListObjectsV2"]
    assert nodes.list_objects("second") == ["second/zarr.json"]
    assert nodes.list_objects("secon") == []


def test_many_objects_are_deleted_by_few_requests(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    nodes = db._engine.nodes
    paths = [f"many/{number}" for number in range(300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: nodes.set(path, b"1"), paths))
    assert requests.of(lambda: nodes.delete([*paths, "nothing"])) == ["DeleteObjects"] * 2
    assert nodes.list_objects("many") == []
    assert requests.of(lambda: nodes.delete([])) == []


@pytest.mark.parametrize(("code", "error"), [("AccessDenied", ReadOnlyError), ("InternalError", StorageError)])
def test_an_object_that_is_not_deleted_is_an_error(
    used: tuple[zdb.Database, Requests], monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception]
) -> None:
    db, _ = used

    async def refuse(*_: Any, **__: Any) -> Any:
        return {"Errors": [{"Key": "k", "Code": code, "Message": "no"}]}

    monkeypatch.setattr(db._engine.nodes.store.fs, "_call_s3", refuse)  # type: ignore[attr-defined]
    with pytest.raises(error, match="k could not be deleted"):
        db._engine.nodes.delete(["k"])


def objects(requests: list[str]) -> tuple[int, int]:
    """How many objects are read and written."""
    counted = Counter(requests)
    return counted["GetObject"], counted["PutObject"]


@pytest.mark.parametrize("chunks", [1, 4])
def test_arrays(used: tuple[zdb.Database, Requests], chunks: int) -> None:
    db, requests = used
    data = np.random.default_rng(1).random(100)

    def write() -> None:
        db.set("array", data, chunks=(100 // chunks,))

    for number in range(3):
        sent = requests.of(write)
        # The claim, chunks, the metadata of the array and of the value; that of the generation before.
        assert objects(sent) == (3, chunks + 3 + (number > 0))
    assert requests.of(lambda: db["array"]) == ["GetObject"] * (chunks + 2)
    lazy = xr.Dataset({"v": ("x", data)})
    db.set("dataset", lazy, chunks=(100 // chunks,))
    assert requests.of(lambda: db["dataset"]) == ["GetObject"]
    opened = db["dataset"]
    assert requests.of(lambda: opened["v"][:10].load()) == ["GetObject"] * 2  # and that it was not replaced


def test_adding_a_few_rows_to_a_ragged_value(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    few = Ragged([0.5, 1.5], [2], {"cell": ["a"]})
    sent = {}
    for rows in (20, 4000):
        whole = Ragged(np.zeros(2 * rows), np.full(rows, 2), {"cell": ["a"] * rows})
        db.set("spikes", whole, chunks={"row": 16, "value": 64})
        db.append("spikes", few)  # loads packages
        sent[rows] = requests.of(lambda: db.append("spikes", few))
    assert Counter(sent[20]) == Counter(sent[4000])
    # The claim, the last object and the metadata of three arrays, the metadata of the value.
    assert objects(sent[4000])[1] == 1 + 3 + 3 + 1


def test_adding_a_few_rows_to_a_table(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    sent = {}
    for rows in (20, 4000):
        whole = pd.DataFrame({"time": np.zeros(rows + 2), "trial": np.arange(rows + 2)})
        db.set("table", whole[:rows], chunks={"row": 16})
        db.append("table", whole[rows : rows + 1])  # loads packages
        sent[rows] = requests.of(lambda whole=whole: db.append("table", whole[-1:]))
        pd.testing.assert_frame_equal(db["table"], whole)
    assert Counter(sent[20]) == Counter(sent[4000])
    # The claim, the last object and the metadata of two arrays, the metadata of the value. Read: the value, before and
    # after the claim was taken, the claim, the last object of each array twice, for its rows and to replace it.
    assert objects(sent[4000]) == (3 + 1 + 2 * 2, 1 + 2 + 2 + 1)


def test_jobs_that_fill_a_value_ask_no_more_when_much_is_there(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    db.create("filled", np.zeros(40), chunks=(1,))
    frame = pd.DataFrame({"a": [1.0]})
    db.create("table", frame, npartitions=40)

    def write(key: str, number: int) -> None:
        if key == "table":
            db.write_region(key, frame, partition=number)
        else:
            db.write_region(key, np.ones(1), slice(number, number + 1))

    for key in ("filled", "table"):
        write(key, 0)
        sent = []
        for number in (1, 39):
            for one in range(2, number):
                write(key, one)
            sent.append(Counter(requests.of(lambda key=key, number=number: write(key, number))))
        assert sent[0] == sent[1]
        # The claim, which names the plan, and the plan; what is there, and what is begun.
        assert Counter(requests.of(lambda key=key: db.resume(key))) == {"GetObject": 2, "ListObjectsV2": 2}


def test_exporting_small_values(used: tuple[zdb.Database, Requests], tmp_path: Path) -> None:
    db, requests = used
    sent = {}
    for number in (2, 12):
        for one in range(number):
            db[f"exported/{one}"] = one
        sub = db.database("exported")
        sent[number] = Counter(requests.of(lambda sub=sub, number=number: export_files(sub, tmp_path / str(number))))
    # That it is a value, if it changed, what kind it is, and the value; the records of its provenance are read once.
    assert sent[12] - sent[2] == {"GetObject": 10 * 4}


def test_a_region_that_is_written_again_is_not_read(used: tuple[zdb.Database, Requests]) -> None:
    db, requests = used
    numbers = np.random.default_rng(1)
    first, second = numbers.normal(size=(2, 20_000))
    db.create("again", np.zeros(40_000), chunks=(20_000,))
    before = Counter(requests.of(lambda: db.write_region("again", first, slice(0, 20_000))))
    after = Counter(requests.of(lambda: db.write_region("again", second, slice(0, 20_000))))
    # It is refused because the object is there; its size and tag are looked up, and whether the job may still write.
    assert after - before == {"PutObject": 1, "HeadObject": 2, "GetObject": 2}
    nodes = db._engine.nodes
    tagged = nodes.read_tagged("again/data/c/0")
    assert tagged is not None
    assert nodes.tag("again/data/c/0") == tagged.tag
    assert nodes.tag("again/data/c/1") is None
    db.write_region("again", first, slice(20_000, 40_000))
    db.finish("again")
    np.testing.assert_array_equal(db["again"], [*second, *first])
