"""What zdb knows of a value, in a file beside the file that holds the data."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.errors import UnsupportedValueError
from zdb.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


__all__ = ["SUFFIX", "Sidecar", "beside", "read_sidecar", "remove_temporary", "temporary_beside", "write_sidecar"]

SUFFIX = ".zdb.json"
TEMPORARY = re.compile(r"\.[0-9a-f]{16}[.-]part(\..*)?$")


class Sidecar(NamedTuple):
    """What is known of a value: the last name of its key, its format, type and dtype, remarks and provenance.

    And what an export needs to know when it is called again: which `version` of which value was written, and `states`
    of the file: what it is like since, and what it was like before.
    """

    key: str
    format: str
    type: str
    dtype: str
    attrs: dict[str, Any]
    provenance: Provenance
    version: str = ""
    states: Sequence[list[int]] = ()


def write_sidecar(file: Path, made: Sidecar) -> None:
    """Write what is known of a value beside its file, at once."""
    document = {**made._asdict(), "provenance": made.provenance.to_dict()}
    temporary = temporary_beside(file)
    try:
        temporary.write_text(json.dumps(document, indent=1), "utf-8")
        temporary.replace(beside(file))
    finally:
        temporary.unlink(missing_ok=True)


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


def temporary_beside(file: Path) -> Path:
    """Return a hidden path in the same folder with the same suffix, for what becomes the file when it is whole."""
    return file.with_name(f".{secrets.token_hex(8)}-part{file.suffix}")


def remove_temporary(folder: Path) -> None:
    """Remove what exports left that were killed."""
    for file in folder.rglob(".*part*"):
        if TEMPORARY.match(file.name):
            file.unlink(missing_ok=True)
