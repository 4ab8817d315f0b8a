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

__all__ = ["ACTIVITY", "FOLDERS", "KEYS", "MARK", "REPORT", "RUNS", "Imported", "check_nothing_goes", "keys_in_folder"]

# Kept with each value in the folders, in which users may have keys of their own.
MARK = {"made_by": "zdb.neuro.import_simrun"}
RUNS = "imported_runs"
REPORT = "import_report"
ACTIVITY = ("synapse_activation", "cell_activation")
KEYS = (
    "voltage_traces",
    "spike_times",
    *ACTIVITY,
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


def keys_in_folder(db: zdb.Database, folder: str) -> list[str]:
    """Keys that an import wrote into a folder."""
    names = db.database(folder) if folder in db else ()
    keys = [f"{folder}/{name}" for name in names]
    return [key for key in keys if db.info(key).attrs.items() >= MARK.items()]


def check_nothing_goes(db: zdb.Database, *, activations: bool, dendrites: bool) -> None:
    """Raise if an import with these options would remove what an earlier one brought.

    Raises
    ------
    zdb.errors.KeyExistsError
    """
    left_out = {
        "activations": [] if activations else [key for key in ACTIVITY if key in db],
        "dendrites": [] if dendrites else [key for folder in FOLDERS[:2] for key in keys_in_folder(db, folder)],
    }
    for option, keys in left_out.items():
        if keys:
            raise zdb.errors.KeyExistsError(
                f"{', '.join(keys)}: there from an earlier import, and would be removed by one with {option}=False; "
                f"import with {option}=True, or replace everything with overwrite=True"
            )
