"""A Dataset laid out as a ragged array is stored as a Ragged, without computing what is lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb
from tests.formats.memory import roundtrip
from zdb.errors import UnsupportedValueError
from zdb.formats.ragged import Ragged, RaggedFormat

if TYPE_CHECKING:
    from pathlib import Path

RAGGED = RaggedFormat()


def laid_out(rows: int = 7, lazy: bool = True) -> tuple[xr.Dataset, Ragged]:
    """A Dataset, and the Ragged that it stands for."""
    random = np.random.default_rng(rows)
    sizes = random.integers(0, 4, rows)
    values, distance = random.random(sizes.sum()), random.random(rows)
    codes = random.integers(-1, 3, rows).astype(np.int8)
    expected = Ragged(
        values,
        sizes,
        pd.DataFrame({"cell": pd.Categorical.from_codes(codes, ["a", "b", "c d"]), "distance": distance}),
    )
    wrap: Any = (lambda array: da.from_array(array, chunks=3)) if lazy else np.asarray
    dataset = xr.Dataset(
        {
            "values": ("value", wrap(values)),
            "row_size": ("row", sizes),
            "cell": ("row", wrap(codes), {"labels": ["a", "b", "c d"]}),
            "distance": ("row", wrap(distance)),
        }
    )
    return dataset, expected


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_it_is_the_ragged_that_it_stands_for(rows: int, lazy: bool) -> None:
    dataset, expected = laid_out(rows, lazy)
    assert roundtrip(RAGGED, dataset) == expected


def test_nothing_lazy_is_computed_by_encoding() -> None:
    dataset, _ = laid_out()
    encoded = RAGGED.encode(dataset)
    assert all(encoded[name].chunks is not None for name in ("values", "cell", "distance"))


def test_it_is_stored_as_the_ragged_would_be(tmp_path: Path) -> None:
    dataset, expected = laid_out(20)
    db = zdb.open(str(tmp_path / "db.zdb"))
    db.set("lazy", dataset, format="ragged")
    db["eager"] = expected
    assert db["lazy"] == expected
    lazy, eager = db.dataset("lazy").load(), db.dataset("eager").load()
    for each in (lazy, eager):
        for name in ("zdb_created", "zdb_id", "zdb_duration"):
            del each.attrs[name]
    xr.testing.assert_identical(lazy, eager)
    assert db.get("lazy", rows=slice(5, 9), columns=["cell"]) == Ragged(
        expected[5:9].values, expected[5:9].row_size, expected[5:9].columns[["cell"]]
    )


@pytest.mark.parametrize("rows", [2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16])
def test_rows_in_the_middle_of_many_are_found(rows: int) -> None:
    sizes = np.arange(rows) % 3
    ragged = Ragged(np.arange(sizes.sum()), sizes)
    node = RAGGED.encode(ragged)
    starts = node["row_size"].attrs.get("block_starts")
    assert starts is None or starts == ragged.offsets[:: 2**16].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.drop_vars("row_size"), "needs the variable 'row_size'"),
        (lambda ds: ds.assign(row_size=("row", np.ones(7, int))), "adds up to 7"),
        (lambda ds: ds.assign(row_size=("row", np.full(7, -1))), "integers from 0 on"),
        (lambda ds: ds.assign(wide=(("row", "x"), np.ones((7, 2)))), "'wide' lies along"),
        (lambda ds: ds.assign(text=("row", np.array(["a"] * 7))), "'text' is of"),
        (lambda ds: ds.assign(cell=("row", np.zeros(7, "i4"), {"labels": ["a"]})), "pandas takes int8"),
    ],
)
def test_other_datasets_are_refused(change: Any, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        RAGGED.encode(change(laid_out()[0]))
