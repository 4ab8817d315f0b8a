"""Collecting what nobody needs: old generations, unfinished work, parts and records without a value.

Nothing is collected before it is older than a grace period by the clock of the store, and nothing of a key to which
something younger was written, because its writer may be at work. What lies at a key is collected under its claim.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from zdb.engine.claim_record import CLAIMS, ClaimRecord, claim_path
from zdb.engine.concurrency import concurrently
from zdb.engine.node import DATABASE, VALUE, node_path
from zdb.engine.provenance_records import RECORDS
from zdb.errors import CorruptChunkError, KeyClaimedError, KeyConflictError
from zdb.maintenance.inspecting import without_node
from zdb.maintenance.report import Garbage, GarbageReport
from zdb.maintenance.walking import BATCH, Found, parsed, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zdb.engine.node import Node
    from zdb.engine.nodes import ObjectStatus, Tagged
    from zdb.engine.plain import PlainEngine

__all__ = ["GarbageCollection", "claimed_keys", "is_old", "store_time"]

# A process that writes renews the records it uses more often than that.
RECORD_GRACE = timedelta(days=1)
RECORD_FOLDERS = {"environments": "zdb_environment", "histories": "zdb_history"}


class Pile(NamedTuple):
    """Objects that are collected together, or not at all."""

    kind: str
    path: str
    objects: list[ObjectStatus]


class GarbageCollection:
    """One collection of garbage in a database or in a part of it.

    Parameters
    ----------
    engine : PlainEngine
    path : str
        A database; all that is below ``_zdb`` is looked at if it is the root.
    grace : timedelta
        What is younger stays.
    dry_run : bool
        Only report.
    """

    def __init__(self, engine: PlainEngine, path: str, grace: timedelta, *, dry_run: bool) -> None:
        self._engine = engine
        self._nodes = engine.nodes
        self._path = path
        self._dry_run = dry_run
        self._grace = grace
        self._now = datetime.now(UTC) if dry_run else store_time(engine)
        self._used: set[str] = set()  # records that values refer to
        self._claimed = claimed_keys(engine)
        self._silent: set[str] = set()  # keys with claims that processes elsewhere hold, and have lost
        self._lock = threading.Lock()  # of the report and of what values refer to
        self.report = GarbageReport(engine.nodes.url, dry_run, grace.total_seconds())

    def run(self) -> GarbageReport:
        """Collect, and return the report."""
        self._give_back_silent_claims()
        for _ in concurrently(self._collect_at, walk(self._engine, self._path)):
            pass
        if not self._path:
            for pile in (*self._spools(), *self._fills()):
                self._collect(pile)
            self._collect_claims()
            self._collect_records()
        self.report.garbage.sort()
        self.report.busy.sort()
        return self.report

    def _give_back_silent_claims(self) -> None:
        """Take the claims of processes elsewhere that gave no sign of life for the grace period, nor do so now."""
        claims = self._engine.claims
        held = [
            (found, record)
            for found, record in claims.below(self._path)
            if record.state == "held" and not record.plan and not record.holder.can_be_seen()
        ]
        if not held:
            return
        written = {one.path: one for one in self._nodes.list_status(CLAIMS)}
        old = [one for one in held if (status := written.get(claim_path(one[1].key))) and self._is_old(status)]
        self._silent = claims.silent(old)
        for key in sorted(self._silent) if not self._dry_run else ():
            with suppress(KeyClaimedError), self._engine.claim(key, blocking=False, hand_out=False, damaged=True):
                pass
        self._claimed = claimed_keys(self._engine) - self._silent

    def _collect_at(self, found: Found) -> None:
        path, node, error = found
        if error:
            return
        if node is not None and node.kind == DATABASE:
            for one, objects in self._nodes.list_hidden(path).items():
                self._collect(Pile("temporary", one, objects))
        elif node is None or node.kind == VALUE:
            self._collect_key(path, node)

    # Keys

    def _collect_key(self, path: str, node: Node | None) -> None:
        if node is not None:
            self._use(node)
        piles = self._piles(path, node)
        if busy := self._busy(path):
            self._note_busy(busy)
            return
        if self._dry_run or not any(pile.objects and self._are_old(pile) for pile in piles):
            for pile in piles:
                self._collect(pile)
            return
        try:
            with self._engine.claim(path, blocking=False, hand_out=False) as claim:
                if node is None:
                    self._engine.claims.require_none_below(path)
                for pile in self._piles(path, claim.previous):
                    claim.check()
                    self._collect(pile)
        except (KeyClaimedError, KeyConflictError):
            self._note_busy([path])
        except CorruptChunkError:  # it was damaged meanwhile
            return

    def _busy(self, path: str) -> list[str]:
        """Return which keys at a path, or below it, others write or fill."""
        return [key for key in self._claimed if key == path or key.startswith(f"{path}/")]

    def _note_busy(self, keys: list[str]) -> None:
        with self._lock:
            self.report.busy += keys

    def _use(self, node: Node) -> None:
        with self._lock:
            self._used |= _records_of(node.attributes)

    def _piles(self, path: str, node: Node | None) -> list[Pile]:
        if node is None:
            return self._unfinished(path)
        if node.kind != VALUE:
            return []
        listed = self._nodes.list_status(path)
        current = set(node.object_paths())
        committed = next((one.modified for one in listed if one.path == node_path(path)), None)
        others = [one for one in listed if one.path not in current]
        after = [one for one in others if _is_after(one, committed)]
        if not all(self._is_old(one) for one in after):
            self._note_young()
            return []
        # Readers may have opened the generation before: its grace begins when it was replaced.
        before = [one for one in others if one not in after]
        if before and committed is not None and self._now - committed < self._grace:
            self._note_young()
            before = []
        return [Pile("old generation", path, before), Pile("unfinished", path, after)]

    def _unfinished(self, path: str) -> list[Pile]:
        listed = self._nodes.list_status(path)
        below = self._engine.nodes_below(path)
        for node in below:
            self._use(node)
        if below or without_node(self._engine, path):
            return []
        return [Pile("unfinished", path, listed)]

    def drop(self, path: str) -> bool:
        """Remove what lies at a prefix without a node, and return whether it is old enough."""
        before = len(self.report.garbage)
        self._collect_key(path, None)
        return len(self.report.garbage) > before

    # What is below _zdb

    def _spools(self) -> Iterator[Pile]:
        for name in self._nodes.list_names(f"{RECORDS}/spool"):
            path = f"{RECORDS}/spool/{name}"
            yield Pile("spool", path, self._nodes.list_status(path))

    def _fills(self) -> Iterator[Pile]:
        """Plans and parts of values that are not being filled any more."""
        for name in self._nodes.list_names(f"{RECORDS}/fills"):
            fillings = self._nodes.list_names(f"{RECORDS}/fills/{name}")
            # Read after the listing: who makes a plan has taken the claim before.
            claim = ClaimRecord.parse(self._nodes.read_tagged(node_path(f"{CLAIMS}/{name}")))
            for filling in fillings:
                path = f"{RECORDS}/fills/{name}/{filling}"
                is_begun = claim is not None and not claim.plan and claim.is_at_work() and claim.key not in self._silent
                if claim is None or not (is_begun or claim.plan == path):
                    yield Pile("filling", path, self._nodes.list_status(path))

    def _collect_claims(self) -> None:
        """Remove records of claims that nobody needs, if they are still as they were read."""
        listed = [one for one in self._nodes.list_status(CLAIMS) if one.path != node_path(CLAIMS)]
        records = [one for one in listed if one.path.endswith("/zarr.json")]
        for one in listed:
            if one.path.rpartition("/")[2].startswith(".") and self._is_old(one):
                self._collect(Pile("temporary", one.path.rpartition("/")[0], [one]))
        if not self._nodes.removes_conditionally:
            return
        for start in range(0, len(records), BATCH):
            self._collect_spent(records[start : start + BATCH])

    def _collect_spent(self, listed: list[ObjectStatus]) -> None:
        found = self._nodes.read_tagged_many([one.path for one in listed])
        read = [(one, tagged, self._as_given_back(tagged)) for one, tagged in zip(listed, found, strict=True)]
        idle = [(one, tagged, record) for one, tagged, record in read if tagged and record and not record.is_at_work()]
        live = self._nodes.get_many([node_path(record.key) for _, _, record in idle])
        for (one, tagged, record), data in zip(idle, live, strict=True):
            node = parsed(record.key, data).node
            is_old = record.state == "held" or record.key in self._silent or self._is_old(one)
            if not record.is_spent(node) or not is_old:
                continue
            if node is None and self._nodes.list_objects(record.key):  # it tells that what is there was only begun
                continue
            if self._dry_run or self._nodes.remove(one.path, tagged.tag):
                self.report.garbage.append(Garbage("claim", one.path.rpartition("/")[0], 1, one.size))

    def _as_given_back(self, found: Tagged | None) -> ClaimRecord | None:
        record = ClaimRecord.parse(found)
        return replace(record, state="free") if record is not None and record.key in self._silent else record

    def _collect(self, pile: Pile) -> None:
        if not self._are_old(pile):
            self._note_young()
        elif pile.objects:
            self._remove(pile)
        elif not self._dry_run:
            # Folders in which a writer that died had not written yet.
            self._nodes.prune(pile.path, self._now - self._grace if self._grace else None)

    def _note_young(self) -> None:
        with self._lock:
            self.report.young += 1

    def _are_old(self, pile: Pile) -> bool:
        return all(map(self._is_old, pile.objects))

    def _is_old(self, one: ObjectStatus) -> bool:
        return is_old(one, self._now, self._grace)

    def _remove(self, pile: Pile) -> None:
        objects = pile.objects
        if not self._dry_run:
            if pile.kind != "temporary":
                # What was written anew since it was listed belongs to a writer that has begun.
                listed = set(self._nodes.list_status(pile.path))
                objects = [one for one in objects if one in listed]
            self._nodes.delete(one.path for one in objects)
            self._nodes.prune(pile.path)
        if objects:
            size = sum(one.size for one in objects)
            with self._lock:
                self.report.garbage.append(Garbage(pile.kind, pile.path, len(objects), size))

    # Records

    def _collect_records(self) -> None:
        """Remove records that no value refers to, and bring back those to which one has come to refer meanwhile."""
        grace = max(self._grace, RECORD_GRACE)
        used = self._with_locks(self._used)
        removed: dict[str, bytes] = {}
        for folder in RECORD_FOLDERS:
            for name in self._nodes.list_names(f"{RECORDS}/{folder}"):
                place = f"{RECORDS}/{folder}/{name}"
                listed = self._nodes.list_status(place)
                if f"{folder}/{name}" in used or not all(is_old(one, self._now, grace) for one in listed):
                    continue
                removed[f"{folder}/{name}"] = self._nodes.get(node_path(place)) or b""
                self._remove(Pile("record", place, listed))
        if removed and not self._dry_run:
            self._used = set()
            for found in walk(self._engine, ""):
                if found.node is None:
                    self._unfinished(found.path)
                else:
                    self._use(found.node)
            for record in self._used & removed.keys():
                self._nodes.set(node_path(f"{RECORDS}/{record}"), removed[record])

    def _with_locks(self, records: Iterable[str]) -> set[str]:
        """Add the records that records refer to; all that there may be, if one of them cannot be read."""
        found = set(records)
        for one in records:
            record = self._engine.records.read(one)
            if record is None:
                found |= {f"environments/{name}" for name in self._nodes.list_names(f"{RECORDS}/environments")}
            elif "pixi_lock" in record:
                found.add(f"environments/{record['pixi_lock']}")
        return found


def claimed_keys(engine: PlainEngine) -> set[str]:
    """Return the keys that are being written, or filled by jobs."""
    return {record.key for _, record in engine.claims.below("") if record.is_at_work()}


def store_time(engine: PlainEngine) -> datetime:
    """Return what the clock of the store says, which may differ from that of this machine."""
    path = f"{RECORDS}/.clock-{uuid.uuid4().hex}"
    engine.nodes.replace(path, b"", None, lasting=False)
    when = engine.nodes.modified(path)
    engine.nodes.delete([path])
    return when or datetime.now(UTC)


def is_old(one: ObjectStatus, now: datetime, grace: timedelta) -> bool:
    """Whether an object is older than the grace period; where the store does not tell, only without grace."""
    return not grace if one.modified is None else now - one.modified >= grace


def _is_after(one: ObjectStatus, committed: datetime | None) -> bool:
    return one.modified is not None and committed is not None and one.modified > committed


def _records_of(attributes: dict[str, object]) -> set[str]:
    return {f"{folder}/{attributes[name]}" for folder, name in RECORD_FOLDERS.items() if name in attributes}
