"""Bytes and files: `content` as uint8 along `byte`, with name, size and SHA-256.

Large files are mapped into memory and read by parts, never as a whole.
"""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from zdb.errors import UnsupportedValueError, WriteError
from zdb.formats.registry import Format, why_not
from zdb.formats.stored_file import BLOCK_SIZE, StoredFile

__all__ = ["FileFormat", "StoredFile", "stored_file"]

# Files up to this size (in bytes) are read as a whole; larger ones are mapped.
LARGEST_IN_MEMORY = BLOCK_SIZE
_SOURCE = "zdb_source"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FileFormat(Format):
    """bytes and bytearray, which come back as such, and files, which come back as StoredFile."""

    name = "file"
    types = ("builtins.bytes", "builtins.bytearray", "pathlib.Path", "zdb.StoredFile")

    def accepts(self, value: Any) -> bool:
        """Refuse subclasses of bytes, which would not come back as such."""
        return isinstance(value, Path | StoredFile) or type(value) in {bytes, bytearray}

    def encode(self, value: Any) -> xr.Dataset:
        """Return a Dataset with the bytes as `content`.

        Parameters
        ----------
        value
            bytes, bytearray, the path of a file, or a StoredFile of another key or database.
        """
        if isinstance(value, StoredFile):
            content = xr.Variable(("byte",), value.lazy_content())
            return _dataset(content, "pathlib.Path", _description(value))
        if isinstance(value, Path):
            return _encode_file(value)
        if type(value) not in {bytes, bytearray}:
            raise UnsupportedValueError(why_not(self, value))
        data = np.frombuffer(bytes(value), dtype=np.uint8)
        return _dataset(
            xr.Variable(("byte",), data),
            type(value).__name__,
            {"name": "", "size": data.size, "sha256": _sha256(data)},
        )

    def check_written(self, encoded: xr.Dataset | xr.DataTree) -> None:
        """Raise :class:`~zdb.errors.WriteError` if the file changed while its content was written."""
        if _SOURCE not in encoded.encoding:
            return
        name, size, modified = encoded.encoding[_SOURCE]
        try:
            status = Path(name).stat()
        except OSError as error:
            raise WriteError(f"the file {name} vanished while it was stored: {error}") from error
        if (status.st_size, status.st_mtime_ns) != (size, modified):
            raise WriteError(f"the file {name} changed while it was stored; try again when it is done")

    def decode(self, node: xr.Dataset | xr.DataTree) -> Any:
        """Return bytes or bytearray, checked against their SHA-256, or a StoredFile."""
        stored = stored_file(node)
        kind = node.attrs["zdb_type"]
        if kind == "bytes":
            return stored.read()
        return bytearray(stored.read()) if kind == "bytearray" else stored


def stored_file(node: xr.Dataset | xr.DataTree) -> StoredFile:
    """Return the file of a stored Dataset, also of one that :meth:`FileFormat.decode` gives back as bytes."""
    attributes = node.attrs
    modified = json.loads(attributes["zdb_recipe"]).get("modified")
    return StoredFile(
        node["content"].variable,
        name=attributes["zdb_name"],
        size=attributes["zdb_size"],
        sha256=attributes["zdb_sha256"],
        modified=None if modified is None else datetime.fromisoformat(modified),
    )


def _dataset(content: xr.Variable, kind: str, description: dict[str, Any]) -> xr.Dataset:
    modified = description.get("modified")
    attributes = {
        "zdb_type": kind,
        "zdb_dtype": "",
        "zdb_shape": f"[{description['size']}]",
        "zdb_recipe": json.dumps({"modified": modified} if modified else {}),
        "zdb_name": description["name"],
        "zdb_size": description["size"],
        "zdb_sha256": description["sha256"],
    }
    return xr.Dataset({"content": content}, attrs=attributes)


def _description(stored: StoredFile) -> dict[str, Any]:
    return {
        "name": stored.name,
        "size": stored.size,
        "sha256": stored.sha256,
        "modified": stored.modified and stored.modified.isoformat(),
    }


def _encode_file(path: Path) -> xr.Dataset:
    status = file_status(path)
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedValueError(f"the name of the file {str(path)!a} is not valid UTF-8; rename it") from None
    content: np.ndarray[Any, np.dtype[np.uint8]]
    try:
        if status.st_size <= LARGEST_IN_MEMORY:
            content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        else:
            content = np.memmap(path, dtype=np.uint8, mode="r")
        digest = _sha256(content)
    except OSError as error:
        raise UnsupportedValueError(f"the file {path} cannot be read: {error}") from error
    modified = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    dataset = _dataset(
        xr.Variable(("byte",), content),
        "pathlib.Path",
        {
            "name": path.name,
            "size": content.size,
            "sha256": digest,
            "modified": modified.isoformat(timespec="microseconds"),
        },
    )
    dataset.encoding[_SOURCE] = (str(path.absolute()), status.st_size, status.st_mtime_ns)
    return dataset


def file_status(path: Path) -> Any:
    """Return the :class:`os.stat_result` of a regular file; links are followed.

    Raises
    ------
    UnsupportedValueError
        There is no such file, or it is a folder, pipe, socket or device.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UnsupportedValueError(f"{path} is a link to {path.readlink()}, which does not exist") from None
        raise UnsupportedValueError(
            f"there is no file {path} (working directory: {Path.cwd()}); to keep the path itself, store str(path)"
        ) from None
    except (OSError, ValueError) as error:
        raise UnsupportedValueError(f"the file {path} cannot be read: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnsupportedValueError(
            f"{path} is a folder; it becomes a sub-database of files by db[key] = path, without a format"
        )
    if not stat.S_ISREG(status.st_mode):
        kinds = {
            stat.S_IFIFO: "a named pipe",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
        }
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a special file")
        raise UnsupportedValueError(f"{path} is {kind}, which has no fixed content; save what it gives to a file first")
    return status


def _sha256(content: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for start in range(0, content.size, BLOCK_SIZE):
        digest.update(content[start : start + BLOCK_SIZE].data)
    return digest.hexdigest()
