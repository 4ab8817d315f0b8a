"""Databases that releases have written open for ever."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import zdb

DATA = Path(__file__).parent / "data"
RELEASES = sorted(DATA.glob("*.zdb"))


def expected() -> dict[str, object]:
    spec = importlib.util.spec_from_file_location("write_data", DATA / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values: dict[str, object] = module.values()
    return values


def test_there_is_a_release() -> None:
    assert RELEASES


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.name)
@pytest.mark.parametrize("key", list(expected()))
def test_every_value_comes_back(path: Path, key: str) -> None:
    wanted, found = expected()[key], zdb.open(path, "r")[key]
    assert type(found) is type(wanted)
    if isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wanted)
    elif isinstance(wanted, xr.Dataset):
        xr.testing.assert_identical(found.load(), wanted)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    elif isinstance(wanted, list):
        assert [row.tolist() for row in found] == [row.tolist() for row in wanted]
    else:
        assert found == wanted
