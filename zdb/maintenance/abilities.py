"""What a database can do to look after itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from zdb.errors import KeyNotFoundError
from zdb.handle import Handle

if TYPE_CHECKING:
    from zdb.keys import Key
    from zdb.maintenance.report import GarbageReport, RepairReport, VerifyReport

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

        path = self._looked_after(key)
        return Verification(self._engine, path, deep=deep, progress=progress).run()

    def repair(self, key: Key | None = None, dry_run: bool = True, progress: bool = False) -> RepairReport:
        """Repair what :meth:`verify` finds, as far as it can be repaired.

        - Metadata of arrays that is lost or differs is written from the consolidated metadata, and the other way round.
        - A value with chunks that are lost or damaged goes back to what it was before, if that is still whole: it is
          until the value is written again or :meth:`gc` collects it.
        - If it is not, the value is marked: reading it raises an error that names what is lost, and parts that are
          whole can still be read. The mark is taken off when all is there again, or when the value is written.
        - A sub-database that lost its node gets a new one; a value that did becomes plain Zarr.
        - Of nodes with the same id, all but one get a new one.
        - What a writer that died left at a key that it never finished is dropped, if it is older than a day.

        Others may read and write meanwhile. A key that is being written or filled is left, and the report says so.

        Parameters
        ----------
        key : str or tuple of str, optional
            Only this value or sub-database.
        dry_run : bool
            Change nothing, and report what would be done. This is the default.
        progress : bool
            Show a bar on a terminal while all is verified.

        Returns
        -------
        RepairReport

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        ReadOnlyError, StorageError
            The store failed.
        """
        from zdb.maintenance.repairing import Repairs

        path = self._looked_after(key)
        if not dry_run:
            self._engine.nodes.require_writable()
        return Repairs(self._engine, path, dry_run=dry_run, progress=progress).run()

    def gc(
        self, key: Key | None = None, dry_run: bool = True, grace: float | timedelta = timedelta(days=1)
    ) -> GarbageReport:
        """Collect garbage: old generations, work that was never finished, and records that no value refers to.

        Others may read and write meanwhile; keys that they write or fill are left. If processes elsewhere hold claims
        and gave no sign of life for the grace period, it is seen first that they give none for their lease. What is
        younger than the grace period stays, by the clock of the store; so does all of a key to which something younger
        was written. A lazy value that was opened before it was replaced, and is read later than the grace period,
        raises :class:`~zdb.errors.StaleValueError`.

        Parameters
        ----------
        key : str or tuple of str, optional
            Only that of this value or sub-database; records are collected of whole databases only.
        dry_run : bool
            Remove nothing, and report what would be removed. This is the default.
        grace : float or timedelta
            In seconds. No writer should need longer than that from one object to the next. Records stay for a day at
            least. In stores that do not know when an object was written, such as memory, only 0 removes anything.

        Returns
        -------
        GarbageReport

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        ReadOnlyError, StorageError
            The store failed.
        """
        from zdb.maintenance.garbage import GarbageCollection

        path = self._looked_after(key)
        if not dry_run:
            self._engine.nodes.require_writable()
        period = grace if isinstance(grace, timedelta) else timedelta(seconds=grace)
        return GarbageCollection(self._engine, path, period, dry_run=dry_run).run()

    def _looked_after(self, key: Key | None) -> str:
        """Return the path of a value or database; what lies in a value is no key of its own."""
        if key is None:
            return self._path
        path = self._at(key)
        if (value := self._value_above(path)) is not None:
            raise KeyNotFoundError(
                f"{self._relative(path)!r} lies in the value {self._relative(value.path)!r} of {self.url}; give "
                "the key of the value"
            )
        if not self._engine.nodes.list_objects(path):
            raise self._not_found(path)
        return path
