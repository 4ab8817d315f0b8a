"""A file that lies in a database: read, opened like any file, or saved to disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import CorruptChunkError, InvalidKeyError, KeyExistsError
from zdb.formats.ahead import ReadAhead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import xarray as xr
    from typing_extensions import Buffer

__all__ = ["BLOCK_SIZE", "StoredFile"]

# Files are hashed and stored by blocks of this size, in bytes.
BLOCK_SIZE = 16 * 2**20
# Smaller for reading: several blocks are on their way at the same time.
_READ_BLOCK_SIZE = 4 * 2**20
_BUFFER_SIZE = 2**20


class StoredFile:
    """A file in a database. Nothing of its content is read until it is asked for.

    Two are equal if their contents are, that is, their SHA-256.

    Attributes
    ----------
    name : str
        Name that the file had, without folder.
    size : int
        Size in bytes.
    sha256 : str
        SHA-256 of the content, in hexadecimal.
    modified : datetime or None
        When the original file was last modified, in UTC.
    """

    def __init__(
        self,
        content: xr.Variable,
        *,
        name: str,
        size: int,
        sha256: str,
        modified: datetime | None = None,
    ) -> None:
        self._content = content
        self.name = name
        self.size = size
        self.sha256 = sha256
        self.modified = modified

    def read(self) -> bytes:
        """Return the content.

        Raises
        ------
        CorruptChunkError
            The content does not match its SHA-256.
        """
        return b"".join(self._checked_blocks())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        r"""Return the content as text; line ends are left as they are ("\r\n" too)."""
        return self.read().decode(encoding, errors)

    def open(self) -> io.BufferedReader:
        """Open the file for reading in binary mode; seekable, and read as far as it is needed.

        The content is not checked against its SHA-256, which would need all of it.
        """
        return io.BufferedReader(_StoredFileIO(self), buffer_size=_BUFFER_SIZE)

    def read_part(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, reading no more chunks than these lie in; nothing is checked."""
        start, stop, _ = slice(start, stop).indices(self.size)
        return self._slice(start, stop).tobytes() if start < stop else b""

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the content to a file, and return its path.

        Parameters
        ----------
        path
            The new file, or a folder, in which it gets the name that it had.
        overwrite
            Replace an existing file.

        Raises
        ------
        KeyExistsError
            The file exists, and `overwrite` is False. It is a FileExistsError too.
        CorruptChunkError
            The content does not match its SHA-256; nothing is left at `path`.
        """
        target = Path(path)
        if target.is_dir():
            target /= self._safe_name()
        if not overwrite:
            try:
                target.open("xb").close()
            except FileExistsError:
                raise KeyExistsError(f"the file {target} exists; save elsewhere, or with overwrite=True") from None
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with part.open("xb") as file:
                for block in self._checked_blocks():
                    file.write(block)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            if not overwrite:
                target.unlink(missing_ok=True)
            raise
        return target

    def _safe_name(self) -> str:
        # The name comes from the database, which may come from anyone.
        name = self.name
        if not name or name in {".", ".."} or set(name) & set("/\\\0:"):
            raise InvalidKeyError(f"{name!r} is no name for a file; give the path of the new file, not of a folder")
        return name

    def lazy_content(self) -> Any:
        """Return the bytes for another write: a numpy array, or a dask array if they are many."""
        if self.size <= BLOCK_SIZE:
            return np.frombuffer(self.read(), dtype=np.uint8)
        preferred = self._content.encoding.get("preferred_chunks") or {"byte": BLOCK_SIZE}
        return self._content.chunk(preferred).data

    def _read_ahead(self, block_size: int) -> ReadAhead:
        return ReadAhead(block_size, self.read_part, self.size)

    def _slice(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.ascontiguousarray(self._content[start:stop].values)

    def _checked_blocks(self) -> Iterator[Buffer]:
        digest = hashlib.sha256()
        with contextlib.closing(self._read_ahead(_READ_BLOCK_SIZE)) as ahead:
            for start in range(0, self.size, _READ_BLOCK_SIZE):
                block = ahead.read(start, start + _READ_BLOCK_SIZE)
                digest.update(block)
                yield block
        if digest.hexdigest() != self.sha256 or self._content.size != self.size:
            raise CorruptChunkError(
                f"the content of the stored file {self.name!r} ({self._content.size} of "
                f"{self.size} bytes) does not match its SHA-256 {self.sha256}; restore it from a "
                "copy, or read it unchecked by open()"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredFile):
            return NotImplemented
        return self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"<zdb.StoredFile {self.name!r}, {self.size} bytes, sha256 {self.sha256[:12]}…>"


class _StoredFileIO(io.RawIOBase):
    """The raw, unbuffered stream of a stored file."""

    def __init__(self, stored: StoredFile) -> None:
        super().__init__()
        self._stored = stored
        self._ahead = stored._read_ahead(_BUFFER_SIZE)  # noqa: SLF001
        self._position = 0
        self.name = stored.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stored.size}
        if whence not in origin:
            raise ValueError(f"whence is {whence}, not 0, 1 or 2")
        if origin[whence] + offset < 0:
            raise ValueError(f"cannot seek to {origin[whence] + offset}, before the start")
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._stored.size)
        count = max(0, stop - self._position)
        if count:
            view[:count] = self._ahead.read(self._position, stop)
            self._position = stop
        return count

    def readall(self) -> bytes:
        self._check_open()
        start, size = self._position, self._stored.size
        self._position = max(start, size)
        return self._ahead.read(start, size)

    def close(self) -> None:
        self._ahead.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
