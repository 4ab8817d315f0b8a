"""Records of cells come back whole, without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import zdb
from zdb.neuro import Cell

if TYPE_CHECKING:
    from pathlib import Path


def as_original(samples: int = 5) -> dict[str, Any]:
    """A cell as the In Silico Framework takes it apart."""
    trace = np.linspace(-70, -60, samples)
    return {
        "tVec": np.arange(samples) * 0.025,
        "sections": [
            {"label": "Soma", "parent_id": None, "recVList": [trace], "recordVars": {"NaTa_t.ina": [trace / 2]}},
            {"label": "Dendrite", "parent_id": 0, "recVList": [trace + 1, trace + 2], "recordVars": {"NaTa_t.ina": []}},
            {"label": "AIS", "parent_id": 0, "recVList": [], "recordVars": {}},
        ],
        "synapses": {
            "VPM_C2": [
                {"coordinates": np.array([1.0, 2.0, 3.0]), "preCell": {"spikeTimes": [1.5, 2.5]}},
                {"coordinates": np.array([4.0, 5.0, 6.0]), "preCell": {"spikeTimes": []}},
            ],
            "L2_C2": [],
        },
        "parameters": {"Soma": {"properties": {"Ra": 100.0, "ions": {"ek": -85}}}},
        "hoc": "{create soma} µ",
    }


def test_a_cell_comes_back_whole(tmp_path: Path) -> None:
    original = as_original()
    cell = Cell.from_dict(original)
    assert repr(cell) == "Cell: 3 sections, 3 recorded segments of 5 samples, 2 synapses of 2 populations"
    db = zdb.open(tmp_path / "x.zdb")
    db["cell"] = cell
    assert db.info("cell").format == "cell"
    back = db["cell"]  # no allow_pickle
    np.testing.assert_array_equal(back.time, original["tVec"])
    for section, expected in zip(back.sections, original["sections"], strict=True):
        assert (section.label, section.parent) == (expected["label"], expected["parent_id"])
        np.testing.assert_array_equal(section.voltage, expected["recVList"])
        assert list(section.variables) == list(expected["recordVars"])
        for name, traces in expected["recordVars"].items():
            np.testing.assert_array_equal(section.variables[name], traces)
    assert list(back.synapses) == ["VPM_C2", "L2_C2"]
    assert [s.spike_times.tolist() for s in back.synapses["VPM_C2"]] == [[1.5, 2.5], []]
    assert back.synapses["VPM_C2"][1].coordinates == (4.0, 5.0, 6.0)
    assert back.parameters == original["parameters"]
    assert (back.morphology, back.morphology_kind) == (original["hoc"], "hoc")


def test_an_empty_cell(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["cell"] = Cell(np.zeros(0), [])
    assert db["cell"].sections == []


def test_what_would_not_come_back_is_refused(tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    wrong = as_original()
    wrong["sections"][1]["recVList"] = [np.zeros(3)]
    with pytest.raises(zdb.errors.UnsupportedValueError, match="section 1, voltage of segment 0"):
        db["cell"] = Cell.from_dict(wrong)
    with pytest.raises(zdb.errors.UnsupportedValueError, match="not plain JSON"):
        db["cell"] = Cell(np.zeros(0), [], parameters={"f": object()})
    assert list(db) == []
