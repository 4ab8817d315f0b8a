"""The database: a mutable mapping from keys to values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, KeysView, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, overload

from zdb.compute import Computing
from zdb.errors import CorruptChunkError, KeyConflictError, KeyExistsError
from zdb.files.abilities import Files
from zdb.find import Finding
from zdb.formats import registry
from zdb.handle import NOTHING
from zdb.identity import Identity
from zdb.info import Info
from zdb.keys import Key
from zdb.maintenance.abilities import Maintenance
from zdb.parallel.abilities import Parallel
from zdb.provenance import Provenance
from zdb.shared.abilities import Sharing
from zdb.transfer.abilities import Transfer
from zdb.write import WriteRequest, write

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from zdb.display import Tree
    from zdb.engine.node import Node

__all__ = ["Database"]


class Database(
    Computing,
    Files,
    Finding,
    Identity,
    Maintenance,
    Sharing,
    Parallel,
    Transfer,
    MutableMapping[Key, Any],
):
    """A database of values and sub-databases, made by :func:`zdb.open`.

    Keys are names, or names joined by ``/`` (a tuple of names means the same). Assigning a value replaces the old
    one at once for all readers; assigning below a name makes the databases in between.

    Attributes
    ----------
    url : str
        Where the database lies, without credentials.
    mode : str
        "r", "r+", "a" or "w-", as given to :func:`zdb.open`.
    """

    # Reading

    def __getitem__(self, key: Key) -> Any:
        return self._read(key, registry.Selection())

    def get(
        self,
        key: Key,
        default: Any = None,
        *,
        columns: Sequence[Hashable] | None = None,
        rows: slice | Sequence[int] | None = None,
        isel: Mapping[Hashable, Any] | None = None,
        sel: Mapping[Hashable, Any] | None = None,
    ) -> Any:
        """Read a value or a part of it.

        Parameters
        ----------
        key : str or tuple of str
        default : optional
            Returned if there is nothing at the key.
        columns : sequence of hashable, optional
            Columns of a table or of ragged data, variables of a Dataset.
        rows : slice or sequence of int, optional
            Positions along the first dimension; for tables and ragged data, of the rows.
        isel, sel : mapping, optional
            Positions or labels by dimension, as in :meth:`xarray.Dataset.isel` and ``sel``.

        Raises
        ------
        SelectionError
            The format of the value has no such part.
        """
        found = self._read_if_there(self._at(key), registry.Selection(columns, rows, isel, sel))
        return default if found is NOTHING else found

    def dataset(self, key: Key) -> Any:
        """Open the stored Dataset of a value, as plain ``xr.open_zarr`` sees it; works for every format."""
        return self._engine.open_plain(self._require(self._at(key)))

    def database(self, key: Key, *, create: bool = False) -> Database:
        """Return a sub-database.

        Parameters
        ----------
        key : str or tuple of str
        create : bool
            Make it if it is missing.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key, and `create` is false.
        KeyConflictError
            The key holds a value.
        """
        path = self._at(key)
        node = self._engine.node(path)
        if node is None:
            if not create:
                raise self._not_found(path)
            self._before_writing()
            self._engine.check_vacant(path)
            self._engine.create_databases(path)
        elif not self._engine.is_database(node):
            raise KeyConflictError(f"{path}: holds a value, not a sub-database")
        return self._sub(path)

    def __contains__(self, key: object) -> bool:
        try:
            path = self._at(key)
        except ValueError:
            return False
        return self._engine.exists(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.names(self._path))

    def __len__(self) -> int:
        return len(self._engine.names(self._path))

    @overload
    def keys(self) -> KeysView[Key]: ...
    @overload
    def keys(self, recursive: Literal[True]) -> list[str]: ...
    @overload
    def keys(self, recursive: bool) -> KeysView[Key] | list[str]: ...
    def keys(self, recursive: bool = False) -> KeysView[Key] | list[str]:
        """Return the names in this database, or the keys of all values at any depth."""
        if not recursive:
            return super().keys()
        found: list[str] = []
        for name, node in self._engine.children(self._path).items():
            if self._engine.is_database(node):
                found += [f"{name}/{below}" for below in self._sub(node.path).keys(recursive=True)]
            else:
                found.append(name)
        return found

    def info(self, key: Key | None = None) -> Info:
        """Return what is known of a key, or of this database, without loading data."""
        path = self._path if key is None else self._at(key)
        node = self._engine.described(self._require(path))
        try:
            return Info.of(self._relative(path), node)
        except CorruptChunkError as error:
            raise CorruptChunkError(f"{self._engine.nodes.url}: {error}") from error

    def provenance(self, key: Key) -> Provenance:
        """Return when, by whom, from which code and in which environment a value was made.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        """
        return self._provenance_of(self._require(self._at(key)), self._engine.records.read)

    def _provenance_of(self, node: Node, read: Callable[[str], dict[str, Any] | None]) -> Provenance:
        if "zdb_created" not in node.attributes:
            return Provenance.post_hoc(self._engine.modified(node.path), node.format)
        return Provenance.from_attributes(node.attributes, read)

    def tree(self, depth: int | None = None, lines: int = 1000) -> Tree:
        """Return the keys as a tree with kind, dtype, shape, size and age; ``print`` it.

        Parameters
        ----------
        depth : int, optional
            How many levels to show; "…" stands after databases into which it does not go.
        lines : int
            How many keys to show at most; a line says how many were left out.
        """
        from zdb.display import Tree

        return Tree(self._engine, self._path, self.url, depth=depth, lines=lines)

    # Writing

    def __setitem__(self, key: Key, value: Any) -> None:
        self.set(key, value)

    def set(
        self,
        key: Key,
        value: Any,
        format: str | None = None,  # noqa: A002 - the word of the design
        chunks: Any = None,
        shards: Any = None,
        codec: Any = None,
        overwrite: bool = True,
        attrs: Mapping[str, Any] | None = None,
        provenance: Provenance | None = None,
        progress: bool | None = None,
    ) -> None:
        """Write a value.

        Parameters
        ----------
        key : str or tuple of str
        value
            Anything a format keeps; see ``docs/format.md``. A path to a folder becomes a sub-database of its files.
        format : str, optional
            Name of the format, instead of the one for the type of the value.
        chunks, shards : int, tuple of int, dict of dimension to int, "auto", or "balanced" (chunks only), optional
            Instead of the layout policy (:mod:`zdb.engine.layout`), which "auto" stands for. An int is the size along
            each dimension of each array; a tuple is for the arrays of this rank; a dict is for the arrays with these
            dimensions, whose others are whole. -1 is a whole dimension.
        codec : optional
            A zarr codec instead of the policy; False for no compression.
        overwrite : bool
            Replace what is at the key; if false, raise :class:`~zdb.errors.KeyExistsError`.
        attrs : mapping, optional
            JSON-able remarks kept with the value and shown by :meth:`info`.
        provenance : Provenance, optional
            For a value that was made elsewhere: what is known of it, instead of what is found out about this process.
        progress : bool, optional
            Show a bar while dask computes the value, on a terminal or in a notebook; by default, what the setting
            ``progress`` says, which is no.

        Raises
        ------
        InvalidKeyError, KeyConflictError, KeyExistsError
            The key cannot take the value.
        UnsupportedValueError
            The value would not come back exactly.
        ReadOnlyError, StorageError, WriteError
            The store or the computation failed; the old value is intact.
        """
        request = WriteRequest(format, chunks, shards, codec, overwrite, attrs, provenance, progress)
        path = self._at(key)
        self._before_writing()
        write(self._engine, path, value, request)

    def materialize(self, key: Key) -> None:
        """Bring in the data of a value that is kept somewhere else, such as in linked files; all others stay.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        """
        format_name = self._require(self._at(key)).format
        if format_name and registry.by_name(format_name).is_reference:
            self.set(key, self[key], attrs=self.info(key).attrs)

    def __delitem__(self, key: Key) -> None:
        path = self._at(key)
        self._before_writing()
        with contextlib.suppress(CorruptChunkError):  # it can be deleted all the same
            self._require(path)
        if not self._engine.delete(path):
            raise self._not_found(path)

    def rename(self, old: Key, new: Key) -> None:
        """Give a value or sub-database another key, in this database or below it.

        Raises
        ------
        KeyNotFoundError
            There is nothing at `old`.
        KeyExistsError
            There is something at `new`.
        KeyConflictError
            `new` lies below `old` or below a value.
        """
        source, target = self._at(old), self._at(new)
        self._before_writing()
        self._require(source)
        if target == source or target.startswith(f"{source}/"):
            raise KeyConflictError(f"{source} cannot be renamed to {target}")
        if self._engine.node(target) is not None:
            raise KeyExistsError(f"{target}: exists; delete it first")
        self._engine.check_vacant(target)
        self._engine.move(source, target)

    def consolidate(self) -> None:
        """Copy the metadata of all keys into the root, which makes opening by plain Zarr faster.

        For finished archives: plain Zarr sees nothing that is written later, so the next write undoes it.
        """
        self._engine.nodes.require_writable()
        self._engine.consolidate()

    def _ipython_key_completions_(self) -> list[str]:
        return self.tree(depth=3).keys()

    def __repr__(self) -> str:
        return str(self.tree(depth=2, lines=40))

    def _repr_html_(self) -> str:
        return self.tree(depth=3, lines=200).to_html()
