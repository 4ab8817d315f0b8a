"""The progress bar of lazy writes."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize("on_terminal", [True, False])
@pytest.mark.parametrize("command", ["put", "import files"])
def test_the_command_line_shows_it_on_a_terminal(tmp_path: Path, command: str, on_terminal: bool) -> None:
    xr.Dataset({"v": ("t", np.arange(10.0))}).to_netcdf(tmp_path / "lazy.nc", engine="netcdf4")
    order = {"put": ["x.zdb", "lazy", "lazy.nc"], "import files": ["lazy.nc", "x.zdb"]}[command]
    terminal, writer = os.openpty() if on_terminal else os.pipe()
    if on_terminal:
        termios.tcsetwinsize(writer, (24, 80))
    words = [sys.executable, "-m", "zdb", *command.split(), *order]
    subprocess.run(words, cwd=tmp_path, stderr=writer, check=True, timeout=100)
    os.set_blocking(terminal, False)
    os.write(writer, b"end")
    shown = os.read(terminal, 1 << 16).decode()
    os.close(writer)
    os.close(terminal)
    assert ("lazy:   0%" in shown) == on_terminal


def test_workers_of_a_cluster_are_watched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster, Client(cluster):
        db = zdb.open(tmp_path / "x.zdb")
        db["array"] = ARRAY
        assert "%" not in capfd.readouterr().err
        db.set("array", ARRAY + 1, progress=True)
        assert "array: 100%" in capfd.readouterr().err
        db.set("frame", FRAME, progress=True)
        assert "frame: 100%" in capfd.readouterr().err
        np.testing.assert_array_equal(db["array"].compute(), np.full((10, 10), 2))
        assert db["frame"]["a"].sum().compute() == 45
