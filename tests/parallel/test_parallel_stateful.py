"""Filling and adding against a model in memory."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from places import Place

from zdb import Ragged
from zdb.errors import KeyClaimedError, KeyExistsError, MisalignedRegionError, MissingPartsError, NotFillingError

KEYS = st.sampled_from(["a", "b/a"])
WIDTH = 3
SIZES = st.lists(st.sampled_from([0, 1, 2, 9, 300]), max_size=5)
CELLS = st.sampled_from(["ab", "b", "bc"])


class Filling(RuleBasedStateMachine):
    """Operations on a database, on the model, and what both must agree on."""

    place: Place

    @initialize()
    def start(self) -> None:
        self.at = Place(f"{self.place.url}/{uuid.uuid4().hex}", self.place.options)
        self.db = self.at.open()
        self.values: dict[str, np.ndarray] = {}
        self.filled: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}  # data, what of it is there, unit
        self.number = 0.0
        self.table: pd.DataFrame | None = None
        self.ragged: tuple[list[np.ndarray], list[str]] | None = None  # rows, and the cell of each

    def new(self, rows: int) -> np.ndarray:
        self.number += 1
        return self.number + np.arange(rows * WIDTH).reshape(rows, WIDTH) / 1000

    @rule(
        key=KEYS, rows=st.integers(1, 40), unit=st.integers(1, 9), per_shard=st.integers(1, 3), overwrite=st.booleans()
    )
    def create(self, key: str, rows: int, unit: int, per_shard: int, overwrite: bool) -> None:
        options = {"chunks": (unit, WIDTH), "shards": (unit * per_shard, WIDTH), "overwrite": overwrite}
        template = np.empty((rows, WIDTH))
        if key in self.filled:
            with pytest.raises((KeyClaimedError, KeyExistsError)):
                self.db.create(key, template, **options)
        elif key in self.values and not overwrite:
            with pytest.raises(KeyExistsError):
                self.db.create(key, template, **options)
        else:
            self.db.create(key, template, **options)
            self.filled[key] = (np.zeros((rows, WIDTH)), np.zeros(rows, bool), min(rows, unit * per_shard))

    @rule(key=KEYS, start=st.integers(0, 40), length=st.integers(1, 40), realign=st.booleans(), again=st.booleans())
    def write(self, key: str, start: int, length: int, realign: bool, again: bool) -> None:
        db = self.at.open("r+") if again else self.db
        if key not in self.filled:
            with pytest.raises(NotFillingError):
                db.write_region(key, self.new(1), slice(0, 1))
            return
        data, there, unit = self.filled[key]
        start %= len(data)
        stop = min(len(data), start + length)
        part = self.new(stop - start)
        if not realign and (start % unit or (stop % unit and stop != len(data))):
            with pytest.raises(MisalignedRegionError):
                db.write_region(key, part, slice(start, stop))
            return
        db.write_region(key, part, slice(start, stop), realign=realign)
        data[start:stop] = part
        there[start:stop] = True

    @rule(key=KEYS)
    def write_the_rest(self, key: str) -> None:
        if key in self.filled:
            data, there, _ = self.filled[key]
            for region in self.db.resume(key):
                rows = region.get("dim_0", slice(0, len(data)))
                data[rows] = self.new(rows.stop - rows.start)
                there[rows] = True
                self.db.write_region(key, data[rows], region)

    @rule(key=KEYS)
    def finish(self, key: str) -> None:
        if key not in self.filled:
            with pytest.raises(NotFillingError):
                self.db.finish(key)
        elif not self.filled[key][1].all():
            with pytest.raises(MissingPartsError):
                self.db.finish(key)
        else:
            self.db.finish(key)
            self.values[key] = self.filled.pop(key)[0]

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        if key not in self.filled:
            with pytest.raises(NotFillingError):
                self.db.discard(key)
        else:
            self.db.discard(key)
            del self.filled[key]

    @rule(key=KEYS, rows=st.integers(0, 12))
    def append(self, key: str, rows: int) -> None:
        if key in self.filled and key in self.values:
            with pytest.raises(KeyClaimedError):
                self.db.append(key, self.new(rows))
        elif key in self.values:
            part = self.new(rows)
            self.db.append(key, part)
            self.values[key] = np.concatenate([self.values[key], part])

    def rows(self, sizes: list[int], cells: str) -> Ragged:
        self.number += 1
        chosen = pd.Categorical([cells[i % len(cells)] for i in range(len(sizes))], categories=list(cells))
        return Ragged(self.number + np.arange(sum(sizes)) / 1000, np.array(sizes, int), {"cell": chosen})

    @rule(sizes=SIZES, cells=CELLS, chunks=st.sampled_from([None, {"row": 2, "value": 5}]))
    def set_rows(self, sizes: list[int], cells: str, chunks: Any) -> None:
        value = self.rows(sizes, cells)
        self.db.set("r", value, chunks=chunks)
        self.ragged = (value.to_list(), value["cell"].tolist())

    @rule(sizes=SIZES, cells=CELLS)
    def append_rows(self, sizes: list[int], cells: str) -> None:
        if self.ragged is not None:
            part = self.rows(sizes, cells)
            self.db.append("r", part)
            self.ragged = (self.ragged[0] + part.to_list(), self.ragged[1] + part["cell"].tolist())

    def frame(self, size: int, names: str, follows: bool) -> pd.DataFrame:
        self.number += 1
        start = len(self.table) if follows and self.table is not None else 0
        columns = {"number": self.number + np.arange(size), "name": [names[i % len(names)] for i in range(size)]}
        return pd.DataFrame(columns, pd.RangeIndex(start, start + size)).astype({"number": "f8", "name": "str"})

    @rule(size=st.integers(0, 9), names=CELLS, chunks=st.sampled_from([None, {"row": 2}]))
    def set_table(self, size: int, names: str, chunks: Any) -> None:
        self.table = self.frame(size, names, follows=False)
        self.db.set("t", self.table, chunks=chunks)

    @rule(size=st.integers(0, 9), names=CELLS, follows=st.booleans(), again=st.booleans())
    def append_to_table(self, size: int, names: str, follows: bool, again: bool) -> None:
        if self.table is not None:
            part = self.frame(size, names, follows)
            (self.at.open("r+") if again else self.db).append("t", part)
            self.table = pd.concat([self.table, part])

    @rule(key=KEYS, rows=st.integers(1, 12))
    def set(self, key: str, rows: int) -> None:
        value = self.new(rows)
        if key in self.filled:
            with pytest.raises(KeyClaimedError):
                self.db.set(key, value)
        else:
            self.db.set(key, value, chunks=(4, WIDTH))
            self.values[key] = value

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key in self.filled and key in self.values:
            with pytest.raises(KeyClaimedError):
                del self.db[key]
        elif key in self.values:
            del self.db[key]
            del self.values[key]

    @rule()
    def collect_garbage(self) -> None:
        self.db.gc(dry_run=False, grace=0)

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "db"):
            return
        others = [key for key, value in (("r", self.ragged), ("t", self.table)) if value is not None]
        assert sorted(self.db.keys(recursive=True)) == sorted([*self.values, *others])
        if self.table is not None:
            pd.testing.assert_frame_equal(self.db["t"], self.table, check_index_type="exact")
        if self.ragged is not None:
            found = self.db["r"]
            assert [row.tolist() for row in found] == [row.tolist() for row in self.ragged[0]]
            assert found["cell"].tolist() == self.ragged[1]
        for key, expected in self.values.items():
            np.testing.assert_array_equal(np.asarray(self.db[key]), expected)
        for key, (_, there, _) in self.filled.items():
            assert self.db.progress(key).elements == there.sum() * WIDTH

    def teardown(self) -> None:
        if hasattr(self, "db"):
            assert self.at.open("r").verify().ok


@pytest.mark.parametrize(
    ("store", "examples", "steps"),
    [("local", 25, 25), ("memory", 15, 25), pytest.param("s3", 3, 12, marks=pytest.mark.s3)],
)
def test_filling_and_adding(store: str, examples: int, steps: int, tmp_path: Any, request: Any) -> None:
    from places import new_place

    class Machine(Filling):
        place = new_place(store, tmp_path, request)

    limits = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=limits)
