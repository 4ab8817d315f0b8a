"""Which presynaptic cell types are excitatory and which inhibitory, and the groups that follow from a synapse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["EXCITATORY", "INHIBITORY", "UnknownCellTypeError", "add_groups", "classify"]

# As in ``config.cell_types`` of the In Silico Framework.
EXCITATORY = ("L1", "L2", "L34", "L4py", "L4sp", "L4ss", "L5st", "L5tt", "L6cc", "L6ccinv", "L6ct", "VPM")
# "INH" is its whole list; the others are the interneurons of the barrel cortex, which it took for inhibitory because
# they are not in the list above.
INHIBITORY = (
    "INH",
    "L23Trans",
    "L45Peak",
    "L45Sym",
    "L56Trans",
    *(f"SymLocal{layer}" for layer in range(1, 7)),
)
# What is derived from which column.
DERIVED = dict.fromkeys(("celltype", "presynaptic_column", "EI"), "synapse_type")
DERIVED |= dict.fromkeys(("proximal", "binned_somadist"), "soma_distance")
PROXIMAL = 500.0  # µm
DISTANCE_BIN = 50  # µm


class UnknownCellTypeError(zdb.ZdbError, ValueError):
    """A cell type is in neither list."""


def classify(
    cell_types: Any,
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
    unknown: Literal["error", "unknown"] = "error",
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Tell for each cell type whether it is excitatory or inhibitory.

    Replaces ``data_base.analyze.split_synapse_activation``.

    Parameters
    ----------
    cell_types : array_like of str
    excitatory, inhibitory : sequence of str
    unknown : {"error", "unknown"}
        What is done with a type in neither list: raise an error, or call it "unknown".

    Returns
    -------
    ndarray of object
        "EXC", "INH" or "unknown".

    Raises
    ------
    UnknownCellTypeError
        A type is in neither list, and `unknown` is "error", or a type is in both.
    """
    both = sorted(set(excitatory) & set(inhibitory))
    if both:
        raise UnknownCellTypeError(f"{', '.join(both)}: in the list of excitatory types and in that of inhibitory ones")
    names = np.asarray(cell_types, dtype=object)
    known = dict.fromkeys(excitatory, "EXC") | dict.fromkeys(inhibitory, "INH")
    strange = sorted({str(name) for name in names if name not in known})
    if strange and unknown == "error":
        raise UnknownCellTypeError(
            f"{', '.join(strange)}: neither excitatory nor inhibitory by the lists; extend excitatory= or inhibitory=, "
            'or count them apart with unknown="unknown"'
        )
    return np.array([known.get(name, "unknown") for name in names], dtype=object)


def needed_columns(names: Sequence[str]) -> list[str]:
    """Return the columns from which :func:`add_groups` makes those of `names`."""
    return list(dict.fromkeys(DERIVED.get(name, name) for name in names))


def add_groups(
    columns: pd.DataFrame,
    names: Sequence[str],
    excitatory: Sequence[str] = EXCITATORY,
    inhibitory: Sequence[str] = INHIBITORY,
    unknown: Literal["error", "unknown"] = "error",
) -> pd.DataFrame:
    """Return columns by which synapses are grouped, as categories.

    Replaces ``data_base.db_initializers.synapse_activation_binning.prefun``.

    Parameters
    ----------
    columns : pandas.DataFrame
        A line for each synapse, with ``synapse_type`` ("L5tt_C2") and ``soma_distance`` (µm) as far as needed.
    names : sequence of str
        Any column, or: "celltype" and "presynaptic_column" (first and second part of the synapse type), "EI" ("EXC",
        "INH"), "proximal" ("prox" below 500 µm, "dist"), "binned_somadist" ("0to50", "50to100", … µm).
    excitatory, inhibitory, unknown
        See :func:`classify`.

    Returns
    -------
    pandas.DataFrame
        The columns of `names`, categorical; all categories occur, in ascending order. Where the column has no value, so
        has what is derived from it.

    Raises
    ------
    KeyError
        There is no such column.
    UnknownCellTypeError
        As in :func:`classify`.
    """

    def of_type(function: Callable[[Any], Any]) -> Any:
        types = columns["synapse_type"].astype("category").cat.remove_unused_categories()
        made = pd.Index(function([str(name).split("_") for name in types.cat.categories]), dtype=object)
        codes, labels = pd.factorize(made, sort=True)
        codes = np.append(codes, -1)  # for rows without a type, whose code is -1
        return pd.Categorical.from_codes(codes[types.cat.codes], labels)

    def distances() -> NDArray[np.float64]:
        return columns["soma_distance"].to_numpy(np.float64, na_value=np.nan)

    def by_proximity() -> Any:
        codes = np.where(np.isnan(distances()), -1, distances() < PROXIMAL)
        return pd.Categorical.from_codes(codes, pd.Index(["dist", "prox"])).remove_unused_categories()

    def binned() -> Any:
        codes, found = pd.factorize(np.floor(distances() / DISTANCE_BIN), sort=True)
        labels = pd.Index([f"{DISTANCE_BIN * i}to{DISTANCE_BIN * (i + 1)}" for i in found.astype(np.int64).tolist()])
        return pd.Categorical.from_codes(codes, labels)

    derived: dict[str, Callable[[], Any]] = {
        "celltype": lambda: of_type(lambda parts: [part[0] for part in parts]),
        "presynaptic_column": lambda: of_type(lambda parts: [part[1] if len(part) > 1 else "" for part in parts]),
        "EI": lambda: of_type(lambda parts: classify([p[0] for p in parts], excitatory, inhibitory, unknown)),
        "proximal": by_proximity,
        "binned_somadist": binned,
    }
    made: dict[str, Any] = {}
    for name in names:
        if name in derived:
            made[name] = pd.Categorical(derived[name]())
        elif name in columns:
            made[name] = pd.Categorical(columns[name]).remove_unused_categories()
        else:
            known = ", ".join([*map(str, columns.columns), *derived])
            raise KeyError(f"there is no column {name!r} to group by; there are {known}")
    return pd.DataFrame(made, index=columns.index)
