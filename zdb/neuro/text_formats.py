"""Text files of the In Silico Framework: synapse activations are written, summaries of the input mapper are read."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

import zdb
from zdb.neuro.events import events_of
from zdb.neuro.readers import SimulationFileError

__all__ = ["read_input_mapper_summary", "write_synapse_activations"]

COLUMNS = ("synapse_type", "synapse_ID", "soma_distance", "section_ID", "section_pt_ID", "dendrite_label")
HEADER = "# synapse type\tsynapse ID\tsoma distance\tsection ID\tsection pt ID\tdendrite label\tactivation times\n"


def write_synapse_activations(path: str | os.PathLike[str], activations: zdb.Ragged | pd.DataFrame) -> None:
    """Write the synapse activations of one trial, as simulations of the In Silico Framework write and read them.

    Replaces ``data_base.IO.roberts_formats.write_pandas_synapse_activation_to_roberts_format``;
    :func:`zdb.neuro.read_synapse_activations` reads the file.

    Parameters
    ----------
    path : path
        Of the new file.
    activations : zdb.Ragged or pandas.DataFrame
        A row for each synapse: activation times (ms), with the columns ``synapse_type``, ``synapse_ID``,
        ``soma_distance`` (µm), ``section_ID``, ``section_pt_ID`` and ``dendrite_label``. In a table the times are in
        the columns whose names are integers, filled with NaN, as :meth:`zdb.Ragged.to_frame` makes it.

    Raises
    ------
    FileExistsError
        There is such a file.
    KeyError
        A column is missing.
    """
    events = events_of(activations)
    missing = [name for name in COLUMNS if name not in events.columns]
    if missing:
        raise KeyError(f"{os.fspath(path)}: not written: the activations have no column {', '.join(missing)}")
    fields = zip(*(events.columns[name].tolist() for name in COLUMNS), strict=True)
    rows = zdb.Ragged(events.times, np.bincount(events.rows, minlength=len(events)))
    lines = [
        "\t".join(map(str, row)) + "\t" + "".join(f"{time!r}," for time in times.tolist()) + "\n"
        for row, times in zip(fields, rows, strict=True)
    ]
    with Path(path).open("x", encoding="utf-8") as file:
        file.write(HEADER)
        file.writelines(lines)


def read_input_mapper_summary(source: str | os.PathLike[str] | TextIO, sep: str = "\t") -> dict[str, pd.DataFrame]:
    """Read a summary of the input mapper: tables, each below a line that begins with ``#``.

    Replaces ``data_base.IO.roberts_formats.read_InputMapper_summary``.

    Parameters
    ----------
    source : path or text buffer
    sep : str, default tab
        Between the columns; one sign.

    Returns
    -------
    dict of str to pandas.DataFrame
        By the line that begins with ``#``.

    Raises
    ------
    SimulationFileError
        There is no such line, or a table is malformed: also if a line has more or fewer fields than the first.
    """
    if isinstance(source, (str, os.PathLike)):
        named, text = os.fspath(source), Path(source).read_text(encoding="utf-8")
    else:
        named, text = "the summary", source.read()
    tables: dict[str, list[str]] = {}
    title: str | None = None
    for line in text.splitlines():
        if line.startswith("#"):
            title = line.strip()
            tables[title] = []
        elif line.strip():
            if title is None:
                raise SimulationFileError(f"{named}: the first line does not begin with #, so it is no summary")
            tables[title].append(line)
    if not tables:
        raise SimulationFileError(f"{named}: there is no line that begins with #, so it is no summary")
    return {title: _parsed(f"{named}: {title}", lines, sep) for title, lines in tables.items()}


def _parsed(named: str, lines: list[str], sep: str) -> Any:
    widths = [len(row) for row in csv.reader(lines, delimiter=sep)]
    if other := next((width for width in widths if width != widths[0]), None):
        raise SimulationFileError(f"{named}: not a table: a line has {other} fields, and the first has {widths[0]}")
    try:
        return pd.read_csv(io.StringIO("\n".join(lines)), sep=sep)
    except ValueError as error:
        raise SimulationFileError(f"{named}: not a table: {error}") from error
