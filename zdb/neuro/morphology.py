"""Morphologies of neurons: sections of a hoc file, their distance from the soma, and bins along them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import zdb

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Morphology",
    "MorphologyError",
    "neighbouring_bins",
    "read_morphology",
    "section_bins",
    "spatial_bin_names",
]

LABELS = {"soma": "Soma", "dend": "Dendrite", "apical": "ApicalDendrite", "axon": "Axon"}
SOMA = "Soma"
BIN_SIZE = 50.0  # µm

_STATEMENT = re.compile(
    r"\{\s*(?:create\s+(?P<create>\w+)"
    r"|connect\s+(?P<child>\w+)\s*\(\s*0\s*\)\s*,\s*(?P<parent>\w+)\s*\(\s*(?P<at>[-+.\deE]+)\s*\)"
    r"|pt3dadd\s*\((?P<point>[^)]*)\))\s*\}"
)
# Axon hillock, initial segment and myelin as the In Silico Framework adds them (``CellParser._create_ais_Hay2013``),
# after Hay et al., J Neurophysiol 2013: name, label, length (µm), diameter at both ends (µm).
AXON = (
    ("axon_0", "AIS", 20.0, 3.0, 1.75),
    ("axon_0_0", "AIS", 30.0, 1.75, 1.0),
    ("axon_0_0_0", "Myelin", 1000.0, 1.0, 1.0),
)


class MorphologyError(zdb.ZdbError, ValueError):
    """A morphology file is malformed."""


@dataclass(frozen=True)
class Morphology:
    """The sections of a neuron.

    Attributes
    ----------
    sections : pandas.DataFrame
        A line for each section, by its number: ``name``, ``label`` ("Soma", "Dendrite", "ApicalDendrite", "Axon",
        "AIS", "Myelin"), ``parent`` (number of the section to which its beginning is connected, -1 for the soma),
        ``parent_x`` (where, from 0 to 1), ``length``, and ``distance_begin`` and ``distance_end``: path length from the
        soma to both ends; all in µm.
    points : list of ndarray of float64, shape (points, 4)
        For each section x, y, z and diameter (µm) of its points.
    """

    sections: pd.DataFrame
    points: list[NDArray[np.float64]]

    def __repr__(self) -> str:
        counts = self.sections["label"].value_counts()
        return f"Morphology: {len(self.sections)} sections ({', '.join(f'{n} {label}' for label, n in counts.items())})"


def read_morphology(source: str | os.PathLike[str] | bytes, *, axon: bool = True) -> Morphology:
    """Read a hoc file of Amira.

    Replaces ``single_cell_parser.create_cell``, as far as it is about the geometry; NEURON is not needed.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.
    axon : bool, default True
        Add axon hillock, initial segment and myelin below the soma, as the In Silico Framework does.

    Returns
    -------
    Morphology
        Sections in the order of the file, those of the axon last. Lengths are those of NEURON, which keeps coordinates
        in single precision.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    MorphologyError
        A section has no points or no parent, or there is no soma.
    """
    named = "the morphology" if isinstance(source, bytes) else os.fspath(source)
    text = (source if isinstance(source, bytes) else Path(source).read_bytes()).decode("latin-1")
    names, points, parents = _parse(text, named)
    labels = [LABELS.get(re.split(r"[_\d]", name)[0], name) for name in names]
    if SOMA not in labels:
        raise MorphologyError(f"{named}: there is no section whose name begins with soma")
    soma = labels.index(SOMA)
    if axon:
        _add_axon(names, labels, points, parents, soma)
    number = {name: i for i, name in enumerate(names)}
    parent = [number[parents[name][0]] if name in parents else -1 for name in names]
    at = [parents[name][1] if name in parents else np.nan for name in names]
    for name, above, label in zip(names, parent, labels, strict=True):
        if above < 0 and label != SOMA:
            raise MorphologyError(f"{named}: section {name} is connected to nothing")
    lengths = [_length(one) for one in points]
    begins = _distances(parent, at, lengths, labels)
    is_soma = np.array(labels) == SOMA
    table = pd.DataFrame(
        {
            "name": names,
            "label": labels,
            "parent": parent,
            "parent_x": at,
            "length": lengths,
            "distance_begin": np.where(is_soma, 0.0, begins),
            "distance_end": np.where(is_soma, 0.0, begins + np.array(lengths)),
        }
    )
    return Morphology(table, points)


def _parse(text: str, named: str) -> tuple[list[str], list[NDArray[np.float64]], dict[str, tuple[str, float]]]:
    names: list[str] = []
    rows: list[list[list[float]]] = []
    parents: dict[str, tuple[str, float]] = {}
    for found in _STATEMENT.finditer(text):
        if found["create"]:
            names.append(found["create"])
            rows.append([])
        elif found["child"]:
            if found["parent"] not in names:
                raise MorphologyError(
                    f"{named}: {found['child']} is connected to {found['parent']}, which is not there"
                )
            parents[found["child"]] = (found["parent"], float(found["at"]))
        elif names:
            point = [float(number) for number in found["point"].split(",")]
            if len(point) != 4:
                raise MorphologyError(f"{named}: a point of {names[-1]} has {len(point)} numbers, not 4")
            rows[-1].append(point)
    if not names:
        raise MorphologyError(f"{named}: no section is created in it; is it a hoc file?")
    for name, points in zip(names, rows, strict=True):
        if len(points) < 2:
            raise MorphologyError(f"{named}: section {name} has {len(points)} points; at least two are needed")
    return names, [np.array(points) for points in rows], parents


def _add_axon(
    names: list[str],
    labels: list[str],
    points: list[NDArray[np.float64]],
    parents: dict[str, tuple[str, float]],
    soma: int,
) -> None:
    x, y, z, diameter = points[soma][len(points[soma]) // 2]
    depth = z - diameter / 2
    parent, at = names[soma], 0.5
    for name, label, length, first, last in AXON:
        # A point for every 5 µm of the short parts and every 50 µm of the myelin, as the original has them.
        pieces = 2 * int(length / (100.0 if label == "Myelin" else 10.0))
        steps = np.arange(pieces + 1) * (length / pieces)
        taper = np.linspace(first, last, pieces + 1)
        points.append(np.column_stack([np.full_like(steps, x), np.full_like(steps, y), depth - steps, taper]))
        names.append(name)
        labels.append(label)
        parents[name] = (parent, at)
        parent, at, depth = name, 1.0, depth - length


def _length(points: NDArray[np.float64]) -> float:
    steps = np.diff(points[:, :3].astype(np.float32), axis=0).astype(np.float64)
    total = 0.0
    for step in np.sqrt((steps**2).sum(axis=1)).tolist():
        total += step
    return total


def _distances(parent: list[int], at: list[float], lengths: list[float], labels: list[str]) -> NDArray[np.float64]:
    """Distance from the soma at which each section begins."""
    begins = np.zeros(len(parent))
    for i in range(len(parent)):
        above, where = parent[i], at[i]
        while above >= 0 and labels[above] != SOMA:
            begins[i] += where * lengths[above]
            above, where = parent[above], at[above]
    return begins


def section_bins(morphology: Morphology, bin_size: float = BIN_SIZE) -> pd.DataFrame:
    """Divide each section into bins of about the same length.

    Replaces ``data_base.db_initializers.prepare_ANN_batches.get_section_distances_df``.

    Parameters
    ----------
    morphology : Morphology
    bin_size : float, default 50
        In µm. A section gets the number of bins, one at least, whose length comes nearest.

    Returns
    -------
    pandas.DataFrame
        A line for each section: ``min_`` and ``max_``, the distance of its ends from the soma (µm), ``n_bins`` and
        ``binsize`` (µm); "Soma" in both for the soma, which is one bin.
    """
    rows: list[tuple[float, float, Any, Any]] = []
    for label, first, last in morphology.sections[["label", "distance_begin", "distance_end"]].itertuples(index=False):
        number, size = ("Soma", "Soma") if label == SOMA else _division(last - first, bin_size)
        rows.append((first, last, number, size))
    return pd.DataFrame(rows, columns=["min_", "max_", "n_bins", "binsize"])


def _division(length: float, goal: float) -> tuple[Any, Any]:
    fewer, more = max(np.floor(length / goal), 1.0), max(np.ceil(length / goal), 1.0)
    number = fewer if abs(goal - length / fewer) < abs(goal - length / more) else more
    return int(number), length / number


def spatial_bin_names(bins: pd.DataFrame) -> list[str]:
    """Return the names of all bins: ``"<section>/<bin>"``, bins counted from 1 on, ``"0/0"`` for the soma.

    Replaces ``data_base.db_initializers.prepare_ANN_batches.get_spatial_bin_names``.

    Parameters
    ----------
    bins : pandas.DataFrame
        As :func:`section_bins` returns it.
    """
    names: list[str] = []
    for section, number in bins["n_bins"].items():
        names += [f"{section}/0"] if number == "Soma" else [f"{section}/{n + 1}" for n in range(number)]
    return names


def neighbouring_bins(morphology: Morphology, bins: pd.DataFrame, name: str) -> list[str]:
    """Return the bins that touch a bin.

    Replaces ``data_base.db_initializers.prepare_ANN_batches.get_neighboring_spatial_bins``, which failed at the soma.

    Parameters
    ----------
    morphology : Morphology
    bins : pandas.DataFrame
        As :func:`section_bins` returns it.
    name : str
        Of the bin, see :func:`spatial_bin_names`.

    Returns
    -------
    list of str
        In the order of the sections: the bins before and behind it in its section, the bin of the parent to which its
        section is connected, the first bins of sections that begin at it, and of those that begin where its own section
        does, if both begin at the last bin of the parent.

    Raises
    ------
    KeyError
        There is no such bin.
    """
    if name not in spatial_bin_names(bins):
        raise KeyError(f"there is no bin {name!r}; bins are named by section and number, such as '5/2'")
    section, number = map(int, name.split("/"))
    parent = morphology.sections["parent"].to_numpy()
    begins = bins["min_"].to_numpy(np.float64)
    counts: list[Any] = bins["n_bins"].tolist()
    found: set[tuple[int, int]] = set()
    if counts[section] != "Soma":
        found |= {(section, n) for n in (number - 1, number + 1) if 1 <= n <= counts[section]}
        if number == 1:
            above = int(parent[section])
            where = _bin_at(bins, above, begins[section])
            found.add((above, where))
            if where == counts[above]:
                others = (int(other) for other in np.flatnonzero(parent == above) if other != section)
                found |= {(other, 1) for other in others if _bin_at(bins, above, begins[other]) == where}
    for child in np.flatnonzero(parent == section):
        if _bin_at(bins, section, begins[child]) == number:
            found.add((int(child), 1))
    return [f"{one}/{n}" for one, n in sorted(found)]


def _bin_at(bins: pd.DataFrame, section: int, distance: float) -> int:
    """The bin of a section whose beginning is nearest to a distance from the soma; 0 for the soma."""
    first, last, number = (bins[name].tolist()[section] for name in ("min_", "max_", "n_bins"))
    if number == "Soma":
        return 0
    starts = first + np.arange(number) * (last - first) / number
    return int(np.argmin(np.abs(starts - distance))) + 1
