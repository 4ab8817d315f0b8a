"""What earlier imports brought into a database: its keys, its runs and trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

import zdb
from zdb.neuro.simrun import METADATA_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["FOLDERS", "KEYS", "REPORT", "RUNS", "Imported"]

RUNS = "imported_runs"
REPORT = "import_report"
KEYS = (
    "voltage_traces",
    "spike_times",
    "synapse_activation",
    "cell_activation",
    "metadata",
    "sim_trial_index",
    "filelist",
    "simresult_path",
    "parameterfiles",
    RUNS,
)
FOLDERS = (
    "dendritic_recordings",
    "dendritic_spike_times",
    "parameterfiles_cell_folder",
    "parameterfiles_network_folder",
    "morphology",
    "syn_folder",
    "con_folder",
    "recsites_folder",
)


@dataclass(frozen=True)
class Imported:
    """Runs that are in a database.

    Attributes
    ----------
    fingerprints : dict of str to str
        What was read of each run, by its folder; "" if some of its trials were left out.
    metadata : pandas.DataFrame
        The trials, as under the key ``metadata``.
    """

    fingerprints: dict[str, str] = field(default_factory=dict)
    metadata: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METADATA_COLUMNS))

    @classmethod
    def of(cls, db: zdb.Database, root: Path) -> Imported:
        """Read what is there.

        Raises
        ------
        zdb.errors.KeyExistsError
            It comes from another folder, or from no import.
        """
        present = [key for key in (*KEYS, *FOLDERS) if key in db]
        if RUNS not in present:
            # of an import that was killed while it wrote its keys, simresult_path is the first
            if not present or db.get("simresult_path") == str(root):
                return cls()
            raise zdb.errors.KeyExistsError(
                f"{', '.join(present)}: already there; import into a sub-database, or replace them with overwrite=True"
            )
        if (other := db["simresult_path"]) != str(root):
            raise zdb.errors.KeyExistsError(
                f"the database has the results of {other}, not of {root}; import into a sub-database, or replace them "
                "with overwrite=True"
            )
        table = db[RUNS]
        return cls(dict(zip(table["path"], table["fingerprint"], strict=True)), db["metadata"])

    def without(self, paths: Collection[str]) -> Imported:
        """The same without some runs."""
        left = {path: own for path, own in self.fingerprints.items() if path not in paths}
        return Imported(left, self.metadata[self.metadata["path"].isin(list(left))])
