"""Open files: one that is read by blocks, and one that is published when it is closed."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from zdb.errors import NoFileError
from zdb.formats.ahead import ReadAhead
from zdb.keys import split

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

    from zdb.files.tree import FileTree
    from zdb.formats.stored_file import StoredFile

__all__ = ["BLOCK_SIZE", "FileReader", "FileWriter", "NotPublishedWarning", "TextWriter"]

# What a reader reads ahead, in bytes; smaller files are read as a whole, and checked against their SHA-256.
BLOCK_SIZE = 2 * 2**20


class NotPublishedWarning(UserWarning):
    """What was written to a file was thrown away, because it was not closed as it should be."""


class FileReader(AbstractBufferedFile):  # type: ignore[misc]
    """A stored file that is open for reading, in binary mode."""

    def __init__(self, fs: Any, path: str, stored: StoredFile, content: bytes | None, **options: Any) -> None:
        self._stored = stored
        self._content = content
        super().__init__(fs, path, "rb", size=stored.size, **{"cache_type": ReadAhead.name, **options})

    @property
    def name(self) -> str:
        return str(self.path)

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._content is not None:
            return self._content[start:end]
        return self._stored.read_part(start, end)

    def close(self) -> None:
        cache = getattr(self, "cache", None)
        super().close()
        if isinstance(cache, ReadAhead):
            cache.close()


class FileWriter(io.BufferedIOBase):
    """A file that is open for writing, in binary mode, on the local disk until it is closed and published.

    What was written is thrown away if an error is on its way when the file is closed, or if it is never closed.
    """

    def __init__(self, tree: FileTree, key: str, path: str, mode: str, *, autocommit: bool = True) -> None:
        super().__init__()
        self._tree = tree
        self._key = key
        self._overwrite = mode != "xb"
        self._autocommit = autocommit
        self._handled_before = sys.exception()
        self._why_not = ""
        self._discarded = False
        self.path = self.name = path
        self.mode = mode
        self._folder = tempfile.TemporaryDirectory(prefix="zdb-", ignore_cleanup_errors=True)
        place = Path(self._folder.name) / split(key)[1]
        if mode == "ab":
            with contextlib.suppress(NoFileError):
                tree.reading(key, lambda stored: stored.save(place))
        self._file = place.open("ab" if mode == "ab" else "wb")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._check_open()
        return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        self._check_open()
        return self._file.tell()

    def truncate(self, size: int | None = None, /) -> int:
        self._check_open()
        return self._file.truncate(size)

    def flush(self) -> None:
        self._check_open()
        self._file.flush()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.abandon()
        self.close()

    def abandon(self) -> None:
        """Publish nothing when the file is closed."""
        self._discarded = True

    def close(self) -> None:
        """Publish what was written.

        Raises
        ------
        KeyConflictError, ReadOnlyError, StorageError
            It cannot be published; what was at the key before is intact.
        """
        if self.closed:
            return
        if self._discarded:
            self.discard()
            return
        # Not every library tells its files of an error that leaves a with block, as fsspec.OpenFile does not.
        error = sys.exception()
        if getattr(self, "_finalizing", False):
            self._why_not = "was never closed"
        elif error is not None and error is not self._handled_before and not self._why_not:
            self._why_not = f"was closed while {type(error).__name__} was handled"
        try:
            super().close()
            self._file.close()
            if self._why_not:
                self.discard()
                message = f"{self.path}: {self._why_not}, so nothing of it was published"
                warnings.warn(message, NotPublishedWarning, stacklevel=2)
            elif self._autocommit:
                self.commit()
        except BaseException:
            self._folder.cleanup()
            raise

    def commit(self) -> None:
        """Publish what was written; called by :meth:`close`, or at the end of a transaction of fsspec."""
        try:
            if not self._discarded:
                self._file.close()
                self._tree.publish(self._key, Path(self._file.name), overwrite=self._overwrite)
        finally:
            self._folder.cleanup()

    def discard(self) -> None:
        """Throw away what was written."""
        self._discarded = True
        with contextlib.suppress(OSError):  # a full disk is no reason to keep it
            super().close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._folder.cleanup()

    def _dealloc_warn(self, _: object) -> None:
        """Called by a text file around this one that is collected as garbage without having been closed."""
        self._why_not = "was never closed"


class TextWriter(io.TextIOWrapper):
    """A text file around one that is open for writing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and isinstance(self.buffer, FileWriter):
            self.buffer.abandon()
        self.close()
