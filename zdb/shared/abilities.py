"""What a database can do to map arrays into memory."""

from __future__ import annotations

import hashlib
import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from zdb.engine.node import VALUE, Node
from zdb.errors import NotMappableError, SelectionError
from zdb.formats import registry
from zdb.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Hashable
    from mmap import mmap

    import numpy as np

    from zdb.keys import Key
    from zdb.shared.blocks import Blocks

__all__ = ["Sharing"]


class Sharing(Handle):
    """What a database can do to map arrays into memory."""

    def shared(self, key: Key, name: Hashable = None) -> np.ndarray[Any, Any]:
        """Map an array that all processes of this machine share: the first one decodes it, the others map it.

        Each call gives the array that is stored now. Arrays that were given before stay as they are when the key is
        written again or deleted.

        Parameters
        ----------
        key : str or tuple of str
        name : hashable, optional
            The variable of a Dataset, or the column of a table.

        Returns
        -------
        numpy.ndarray
            Read-only. What it maps is removed when no process uses it any more; see ``docs/memory.md``.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        NotMappableError
            There is no array of numbers at the key.
        SelectionError
            There is no such variable or column.
        StorageError
            There is not enough memory. The setting ``shared`` names the folder in which the arrays lie.
        """
        return self._while_current(self._at(key), partial(self._share, name=name))

    def memmap(self, key: Key, name: Hashable = None) -> np.memmap[Any, Any]:
        """Map an array of the local disk from where it is stored, without a copy.

        It has to be stored without compression, in one chunk: ``db.set(key, value, codec=False, chunks=value.shape)``.
        Its checksum is not looked at.

        Parameters
        ----------
        key : str or tuple of str
        name : hashable, optional
            The variable of a Dataset, or the column of a table.

        Returns
        -------
        numpy.memmap
            Read-only. It stays as it is when the key is written again or deleted.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        NotMappableError
            It is stored in another way; the message says how to store it.
        SelectionError
            There is no such variable or column.
        """
        return self._while_current(self._at(key), partial(self._memmap, name=name))

    def _share(self, node: Node, *, name: Hashable) -> np.ndarray[Any, Any]:
        import numpy as np

        from zdb.shared.pool import attach

        blocks = self._blocks(node, name)
        size = math.prod(blocks.shape) * blocks.dtype.itemsize
        if not size:
            empty = np.empty(blocks.shape, blocks.dtype)
            empty.flags.writeable = False
            return empty

        def fill(target: mmap) -> None:
            blocks.copy_to(np.ndarray(blocks.shape, blocks.dtype, target))

        # What the metadata say, with the time of the write, is what tells one value from all others.
        said = json.dumps([self._engine.nodes.url, node.path, repr(name), node.document], sort_keys=True)
        mapped = attach(hashlib.sha256(said.encode()).hexdigest(), size, fill)
        return np.ndarray(blocks.shape, blocks.dtype, mapped)

    def _memmap(self, node: Node, *, name: Hashable) -> np.memmap[Any, Any]:
        from zdb.shared.direct import map_file

        blocks = self._blocks(node, name)
        return map_file(self._engine.nodes, node, blocks.stored_name, blocks.dtype)

    def _blocks(self, node: Node, name: Hashable) -> Blocks:
        from zdb.shared.blocks import Blocks

        if node.kind != VALUE:
            raise NotMappableError(f"{node.path}: is no value of zdb; read it by db[key]")
        self._check_whole(node)
        try:
            return Blocks.of(registry.by_name(node.format), self._engine.open_value(node), name)
        except (NotMappableError, SelectionError) as error:
            raise type(error)(f"{node.path}: {error}") from error
