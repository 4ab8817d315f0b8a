"""Reading ahead: while one part of a file is used, the next ones are on their way."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from fsspec.caching import BaseCache, register_cache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReadAhead"]

# What is on its way for one file, at most: so many parts, each of so many bytes or of the block size.
PARTS = 4
PART_BYTES = 8 * 2**20


class _Part(NamedTuple):
    start: int
    stop: int
    content: Future[bytes]


class ReadAhead(BaseCache):  # type: ignore[misc]
    """The cache of fsspec, "zdb-ahead", of a file that may be read from begin to end or here and there.

    A read somewhere else brings one block. Each time a read goes on beyond what is there, twice as much is read ahead
    as before, in several requests at the same time.
    """

    name = "zdb-ahead"

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._parts: deque[_Part] = deque()  # each begins where the one before ends
        self._ahead = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        return self.read(start or 0, self.size if stop is None else stop)

    def read(self, first: int, last: int) -> bytes:
        """Return the bytes from `first` to `last`, or to the end of the file."""
        last = min(last, self.size)
        if first >= last:
            return b""
        if self._process != os.getpid():  # in a fork there are no threads
            self._forget()
            self._pool, self._process = None, os.getpid()
        try:
            self._plan(first, last)
            pieces = [
                part.content.result()[max(0, first - part.start) : last - part.start]
                for part in self._parts
                if part.start < last
            ]
        except BaseException:
            self._forget()
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _plan(self, first: int, last: int) -> None:
        """See that all parts of a read are there or on their way, and what is to be read ahead, too."""
        if not self._parts or not self._parts[0].start <= first <= self._parts[-1].stop:
            self._forget()
            blocks_end = (first + self.blocksize) // self.blocksize * self.blocksize
            self._read(first, max(last, min(blocks_end, self.size)))
            return
        used_up = last > self._parts[0].stop
        while len(self._parts) > 1 and self._parts[0].stop <= first:
            used_up = True
            self._parts.popleft()
        if used_up:
            self._ahead = min(max(2 * self._ahead, self.blocksize), PARTS * self._largest)
        if not self._ahead:
            return
        while (begin := self._parts[-1].stop) < min(last + self._ahead, self.size):
            step = min(max(self._ahead // PARTS, self.blocksize), self._largest)
            self._submit(begin, min(begin + step, self.size))

    @property
    def _largest(self) -> int:
        """How many bytes are read at once at most."""
        return max(PART_BYTES // int(self.blocksize), 1) * int(self.blocksize)

    def _read(self, start: int, stop: int) -> None:
        content: Future[bytes] = Future()
        content.set_result(self.fetcher(start, stop))
        self._parts.append(_Part(start, stop, content))

    def _submit(self, start: int, stop: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(PARTS, "zdb-read-ahead")
        self._parts.append(_Part(start, stop, self._pool.submit(self.fetcher, start, stop)))

    def _forget(self) -> None:
        for part in self._parts:
            part.content.cancel()
        self._parts.clear()
        self._ahead = 0

    def close(self) -> None:
        """Read no more."""
        self._forget()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


register_cache(ReadAhead, clobber=True)
