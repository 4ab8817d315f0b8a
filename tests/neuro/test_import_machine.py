"""Imports in any order, of folders that grow, lose and damage runs, by processes that die: against a model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import zdb
from zdb.neuro import batches, generate_simrun, import_simrun, writing

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun

RUNS = 4


class Dies(BaseException):
    """The process ends here; what it did so far stays."""


class Imports(RuleBasedStateMachine):
    """The model: which runs lie in the folder, which of these are damaged, and which runs were imported."""

    made: GeneratedSimrun

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "results"
        self.folder.mkdir()
        self.db = zdb.open(str(self.place / "results.zdb"))
        self.present: set[int] = set()
        self.damaged: set[int] = set()
        self.imported: set[int] = set()

    def run_name(self, number: int) -> str:
        return f"20150815-1530_{20240 + number}"

    @rule(number=st.integers(0, RUNS - 1))
    def add(self, number: int) -> None:
        target = self.folder / self.run_name(number)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.made.folder / self.run_name(number), target)  # with its times of change
        self.present.add(number)
        self.damaged.discard(number)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.present)))
        shutil.rmtree(self.folder / self.run_name(number))
        self.present.remove(number)
        self.damaged.discard(number)

    @precondition(lambda self: self.present - self.damaged)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.present - self.damaged)))
        path = self.folder / self.run_name(number) / f"{20240 + number}_vm_all_traces.csv"
        path.write_bytes(path.read_bytes()[:-30])
        self.damaged.add(number)

    def after_import(self) -> set[int]:
        """Runs that an import leaves: what is good in the folder, and what is gone from it."""
        return (self.imported | self.present) - self.damaged

    @precondition(lambda self: self.present and self.after_import())
    @rule()
    def finish(self) -> None:
        import_simrun(self.db, self.folder, on_error="report")
        self.imported = self.after_import()
        self.check()

    @precondition(lambda self: self.present and self.after_import())
    @rule(writes=st.integers(0, 4))
    def die(self, writes: int) -> None:
        """The process dies when it has written some of the keys; a later import has to mend that."""
        left = iter(range(writes))
        write = writing._write

        def dying(*arguments: Any) -> None:
            if next(left, None) is None:
                raise Dies
            write(*arguments)

        with mock.patch.object(writing, "_write", dying):
            try:
                import_simrun(self.db, self.folder, on_error="report")
            except Dies:
                pass
            else:  # it had less to write
                self.imported = self.after_import()
                self.check()

    def check(self) -> None:
        runs = sorted(self.imported)
        trials = [2 * run + trial for run in runs for trial in (0, 1)]
        assert self.db["sim_trial_index"] == [self.made.trial_index[trial] for trial in trials]
        assert list(self.db["imported_runs"]["path"]) == [self.run_name(run) for run in runs]
        np.testing.assert_array_equal(self.db["voltage_traces"]["voltage"], self.made.voltage[trials])
        for key, truth in (("synapse_activation", self.made.synapses), ("cell_activation", self.made.cells)):
            times = [row.times for trial in trials for row in truth[trial]]
            np.testing.assert_array_equal(self.db[key].values, np.concatenate(times))
            np.testing.assert_array_equal(self.db[key].row_size, [len(row) for row in times])
        for spikes, trial in zip(self.db["spike_times"], trials, strict=True):
            np.testing.assert_array_equal(spikes, self.made.spike_times[trial])
        assert "_simrun_import" not in self.db

    @invariant()
    def nothing_imported_is_lost(self) -> None:
        """Whatever died, each key holds all trials that were imported before and are not known to be bad."""
        if not self.imported - self.damaged:
            return
        trials = {self.made.trial_index[2 * run + trial] for run in self.imported - self.damaged for trial in (0, 1)}
        assert trials <= set(self.db["voltage_traces"]["trial"].to_numpy().tolist())
        assert trials <= set(self.db["synapse_activation"].columns["sim_trial_index"].cat.categories)

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "place", ""), ignore_errors=True)


def test_a_run_that_was_bad_while_an_import_died(tmp_path: Path) -> None:
    made = generate_simrun(tmp_path / "made", runs=2, trials=2, duration=5.0)
    folder = tmp_path / "results"
    shutil.copytree(made.folder, folder)
    db = zdb.open(str(tmp_path / "results.zdb"))
    import_simrun(db, folder)
    bad = folder / "20150815-1530_20241" / "20241_vm_all_traces.csv"
    bad.write_bytes(bad.read_bytes()[:-30])
    write = writing._write

    def dying(stored: Any, name: str, *arguments: Any) -> None:
        write(stored, name, *arguments)
        raise Dies

    with mock.patch.object(writing, "_write", dying), pytest.raises(Dies):
        import_simrun(db, folder, on_error="report")
    assert db["voltage_traces"].sizes["trial"] == 2
    shutil.rmtree(folder)
    shutil.copytree(made.folder, folder)  # as it was at the first import
    import_simrun(db, folder)
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], made.voltage)
    assert db["sim_trial_index"] == made.trial_index


def test_an_overwrite_that_died_leaves_nothing_of_the_results_before(tmp_path: Path) -> None:
    first = generate_simrun(tmp_path / "first", runs=2, trials=2, duration=5.0)
    second = generate_simrun(tmp_path / "second", runs=2, trials=2, duration=5.0, seed=1)
    for run in sorted(second.folder.iterdir()):
        run.rename(second.folder / f"other_{run.name}")
    db = zdb.open(str(tmp_path / "results.zdb"))
    import_simrun(db, first.folder)
    with mock.patch.object(writing, "_write", side_effect=Dies), pytest.raises(Dies):
        import_simrun(db, second.folder, overwrite=True)
    import_simrun(db, second.folder)
    assert db["sim_trial_index"] == [f"other_{trial}" for trial in second.trial_index]
    np.testing.assert_array_equal(db["voltage_traces"]["voltage"], second.voltage)
    assert import_simrun(db, second.folder).trials == 4


def test_imports(tmp_path: Path) -> None:
    Imports.made = generate_simrun(tmp_path / "made", runs=RUNS, trials=2, duration=5.0)
    with mock.patch.object(batches, "BATCH_BYTES", 1):
        run_state_machine_as_test(
            Imports,
            settings=settings(
                max_examples=6,
                stateful_step_count=8,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
