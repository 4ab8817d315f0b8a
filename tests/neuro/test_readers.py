"""Files of one run: exact numbers, any separators, and no damage that goes unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdb.neuro import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_voltage,
)
from zdb.neuro.readers import read_time_span, read_trace_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun

HEADER = "# presynaptic cell type\tcell ID\tspike times\n"


def write(folder: Path, content: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_generated_synapses_are_read_exactly(generated: GeneratedSimrun) -> None:
    path = generated.folder / "20150815-1530_20240" / "simulation_run0001_synapses.csv"
    table = read_synapse_activations(path)
    truth = generated.synapses[1]
    assert len(truth) > 100
    fields = zip(*(table[name].to_pylist() for name in table.column_names[:-1]), strict=True)
    assert list(fields) == [row.fields for row in truth]
    assert table["times"].to_pylist() == [list(row.times) for row in truth]


def test_generated_cells_are_read_exactly(generated: GeneratedSimrun) -> None:
    path = generated.folder / "20150815-1530_20241" / "simulation_run0002_presynaptic_cells.csv"
    table = read_cell_spikes(path)
    truth = generated.cells[5]
    assert table.column_names == ["presynaptic_cell_type", "cell_ID", "times"]
    assert table["presynaptic_cell_type"].to_pylist() == [row.fields[0] for row in truth]
    assert table["cell_ID"].to_pylist() == [row.fields[1] for row in truth]
    assert table["times"].to_pylist() == [list(row.times) for row in truth]


@given(
    rows=st.lists(
        st.lists(st.floats(allow_nan=False), max_size=5),
        max_size=6,
    ),
    separator=st.sampled_from([",", "\t"]),
    trailing=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_floats_in_rows_of_any_length_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[float]],
    separator: str,
    trailing: bool,
    end: str,
) -> None:
    lines = [
        f"L5tt_C2\t{i},{separator.join(map(repr, row))}{separator if trailing else ''}" for i, row in enumerate(rows)
    ]
    path = write(tmp_path_factory.mktemp("rows"), HEADER + "".join(line + end for line in lines))
    table = read_cell_spikes(path)
    assert table["times"].to_pylist() == rows
    assert table["cell_ID"].to_pylist() == list(range(len(rows)))


def test_a_row_may_have_no_times_and_no_separator(tmp_path: Path) -> None:
    table = read_cell_spikes(write(tmp_path, HEADER + "L1\t4\nL1\t5\t\nL2,6,1.5\t2.5\n"))
    assert table["times"].to_pylist() == [[], [], [1.5, 2.5]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_are_no_rows(tmp_path: Path, end: str) -> None:
    lines = [HEADER.strip(), "", "L1\t4\t1.5,", "", " \t", "L1\t5\t", ""]
    table = read_cell_spikes(write(tmp_path, "".join(line + end for line in lines)))
    assert table["cell_ID"].to_pylist() == [4, 5]
    assert table["times"].to_pylist() == [[1.5], []]
    assert len(read_cell_spikes(write(tmp_path, HEADER + end))) == 0


def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    assert len(read_cell_spikes(write(tmp_path, HEADER))) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (HEADER + "L1\t4\t1.5,2.", "truncated"),
        (HEADER + "L1\t4\t1.5,\nL1\n", "line 3 has fewer than 2 fields"),
        (HEADER + "\nL1\t4\t1.5,\nL1\n", "line 4 has fewer than 2 fields"),
        (HEADER + "L1\t4\t1.5,nan\nL2\t4\tNaN\n", "line 2 has a time that is no number"),
        (HEADER + "L1\t4\t\n\nL2\t4\t1.5,-nan,\n", "line 4 has a time that is no number"),
        (HEADER + "L1\tx\t1.5,\n", "'x'"),
        (HEADER + "L1\t\t1.5,\n", "''"),
        (HEADER + "L1\t4\t1.5x,\n", "'1.5x'"),
        ("L1\t4\t1.5,\n", "header"),
        (HEADER.encode() + b"L\xff\t4\t1.5,\n", "(?i)utf"),
    ],
)
def test_damaged_activity_is_refused_by_name(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SimulationFileError, match=message) as error:
        read_cell_spikes(path)
    assert str(path) in str(error.value)


def test_generated_voltage_is_read_exactly(generated: GeneratedSimrun) -> None:
    path = generated.folder / "20150815-1530_20241" / "20241_vm_all_traces.csv"
    time, voltage = read_voltage(path)
    np.testing.assert_array_equal(time, generated.time)
    np.testing.assert_array_equal(voltage, generated.voltage[3:])
    assert read_trace_numbers(path) == [0, 1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "t\tVm run 00\tVm run 07\n0.5\t-60.25\t1e-3\n1.0\tnan\t-inf\n",
        "t,Vm run 00,Vm run 07\n0.5,-60.25,1e-3\n1.0,nan,-inf\n",
        "t,Vm run 00\tVm run 07\t\r\n0.5\t-60.25,1e-3\r\n1.0,nan\t-inf\r\n",
    ],
    ids=["tabs", "commas", "mixed"],
)
def test_voltage_with_tabs_or_commas(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    time, voltage = read_voltage(path)
    np.testing.assert_array_equal(time, [0.5, 1.0])
    np.testing.assert_array_equal(voltage, [[-60.25, np.nan], [1e-3, -np.inf]])
    assert read_trace_numbers(path) == [0, 7]


def test_voltage_may_end_in_a_blank_line(tmp_path: Path) -> None:
    path = write(tmp_path, "t\tVm run 00\n0.5\t-60.25\n1.0\t-60.5\n\n")
    np.testing.assert_array_equal(read_voltage(path)[0], [0.5, 1.0])
    assert read_time_span(path) == (0.5, 1.0)


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_any_voltage_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    lines = ["t\tVm run 00", *(f"{i}\t{value!r}" for i, value in enumerate(values))]
    path = write(tmp_path_factory.mktemp("voltage"), "\n".join(lines) + "\n")
    np.testing.assert_array_equal(read_voltage(path)[1], [values])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("t\tVm run 00\n", "no samples"),
        ("t\tVm run 00\n0.5\t-60.25\n1.0\t-60.", "truncated"),
        ("t\tVm run 00\tVm run 01\n0.5\t-60.25\t-61.0\n1.0\t-60.5\n", "Expected 3 columns, got 2"),
        ("t\tVm run 00\n0.5\t\n", "''"),
        ("t\tVm run 00\n0.5\tx\n", "'x'"),
        ("t\tVm run 00\n0.5\t1.0\n0.5\t2.0\n", "does not increase"),
        ("t\n0.5\n", "header"),
    ],
)
def test_damaged_voltage_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SimulationFileError, match=message) as error:
        read_voltage(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("header", ["t\tsoma\n", "t\n", "t\tVm run 00"])
def test_trace_numbers_need_a_header(tmp_path: Path, header: str) -> None:
    with pytest.raises(SimulationFileError, match="header"):
        read_trace_numbers(write(tmp_path, header))


TIME = np.array([100.0, 100.025, 100.05, 100.075])
TRACES = np.array([[-61.5, -61.25, -62.0, -61.0], [-70.0, -69.5, -69.75, -69.0]])


@pytest.mark.parametrize("orient", [np.transpose, np.asarray], ids=["columns", "rows"])
def test_npz_has_its_time_in_the_first_column_or_row(tmp_path: Path, orient) -> None:
    path = tmp_path / "1_vm_all_traces.npz"
    np.savez(path, orient(np.vstack([TIME, TRACES])))
    time, voltage = read_voltage(path)
    np.testing.assert_array_equal(time, TIME)
    np.testing.assert_array_equal(voltage, TRACES)
    assert read_trace_numbers(path) == [0, 1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[-3.0, -2.0], [-1.0, 0.0]]), "both"),
        (np.array([[1.0, 0.0], [0.0, 1.0]]), "neither"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([["a"]]), "could not convert"),
    ],
)
def test_npz_that_is_not_clear_is_refused(tmp_path: Path, array, message: str) -> None:
    path = tmp_path / "1_vm_all_traces.npz"
    np.savez(path, array)
    with pytest.raises(SimulationFileError, match=message):
        read_voltage(path)


def test_damaged_npz_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "1_vm_all_traces.npz"
    np.savez(path, other=TRACES)
    with pytest.raises(SimulationFileError, match="arr_0"):
        read_voltage(path)
    np.savez(path, np.vstack([TIME, TRACES]))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SimulationFileError, match=path.name):
        read_voltage(path)
    with path.open("wb") as file:
        np.save(file, TRACES)
    with pytest.raises(SimulationFileError, match=path.name):
        read_voltage(path)
