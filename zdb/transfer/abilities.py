"""How a database gives its values to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zdb.handle import Handle

if TYPE_CHECKING:
    from zdb.keys import Key
    from zdb.transfer.report import TransferReport
    from zdb.transfer.syncing import Rules

__all__ = ["Transfer"]


class Transfer(Handle):
    """Copy to another database, or keep a copy up to date."""

    def copy_to(
        self,
        target: Handle,
        key: Key | None = None,
        new_key: Key | None = None,
        *,
        overwrite: bool = False,
        progress: bool = False,
    ) -> TransferReport:
        """Copy all values, or what is at a key, to another database.

        Objects are copied as they are, many at a time; nothing is decoded. Readers of the target see the whole value or
        what was there before. Each value keeps its provenance, and the records that this needs are copied too. A copy
        that was interrupted is taken up where it ended when it is called again. Values that are replaced meanwhile are
        copied again; a value that another process writes in the target is waited for. One that jobs fill there is left,
        and so is what is damaged here, which checksums tell; the report says so. After copying, and before it becomes
        visible, the sizes of all objects of a value are compared.

        Parameters
        ----------
        target : Database
            Where to copy to; it can lie in another store.
        key : str or tuple of str, optional
            What to copy, a value or a sub-database; by default all of this database.
        new_key : str or tuple of str, optional
            The key in the target; by default the same.
        overwrite : bool
            Replace values that are in the target.
        progress : bool
            Show a bar on a terminal.

        Returns
        -------
        TransferReport

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        KeyExistsError
            A value is in the target already, is not the same, and `overwrite` is false.
        KeyConflictError
            A value would take the place of a sub-database, or the other way round; or source and target overlap.
        ReadOnlyError, StorageError
            A store failed; what was copied before is whole.
        """
        from zdb.transfer.syncing import Rules

        return self._transfer(target, key, new_key, Rules(overwrite), progress=progress)

    def sync_to(
        self,
        target: Handle,
        key: Key | None = None,
        new_key: Key | None = None,
        *,
        delete: bool = False,
        dry_run: bool = False,
        progress: bool = False,
    ) -> TransferReport:
        """Make another database like this one: copy what is new or was replaced.

        What is the same is known by its id, its generation and the time it was written; only metadata is read to find
        out. Copying is done as by :meth:`copy_to`.

        Parameters
        ----------
        target, key, new_key, progress
            As in :meth:`copy_to`.
        delete : bool
            Delete from the target what is not in this database (or not below the key).
        dry_run : bool
            Change nothing, and report what would be done.

        Returns
        -------
        TransferReport

        Raises
        ------
        KeyNotFoundError, KeyConflictError, ReadOnlyError, StorageError
            As in :meth:`copy_to`.
        """
        from zdb.transfer.syncing import Rules

        return self._transfer(target, key, new_key, Rules(True, delete, dry_run), progress=progress)

    def _transfer(
        self, target: Handle, key: Key | None, new_key: Key | None, rules: Rules, *, progress: bool
    ) -> TransferReport:
        from zdb.transfer.syncing import End, transfer

        source = End(self._engine, self._path if key is None else self._at(key))
        self._require(source.path)
        wanted = new_key if new_key is not None else key
        place = target._path if wanted is None else target._at(wanted)  # noqa: SLF001 - a handle of the same kind
        return transfer(source, End(target._engine, place), rules, progress=progress)  # noqa: SLF001
