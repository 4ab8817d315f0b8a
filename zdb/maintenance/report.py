"""What a check of a database found: for people, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.display import format_count, format_size

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Garbage", "GarbageReport", "Problem", "Repair", "RepairReport", "VerifyReport"]

SHOWN = 20


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    key : str
        Key of the value or database; empty for the database that was verified.
    kind : str
        "missing chunk", "damaged chunk", "checksum", "array metadata", "consolidated metadata", "value", "node",
        "name", "id", "record", "filling" or "lost" (marked by a repair).
    path : str
        Path of the object in the store.
    message : str
    """

    key: str
    kind: str
    path: str
    message: str


@dataclass
class VerifyReport:
    """What :meth:`zdb.Database.verify` found.

    Attributes
    ----------
    url : str
        Where the database lies.
    deep : bool
        Chunks were read and decoded.
    databases, values, arrays, objects : int
        How many were checked; objects are chunks, or shards.
    nbytes : int
        How many bytes of chunks were checked, as they are stored.
    problems : list of Problem
        What is wrong, by key.
    unfinished : list of str
        Prefixes without a node, which are being written or whose writer died, and values that were replaced each time
        that they were looked at. They are no damage.
    foreign : list of str
        Plain Zarr, which was not checked: it may leave chunks out.
    """

    url: str
    deep: bool
    databases: int = 0
    values: int = 0
    arrays: int = 0
    objects: int = 0
    nbytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def damaged(self) -> list[str]:
        """Keys with problems, sorted."""
        return sorted({problem.key for problem in self.problems})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        problems = [problem._asdict() for problem in self.problems]
        return {"ok": self.ok, **asdict(self), "damaged": self.damaged, "problems": problems}

    def to_frame(self) -> pd.DataFrame:
        """Return the problems as a table with the columns key, kind, path and message."""
        import pandas as pd

        return pd.DataFrame(self.problems, columns=list(Problem._fields))

    def __str__(self) -> str:
        how = "read and decoded" if self.deep else "listed, not read"
        counted = (
            format_count(self.values, "value"),
            format_count(self.databases, "database"),
            format_count(self.arrays, "array"),
            format_count(self.objects, "chunk or shard", "chunks or shards"),
        )
        lines = [
            f"{self.url}: {'no damage' if self.ok else format_count(len(self.problems), 'problem')}",
            f"{', '.join(counted)}; {format_size(self.nbytes)} {how}",
        ]
        lines += [f"  {one.kind}: {one.path or '/'} {one.message}" for one in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  … {len(self.problems) - SHOWN} more")
        for paths, what in ((self.unfinished, "unfinished"), (self.foreign, "plain Zarr, not checked")):
            if paths:
                more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
                lines.append(f"{what}: {', '.join(paths[:3])}{more}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<zdb.VerifyReport>\n{self}"


class Garbage(NamedTuple):
    """Objects that nobody needs.

    Attributes
    ----------
    kind : str
        "old generation", "unfinished", "spool", "filling", "record", "claim" or "temporary".
    path : str
        What they lie below.
    objects, nbytes : int
        How many there are, and their size.
    """

    kind: str
    path: str
    objects: int
    nbytes: int


@dataclass
class GarbageReport:
    """What :meth:`zdb.Database.gc` removed, or would remove.

    Attributes
    ----------
    url : str
        Where the database lies.
    dry_run : bool
        Nothing was removed.
    grace : float
        In seconds; what is younger was left.
    garbage : list of Garbage
    young : int
        How many heaps of objects were left because they are younger, or something younger lies with them.
    busy : list of str
        Keys that were left because others write or fill them.
    """

    url: str
    dry_run: bool
    grace: float
    garbage: list[Garbage] = field(default_factory=list)
    young: int = 0
    busy: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Size of all garbage in bytes."""
        return sum(one.nbytes for one in self.garbage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return {**asdict(self), "garbage": [one._asdict() for one in self.garbage], "nbytes": self.nbytes}

    def to_frame(self) -> pd.DataFrame:
        """Return the garbage as a table with the columns kind, path, objects and nbytes."""
        import pandas as pd

        return pd.DataFrame(self.garbage, columns=list(Garbage._fields))

    def __str__(self) -> str:
        number = format_count(sum(one.objects for one in self.garbage), "object")
        done = "would be removed; --yes (dry_run=False) removes them" if self.dry_run else "removed"
        lines = [f"{self.url}: {number}, {format_size(self.nbytes)} {done if self.garbage else 'to remove'}"]
        lines += [f"  {one.kind}: {one.path} ({format_count(one.objects, 'object')})" for one in self.garbage[:SHOWN]]
        if len(self.garbage) > SHOWN:
            lines.append(f"  … {len(self.garbage) - SHOWN} more")
        if self.young:
            lines.append(f"{format_count(self.young, 'place')} left, where something is younger than {self.grace:g} s")
        if self.busy:
            more = f" and {len(self.busy) - 3} more" if len(self.busy) > 3 else ""
            lines.append(f"left, as they are being written or filled: {', '.join(self.busy[:3])}{more}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<zdb.GarbageReport>\n{self}"


class Repair(NamedTuple):
    """One thing that is done to a key.

    Attributes
    ----------
    key : str
    action : str
        "rewrite", "rebuild", "restore", "mark", "unmark", "rename", "rescue", "drop", or "none" for what cannot be
        repaired.
    message : str
    """

    key: str
    action: str
    message: str


@dataclass
class RepairReport:
    """What :meth:`zdb.Database.repair` did, or would do.

    Attributes
    ----------
    url : str
        Where the database lies.
    dry_run : bool
        Nothing was done.
    repairs : list of Repair
        What was done, by key.
    """

    url: str
    dry_run: bool
    repairs: list[Repair] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged any more: all was repaired, and no data is lost."""
        return not self.repairs if self.dry_run else not self.lost

    @property
    def lost(self) -> list[str]:
        """Keys that could not be repaired, sorted."""
        return sorted({one.key for one in self.repairs if one.action in ("mark", "none")})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return {"ok": self.ok, **asdict(self), "repairs": [r._asdict() for r in self.repairs], "lost": self.lost}

    def to_frame(self) -> pd.DataFrame:
        """Return the repairs as a table with the columns key, action and message."""
        import pandas as pd

        return pd.DataFrame(self.repairs, columns=list(Repair._fields))

    def __str__(self) -> str:
        would = "would be done; --yes (dry_run=False) does them" if self.dry_run else "done"
        lines = [f"{self.url}: {format_count(len(self.repairs), 'repair')} {would if self.repairs else 'to do'}"]
        lines += [f"  {one.key or '/'}: {one.action}: {one.message}" for one in self.repairs]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<zdb.RepairReport>\n{self}"
