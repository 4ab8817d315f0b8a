"""Postsynaptic potentials for all combinations of neuron model and network embedding in a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.neuro.parameters import load_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    import zdb

__all__ = ["compute_psps", "psp_combinations"]

TARGET = "PSPs"


def psp_combinations(db: zdb.Database) -> pd.DataFrame:
    """List the combinations of neuron model and network embedding that occur.

    Replaces ``data_base.db_initializers.PSPs.get_PSP_determinants_from_db``.

    Parameters
    ----------
    db : zdb.Database
        With ``parameterfiles``, as :func:`zdb.neuro.import_simrun` makes it.

    Returns
    -------
    pandas.DataFrame
        A line for each combination: ``hash_neuron``, ``connections`` (name of the file of connections), ``trial`` (the
        first one) and ``trials`` (how many).

    Raises
    ------
    KeyError
        There are no parameter files in the database.
    ValueError
        The populations of a network have different files of connections.
    """
    table = db["parameterfiles"].reset_index(names="trial").dropna(subset=["hash_neuron", "hash_network"])
    firsts = table.drop_duplicates("hash_network").set_index("hash_network")["trial"]
    table["connections"] = table["hash_network"].map({h: _connections(db, trial).name for h, trial in firsts.items()})
    groups = table.groupby(["hash_neuron", "connections"], sort=False)["trial"]
    found: pd.DataFrame = groups.agg(["first", "size"]).set_axis(["trial", "trials"], axis=1).reset_index()
    return found


def compute_psps(
    db: zdb.Database, function: Callable[[dict[str, Any], Path], Any], *, overwrite: bool = False
) -> pd.DataFrame:
    """Call a function for each combination of neuron model and network embedding, and keep what it returns.

    Replaces ``data_base.db_initializers.PSPs.init``, whose class for the simulation is now any function.

    Parameters
    ----------
    db : zdb.Database
    function : callable
        Gets the parameters of the neuron and the path of the local file of connections, whose references are local
        files too; returns anything that zdb keeps, such as a Dataset of voltage traces.
    overwrite : bool, default False
        Compute again what is there; a run that was interrupted goes on otherwise.

    Returns
    -------
    pandas.DataFrame
        As :func:`psp_combinations`, with the ``key`` of each result: ``PSPs/<hash_neuron>/<connections>``.
    """
    table = psp_combinations(db)
    table["key"] = [f"{TARGET}/{row.hash_neuron}/{row.connections}" for row in table.itertuples()]
    for row in table.itertuples():
        key = str(row.key)
        if overwrite or key not in db:
            parameters = load_parameters(db, str(row.trial))
            db[key] = function(parameters.neuron, _connections(db, str(row.trial)))
    return table


def _connections(db: zdb.Database, trial: str) -> Path:
    network = load_parameters(db, trial).network["network"]
    found = sorted({population["synapses"]["connectionFile"] for population in network.values()})
    if len(found) != 1:
        raise ValueError(f"{trial}: the populations of its network have {len(found)} files of connections, not one")
    return Path(found[0])
