"""The plan of a value that many jobs fill: what it will be, and where what is known of it lies.

Below ``_zdb/fills/<SHA-256 of the key>/<id>``, each a Zarr group:

- the group itself: the key, and whether it is ``open``, ``finishing`` or ``discarding``,
- ``plan``: the node that the value will have, and what is to be filled,
- ``parts/<region>``: a part that is there, with its provenance,
- ``begun/<region>.<attempt>``: a part that is being written, or whose job died,
- ``begun/<region>.lost``: a part of which something is not there any more, or may be half old, half new,
- ``template`` and ``frames/<number>-<attempt>``: of a table, its columns and its partitions.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from zdb.engine.node import NONSENSE, Node, dump, group_document, node_path
from zdb.errors import CorruptChunkError, NotFillingError
from zdb.parallel.templates import Variable

if TYPE_CHECKING:
    from zdb.engine.node import ArrayNode
    from zdb.engine.plain import PlainEngine

__all__ = ["Plan", "Region", "fills_of", "group", "read_plan"]

Region = dict[str, slice]


@dataclass(frozen=True)
class Plan:
    """What a value will be.

    Attributes
    ----------
    key : str
        Path of the value in the store.
    id : str
        Of this filling.
    node : Node
        The node that the value will have, without provenance. For a table, which is joined at the end, only attributes.
    variables : tuple of Variable
        What jobs fill; none for a table.
    sizes, unit : dict of str to int
        Sizes of the dimensions that jobs fill, and of the regions they are divided into.
    partitions : int
        Of a table; 0 for all else.
    who : dict
        Provenance of the process that made the plan.
    options : dict
        How to write a table when it is joined.
    """

    key: str
    id: str
    node: Node
    variables: tuple[Variable, ...]
    sizes: dict[str, int]
    unit: dict[str, int]
    partitions: int
    who: dict[str, Any]
    options: dict[str, Any]

    @property
    def path(self) -> str:
        return f"{fills_of(self.key)}/{self.id}"

    @property
    def dims(self) -> list[str]:
        """Dimensions that are divided among jobs; the first one of the largest variable if there is one part only."""
        divided = [dim for dim, size in self.sizes.items() if self.unit[dim] < size]
        if divided or not self.variables:
            return divided
        return [max(self.variables, key=lambda variable: math.prod(variable.shape)).dims[0]]

    def regions(self) -> list[Region]:
        """All regions, each as small as a job can write without touching those of others."""
        along = [
            [(dim, slice(start, min(size, start + self.unit[dim]))) for start in range(0, size, self.unit[dim])]
            for dim, size in self.sizes.items()
            if dim in self.dims
        ]
        return [dict(chosen) for chosen in product(*along)]

    def region_of(self, variable: Variable, array: ArrayNode, place: tuple[int, ...]) -> Region:
        """The region to which an object of a variable belongs, along the dimensions of that."""
        found = {}
        for axis, dim in enumerate(variable.dims):
            unit, size = self.unit[dim], self.sizes[dim]
            start = place[axis] * array.object_shape[axis]
            stop = min(size, start + array.object_shape[axis])
            found[dim] = slice(start // unit * unit, min(size, math.ceil(stop / unit) * unit))
        return found

    def dump(self) -> bytes:
        """The group in which the plan lies."""
        stored = {
            "key": self.key,
            "id": self.id,
            "node": self.node.document,
            "variables": [asdict(one) for one in self.variables],
            "sizes": self.sizes,
            "unit": self.unit,
            "partitions": self.partitions,
            "who": self.who,
            "options": self.options,
        }
        return group({"plan": stored})

    @classmethod
    def parse(cls, data: bytes) -> Plan:
        stored = Node.parse("", data).attributes["plan"]
        node = Node(stored["key"], stored["node"])
        variables = tuple(
            Variable(**{**one, **{name: tuple(one[name]) for name in ("dims", "shape", "arrays")}})
            for one in stored["variables"]
        )
        return cls(**{**stored, "node": node, "variables": variables})


def fills_of(key: str) -> str:
    """Return where the plans of a key lie."""
    return f"_zdb/fills/{hashlib.sha256(key.encode()).hexdigest()}"


def group(attributes: dict[str, Any]) -> bytes:
    """Return the metadata of a Zarr group."""
    return dump(group_document(attributes))


def read_plan(engine: PlainEngine, key: str, place: str | None = None) -> Plan:
    """Read the plan of a key that is being filled.

    Parameters
    ----------
    engine : PlainEngine
    key : str
    place : str, optional
        Where the plan lies; by default where the claim of the key says.

    Raises
    ------
    NotFillingError
        There is none.
    CorruptChunkError
        It is damaged.
    """
    if place is None:
        record = engine.claims.state(key)
        place = "" if record is None else record.plan
    data = engine.nodes.get(node_path(f"{place}/plan")) if place else None
    if data is None:
        raise NotFillingError(
            f"{key}: is not being filled: it was finished, it was given up, or db.create was never called"
        )
    try:
        return Plan.parse(data)
    except (CorruptChunkError, *NONSENSE) as error:
        raise CorruptChunkError(
            f"{key}: the plan {node_path(f'{place}/plan')} of the filling is damaged: {error}; give it up with "
            f"db.discard({key!r}), and begin again"
        ) from error
