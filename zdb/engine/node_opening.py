"""Opening nodes: values as their format encoded them, plain Zarr as xarray does; and what is wrong if it fails."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from zdb.engine.lookup import Lookup
from zdb.engine.node import FOREIGN, NONSENSE
from zdb.errors import CorruptChunkError, UnreadableValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from zdb.engine.node import ArrayNode, Node

__all__ = ["NodeOpening"]


class NodeOpening(Lookup):
    """Open nodes, and say what is wrong with one that cannot be opened."""

    def open_plain(self, node: Node) -> Any:
        """Open a node as plain xarray does; see :func:`zdb.engine.reader.open_plain`.

        Raises
        ------
        CorruptChunkError
            Its metadata make no sense.
        UnreadableValueError
            xarray cannot open it, such as arrays whose dimensions have no names.
        """
        from zdb.engine.reader import open_plain

        described = self.described(node)
        with self._making_sense(node.path):
            arrays = described.described_arrays
        for array in arrays.values():
            with self._making_sense(array.path if node.kind == FOREIGN else node.path):
                array.check()
        try:
            return open_plain(self.nodes, node)
        except NONSENSE as error:
            if node.kind != FOREIGN or isinstance(error, FileNotFoundError):
                raise
            raise UnreadableValueError(self._why_not_plain(node, arrays, error)) from error

    def _why_not_plain(self, node: Node, arrays: Mapping[str, ArrayNode], error: Exception) -> str:
        nameless = [name for name, array in arrays.items() if not array.metadata.get("dimension_names")]
        reason = f"its arrays {', '.join(nameless)} have no dimension_names" if nameless else _described(error)
        first = next(iter(arrays), "")
        return (
            f"{self.nodes.url}: {node.path} is plain Zarr that xarray cannot open, {reason}; read its arrays by "
            f"zarr.open_group('{self.nodes.url}/{node.path}', mode='r'), or one by db['{node.path}/{first}']"
        )

    def open_value(self, node: Node) -> xr.Dataset | xr.DataTree:
        """Open the Dataset of a value lazily; see :func:`zdb.engine.reader.open_value`.

        Raises
        ------
        CorruptChunkError
            Its metadata make no sense.
        """
        from zdb.engine.reader import open_value

        with self._making_sense(node.path):
            return open_value(self.nodes, node)

    def check(self, node: Node) -> None:
        """Raise :class:`~zdb.errors.CorruptChunkError` if the metadata of a value make no sense."""
        with self._making_sense(node.path):
            node.check()

    @contextlib.contextmanager
    def _making_sense(self, path: str) -> Iterator[None]:
        try:
            yield
        except NONSENSE as error:
            raise CorruptChunkError(
                f"{self.nodes.url}: the metadata of {path} makes no sense: {_described(error)}; let zdb repair, "
                "or db.repair(dry_run=False), rescue what is there, write the key again, or delete it"
            ) from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
