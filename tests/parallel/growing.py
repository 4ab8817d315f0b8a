"""Columns and indexes of rows by their numbers, for values to which rows are added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

LETTERS = np.array(["a", "b", "long é", ""], dtype=object)

COLUMNS: dict[str, Any] = {
    "float": lambda n: n / 2,
    "byte": lambda n: n.astype("u1"),
    "when": lambda n: n.astype("M8[s]"),
    "late": lambda n: (n * 10**9).astype("M8[s]"),  # some are beyond what xarray reads
    "zoned": lambda n: pd.to_datetime(n, utc=True).tz_convert("Europe/Berlin").as_unit("s"),
    "nullable": lambda n: pd.array(np.where(n % 5, n, None), dtype="Int64"),
    "text": lambda n: pd.array(LETTERS[n % 4], dtype="str"),
    "many": lambda n: pd.array([f"cell {i}" for i in n], dtype="str"),
    "object": lambda n: np.where(n % 7, LETTERS[n % 4], None),
    "category": lambda n: pd.Categorical(pd.array(LETTERS[n % 4], dtype="str")),
    "ordered": lambda n: pd.Categorical(LETTERS[n % 4], categories=LETTERS, ordered=True),
    "period": lambda n: pd.PeriodIndex.from_ordinals(n, freq="M"),
    "interval": lambda n: pd.arrays.IntervalArray.from_arrays(n, n + 1),
    "arrow": lambda n: pd.array([f"x{i}" if i % 6 else None for i in n], dtype="string[pyarrow]"),
    "lists": lambda n: pd.array([[i] for i in n.tolist()], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
}
INDEXES: dict[str, Any] = {
    "default": lambda n: pd.RangeIndex(len(n)),
    "range": lambda n: pd.RangeIndex(10, 10 + 2 * len(n), 2),
    "numbers": lambda n: pd.Index(n, name="trial"),
    "text": lambda n: pd.Index([f"trial {i}" for i in n], name="trial", dtype="str"),
    "levels": lambda n: pd.MultiIndex.from_arrays([n, COLUMNS["text"](n)], names=["trial", "cell"]),
    "days": lambda n: pd.date_range("2020-01-01", periods=len(n), freq="D"),
}
