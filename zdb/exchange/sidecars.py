"""What zdb knows of a value, in a file beside the file that holds the data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.errors import UnsupportedValueError
from zdb.provenance import Provenance

if TYPE_CHECKING:
    from pathlib import Path

    from zdb.database import Database

__all__ = ["SUFFIX", "Sidecar", "beside", "read_sidecar", "write_sidecar"]

SUFFIX = ".zdb.json"


class Sidecar(NamedTuple):
    """What is known of a value: the last name of its key, its format and type, remarks and provenance."""

    key: str
    format: str
    type: str
    attrs: dict[str, Any]
    provenance: Provenance


def write_sidecar(db: Database, key: str, file: Path) -> None:
    """Write what is known of a value beside its file."""
    info = db.info(key)
    made = Sidecar(key.rpartition("/")[2], info.format, info.type, info.attrs, db.provenance(key))
    document = {**made._asdict(), "provenance": made.provenance.to_dict()}
    beside(file).write_text(json.dumps(document, indent=1), "utf-8")


def read_sidecar(file: Path) -> Sidecar | None:
    """Read what lies beside a file, if anything does.

    Raises
    ------
    UnsupportedValueError
        It is not what :func:`write_sidecar` writes.
    """
    path = beside(file)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        return Sidecar(**{**found, "provenance": Provenance.from_dict(found["provenance"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedValueError(f"{path}: is not what an export writes: {error!r}") from error


def beside(file: Path) -> Path:
    """Return the path of the file that says more of a file."""
    return file.with_name(f"{file.name}{SUFFIX}")
