"""What a database has to hold after a fault: all that was acknowledged, whole; of the rest the old or the new value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from faults.workload import change

import zdb
from zdb.engine.node import DATABASE, node_path

if TYPE_CHECKING:
    from faults.workload import Note

__all__ = ["Expected", "check_store", "is_same", "orphans"]


def is_same(found: Any, wanted: Any) -> bool:
    """Whether two values have the same type and are equal, all of them."""
    if type(found) is not type(wanted):
        return False
    if isinstance(found, xr.Dataset):
        return bool(found.identical(wanted))
    return np.array_equal(found, wanted) if isinstance(found, np.ndarray) else found == wanted


class Expected:
    """The values that each key of one writer may have; None where it may be absent.

    Parameters
    ----------
    writer : int
    may_return : bool
        Where nothing was before, the request that made a small value may come again when the value was deleted.
    """

    def __init__(self, writer: int, *, may_return: bool = False) -> None:
        self.writer = writer
        self.may_return = may_return
        self.possible: dict[str, list[Any]] = {}
        self._made: dict[str, list[Any]] = {}  # small values that were set where nothing was
        self._moved: list[tuple[str, str, Any]] = []  # by renames that were not acknowledged
        self.cut_renames = 0  # that were not acknowledged, since ids were repaired
        self.number = 0  # of the next change
        self.acknowledged = self.failed = self.killed = 0
        self.errors: list[str] = []

    def add(self, noted: list[Note]) -> None:
        """Take in what the writer noted."""
        for note in noted:
            self._add(note)
            self.number = note.number + 1

    def _add(self, note: Note) -> None:
        what, key, argument = change(self.writer, note.number)
        before = self.possible.setdefault(key, [None])
        if note.outcome == "skipped":
            return
        done = note.outcome == "done"
        self.acknowledged += done
        self.failed += note.outcome == "failed"
        self.killed += note.outcome == "killed"
        self.errors += [note.error] if note.error else []
        self._moved = [one for one in self._moved if not {key, argument if what == "rename" else key} & {*one[:2]}]
        if what == "rename":
            target = self.possible.setdefault(argument, [None])
            self.cut_renames += not done
            self.possible[argument] = before if done else target + before
            self.possible[key] = self._deleted(key) if done else [*before, None]
            if not done and not any(one is None for one in before):
                self._moved.append((key, argument, before))
        else:
            new = [argument] if what == "set" else self._deleted(key)
            if isinstance(argument, dict) and any(one is None for one in before):
                self._made.setdefault(key, []).append(argument)
            self.possible[key] = new if done else [*before, *new]

    def _deleted(self, key: str) -> list[Any]:
        return [None, *(self._made.get(key, []) if self.may_return else [])]

    def check(self, db: zdb.Database) -> None:
        """Compare with what the database holds, which is all that is possible from now on."""
        found = {key: read(db, key) for key in self.possible}
        for key, one in found.items():
            wanted = self.possible[key]
            assert any(is_same(one, other) for other in wanted), f"{key} is {one!r}, and not one of {wanted!r}"
        for old, new, _ in self._moved:
            assert found[old] is not None or found[new] is not None, f"{old} was lost when it was renamed to {new}"
        self._moved = []
        self.possible = {key: [one] for key, one in found.items()}

    @property
    def keys(self) -> set[str]:
        """The keys that are there for sure."""
        return {key for key, values in self.possible.items() if not any(one is None for one in values)}


def read(db: zdb.Database, key: str) -> Any:
    """Read all of a value; None if it is not there."""
    try:
        found = db[key]
    except zdb.errors.KeyNotFoundError:
        return None
    return found.load() if isinstance(found, xr.Dataset) else found


def check_store(db: zdb.Database, expected: list[Expected]) -> None:
    """All values are as expected, nothing is damaged, and garbage collection leaves no rest, when nobody writes."""
    for one in expected:
        one.check(db)
    listed = {key for key in db.keys(recursive=True) if key.startswith("writer_")}
    wanted = set().union(*(one.keys for one in expected))
    assert listed == wanted, f"listed are {sorted(listed)}, and not {sorted(wanted)}"
    if "://" in db.url:
        _repair_ids(db, expected)
    report = db.verify()
    assert report.ok, str(report)
    db.gc(dry_run=False, grace=0)
    left = orphans(db)
    assert not left, sorted(left)
    report = db.verify()
    assert report.ok, str(report)
    assert report.unfinished == []
    for one in expected:
        one.check(db)


def _repair_ids(db: zdb.Database, expected: list[Expected]) -> None:
    """Give one of the keys another id that a rename in a bucket has left when it was cut off, and nothing else."""
    report = db.verify()
    assert {one.kind for one in report.problems} <= {"id"}, str(report)
    assert len(report.problems) <= sum(one.cut_renames for one in expected), str(report)
    if report.problems:
        assert db.repair(dry_run=False).ok
    for one in expected:
        one.cut_renames = 0


def orphans(db: zdb.Database) -> set[str]:
    """Objects that belong to no value, no database and no record that a value refers to."""
    engine = db._engine
    needed = {node_path("")}
    used: set[str] = set()

    def visit(path: str) -> None:
        for node in engine.children(path).values():
            if node.kind == DATABASE:
                needed.add(node_path(node.path))
                visit(node.path)
            else:
                needed.update(node.object_paths())
                attributes = node.attributes
                used.update(f"environments/{attributes[a]}" for a in ("zdb_environment",) if a in attributes)
                used.update(f"histories/{attributes[a]}" for a in ("zdb_history",) if a in attributes)

    visit("")
    records = [engine.records.read(one) or {} for one in used]
    used |= {f"environments/{one['pixi_lock']}" for one in records if one.get("pixi_lock")}
    left = set(engine.nodes.list_objects("")) - needed - {f"_zdb/{one}/zarr.json" for one in used}
    # Records stay for a day, whatever the grace is; claims until they are taken again.
    stays = ("_zdb/zarr.json", "_zdb/environments/", "_zdb/histories/", "_zdb/claims/")
    return {one for one in left if not one.startswith(stays)}
