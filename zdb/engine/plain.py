"""The engine on plain Zarr: publish, delete and move the nodes of one store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from zdb.engine.consolidation import Consolidation
from zdb.engine.new_nodes import new_database, new_id, small_document
from zdb.engine.node import FORMAT_VERSION, VALUE, Node, dump, node_path
from zdb.engine.node_opening import NodeOpening
from zdb.errors import (
    KeyClaimedError,
    KeyConflictError,
    KeyExistsError,
    KeyNotFoundError,
    UnsupportedValueError,
    WriteError,
    ZdbError,
)
from zdb.keys import split

if TYPE_CHECKING:
    import xarray as xr

    from zdb.engine.claim import Claim
    from zdb.engine.options import LayoutOptions
    from zdb.engine.writer import Seal
    from zdb.formats.registry import Partitioned

__all__ = ["PlainEngine"]

JSONDict = dict[str, Any]


class PlainEngine(NodeOpening, Consolidation):
    """Nodes of one store by path, as plain Zarr: looked up, opened, published, deleted and moved."""

    def create_databases(self, path: str) -> None:
        """Make a database at a path and at all paths above it, where there is none."""
        if path in self._databases:
            return
        if path:
            self.create_databases(split(path)[0])
        self.create_database(path)
        self._remember(path)

    def create_database(self, path: str) -> None:
        """Make a database at a path, where there is none, without looking at what lies above it.

        Raises
        ------
        KeyConflictError
            Another process has put a value there.
        """
        node = self.node(path)
        while node is None:
            if not path:
                self.nodes.create(node_path(path), dump(new_database()))  # of several processes, one gives it its id
            elif claim := self.claims.take_new(path):
                with claim, contextlib.suppress(KeyExistsError):
                    self.create_database_under(claim)
            node = self.node(path)
        if not self.is_database(node):
            raise KeyConflictError(f"{path}: is a value, so nothing can be put below it; use another key")
        self._databases.add(path)

    def create_database_under(self, claim: Claim) -> None:
        """Make a database at the path of a claim, where nothing is.

        Raises
        ------
        KeyExistsError
            A small value, which needs no claim, was set there meanwhile.
        """

        def make(previous: Node | None, generation: int) -> bytes:  # noqa: ARG001
            if previous is not None and not self.is_database(previous):
                raise KeyExistsError(f"{claim.path}: a value was set there meanwhile; it stays as it is")
            return dump(new_database() if previous is None else previous.document)

        if claim.previous is None:
            claim.commit(make)
        self._databases.add(claim.path)
        self._remember(claim.path)

    def claim(
        self,
        path: str,
        *,
        blocking: bool = True,
        timeout: float | None = None,
        hand_out: bool = True,
        damaged: bool = False,
    ) -> Claim:
        """Take the right to write a key; see :meth:`zdb.engine.claims.Claims.take`."""
        self.nodes.require_writable()
        return self.claims.take(path, blocking=blocking, timeout=timeout, hand_out=hand_out, damaged=damaged)

    def value_attributes(
        self, format_name: str, format_version: int, previous: Node | None, generation: int
    ) -> JSONDict:
        """Return the attributes of the engine for a generation of a value."""
        return {
            "zdb_kind": VALUE,
            "zdb_version": FORMAT_VERSION,
            "zdb_id": previous.id if previous else new_id(),
            "zdb_format": format_name,
            "zdb_format_version": format_version,
            "zdb_generation": generation,
        }

    def publish(self, claim: Claim, encoded: xr.Dataset | xr.DataTree, seal: Seal, options: LayoutOptions) -> None:
        """Write a value with arrays; see :func:`zdb.engine.writer.publish`."""
        from zdb.engine.writer import publish

        publish(self.nodes, claim, encoded, seal, options, self.require_nothing_below)
        self._remember(claim.path)

    def publish_small(self, path: str, seal: Seal, claim: Claim | None = None) -> None:
        """Write a value that is all in its attributes, by one request.

        Parameters
        ----------
        path : str
        seal : callable
            As for :meth:`publish`; called again when another writer was faster.
        claim : Claim, optional
            That of the key, if it is held. It need not be.
        """
        if claim is not None:
            claim.commit(lambda previous, generation: small_document(seal(previous, generation)), is_small=True)
            self._remember(path)
            return
        is_written = False
        while not is_written:
            seen = self.claims.look(path)
            if seen.node is None and seen.tag is not None:  # it cannot be read, and may have been a sub-database
                self.require_nothing_below(path)
            node = None if seen.node is None else self._known(seen.node)
            attributes = seal(node, seen.next_generation)
            is_written = self.nodes.replace(node_path(path), small_document(attributes), seen.tag) is not None
            if is_written and seen.node is None:
                is_written = self._is_reachable(path)
        self._remember(path)

    def _is_reachable(self, path: str) -> bool:
        """See that the database above a new value was not deleted while it was written; if it was, make it anew.

        Returns
        -------
        bool
            False if the value was deleted with it.
        """
        above = split(path)[0]
        if not above:
            return True
        node = self.node(above)
        if node is not None and self.is_database(node):
            return True
        self._drop(above.partition("/")[0])  # nothing that is remembered counts any more
        try:
            self.create_databases(above)
        except KeyConflictError:
            self.nodes.delete([node_path(path)])
            raise
        return self.nodes.get(node_path(path)) is not None

    def publish_parts(
        self,
        claim: Claim,
        partitioned: Partitioned,
        seal: Seal,
        options: LayoutOptions,
    ) -> None:
        """Write a value whose parts are computed once, kept in the store, and joined when their sizes are known."""
        from zdb.engine.computing import compute
        from zdb.engine.spool import Spool

        path = claim.path
        with Spool(self.nodes) as spool:
            try:
                sizes = compute(partitioned.parts(spool.write))
                encoded = partitioned.finish(sizes, spool.read)
            except UnsupportedValueError as error:
                raise UnsupportedValueError(f"{path}: {error}") from error
            except ZdbError:
                raise
            except Exception as error:
                raise WriteError(
                    f"{path}: computing a part failed, the key is as it was before: {type(error).__name__}: {error}"
                ) from error
            self.publish(claim, encoded, seal, options)

    def delete(self, path: str, *, only_empty: bool = False) -> bool:
        """Remove a value or a database with all that is in it, and tell whether it did.

        What others are writing below a database is waited for. What cannot be read is removed, too.

        Parameters
        ----------
        path : str
        only_empty : bool
            Leave a database that has keys when all others have written theirs.

        Raises
        ------
        KeyConflictError
            It cannot be read, and was a database: values lie below it.
        """
        with self.claim(path, hand_out=self.nodes.loses_answers, damaged=True) as claim:
            while claim.previous is not None or (claim.is_damaged and not self.is_part_of_value(path)):
                is_database = claim.previous is not None and self.is_database(claim.previous)
                if is_database:
                    self.claims.wait_below(path, claim.check)
                    if only_empty and self.names(path):
                        return False
                elif claim.is_damaged:
                    self.require_nothing_below(path)
                try:
                    is_removed = claim.remove(is_database=is_database)
                except BaseException:
                    claim.give_up(settled=False)  # which tells that what is left has not lost its node
                    raise
                if is_removed:
                    self._drop(path)
                    return True
                claim.look_again()
        return False

    def move(self, old: str, new: str) -> None:
        """Give a value or a database another path, at which nothing is.

        Raises
        ------
        KeyNotFoundError, KeyExistsError, KeyConflictError
            Another process was faster.
        KeyClaimedError
            See :meth:`make_room`.
        """
        first, second = sorted((old, new))  # all take them in the same order, so that nobody waits for each other
        with self.claim(first, hand_out=False) as one, self.claim(second, hand_out=False) as other:
            source, target = (one, other) if first == old else (other, one)
            self.check_vacant(new)
            self.create_databases(split(new)[0])
            while True:
                if source.previous is None:
                    raise KeyNotFoundError(f"{old}: was deleted before it could be renamed")
                if target.previous is not None:
                    raise KeyExistsError(f"{new}: exists; delete it first")
                is_database = self.is_database(source.previous)
                if is_database:
                    self.claims.wait_below(old, source.check)
                self.make_room(target)
                if source.move(target):
                    break
                source.look_again()
                target.look_again()
            self._drop(old)
            self._remember(new)
        if is_database and any(left.endswith("/zarr.json") for left in self.nodes.list_objects(old)):
            self.create_databases(old)  # small values that were written there meanwhile

    def make_room(self, claim: Claim) -> None:
        """Remove what was left at the path of a claim, without a node.

        Raises
        ------
        KeyConflictError
            It is more than that: databases or values, or others write there.
        KeyClaimedError
            Who wrote it was given up, and may yet commit it.
        """
        path = claim.path
        left = self._left_at(path)
        if not left:
            return
        self.require_nothing_below(path)
        if not claim.is_clean:
            raise KeyClaimedError(
                f"{path}: a process that gave no sign of life, or whose store failed, may yet finish what it wrote "
                "there; use another key, write a value there and delete it, or let gc remove what was left"
            )
        claim.check()
        self.nodes.delete(left)

    def clear(self, path: str) -> None:
        """Remove all that lies at a path but its node."""
        self.nodes.delete(self._left_at(path))

    def _left_at(self, path: str) -> list[str]:
        return [one for one in self.nodes.list_objects(path) if one != node_path(path)]
