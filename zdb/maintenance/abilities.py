"""What a database can do to look after itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.handle import Handle

if TYPE_CHECKING:
    from zdb.keys import Key
    from zdb.maintenance.report import VerifyReport

__all__ = ["Maintenance"]


class Maintenance(Handle):
    """Verify, repair, and collect garbage."""

    def verify(self, key: Key | None = None, deep: bool = True, progress: bool = False) -> VerifyReport:
        """Check that all is there that the metadata promises, and that it can be decoded.

        For each value: every chunk or shard, and every chunk in a shard, is in the store, can be decoded, and matches
        its CRC-32C; a file matches its SHA-256; the arrays have metadata of their own, and it agrees with the
        consolidated metadata. For all: names are legal, ids are unique, and the provenance records are there and match
        their names. Values that are replaced meanwhile are checked again. Memory does not grow with the data.

        Parameters
        ----------
        key : str or tuple of str, optional
            Only this value or sub-database.
        deep : bool
            Read and decode all chunks. If false, they are only listed: one listing per value, and no chunk is read.
        progress : bool
            Show a bar on a terminal.

        Returns
        -------
        VerifyReport
            ``report.ok`` tells whether all is well; damage does not raise.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        StorageError
            The store cannot be reached.
        """
        from zdb.maintenance.verifying import Verification

        path = self._path if key is None else self._at(key)
        if key is not None and not self._engine.nodes.list_objects(path):
            raise self._not_found(path)
        return Verification(self._engine, path, deep=deep, progress=progress).run()
