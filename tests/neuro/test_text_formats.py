"""Text files of the In Silico Framework, written and read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

import zdb
from zdb.neuro import (
    SimulationFileError,
    import_simrun,
    read_input_mapper_summary,
    read_synapse_activations,
    write_synapse_activations,
)

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.neuro.generate import GeneratedSimrun

SUMMARY = "# per type\nType\tNumber\nL2\t27.5\nVPM\t3\n\n# per column\nColumn\tType\tNumber\nC2\tL2\t1\n"


def test_activations_are_read_as_they_were_written(generated: GeneratedSimrun, tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    import_simrun(db, generated.folder)
    ragged = db["synapse_activation"]
    trial = ragged[ragged["sim_trial_index"] == generated.trial_index[0]]
    write_synapse_activations(tmp_path / "synapses.csv", trial)
    table = read_synapse_activations(tmp_path / "synapses.csv").to_pandas()
    assert len(table) == len(trial) > 10
    for name in ("synapse_type", "synapse_ID", "soma_distance", "section_ID", "section_pt_ID", "dendrite_label"):
        assert table[name].tolist() == trial.columns[name].tolist()
    times = table[table.columns[-1]]
    np.testing.assert_array_equal(np.concatenate(times.tolist()), trial.values)
    with pytest.raises(FileExistsError):
        write_synapse_activations(tmp_path / "synapses.csv", trial)


def test_the_wide_table_is_written_as_the_rows_that_it_holds(generated: GeneratedSimrun, tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    import_simrun(db, generated.folder)
    trial = db["synapse_activation"][:30]
    assert trial.row_size.min() < trial.row_size.max()
    write_synapse_activations(tmp_path / "rows.csv", trial)
    write_synapse_activations(tmp_path / "wide.csv", trial.to_frame())
    assert (tmp_path / "wide.csv").read_text() == (tmp_path / "rows.csv").read_text()


def test_a_missing_column_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="section_ID"):
        write_synapse_activations(tmp_path / "x.csv", zdb.Ragged.from_lists([[1.0]], {"synapse_type": ["a"]}))
    assert not (tmp_path / "x.csv").exists()


def test_summaries_from_a_path_and_from_a_buffer(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text(SUMMARY)
    for source in (tmp_path / "summary.csv", str(tmp_path / "summary.csv"), io.StringIO(SUMMARY)):
        tables = read_input_mapper_summary(source)
        assert list(tables) == ["# per type", "# per column"]
        assert tables["# per type"]["Number"].tolist() == [27.5, 3]
        assert tables["# per column"].columns.tolist() == ["Column", "Type", "Number"]


def test_another_file_is_refused() -> None:
    with pytest.raises(SimulationFileError, match="no summary"):
        read_input_mapper_summary(io.StringIO("a\tb\n1\t2\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line that begins with #"),
        ("\n \n", "no line that begins with #"),
        ("# a\na\tb\n1\t2\t3\n", "# a: not a table: a line has 3 fields, and the first has 2"),
        ("# a\na\tb\n1\t2\n1\t2\t3\n", "# a: not a table"),
        ("# a\na\tb\n1\n", "# a: not a table: a line has 1 fields"),
        ("# a\n", "# a: not a table"),
    ],
)
def test_malformed_summaries_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SimulationFileError, match=message):
        read_input_mapper_summary(io.StringIO(text))
    (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(SimulationFileError, match=rf"summary\.csv.*{message}"):
        read_input_mapper_summary(tmp_path / "summary.csv")
