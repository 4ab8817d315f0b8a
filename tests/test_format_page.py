"""docs/format.md tells all that the formats write: each format, attribute, and word of a recipe."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import cftime
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from formats.test_dask_tables import everything
from formats.test_tables import frames

import zdb
from zdb.attributes import NODE_ATTRIBUTES
from zdb.formats import registry
from zdb.neuro import Cell, ReducedModel
from zdb.neuro.cells import CellSection
from zdb.neuro.links import FILE_COLUMNS, TRIAL_COLUMNS, SimrunLink

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = re.sub(
    "```.*?```", "", (Path(__file__).parent.parent / "docs" / "format.md").read_text("utf-8"), flags=re.DOTALL
)
HEADING = re.compile(r"^### `([\w-]+)`, version (\d+)$", re.MULTILINE)
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", PAGE))))
TEXT = np.dtypes.StringDType
ATTRIBUTES = {
    "mixed": (1, {2}, b"x", 1j, float("nan"), pd.NA, pd.Timestamp("2020", tz="UTC"), pd.Interval(0, 1), frozenset([1])),
    "times": [pd.Timedelta(1), pd.Period("2020", "D"), np.float32(1), np.arange(3), np.dtype("f4"), int, 2**70],
}


def values() -> dict[str, Any]:
    """Something of each kind."""
    array = np.arange(6.0).reshape(2, 3)
    dataset = xr.Dataset(
        {
            "lazy": ("x", da.arange(4, chunks=3)),
            "category": ("x", pd.Categorical(["a", "b", "a", None])),
            "fortran": (("x", "y"), np.ones((4, 2)), ATTRIBUTES),
        },
        {"x": pd.date_range("2020", periods=4), "y": [1.5, 2.5]},
    )
    dataset["lazy"].encoding["dtype"] = "int16"
    dataset.encoding["unlimited_dims"] = {"x"}
    levels = pd.MultiIndex.from_product([["a"], [1, 2]], names=["u", "v"])
    mixed = pd.Index([1, "a", None, (1, 2)], dtype=object, name="m")
    stored = {
        "array": array,
        "fortran": np.asfortranarray(array),
        "scalar": np.float32(1),
        "dask": da.from_array(array, chunks=((1, 1), (2, 1))),
        "masked": np.ma.array([1, 2], mask=[True, False], fill_value=7),
        "recarray": np.rec.array([(1, "a")], dtype=[("n", "i4"), ("s", "U2")]),
        "times": np.array(["2020"], "M8[s]"),
        "bytes": np.array([b"x"]),
        "strings": np.array(["a", None], TEXT(na_object=None)),
        "objects": np.array(["a", None], object),
        "dates": np.array([cftime.DatetimeNoLeap(2000, 1, 1)], object),
        "void": np.array([b"ab"], "V2"),
        "long": np.array([1], np.longdouble),
        "dataset": dataset,
        "data array": xr.DataArray(array, dims=("a", "b"), name="v"),
        "levels": xr.Dataset(coords=xr.Coordinates.from_pandas_multiindex(levels, "row")),
        "tree": xr.DataTree.from_dict({"/": xr.Dataset({"a": 1}), "/child": xr.Dataset({"b": ("t", [1])})}),
        "series": everything()["cell"],
        "mixed index": mixed,
        "attrs": pd.DataFrame({"a": [1]}),
        "unique": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        "long strings": pd.DataFrame({"few": ["a", None] * 8000, "many": [f"cell {i}" for i in range(16_000)]}),
        "dask frame": dd.from_pandas(everything(), npartitions=2),
        "arrow": pa.table({"a": [[1], None], "b": ["x", None], "c": [1, None]}),
        "arrow dtype": pd.DataFrame({"a": pd.array([1, None], pd.ArrowDtype(pa.int64()))}),
        "polars": pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        "ragged": zdb.Ragged.from_lists([np.ones(2), np.ones(0)], {"cell": ["a", "b"]}),
        "list": [np.ones(2), np.ones(1)],
        "lists": ak.Array([["a"], []]),
        "records": ak.Array([{"times": [1.5], "cell": "a"}]),
        "lists of records": ak.Array([[{"n": 1}]]),
        "nothing": ak.Array([[]]),
        "nested": (1, [np.ones(100), dataset], {"a": np.array([{1}, None], object)}, OrderedDict(a=np.float32(1))),
        "json": {"a": [1]},
        "pickle": object,
        "file": b"content",
    }
    stored["attrs"].attrs["a"] = 1
    return {name.replace(" ", "_"): value for name, value in {**stored, **frames()}.items()}


def words_of(recipe: Any) -> Iterator[str]:
    """Words that zdb chose: keys, and what stands under those that name a kind."""
    if isinstance(recipe, list):
        for part in recipe:
            yield from words_of(part)
    if isinstance(recipe, dict):
        for key, value in recipe.items():
            if key in ("json", "attrs", "children", "parameters"):  # made of names of the user
                yield key
            elif key in ("fields", "variables") and isinstance(value, dict):
                yield from (key, *words_of(list(value.values())))
            else:
                yield key
                if key in ("class", "kind", "layout", "storage", "missing", "missing_name", "type"):
                    yield from re.findall(r"\w+", str(value))
                yield from words_of(value)


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    """The attributes of the nodes of all values."""
    db = zdb.open("memory://format-page")
    for name, value in values().items():
        key = re.sub(r"\W+", "_", name).strip("_") + "_"
        db.set(key, value, format="pickle" if name == "pickle" else None)
    return {key: dict(db._engine.node(key).attributes) for key in db}


def test_each_format_has_its_section_of_this_version() -> None:
    told = {name: int(version) for name, version in HEADING.findall(PAGE)}
    assert told == {name: registry.by_name(name).version for name in registry.names()}


def test_the_values_are_of_all_formats(written: dict[str, dict[str, Any]]) -> None:
    of_neuro = {"reduced_model", "cell", "simrun-link"}
    assert {own["zdb_format"] for own in written.values()} == set(registry.names()) - of_neuro


def test_every_word_of_a_recipe_is_told(written: dict[str, dict[str, Any]]) -> None:
    missing = {key: set(words_of(json.loads(own["zdb_recipe"]))) - WORDS for key, own in written.items()}
    assert not {key: words for key, words in missing.items() if words}


def test_every_attribute_is_told(written: dict[str, dict[str, Any]]) -> None:
    told = set(re.findall(r"`(zdb_\w+)`", PAGE))
    for name in {*NODE_ATTRIBUTES, *(name for own in written.values() for name in own if name != "coordinates")}:
        assert name in told or re.match("zdb_(slurm|mpi|dask)_", name), name


def of_neurons() -> list[Any]:
    cell = Cell(np.zeros(2), [CellSection("Soma", None, [np.zeros(2)], {"ina": [np.zeros(2)]})])
    model = ReducedModel(
        groups=("EXC",),
        input_window=(-2, 0),
        output_window=(0.0, 1.0),
        refractory_period=0,
        lookup_step=1,
        kernels=np.zeros((1, 1, 2)),
        lookup=[pd.Series([0.5], index=[0])],
        net_input=np.zeros((1, 1)),
        spike_times=zdb.Ragged.from_lists([np.zeros(1)]),
        sources=("a",),
    )
    files = pd.DataFrame([("a.csv", 1, "00")], columns=list(FILE_COLUMNS))
    trials = pd.DataFrame([("0", 0, 0, 1)], columns=list(TRIAL_COLUMNS))
    return [cell, model, SimrunLink("voltage", "/results", files, trials, np.zeros(2), {})]


@pytest.mark.parametrize("value", of_neurons(), ids=lambda value: type(value).__name__)
def test_arrays_and_recipes_of_neurons_are_told(value: Any) -> None:
    chosen = registry.for_value(value)
    section = PAGE.partition(f"### `{chosen.name}`, version")[2].partition("\n### ")[0]
    encoded = chosen.encode(value)
    told = set(re.findall(r"`([\w-]+)`", section))
    assert {*map(str, encoded.variables), *map(str, encoded.dims), *json.loads(encoded.attrs["zdb_recipe"])} <= told
