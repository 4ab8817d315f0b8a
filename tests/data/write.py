"""Values of every format, and ``python tests/data/write.py VERSION``, which writes the database of a release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import zdb


def values() -> dict[str, Any]:
    """Return the values by key; they are not to be changed, new ones may be added."""
    times = pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin")
    dataset = xr.Dataset(
        {"v": (("trial", "time"), np.arange(12.0).reshape(3, 4), {"units": "mV"})},
        {"trial": ["a", "b", "c"], "time": np.arange(4) * 0.025},
        {"n": np.float32(1.5)},
    )
    table = pd.DataFrame(
        {"i": [1, 2, 3], "s": ["x", None, "ü"], "c": pd.Categorical(["p", "q", "p"]), "t": times},
        index=pd.Index([10, 20, 30], name="row_id"),
    )
    return {
        "json": {"text": "ü", "big": 2**70, "nan_free": [1, None, True]},
        "array/float": np.arange(6.0).reshape(2, 3),
        "array/time": np.array(["2026-01-01", "NaT"], dtype="M8[D]"),
        "array/text": np.array(["a", "ü"]),
        "array/scalar": np.float32(0.1),
        "dataset": dataset,
        "table": table,
        "ragged": [np.arange(3.0), np.arange(0.0), np.arange(2.0)],
        "file": b"bytes",
    }


if __name__ == "__main__":
    db = zdb.open(Path(__file__).parent / f"{sys.argv[1]}.zdb", "w-")
    for key, value in values().items():
        db[key] = value
