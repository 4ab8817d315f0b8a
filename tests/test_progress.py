"""The progress bar of lazy writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd

import zdb

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ARRAY = da.ones((10, 10), chunks=(2, 10))
FRAME = dd.from_pandas(pd.DataFrame({"a": np.arange(10)}), npartitions=3)


def test_a_bar_is_shown_where_it_is_asked_for(db: zdb.Database, capfd: pytest.CaptureFixture[str]) -> None:
    for key, value in {"array": ARRAY, "frame": FRAME}.items():
        db.set(key, value, progress=True)
        shown = capfd.readouterr().err
        assert shown.startswith(f"\r{key}:   0%")
        assert f"{key}: 100%" in shown
    np.testing.assert_array_equal(db["array"].compute(), np.ones((10, 10)))
    with zdb.config.set({"progress": True}):
        db["array"] = ARRAY
        assert "array: 100%" in capfd.readouterr().err
        db.set("array", ARRAY, progress=False)
        db["numpy"] = np.ones(3)
        assert capfd.readouterr() == ("", "")


def test_by_default_nothing_is_shown(db: zdb.Database, capfd: pytest.CaptureFixture[str]) -> None:
    db["array"] = ARRAY
    db["frame"] = FRAME
    da.ones(3).compute()
    assert capfd.readouterr() == ("", "")


def test_workers_of_a_cluster_are_watched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster, Client(cluster):
        db = zdb.open(tmp_path / "x.zdb")
        db["array"] = ARRAY
        assert "Completed" not in capfd.readouterr().out
        db.set("array", ARRAY + 1, progress=True)
        assert "100% Completed" in capfd.readouterr().out
        db.set("frame", FRAME, progress=True)
        assert "100% Completed" in capfd.readouterr().out
        np.testing.assert_array_equal(db["array"].compute(), np.full((10, 10), 2))
        assert db["frame"]["a"].sum().compute() == 45
