"""Sections, distances and bins of a small morphology whose numbers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from zdb.neuro import MorphologyError, neighbouring_bins, read_morphology, section_bins, spatial_bin_names

if TYPE_CHECKING:
    from pathlib import Path

HOC = b"""
{create soma} {access soma} {nseg = 1} {pt3dclear()}
{pt3dadd(0,0,0,10)} {pt3dadd(0,0,10,10)} {pt3dadd(0,0,20,10)}
{create dend_1}
{connect dend_1(0), soma(0.5)}
{pt3dclear()}
{pt3dadd(0,0,0,2)} {pt3dadd(30,40,0,2)} {pt3dadd(60,80,0,1)}
{create dend_1_0}
{connect dend_1_0(0), dend_1(1.0)}
{pt3dadd(60,80,0,1)} {pt3dadd(60,90,0,1)}
{create dend_1_1}
{connect dend_1_1(0), dend_1(1.0)}
{pt3dadd(60,80,0,1)} {pt3dadd(60,210,0,1)}
{create apical_1}
{connect apical_1(0), dend_1(0.25)}
{pt3dadd(0,0,0,1)} {pt3dadd(0,0,74,1)}
"""


def test_sections_and_their_distances() -> None:
    sections = read_morphology(HOC, axon=False).sections
    assert sections["name"].tolist() == ["soma", "dend_1", "dend_1_0", "dend_1_1", "apical_1"]
    assert sections["label"].tolist() == ["Soma", "Dendrite", "Dendrite", "Dendrite", "ApicalDendrite"]
    assert sections["parent"].tolist() == [-1, 0, 1, 1, 1]
    assert sections["length"].tolist() == [20, 100, 10, 130, 74]
    assert sections["distance_begin"].tolist() == [0, 0, 100, 100, 25]
    assert sections["distance_end"].tolist() == [0, 100, 110, 230, 99]


def test_the_axon_is_added_below_the_soma(tmp_path: Path) -> None:
    (tmp_path / "cell.hoc").write_bytes(HOC)
    cell = read_morphology(tmp_path / "cell.hoc")
    axon = cell.sections.iloc[5:]
    assert axon["label"].tolist() == ["AIS", "AIS", "Myelin"]
    assert axon["parent"].tolist() == [0, 5, 6]
    np.testing.assert_allclose(axon["distance_end"], [20, 50, 1050], rtol=1e-6)
    assert cell.points[5][0].tolist() == [0, 0, 5, 3.0]  # the middle of the soma, less its radius
    assert cell.points[5][-1, 3] == 1.75
    assert repr(cell) == "Morphology: 8 sections (3 Dendrite, 2 AIS, 1 Soma, 1 ApicalDendrite, 1 Myelin)"


def test_bins_come_nearest_to_the_size_asked_for() -> None:
    bins = section_bins(read_morphology(HOC, axon=False))
    assert bins["n_bins"].tolist() == ["Soma", 2, 1, 3, 2]
    assert bins["binsize"].tolist()[1:] == [50, 10, pytest.approx(130 / 3), 37]
    names = ["0/0", "1/1", "1/2", "2/1", "3/1", "3/2", "3/3", "4/1", "4/2"]
    assert spatial_bin_names(bins) == names


def test_neighbours_are_mutual_and_follow_the_branches() -> None:
    cell = read_morphology(HOC, axon=False)
    bins = section_bins(cell)
    near = {name: neighbouring_bins(cell, bins, name) for name in spatial_bin_names(bins)}
    assert near["0/0"] == ["1/1"]
    assert near["1/1"] == ["0/0", "1/2", "4/1"]  # the apical dendrite begins at a quarter of the section
    assert near["3/1"] == ["1/2", "2/1", "3/2"]
    assert all(name in near[other] for name, others in near.items() for other in others)
    with pytest.raises(KeyError, match="'1/3'"):
        neighbouring_bins(cell, bins, "1/3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no section"),
        (b"{create dend_1}{pt3dadd(0,0,0,1)}{pt3dadd(0,0,1,1)}", "begins with soma"),
        (HOC + b"{create dend_2}{pt3dadd(0,0,0,1)}{pt3dadd(0,0,1,1)}", "dend_2 is connected to nothing"),
        (HOC + b"{create dend_2}{connect dend_2(0), soma(0.5)}", "dend_2 has 0 points"),
        (HOC + b"{create dend_2}{connect dend_2(0), dend_9(0.5)}", "dend_9, which is not there"),
        (HOC + b"{pt3dadd(0,0,1)}", "3 numbers"),
    ],
)
def test_what_is_wrong_is_named(content: bytes, message: str) -> None:
    with pytest.raises(MorphologyError, match=message):
        read_morphology(content)
