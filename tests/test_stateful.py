"""The mapping against a model in memory: a nested dict that follows the rules of keys."""

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

from zdb.errors import KeyConflictError, KeyExistsError, KeyNotFoundError

NAMES = st.sampled_from(["a", "b", "c"])
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
Tree = dict[str, Any]

VALUES = st.one_of(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2), max_leaves=3
    ),
    st.integers(0, 5).map(lambda n: np.arange(n, dtype="int32")),
    st.floats(allow_nan=False).map(np.float64),
    st.integers(0, 3).map(lambda n: pd.DataFrame({"x": range(n), "s": ["é"] * n})),
    st.binary(max_size=4),
    st.integers(1, 3).map(lambda n: [np.arange(i, dtype=float) for i in range(n)]),
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and list(a.columns) == list(b.columns)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class Model:
    """Databases are dicts, values are wrapped in a tuple."""

    def __init__(self) -> None:
        self.root: Tree = {}

    def find(self, key: str) -> Any:
        node: Any = self.root
        for name in key.split("/"):
            if not isinstance(node, dict) or name not in node:
                return None
            node = node[name]
        return node

    def parent(self, key: str) -> tuple[Tree, str] | None:
        """The database in which a key lies, made if missing; None if a value is in the way."""
        *above, name = key.split("/")
        for depth in range(1, len(above) + 1):
            if isinstance(self.find("/".join(above[:depth])), tuple):
                return None
        node = self.root
        for each in above:
            node = node.setdefault(each, {})
        return node, name

    def values(self, node: Tree | None = None, prefix: str = "") -> dict[str, Any]:
        found = {}
        for name, below in (self.root if node is None else node).items():
            if isinstance(below, tuple):
                found[prefix + name] = below[0]
            else:
                found |= self.values(below, f"{prefix}{name}/")
        return found


class Mapping(RuleBasedStateMachine):
    """Operations on a database, on the model, and what both must agree on."""

    place: Place

    @initialize()
    def start(self) -> None:
        self.at = Place(f"{self.place.url}/{uuid.uuid4().hex}", self.place.options)
        self.db = self.at.open()
        self.model = Model()

    @rule(key=KEYS, value=VALUES)
    def set(self, key: str, value: Any) -> None:
        if isinstance(self.model.find(key), dict) or self.model.parent(key) is None:
            with pytest.raises(KeyConflictError, match=key.partition("/")[0]):
                self.db[key] = value
            return
        self.db[key] = value
        node, name = self.model.parent(key)  # type: ignore[misc]
        node[name] = (value,)

    @rule(key=KEYS, value=VALUES)
    def set_without_overwriting(self, key: str, value: Any) -> None:
        if isinstance(self.model.find(key), tuple):
            with pytest.raises(KeyExistsError):
                self.db.set(key, value, overwrite=False)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        expected = self.model.find(key)
        if expected is None:
            with pytest.raises(KeyNotFoundError):
                self.db[key]
            assert self.db.get(key, "default") == "default"
        elif isinstance(expected, dict):
            assert self.db[key] == self.db.database(key)
            assert sorted(self.db[tuple(key.split("/"))]) == sorted(expected)
        else:
            assert same(self.db[key], expected[0])

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if self.model.find(key) is None:
            with pytest.raises(KeyNotFoundError):
                del self.db[key]
            return
        del self.db[key]
        node, name = self.model.parent(key)  # type: ignore[misc]
        del node[name]

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        expected = self.model.find(key)
        if isinstance(expected, tuple):
            assert same(self.db.pop(key), expected[0])
            node, name = self.model.parent(key)  # type: ignore[misc]
            del node[name]
        elif expected is None:
            assert self.db.pop(key, 1) == 1

    @rule(key=KEYS)
    def create_database(self, key: str) -> None:
        found = self.model.find(key)
        if isinstance(found, tuple) or (found is None and self.model.parent(key) is None):
            with pytest.raises(KeyConflictError):
                self.db.database(key, create=True)
            return
        self.db.database(key, create=True)
        node, name = self.model.parent(key)  # type: ignore[misc]
        node.setdefault(name, {})

    @rule(old=KEYS, new=KEYS)
    def rename(self, old: str, new: str) -> None:
        source = self.model.find(old)
        if source is None:
            with pytest.raises(KeyNotFoundError):
                self.db.rename(old, new)
        elif new == old or new.startswith(f"{old}/"):
            with pytest.raises(KeyConflictError):
                self.db.rename(old, new)
        elif self.model.find(new) is not None:
            with pytest.raises(KeyExistsError):
                self.db.rename(old, new)
        elif self.model.parent(new) is None:
            with pytest.raises(KeyConflictError):
                self.db.rename(old, new)
        else:
            self.db.rename(old, new)
            node, name = self.model.parent(new)  # type: ignore[misc]
            node[name] = source
            node, name = self.model.parent(old)  # type: ignore[misc]
            del node[name]

    @rule()
    def open_again(self) -> None:
        self.db = self.at.open("r+")

    @rule(key=KEYS)
    def consolidate(self, key: str) -> None:
        self.db.consolidate()

    @invariant()
    def keys_agree(self) -> None:
        if not hasattr(self, "db"):
            return
        assert list(self.db) == sorted(self.model.root)
        assert len(self.db) == len(self.model.root)
        assert sorted(self.db.keys(recursive=True)) == sorted(self.model.values())
        for key in ("a", "b/a", "c/b/a"):
            assert (key in self.db) == (self.model.find(key) is not None)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            for key, value in self.model.values().items():
                assert same(self.at.open("r")[key], value)


@pytest.mark.parametrize(
    ("store", "examples", "steps"),
    [
        ("local", 40, 30),
        ("memory", 25, 30),
        pytest.param("s3", 6, 15, marks=pytest.mark.s3),
        pytest.param("moto", 6, 15, marks=pytest.mark.s3),
    ],
)
def test_the_mapping(store: str, examples: int, steps: int, tmp_path: Any, request: pytest.FixtureRequest) -> None:
    from places import new_place

    class Machine(Mapping):
        place = new_place(store, tmp_path, request)

    limits = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=limits)
