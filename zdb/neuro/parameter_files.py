"""Bring parameter files, and the files that they refer to, into a database: each distinct file once."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from zdb.errors import ZdbError
from zdb.neuro.imported import MARK
from zdb.neuro.parameter_text import (
    CONNECTIONS,
    MORPHOLOGY,
    RECORDING_SITES,
    SYNAPSES,
    ParameterText,
    replace_second_line_reference,
    second_line_reference,
)
from zdb.neuro.readers import SimulationFileError
from zdb.neuro.report import MissingFile, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    import zdb
    from zdb.neuro.relocating import Locator
    from zdb.neuro.simrun import OnError, Run

__all__ = ["PARAMETER_FOLDERS", "TABLE", "MissingFilesError", "ParameterFiles"]

TABLE = "parameterfiles"
PARAMETER_FOLDERS = {"neuron": "parameterfiles_cell_folder", "network": "parameterfiles_network_folder"}
# Files in these folders keep their names; those in all others are named by the MD5 of what was read.
NAMED = (MORPHOLOGY, RECORDING_SITES)
COLUMNS = ["path_neuron", "path_network", "hash_neuron", "hash_network"]
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")


class MissingFilesError(ZdbError, FileNotFoundError):
    """Parameter files refer to files that are not there.

    Attributes
    ----------
    missing : tuple of MissingFile
    """

    def __init__(self, missing: tuple[MissingFile, ...]) -> None:
        lines = "".join(f"  {file}\n" for file in missing)
        super().__init__(
            f"files that parameter files refer to were not found:\n{lines}"
            'Say where they are by relocate={"old path or folder": "new path or folder"}, or leave the references as '
            'they are by missing="report"'
        )
        self.missing = missing


@dataclass
class _Found:
    """A file for the database: where it is, and its content with the new references."""

    path: Path
    content: bytes


@dataclass
class ParameterFiles:
    """The parameter files of some runs, and all that they refer to.

    Parameters
    ----------
    root : Path
        Of the results.
    locator : Locator
    kept : zdb.Database, optional
        With files of other runs, which stay as they are.
    on_error : {"error", "report"}
        What to do about a parameter file that cannot be read: raise, or leave it out and report it.

    Attributes
    ----------
    rows : dict of str to dict
        By folder of a run: paths of its parameter files, and the names by which they are kept.
    added : bool
        Whether any were read.
    problems : list of Problem
        Parameter files that are left out.
    missing : list of MissingFile
    notes : list of str
        What a reference was taken for that is not found as it is written.
    """

    root: Path
    locator: Locator
    kept: zdb.Database | None = None
    on_error: OnError = "error"
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    added: bool = False
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _files: dict[str, dict[str, _Found]] = field(default_factory=dict)
    _missing: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _names: dict[tuple[str, Path], str] = field(default_factory=dict)
    _synapses_of: dict[Path, set[Path]] = field(default_factory=dict)

    def add(self, runs: Iterable[Run]) -> None:
        """Read the parameter files of runs, and find what they refer to; nothing is written.

        Raises
        ------
        SimulationFileError, OSError
            A parameter file is not a Python literal, and ``on_error="error"``; or a file cannot be read.
        """
        parsed: dict[tuple[str, str], ParameterText] = {}
        # relative paths in the same text mean other files in another folder
        texts: dict[tuple[str, str, Path | None], ParameterText] = {}
        users: dict[tuple[str, str, Path | None], list[dict[str, str]]] = {}
        for run in runs:
            self.added = True
            row = self.rows[run.path] = {}
            for kind, name in run.parameters.items():
                path = self.root / run.relative(name)
                try:
                    content = path.read_bytes()
                    digest = _md5(content)
                    if (kind, digest) not in parsed:
                        parsed[kind, digest] = ParameterText(str(path), content)
                except (SimulationFileError, OSError) as error:
                    if self.on_error == "error":
                        raise
                    self.problems.append(Problem(run.relative(name), str(error), ()))
                    continue
                row[f"path_{kind}"] = str(path)
                text = parsed[kind, digest]
                key = kind, digest, path.parent if text.has_relative_paths else None
                if key not in texts:
                    texts[key] = text if text.name == str(path) else ParameterText(str(path), content)
                users.setdefault(key, []).append(row)
        for text in texts.values():
            for connections, synapses in text.pairs():
                found = [self.locator.find(path, Path(text.name).parent) for path in (connections, synapses)]
                if found[0] is not None and found[1] is not None:
                    self._synapses_of.setdefault(found[0], set()).add(found[1])
        # morphologies first: files of synapses refer to them by name
        references = [(text, each) for text in texts.values() for each in text.references()]
        for folder in (MORPHOLOGY, RECORDING_SITES, SYNAPSES, CONNECTIONS):
            for text, reference in references:
                if reference.folder == folder:
                    self._resolve(folder, reference.path, text.name)
        for key, text in texts.items():
            kind, digest, _ = key
            new = {
                (each.folder, each.path): uri
                for each in text.references()
                if (uri := self._resolve(each.folder, each.path, text.name))
            }
            kept_as = self._keep(PARAMETER_FOLDERS[kind], digest, _Found(Path(text.name), text.replaced(new)))
            for row in users[key]:
                row[f"hash_{kind}"] = kept_as

    @property
    def missing(self) -> list[MissingFile]:
        return [
            MissingFile(path, folder, tuple(by), self.locator.suggestions(path))
            for (folder, path), by in self._missing.items()
        ]

    def _resolve(self, folder: str, path: str, by: str) -> str | None:
        """The ``reldb://`` URI of a file that is referred to, or None if it is missing."""
        found = self.locator.find(path, Path(by).parent)
        if found is None:
            files = self._missing.setdefault((folder, path), [])
            if by not in files:
                files.append(by)
            return None
        if (folder, found) not in self._names:
            self._names[folder, found] = self._take(folder, found)
        return f"reldb://{folder}/{self._names[folder, found]}"

    def _take(self, folder: str, path: Path) -> str:
        """Read a file and what it refers to itself; its name in the folder."""
        content = path.read_bytes()
        name = _ILLEGAL.sub("_", path.name).lstrip(".")[-100:] if folder in NAMED else _md5(content)
        inner = second_line_reference(folder, content)
        if inner is not None:
            uri = self._synapses(inner, path) if folder == CONNECTIONS else self._morphology(inner, path)
            if uri is not None:
                content = replace_second_line_reference(folder, content, uri)
        return self._keep(folder, name, _Found(path, content))

    def _synapses(self, reference: str, path: Path) -> str | None:
        """What a file of connections refers to; if it is gone, the file that the network parameters use with it."""
        used = self._synapses_of.get(path, set())
        if len(used) == 1 and self.locator.find(reference, path.parent) is None:
            (synapses,) = used
            self.notes.append(
                f"{reference}, referenced by {path}, was not found; taken to be {synapses}, which all network "
                "parameters use with it"
            )
            reference = str(synapses)
        return self._resolve(SYNAPSES, reference, str(path))

    def _morphology(self, reference: str, path: Path) -> str | None:
        """What a file of synapses refers to: the path of a morphology, or no more than the name of the cell."""
        if reference.endswith(".hoc"):
            return self._resolve(MORPHOLOGY, reference, str(path))
        names = [name for name, file in self._files.get(MORPHOLOGY, {}).items() if file.path.stem == reference]
        return f"reldb://{MORPHOLOGY}/{names[0]}" if len(names) == 1 else None

    def _keep(self, folder: str, name: str, file: _Found) -> str:
        """Take a file in, by a name that no other content has; the name."""
        if not self._is_free(folder, name, file.content):
            name = f"{Path(name).stem}-{_md5(file.content)[:8]}{Path(name).suffix}"
        self._files.setdefault(folder, {})[name] = file
        return name

    def _is_free(self, folder: str, name: str, content: bytes) -> bool:
        taken = self._files.get(folder, {}).get(name)
        if taken is not None:
            return taken.content == content
        key = f"{folder}/{name}"
        return self.kept is None or key not in self.kept or self.kept[key].sha256 == _sha256(content)

    def write(self, db: zdb.Database) -> None:
        """Write all files that are not there yet."""
        with tempfile.TemporaryDirectory() as place:
            for folder, files in self._files.items():
                for name, file in files.items():
                    self._write_file(db, f"{folder}/{name}", file, Path(place))

    def _write_file(self, db: zdb.Database, key: str, file: _Found, place: Path) -> None:
        if key in db and db[key].sha256 == _sha256(file.content):
            return
        copy = place / file.path.name
        copy.write_bytes(file.content)
        db.set(key, copy, attrs={"source": str(file.path), **MARK})
        copy.unlink()

    def keys(self) -> set[str]:
        """Keys of all files, and of the table."""
        return {TABLE} | {f"{folder}/{name}" for folder, files in self._files.items() for name in files}

    def table(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Paths and hashes of the parameter files of each trial, by ``sim_trial_index``."""
        rows: Any = [self.rows.get(path, {}) for path in trials["path"]]
        index = pd.Index(trials["sim_trial_index"].tolist(), name="sim_trial_index")
        return pd.DataFrame(rows, index=index, columns=COLUMNS, dtype=pd.StringDtype(na_value=float("nan")))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
