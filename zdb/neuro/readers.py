"""Read the files of one simulation run: voltage traces, synapse activations, presynaptic spikes.

Every file is read as a whole and parsed in bulk by Arrow, whose parser rounds decimal numbers
correctly: each float64 is the one nearest to the text. Nothing is guessed: a file that ends early
or has a malformed row is an error that names it.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from zdb.errors import ZdbError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CELL_COLUMNS",
    "SYNAPSE_COLUMNS",
    "SimulationFileError",
    "read_cell_spikes",
    "read_synapse_activations",
    "read_time_span",
    "read_trace_numbers",
    "read_voltage",
]

# Arrow's types of the columns that precede the times; a dictionary becomes a pandas categorical.
_LABEL = pa.dictionary(pa.int32(), pa.string())
SYNAPSE_COLUMNS: dict[str, Any] = {
    "synapse_type": _LABEL,
    "synapse_ID": pa.int64(),
    "soma_distance": pa.float64(),
    "section_ID": pa.int64(),
    "section_pt_ID": pa.int64(),
    "dendrite_label": _LABEL,
}
CELL_COLUMNS: dict[str, Any] = {"presynaptic_cell_type": _LABEL, "cell_ID": pa.int64()}

# Bytes at the end of a voltage file in which its last line begins.
_LONGEST_LINE = 1 << 20


class SimulationFileError(ZdbError, ValueError):
    """A file of a simulation is missing, truncated, malformed, or does not fit the others."""


def read_synapse_activations(path: str | Path) -> Any:
    """Read the synapses that were active in one trial, ``simulation_runNNNN_synapses.csv``.

    Parameters
    ----------
    path : path
        One row per synapse: type, ID, distance to the soma (µm), section ID, point ID in the
        section, dendrite label, then any number of activation times (ms). Tabs and commas both
        separate; rows may end in a separator.

    Returns
    -------
    pyarrow.Table
        One row per synapse, in the order of the file, with the columns `SYNAPSE_COLUMNS` (labels
        as dictionaries) and ``times``, a list of float64 (ms).

    Raises
    ------
    SimulationFileError
        The file is truncated or a row is malformed.
    """
    return _read_times_table(Path(path), SYNAPSE_COLUMNS)


def read_cell_spikes(path: str | Path) -> Any:
    """Read the presynaptic spikes of one trial, ``simulation_runNNNN_presynaptic_cells.csv``.

    Parameters
    ----------
    path : path
        One row per cell: type, ID, then any number of spike times (ms); separators as in
        `read_synapse_activations`.

    Returns
    -------
    pyarrow.Table
        One row per cell, with the columns `CELL_COLUMNS` and ``times``, a list of float64 (ms).

    Raises
    ------
    SimulationFileError
        The file is truncated or a row is malformed.
    """
    return _read_times_table(Path(path), CELL_COLUMNS)


def read_voltage(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the voltage traces of one run, ``*_vm_all_traces.csv`` or ``.npz``.

    A csv file has a header (``t``, ``Vm run 00``, …) and one row per sample. An npz file holds one
    array ``arr_0`` with the time and the traces side by side, time first: as columns (samples × (1
    + trials)), or as rows ((1 + trials) × samples). Which one it is follows from the time, the
    only one of the two that increases; if both do, the file is refused.

    Returns
    -------
    time : ndarray of float64, shape (samples,)
        In ms, as stored in the file.
    voltage : ndarray of float64, shape (trials, samples)
        In mV.

    Raises
    ------
    SimulationFileError
        The file is truncated or malformed, or its time does not increase.
    """
    path = Path(path)
    table = _read_npz(path) if path.suffix == ".npz" else _read_voltage_csv(path)
    time, voltage = table[0], table[1:]
    if not len(time):
        raise SimulationFileError(f"{path}: has a header and no samples; it is truncated")
    if not _increases(time):
        raise SimulationFileError(f"{path}: the time does not increase in every row")
    return time, voltage


