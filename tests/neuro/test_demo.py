"""The demo, as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

import zdb
from zdb.neuro.demo import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # it can be run again
        main([str(tmp_path)])
    printed = capsys.readouterr().out
    for text in ("voltage_traces", "synapse_activation", "hostname", "<xarray.Dataset>", "spikes"):
        assert text in printed
    for name in ("voltage_and_raster.png", "activations.png"):
        picture = (tmp_path / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000
    assert len(zdb.open(str(tmp_path / "demo.zdb"), mode="r")["sim_trial_index"]) == 24
    assert xr.open_zarr(tmp_path / "demo.zdb" / "voltage_traces").sizes["trial"] == 24
