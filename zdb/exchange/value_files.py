"""Writing the file of a value, unless it is there and the value has not changed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from zdb.errors import KeyExistsError, UnsupportedValueError
from zdb.exchange.exporting import Part, export
from zdb.exchange.sidecars import Sidecar, beside, read_sidecar, temporary_beside, write_sidecar
from zdb.exchange.sources import state_of
from zdb.info import Info
from zdb.transfer.copies import origin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zdb.database import Database
    from zdb.engine.node import Node

__all__ = ["Exporter"]


class Exporter:
    """Writes values to files with their sidecars.

    Parameters
    ----------
    db : Database
    overwrite : bool
        Write also what has not changed, and replace files that no export left as they are.
    """

    def __init__(self, db: Database, *, overwrite: bool) -> None:
        self.db = db
        self._overwrite = overwrite
        self._used: set[Path] = set()
        self._record = cache(db._engine.records.read)  # noqa: SLF001 - most values share theirs

    def export(self, key: str, node: Node, files: list[Path]) -> Path | None:
        """Write a value to the first of some files whose format can hold it; return that, or None if it was there."""
        version = _version(node)
        for file in files:
            noted = _noted(file, key)
            is_current = noted is not None and noted.version == version and noted.states[:1] == [state_of(file)]
            if is_current and not self._overwrite:
                self._used.add(file)
                return None
        why: Exception | None = None
        for file in files:
            if file in self._used:
                raise UnsupportedValueError(f"{key}: another value was written to {file.name}; rename one of them")
            try:
                self._write(key, node, file)
            except UnsupportedValueError as error:
                why = error
                continue
            self._used.add(file)
            return file
        assert why is not None
        raise why

    def _write(self, key: str, node: Node, file: Path) -> None:
        if file.is_dir():
            raise KeyExistsError(f"{file}: is a folder; move it away")
        before = state_of(file)
        noted = _noted(file, key)
        if before and not self._overwrite and (noted is None or before not in noted.states):
            raise KeyExistsError(f"{file}: exists, and overwrite=False was given")
        temporary = temporary_beside(file)
        try:
            export(self.db, key, str(temporary), kind=None, part=Part(), force=False)
            # Before the file, so that it is known for an export's wherever this is killed.
            write_sidecar(file, self._known(key, node, [state_of(temporary), before]))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def _known(self, key: str, node: Node, states: list[list[int]]) -> Sidecar:
        info = Info.of(key, self.db._engine.described(node))  # noqa: SLF001
        provenance = self.db._provenance_of(node, self._record)  # noqa: SLF001
        shown = (info.format, info.type, info.dtype, info.attrs)
        return Sidecar(key.rpartition("/")[2], *shown, provenance, _version(node), states)

    def remove_others(self, key: str, files: Iterable[Path]) -> None:
        """Remove those files that earlier exports wrote for this value, when it was of another format."""
        for file in files:
            noted = None if file in self._used else _noted(file, key)
            if noted is not None and state_of(file) in noted.states:
                file.unlink(missing_ok=True)
                beside(file).unlink()


def _version(node: Node) -> str:
    """Return what changes whenever a value is written or added to, and is the same in a copy of the database."""
    attributes = node.attributes
    return f"{origin(node)}/{attributes.get('zdb_created', '')}/{attributes.get('zdb_appends', 0)}"


def _noted(file: Path, key: str) -> Sidecar | None:
    """Return what an export of a value at this key wrote beside a file."""
    try:
        found = read_sidecar(file)
    except UnsupportedValueError:
        return None
    return found if found is not None and found.key == key.rpartition("/")[2] else None