def read_trace_numbers(path: str | Path) -> list[int]:
    """Read which traces a voltage file has, without its samples where the file type allows that.

    Returns
    -------
    list of int
        One number per trace: from the header of a csv file (``Vm run 03`` is 3), counted from 0
        for an npz file.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return list(range(len(_read_npz(path)) - 1))
    with path.open("rb") as file:
        names = _header(path, file.readline())
    numbers = [re.search(r"(\d+)\s*$", name) for name in names[1:]]
    if not numbers or None in numbers:
        raise SimulationFileError(f"{path}: the header should be 't' and one 'Vm run NN' per trace, it is {names}")
    return [int(number[1]) for number in numbers if number]


def read_time_span(path: str | Path) -> tuple[float, float]:
    """Read the first and the last time (ms) of a voltage file; of a csv file only its head and its tail.

    Raises
    ------
    SimulationFileError
        The file has no samples, or is truncated.
    """
    path = Path(path)
    if path.suffix == ".npz":
        time, _ = read_voltage(path)
        return float(time[0]), float(time[-1])
    with path.open("rb") as file:
        header = file.readline()
        first = file.readline()
        end = file.seek(0, os.SEEK_END)
        file.seek(max(len(header), end - _LONGEST_LINE))
        tail = file.read()
    if not tail.endswith(b"\n"):
        raise SimulationFileError(f"{path}: truncated, the last line is not complete")
    last = tail.rstrip().rpartition(b"\n")[2]
    try:
        return _first_number(first), _first_number(last)
    except ValueError as error:
        raise SimulationFileError(f"{path}: a line of samples does not begin with the time: {error}") from error


def _first_number(line: bytes) -> float:
    return float(line.replace(b",", b"\t").partition(b"\t")[0])


def _read_times_table(path: Path, columns: dict[str, Any]) -> Any:
    data = _complete(path)
    if not data.startswith(b"#"):
        raise SimulationFileError(f"{path}: the first line should be a header that starts with '#'")
    try:
        lines = _lines(data)[1:]
        numbers = np.flatnonzero(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))
        rows = pc.split_pattern(lines.take(numbers), "\t", max_splits=len(columns))
        lengths = pc.list_value_length(rows).to_numpy()
        short = np.flatnonzero(lengths <= len(columns))
        if len(short):
            raise SimulationFileError(
                f"{path}: line {numbers[short[0]] + 2} has fewer than {len(columns)} fields; "
                "the file is truncated or malformed"
            )
        fields = rows.flatten()
        positions = np.arange(0, len(fields), len(columns) + 1)
        arrays = {
            name: _converted(fields.take(pa.array(positions + i)), dtype)
            for i, (name, dtype) in enumerate(columns.items())
        }
        times = _split_times(fields.take(pa.array(positions + len(columns))))
        if nan := np.flatnonzero(np.isnan(times.values)).tolist():
            row = np.searchsorted(times.offsets, nan[0], side="right") - 1
            raise SimulationFileError(f"{path}: line {numbers[row] + 2} has a time that is no number")
        return pa.table({**arrays, "times": times})
    except pa.ArrowInvalid as error:
        raise SimulationFileError(f"{path}: {error}") from error


def _lines(data: bytes) -> Any:
    """The lines as an Arrow array of strings; commas and the ends of lines become tabs."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    text = data.translate(bytes.maketrans(b",\n", b"\t\t"))
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    lines.validate(full=True)
    return lines


def _converted(texts: Any, dtype: Any) -> Any:
    return texts.dictionary_encode() if dtype == _LABEL else texts.cast(dtype)


def _split_times(texts: Any) -> Any:
    """Turn ``"1.5\\t2.5\\t"`` into ``[1.5, 2.5]``, for all rows at once."""
    split = pc.split_pattern(texts, "\t")
    values = split.flatten()
    filled = pc.not_equal(values, "")
    counts = np.concatenate(([0], np.cumsum(filled.to_numpy(zero_copy_only=False))))
    offsets = counts[split.offsets.to_numpy()]
    return pa.LargeListArray.from_arrays(offsets, values.filter(filled).cast(pa.float64()))


def _read_voltage_csv(path: Path) -> NDArray[np.float64]:
    data = _complete(path)
    names = _header(path, data[: data.index(b"\n") + 1])
    try:
        table = pyarrow.csv.read_csv(
            pa.py_buffer(data.replace(b",", b"\t")),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.float64()),
                null_values=[],  # an empty field is an error, "nan" is a number
            ),
        )
    except pa.ArrowInvalid as error:
        raise SimulationFileError(f"{path}: {error}") from error
    return np.stack([column.to_numpy() for column in table.columns])


def _read_npz(path: Path) -> NDArray[np.float64]:
    try:
        # numpy does not close a file that it opened itself and that is no zip archive
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            array = np.asarray(arrays["arr_0"], dtype=np.float64)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SimulationFileError(f"{path}: {error}") from error
    if array.ndim != 2 or 0 in array.shape:
        raise SimulationFileError(f"{path}: arr_0 has shape {array.shape}, not time and traces")
    in_column, in_row = _increases(array[:, 0]), _increases(array[0])
    if in_column == in_row:
        found = "both the first row and the first column increase" if in_row else "neither does"
        raise SimulationFileError(f"{path}: the time should be the first column or the first row of arr_0, and {found}")
    return np.ascontiguousarray(array.T) if in_column else array


def _header(path: Path, line: bytes) -> list[str]:
    names = line.decode(errors="replace").replace(",", "\t").strip().split("\t")
    if len(names) < 2 or not line.endswith(b"\n"):
        raise SimulationFileError(f"{path}: no header with the names of the traces; is it empty?")
    return names


def _complete(path: Path) -> bytes:
    data = path.read_bytes()
    if not data:
        raise SimulationFileError(f"{path}: is empty")
    if not data.endswith(b"\n"):
        raise SimulationFileError(f"{path}: truncated, the last line is not complete")
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data


def _increases(values: NDArray[np.float64]) -> bool:
    return bool((np.diff(values) > 0).all())
