"""One key of an old database: what wrote it, and where it lies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from zdb.errors import PickleRefusedError, UnreadableValueError, ZdbError
from zdb.legacy.inert import object_of, read_inert

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["OWN_FILES", "UNKNOWN", "Entry", "Source", "entry_of_folder", "is_key"]

OWN_FILES = frozenset(
    [
        "Loader.json",
        "Loader.pickle",
        "db_state.json",
        "dbcore.pickle",
        "metadata.db",
        "metadata.db.lock",
        "metadata.json",
        "sqlitedict.db",
        "sqlitedict.db.lock",
    ]
)
BEING_DELETED = ".deleting."
UNKNOWN = {"dumper": "unknown", "time": "unknown", "metadata_creation_time": "post_hoc", "version": "unknown"}


@dataclass(frozen=True)
class Entry:
    """One key.

    Attributes
    ----------
    name : str
    dumper : str
        What wrote it ("numpy_to_npy"); "self" for a row of the sqlite file, "file" for a file, "" if nothing says it.
    folder : Path or None
        Its folder or file.
    loader : dict
        The attributes of its Loader; those from a pickle are not rebuilt yet.
    row : bytes or None
        The pickle in the sqlite file.
    problem : str
        Why it cannot be read, if that is known already.
    """

    name: str
    dumper: str
    folder: Path | None = None
    loader: Mapping[str, Any] = field(default_factory=dict)
    row: bytes | None = None
    problem: str = ""


class Source(Protocol):
    """The keys of one database, or of what is shown as one."""

    kind: str
    path: Path

    def names(self) -> list[str]: ...

    def has(self, name: str) -> bool: ...

    def entry(self, name: str) -> Entry: ...

    def metadata(self, name: str) -> dict[str, Any]: ...

    def state(self) -> dict[str, Any]: ...


def is_key(child: Path) -> bool:
    return child.name not in OWN_FILES and BEING_DELETED not in child.name and not child.name.startswith(".")


def entry_of_folder(name: str, folder: Path, known_dumper: Any = None) -> Entry:
    """Find out what wrote the folder of a key, and what its Loader holds."""
    try:
        dumper, loader = _loader(folder)
    except (ZdbError, OSError, ValueError, TypeError) as error:
        return Entry(name, _short(known_dumper), folder, problem=str(error))
    return Entry(name, dumper or _short(known_dumper), folder, loader)


def _short(dumper: Any) -> str:
    """The name of a dumper, of that of its module."""
    text = dumper if isinstance(dumper, str) else ""
    return "" if text == "unknown" else text.rpartition(".")[2]


def _loader(folder: Path) -> tuple[str, Mapping[str, Any]]:
    if (folder / "Loader.json").exists():
        stored = json.loads((folder / "Loader.json").read_bytes())
        if not isinstance(stored, dict) or not isinstance(stored.get("Loader"), str):
            raise UnreadableValueError("Loader.json: does not name a Loader")
        return _short(stored["Loader"]), stored
    if not (folder / "Loader.pickle").exists():
        return "", {}
    name, state = object_of(read_inert((folder / "Loader.pickle").read_bytes(), "Loader.pickle"))
    if not name.endswith(".Loader") or ".LoaderDumper." not in name or not isinstance(state, dict):
        raise PickleRefusedError("Loader.pickle: is not the Loader of an old database")
    return _short(name.removesuffix(".Loader")), state
