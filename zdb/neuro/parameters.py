"""The parameters of a trial, with all files that they refer to on the local disk."""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
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
        Gets the files, each in a folder named by its content: what was loaded before stays as it
        is. By default a temporary folder, removed when the process ends.

    Raises
    ------
    KeyError
        There is no such trial, or there are no parameters in the database.
    """
    table = db[TABLE]
    if trial not in table.index:
        raise KeyError(f"{trial!r} is not in {db.url}/{TABLE}; the trials are those of db['sim_trial_index']")
    files = _LocalFiles(db, Path(folder) if folder is not None else _temporary_folder())
    loaded = {}
    for kind, of_kind in PARAMETER_FOLDERS.items():
        digest = table.loc[trial, f"hash_{kind}"]
        loaded[kind] = files.load(f"{of_kind}/{digest}") if isinstance(digest, str) else ({}, None)
    return Parameters(loaded["neuron"][0], loaded["network"][0], loaded["neuron"][1], loaded["network"][1])


@dataclass
class _LocalFiles:
    """Files of a database in a local folder, each of them read once."""

    db: zdb.Database
    place: Path
    saved: dict[str, Path] = field(default_factory=dict)

    def load(self, key: str) -> tuple[dict[str, Any], Path]:
        """The parameters in a file, and the file with all that it refers to."""
        text = ParameterText(f"{self.db.url}/{key}", self.db[key].read())
        new = {
            (each.folder, each.path): str(self.save(each.path))
            for each in text.references()
            if each.path.startswith(RELATIVE)
        }
        local = ParameterText(text.name, text.replaced(new))
        return local.parameters, _write(self.place, key, local.content)

    def save(self, uri: str) -> Path:
        """Save a file and what it refers to; its path."""
        if uri not in self.saved:
            key = uri.removeprefix(RELATIVE)
            content = self.db[key].read()
            folder = key.partition("/")[0]
            inner = second_line_reference(folder, content)
            if inner is not None and inner.startswith(RELATIVE):
                content = replace_second_line_reference(folder, content, str(self.save(inner)))
            self.saved[uri] = _write(self.place, key, content)
        return self.saved[uri]


def _write(place: Path, key: str, content: bytes) -> Path:
    """Write a file where its content says, so that no file changes that was loaded before."""
    folder, _, name = key.rpartition("/")
    path = place / folder / hashlib.sha256(content).hexdigest()[:16] / name
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    return path


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zdb-parameters-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
