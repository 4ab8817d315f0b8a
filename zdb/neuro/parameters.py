"""The parameters of a trial, with all files that they refer to on the local disk."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.neuro.parameter_files import PARAMETER_FOLDERS, TABLE
from zdb.neuro.parameter_text import ParameterText, replace_second_line_reference, second_line_reference

if TYPE_CHECKING:
    import os

    import zdb

__all__ = ["Parameters", "load_parameters"]

RELATIVE = "reldb://"


@dataclass(frozen=True)
class Parameters:
    """Parameters of one trial.

    Attributes
    ----------
    neuron, network : dict
        The parameters; paths in them are those of local files. Empty if the trial has none.
    neuron_file, network_file : Path or None
        The same as files.
    """

    neuron: dict[str, Any]
    network: dict[str, Any]
    neuron_file: Path | None
    network_file: Path | None


def load_parameters(db: zdb.Database, trial: str, folder: str | os.PathLike[str] | None = None) -> Parameters:
    """Load the neuron and network parameters of a trial, and save what they refer to as local files.

    Replaces ``load_simrun_general.load_param_files_from_db`` of the In Silico Framework, and
    resolves all references: also those of recording sites, and those of connections to synapses.

    Parameters
    ----------
    db : zdb.Database
        With the results of :func:`import_simrun`.
    trial : str
        Its ``sim_trial_index``.
    folder : path, optional
        Gets the files; what is in it already is not written again. By default a temporary folder,
        one for each database, removed when the process ends.

    Raises
    ------
    KeyError
        There is no such trial, or there are no parameters in the database.
    """
    table = db[TABLE]
    if trial not in table.index:
        raise KeyError(f"{trial!r} is not in {db.url}/{TABLE}; the trials are those of db['sim_trial_index']")
    place = Path(folder) if folder is not None else _temporary_folder(db.url)
    loaded = {}
    for kind, of_kind in PARAMETER_FOLDERS.items():
        digest = table.loc[trial, f"hash_{kind}"]
        loaded[kind] = _load(db, f"{of_kind}/{digest}", place) if isinstance(digest, str) else ({}, None)
    return Parameters(loaded["neuron"][0], loaded["network"][0], loaded["neuron"][1], loaded["network"][1])


def _load(db: zdb.Database, key: str, place: Path) -> tuple[dict[str, Any], Path]:
    text = ParameterText(f"{db.url}/{key}", db[key].read())
    new = {
        (each.folder, each.path): str(_save(db, each.path, place))
        for each in text.references()
        if each.path.startswith(RELATIVE)
    }
    local = ParameterText(text.name, text.replaced(new))
    return local.parameters, _write(place / key, local.content)


def _save(db: zdb.Database, uri: str, place: Path) -> Path:
    """Save a file of the database and what it refers to; its path."""
    key = uri.removeprefix(RELATIVE)
    path = place / key
    if not path.exists():
        content = db[key].read()
        folder = key.partition("/")[0]
        inner = second_line_reference(folder, content)
        if inner is not None and inner.startswith(RELATIVE):
            content = replace_second_line_reference(folder, content, str(_save(db, inner, place)))
        _write(path, content)
    return path


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    return Path(file.name).replace(path)


@functools.cache
def _temporary_folder(url: str) -> Path:  # noqa: ARG001  (one for each)
    folder = Path(tempfile.mkdtemp(prefix="zdb-parameters-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
