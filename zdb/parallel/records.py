"""What is known of the parts of a value that is being filled: one small object for each, named by its region."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.node import Node, node_path
from zdb.errors import CorruptChunkError, NotFillingError, UnsupportedValueError
from zdb.parallel.coverage import covered
from zdb.parallel.plan import group
from zdb.provenance import capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zdb.engine.store import NodeStore
    from zdb.parallel.coverage import Box
    from zdb.parallel.plan import Plan, Region

__all__ = ["Attempt", "Part", "Parts", "RegionGuard", "check_names", "mark_lost", "state_of"]

_LOST = ".lost"
# File systems take names of 255 bytes; that of an attempt has 13 more than that of its part.
MOST_NUMBERS, LONGEST_NAME = 60, 240


def check_names(sizes: Mapping[str, int], variables: int) -> None:
    """Refuse what has too many dimensions and variables for the name of a part.

    Raises
    ------
    UnsupportedValueError
    """
    bounds = sum(2 * len(str(size)) + 2 for size in sizes.values())
    if bounds + 1 + max(MOST_NUMBERS, 1 + math.ceil(variables / 4)) > LONGEST_NAME:
        raise UnsupportedValueError(
            f"there are {len(sizes)} dimensions and {variables} variables to fill, too many for the name of a region; "
            "divide them among several keys"
        )


class Part(NamedTuple):
    """A part, from its name: where along each dimension (all of it for None), and which variables."""

    name: str
    bounds: tuple[tuple[int, int] | None, ...]
    variables: tuple[int, ...] | None

    @classmethod
    def parse(cls, name: str) -> Part:
        where, _, which = name.replace("x", "vx").partition("v")
        bounds = tuple(
            None if one == "all" else (int(one.partition("-")[0]), int(one.partition("-")[2]))
            for one in where.strip("_").split("_")
        )
        return cls(name, bounds, _numbers(which) if which else None)

    @classmethod
    def of(cls, plan: Plan, region: Region, variables: Iterable[str]) -> Part:
        """The part that holds these variables in a region."""
        names = [one.name for one in plan.variables]
        chosen = set(variables)
        numbers = tuple(i for i, name in enumerate(names) if name in chosen)
        dims = {dim for i in numbers for dim in plan.variables[i].dims}
        bounds = tuple((region[dim].start, region[dim].stop) if dim in dims else None for dim in plan.sizes)
        where = "_".join("all" if one is None else f"{one[0]}-{one[1]}" for one in bounds)
        which = "" if len(numbers) == len(names) else f"_{_which(numbers)}"
        return cls(where + which, bounds, numbers if which else None)

    def has(self, variable: int) -> bool:
        return self.variables is None or variable in self.variables

    def box(self, plan: Plan, variable: int) -> Box:
        """Which part of a variable it is."""
        bounds = dict(zip(plan.sizes, self.bounds, strict=True))
        return tuple(bounds[dim] or (0, plan.sizes[dim]) for dim in plan.variables[variable].dims)

    def meets(self, other: Part) -> bool:
        """Whether both hold the same element of a variable."""
        same = self.variables is None or other.variables is None or set(self.variables) & set(other.variables)
        return bool(same) and all(
            a is None or b is None or (a[0] < b[1] and b[0] < a[1])
            for a, b in zip(self.bounds, other.bounds, strict=True)
        )

    def without(self, plan: Plan, other: Part) -> list[Part]:
        """What another part does not hold of this one."""
        rest = []
        for number, variable in enumerate(plan.variables):
            if not self.has(number):
                continue
            own = self.box(plan, number)
            taken = [other.box(plan, number)] if other.has(number) else []
            inside = [
                tuple(
                    (min(max(a, start), stop) - start, min(max(b, start), stop) - start)
                    for (a, b), (start, stop) in zip(box, own, strict=True)
                )
                for box in taken
            ]
            for box in covered(tuple(stop - start for start, stop in own), inside)[1]:
                region = {
                    dim: slice(start + a, start + b)
                    for dim, (a, b), (start, _) in zip(variable.dims, box, own, strict=True)
                }
                rest.append(Part.of(plan, region, [variable.name]))
        return rest


def _which(numbers: tuple[int, ...]) -> str:
    """Say in a name which variables a part has: as numbers, or as the bits of a hexadecimal one if these are many."""
    text = f"v{'-'.join(map(str, numbers))}"
    return text if len(text) <= MOST_NUMBERS else f"x{sum(1 << number for number in numbers):x}"


def _numbers(which: str) -> tuple[int, ...]:
    if not which.startswith("x"):
        return tuple(map(int, which.split("-")))
    bits = int(which[1:], 16)
    return tuple(number for number in range(bits.bit_length()) if bits >> number & 1)


@dataclass
class Parts:
    """What a listing shows.

    Attributes
    ----------
    done : list of Part
    begun, lost : dict of str to Part
        By the path of the record. Both count as missing, also where they are done.
    """

    done: list[Part] = field(default_factory=list)
    begun: dict[str, Part] = field(default_factory=dict)
    lost: dict[str, Part] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, Part]:
        """What counts as missing, also where it is done."""
        return self.begun | self.lost

    @classmethod
    def list(cls, nodes: NodeStore, plan: Plan) -> Parts:
        """What is there and what counts as missing, by two listings."""
        done = [Part.parse(name) for name in _listed(nodes, f"{plan.path}/parts")]
        found = cls.list_missing(nodes, plan)
        found.done = done
        return found

    @classmethod
    def list_missing(cls, nodes: NodeStore, plan: Plan) -> Parts:
        """Only what counts as missing, which is little however many parts there are."""
        found = cls()
        place = f"{plan.path}/begun"
        for name in _listed(nodes, place):
            kept = found.lost if name.endswith(_LOST) else found.begun
            kept[f"{place}/{name}"] = Part.parse(name.partition(".")[0])
        return found


def _listed(nodes: NodeStore, place: str) -> Iterator[str]:
    """Names of the records in a group."""
    for path in nodes.list_objects(place):
        name, _, last = path[len(place) + 1 :].partition("/")
        if last == "zarr.json":
            yield name


def mark_lost(nodes: NodeStore, plan: Plan, parts: Iterable[Part]) -> None:
    """Let parts count as missing until they are written anew."""
    for name in {part.name: None for part in parts}:
        nodes.set(node_path(f"{plan.path}/begun/{name}{_LOST}"), group({"zdb_part": name}))


def state_of(nodes: NodeStore, plan: Plan) -> str:
    """Return whether a filling is "open", "finishing" or "discarding"; "gone" if it is over, "damaged" if unknown."""
    return _state(plan.path, nodes.get(node_path(plan.path)))


def _state(path: str, data: bytes | None) -> str:
    return "gone" if data is None else str(Node.read(path, data).attributes.get("state", "damaged"))


class RegionGuard:
    """Raises when a job may not write to its region any more; small to pickle."""

    def __init__(self, nodes: NodeStore, plan: Plan, marker: str) -> None:
        self.nodes = nodes
        self.key = plan.key
        self.path = plan.path
        self.marker = marker

    def __call__(self) -> None:
        found, own = self.nodes.get_many([node_path(self.path), node_path(self.marker)])
        state = _state(self.path, found)
        if state == "damaged":
            raise CorruptChunkError(
                f"{self.key}: the record {node_path(self.path)} of the filling is damaged, so this part is not "
                f"written; db.finish({self.key!r}) makes it again, or give the filling up with db.discard({self.key!r})"
            )
        if state != "open":
            why = {"finishing": "is being finished", "discarding": "is being given up"}.get(state, "is over")
            raise NotFillingError(f"{self.key}: the filling {why}, so this part is not written; what is there stays")
        if own is None:
            raise NotFillingError(
                f"{self.key}: another job has begun to write this region anew, so this one, which was slower, ends here"
            )


class Attempt:
    """One attempt of a job at one part."""

    def __init__(self, nodes: NodeStore, plan: Plan, part: Part) -> None:
        self.nodes = nodes
        self.plan = plan
        self.part = part
        self.marker = f"{plan.path}/begun/{part.name}.{uuid.uuid4().hex[:12]}"
        self.guard = RegionGuard(nodes, plan, self.marker)

    def begin(self) -> None:
        """Say that the part is being written, and take the place of others that write there, who may be dead."""
        found = Parts.list_missing(self.nodes, self.plan).missing
        others = {path: part for path, part in found.items() if part.meets(self.part)}
        facts = capture().attributes
        self.nodes.set(node_path(self.marker), group({"zdb_part": self.part.name, **_kept(facts)}))
        try:
            self.guard()
        except NotFillingError:
            self._forget()
            raise
        # What they have not written yet, their guards refuse; what they have, is written anew, here or by others.
        rest = [one for part in others.values() for one in part.without(self.plan, self.part)]
        mark_lost(self.nodes, self.plan, rest)
        self.nodes.delete(map(node_path, others))

    def done(self, duration: float, more: dict[str, Any] | None = None) -> None:
        """Say that all of the part is there, and keep what more is to be known of it."""
        self.guard()
        facts = capture(duration).attributes
        path = f"{self.plan.path}/parts/{self.part.name}"
        self.nodes.set(node_path(path), group({"zdb_part": self.part.name, **_kept(facts), **(more or {})}))
        self._forget()

    def _forget(self) -> None:
        self.nodes.delete([node_path(self.marker)])
        self.nodes.prune(self.marker)


def _kept(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what refers to records, which are kept by values only."""
    return {name: value for name, value in attributes.items() if name not in ("zdb_environment", "zdb_history")}
