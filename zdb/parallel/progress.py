"""How far the filling of a value has come: as numbers, as what is missing, and as a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from zdb.display import format_age
from zdb.engine.node import Node, node_path
from zdb.errors import MissingChunkError
from zdb.parallel.missing import Missing, grid_of
from zdb.parallel.records import Parts, mark_lost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zdb.engine.plain import PlainEngine
    from zdb.parallel.plan import Plan, Region
    from zdb.parallel.records import Part

__all__ = ["Progress", "Written", "lost"]

WIDTH, HEIGHT = 50, 12
_BLOCKS = " ░▒▓█"
_NAMED = 5


@dataclass(frozen=True)
class Written:
    """A part that is there, or one that was begun.

    Attributes
    ----------
    region : str
        Where it lies.
    created : datetime
    user, hostname : str
    job : str
        Id of the job, if it was one.
    duration : float or None
        Seconds that it took to write it.
    """

    region: str
    created: datetime
    user: str
    hostname: str
    job: str
    duration: float | None

    @classmethod
    def of(cls, region: str, attributes: dict[str, Any]) -> Written | None:
        """Read the record of a part; None for one that is damaged, of which nothing more is known."""
        try:
            created = datetime.fromisoformat(attributes["zdb_created"])
        except (KeyError, TypeError, ValueError):
            return None
        array, task = (attributes.get(f"zdb_slurm_array_{one}_id") for one in ("job", "task"))
        job = f"{array}_{task}" if array and task else attributes.get("zdb_slurm_job_id", "")
        rank = attributes.get("zdb_mpi_rank")
        return cls(
            region,
            created,
            str(attributes.get("zdb_user", "")),
            str(attributes.get("zdb_hostname", "")),
            " ".join(filter(None, (str(job), "" if rank is None else f"rank {rank}"))),
            attributes.get("zdb_duration"),
        )


@dataclass(frozen=True)
class Progress:
    """How far the filling of a value has come.

    Attributes
    ----------
    key : str
    done, total : int
        Regions that are there, and that there are; partitions of a table.
    elements, elements_total : int
        Elements of all variables; 0 for tables, whose sizes are not known before.
    regions : list
        All regions, as :meth:`zdb.Database.write_region` takes them; numbers of partitions for a table.
    missing : list
        Those that are not there, or not as a whole.
    parts, begun : list of Written
        What is there, and what was begun and is not done, by whom and when. A job that died leaves its part begun.
    """

    key: str
    done: int
    total: int
    elements: int
    elements_total: int
    regions: list[Any]
    missing: list[Any]
    parts: list[Written]
    begun: list[Written]
    dims: tuple[str, ...]
    grid: tuple[int, ...]

    @classmethod
    def of(cls, engine: PlainEngine, plan: Plan) -> Progress:
        """Look at what is there: two listings, and one small object for each part."""
        listed = Parts.list(engine.nodes, plan)
        paths = [f"{plan.path}/parts/{part.name}" for part in listed.done] + list(listed.begun)
        records = engine.nodes.get_many([node_path(path) for path in paths])
        texts = [_text(plan, part) for part in (*listed.done, *listed.begun.values())]
        found = [
            None if data is None else Written.of(text, Node.read(path, data).attributes)
            for text, path, data in zip(texts, paths, records, strict=True)
        ]
        done, begun = found[: len(listed.done)], found[len(listed.done) :]
        missing = Missing.of(plan, listed)
        return cls(
            plan.key,
            len(missing.regions) - len(missing.numbers),
            len(missing.regions),
            missing.elements,
            missing.elements_total,
            missing.regions,
            missing.of_job(0, 1),
            sorted((one for one in done if one), key=lambda one: one.created),
            sorted((one for one in begun if one), key=lambda one: one.created),
            ("partition",) if plan.partitions else tuple(plan.dims),
            (plan.partitions,) if plan.partitions else grid_of(plan),
        )

    @property
    def complete(self) -> bool:
        """Whether all parts are there."""
        return not self.missing

    @property
    def fraction(self) -> float:
        """How much of it is there, between 0 and 1."""
        if self.elements_total:
            return self.elements / self.elements_total
        return self.done / self.total if self.total else 1.0

    def missing_of(self, job: int, jobs: int) -> list[Any]:
        """Return what is missing of the regions of one of several jobs."""
        missing = set(map(_region_text, self.missing))
        return [region for region in self.regions[job::jobs] if _region_text(region) in missing]

    def describe_missing(self) -> str:
        """Say which parts are missing: the first few, and how many."""
        named = "; ".join(_region_text(one) for one in self.missing[:_NAMED])
        more = f"; and {len(self.missing) - _NAMED} more" if len(self.missing) > _NAMED else ""
        begun = ", ".join(f"{one.region} by {one.user}@{one.hostname}" for one in self.begun[:_NAMED])
        hint = f". Begun and not done: {begun}" if begun else ""
        return f"{self.key}: {len(self.missing)} of {self.total} parts are missing: {named}{more}{hint}"

    def summary(self) -> str:
        """Who wrote the parts, as JSON for the node of the value."""
        jobs = Counter((one.user, one.hostname, one.job.partition("_")[0]) for one in self.parts)
        made = [
            {"user": user, "hostname": host, **({"job": job} if job else {}), "parts": number}
            for (user, host, job), number in jobs.most_common(100)
        ]
        times = [one.created.isoformat() for one in self.parts]
        return json.dumps(
            {"number": len(self.parts), "first": times[0], "last": times[-1], "by": made} if times else {}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "key": self.key,
            "done": self.done,
            "total": self.total,
            "fraction": self.fraction,
            "complete": self.complete,
            "elements": self.elements,
            "elements_total": self.elements_total,
            "missing": [_plain(one) for one in self.missing],
            "parts": [_plain_part(one) for one in self.parts],
            "begun": [_plain_part(one) for one in self.begun],
        }

    def _cells(self) -> list[list[float]]:
        """How much is there in each cell of the picture."""
        shape = (self.grid or (1,))[:2]
        rows, columns = (1, shape[0]) if len(shape) == 1 else shape
        high, wide = min(rows, HEIGHT), min(columns, WIDTH)
        counts = [[[0, 0] for _ in range(wide)] for _ in range(high)]
        missing = {_region_text(one) for one in self.missing}
        behind = max(1, math.prod((self.grid or (1,))[2:]))
        for number, region in enumerate(self.regions):
            row, column = divmod(number // behind, columns)
            cell = counts[row * high // rows][column * wide // columns]
            cell[0] += _region_text(region) not in missing
            cell[1] += 1
        return [[done / total for done, total in row] for row in counts]

    def __str__(self) -> str:
        now = datetime.now(UTC)
        number = f"{self.done} of {self.total} {'partitions' if self.dims == ('partition',) else 'parts'}"
        lines = [f"zdb.Progress {self.key}: {number}, {_percent(self.fraction)}"]
        lines += ["│" + "".join(map(_block, row)) + "│" for row in self._cells()]
        if len(self.grid) > 1:
            lines[1] += f"  {self.dims[0]} ↓ {self.dims[1]} →"
        if self.parts:
            last = self.parts[-1]
            lines.append(f"last     {last.region} by {_who(last)}, {_ago(last.created, now)}")
        for one in self.begun[:_NAMED]:
            lines.append(f"begun    {one.region} by {_who(one)}, {_ago(one.created, now)}")
        if len(self.begun) > _NAMED:
            lines.append(f"         and {len(self.begun) - _NAMED} more begun")
        if self.missing:
            more = f"; and {len(self.missing) - _NAMED} more" if len(self.missing) > _NAMED else ""
            lines.append("missing  " + "; ".join(map(_region_text, self.missing[:_NAMED])) + more)
        else:
            lines.append(f"all parts are there: db.finish({self.key!r}) makes the value visible")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = self._cells()
        cell = "display:inline-block;width:0.7em;height:0.9em;margin:1px;background:rgba(34,139,34,{:.2f})"
        rows = "".join(
            "<div style='line-height:0'>"
            + "".join(f'<span style="{cell.format(0.08 + 0.92 * one)}" title="{one:.0%}"></span>' for one in row)
            + "</div>"
            for row in cells
        )
        first, *rest = str(self).split("\n")
        text = "".join(f"<div>{escape(line)}</div>" for line in rest if not line.startswith("│"))
        return f"<div><b>{escape(first)}</b>{rows}{text}</div>"


def lost(engine: PlainEngine, plan: Plan, parts: Iterable[Part], why: str) -> MissingChunkError:
    """Let parts that were written count as missing from now on, and return the error that says so."""
    mark_lost(engine.nodes, plan, parts)
    missing = Progress.of(engine, plan).describe_missing()
    return MissingChunkError(f"{missing}. They were written, but {why}; write what db.resume({plan.key!r}) returns")


def _text(plan: Plan, part: Part) -> str:
    if plan.partitions:
        return f"partition {part.bounds[0][0] if part.bounds[0] else 0}"
    bounds = zip(plan.sizes, part.bounds, strict=True)
    shown = [
        f"{dim} {one[0]}–{one[1]}" for dim, one in bounds if one and (dim in plan.dims or one != (0, plan.sizes[dim]))
    ]
    names = "" if part.variables is None else " of " + ", ".join(plan.variables[i].name for i in part.variables)
    return (", ".join(shown) or "all") + names


def _region_text(region: Region | int) -> str:
    if isinstance(region, int):
        return f"partition {region}"
    return ", ".join(f"{dim} {one.start}–{one.stop}" for dim, one in region.items())


def _plain(region: Region | int) -> Any:
    return region if isinstance(region, int) else {dim: [one.start, one.stop] for dim, one in region.items()}


def _plain_part(part: Written) -> dict[str, Any]:
    return {**vars(part), "created": part.created.isoformat()}


def _percent(fraction: float) -> str:
    return "100 %" if fraction == 1 else f"{min(99.9, 100 * fraction):.3g} %"


def _block(fraction: float) -> str:
    return _BLOCKS[-1] if fraction == 1 else _BLOCKS[min(3, math.ceil(fraction * 3))]


def _ago(moment: datetime, now: datetime) -> str:
    age = format_age(moment, now)
    return age if age == "now" else f"{age} ago"


def _who(part: Written) -> str:
    return f"{part.user}@{part.hostname}" + (f" ({part.job})" if part.job else "")
