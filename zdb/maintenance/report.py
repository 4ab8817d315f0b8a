"""What a check of a database found: for people, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.display import format_size

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Problem", "VerifyReport"]

SHOWN = 20


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    key : str
        Key of the value or database; empty for the database that was verified.
    kind : str
        "missing chunk", "damaged chunk", "checksum", "array metadata", "consolidated metadata", "value", "node",
        "name", "id", "record" or "lost" (marked by a repair).
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
        Prefixes without a node: keys that are being written, or whose writer died. They are no damage.
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
            _count(self.values, "value"),
            _count(self.databases, "database"),
            _count(self.arrays, "array"),
            _count(self.objects, "chunk or shard", "chunks or shards"),
        )
        lines = [
            f"{self.url}: {'no damage' if self.ok else _count(len(self.problems), 'problem')}",
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


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
