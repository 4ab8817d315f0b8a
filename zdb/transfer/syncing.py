"""Copying a database, or a part of it, to another: what changed, and if asked for, deleting what is no more."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.concurrency import concurrently
from zdb.engine.node import DATABASE, VALUE, Node, dump, node_path
from zdb.errors import (
    CorruptChunkError,
    KeyClaimedError,
    KeyConflictError,
    KeyExistsError,
    MissingChunkError,
    StaleValueError,
    ZdbError,
)
from zdb.keys import join
from zdb.maintenance.inspecting import was_begun, without_node
from zdb.maintenance.walking import BATCH, Found, walk
from zdb.transfer.copies import is_copy
from zdb.transfer.copying import Copier, CopyJob
from zdb.transfer.report import TransferReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zdb.engine.plain import PlainEngine
    from zdb.transfer.object_copying import Copied

__all__ = ["End", "Rules", "transfer"]

# Values that are replaced while they are copied are copied again.
ATTEMPTS = 10
CONCURRENT_VALUES = 8


class End(NamedTuple):
    """One end of a transfer: a node of a database."""

    engine: PlainEngine
    path: str

    @property
    def url(self) -> str:
        return join(self.engine.nodes.url, self.path) if self.path else self.engine.nodes.url


class Rules(NamedTuple):
    """What a transfer may do in the target."""

    overwrite: bool
    delete: bool = False
    dry_run: bool = False


def transfer(source: End, target: End, rules: Rules, *, progress: bool) -> TransferReport:
    """Copy what lies at one end to the other; see :meth:`zdb.Database.sync_to` for what is raised."""
    if source.engine.nodes.url == target.engine.nodes.url and _overlap(source.path, target.path):
        raise KeyConflictError(f"{source.url} cannot be copied to {target.url}: one lies in the other")
    if not rules.dry_run:
        target.engine.nodes.require_writable()
        target.engine.unconsolidate()
    return _Transfer(source, target, rules, progress=progress).run()


def _overlap(one: str, other: str) -> bool:
    return not one or not other or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


class _Transfer:
    def __init__(self, source: End, target: End, rules: Rules, *, progress: bool) -> None:
        self.source = source
        self.target = target
        self.rules = rules
        self.report = TransferReport(source.url, target.url, rules.dry_run)
        self._progress = progress
        self._known: set[str] = set()  # paths in the target of what is in the source, if others are to be deleted
        self._bar: Any = None

    def run(self) -> TransferReport:
        with self._open_bar() as self._bar:
            copier = Copier(self.source.engine, self.target.engine, self._expect, self._advance)
            engine, path = self.target
            if path and engine.nodes.get(node_path(path)) is None:
                engine.check_vacant(path)
            jobs = self._jobs(walk(self.source.engine, self.source.path))
            for job, copied in concurrently(lambda job: (job, self._copy(copier, job)), jobs, CONCURRENT_VALUES):
                self._note(job, copied)
        if self.rules.delete and self.report.ok:
            self._delete()
        self.report.copied.sort()
        return self.report

    def _open_bar(self) -> Any:
        if not self._progress or self.rules.dry_run:
            return nullcontext()
        from tqdm import tqdm

        return tqdm(total=0, desc="copy", unit="B", unit_scale=True, disable=None)

    def _expect(self, size: int) -> None:
        if self._bar is not None:
            self._bar.total += size

    def _advance(self, size: int) -> None:
        if self._bar is not None:
            self._bar.update(size)

    def _jobs(self, found: Iterator[Found]) -> Iterator[CopyJob]:
        """Yield what has to be copied; databases are made as they come."""
        while some := list(islice(found, BATCH)):
            for one in some:
                error = one.error or (self._lost_at(one.path) if one.node is None else "")
                if error:
                    self.report.failed[one.path] = error
            nodes = [one.node for one in some if one.node is not None]
            paths = [self._target_path(node.path) for node in nodes]
            there = self.target.engine.nodes.get_many([node_path(path) for path in paths])
            for node, path, data in zip(nodes, paths, there, strict=True):
                existing = _parsed(path, data)
                damaged = data is not None and existing is None
                try:
                    jobs = self._job(node, path, existing, damaged=damaged)
                except KeyClaimedError as error:  # what is below is skipped one by one
                    self.report.skipped[node.path] = str(error)
                else:
                    yield from jobs

    def _lost_at(self, path: str) -> str:
        """Say what lost its node at a path without one; nothing if writing there was only begun."""
        engine = self.source.engine
        below = engine.nodes_below(path)
        is_lost = bool(below) and not was_begun(engine, path) and engine.nodes.get(node_path(path)) is None
        if is_lost or without_node(engine, path):
            return f"{path}: lost its node in {engine.nodes.url}; see zdb verify, and let zdb repair make it again"
        return ""

    def _target_path(self, path: str) -> str:
        below = path[len(self.source.path) :].strip("/")
        return join(self.target.path, below) if below else self.target.path

    def _job(self, node: Node, path: str, existing: Node | None, *, damaged: bool) -> Iterable[CopyJob]:
        if self.rules.delete:
            self._known.add(path)
        has_keys = self.source.engine.is_database(node)
        if existing is not None and self.target.engine.is_database(existing) != has_keys:
            what = "a sub-database" if not has_keys else "a value"
            raise KeyConflictError(f"{path}: is {what} in {self.target.engine.nodes.url}; delete it first")
        if has_keys:
            if existing is None and not self.rules.dry_run:
                self._make_group(node, path)
            return ()
        if existing is not None:
            if self._is_unchanged(node, existing):
                self.report.unchanged += 1
                return ()
            if not self.rules.overwrite:
                raise KeyExistsError(f"{path}: exists in {self.target.engine.nodes.url}, and overwrite=False was given")
        if self.rules.dry_run:
            self.report.copied.append(node.path)
            return ()
        return (CopyJob(node, path, self.rules.overwrite, damaged),)

    def _make_group(self, node: Node, path: str) -> None:
        if node.kind == DATABASE:
            self.target.engine.create_databases(path)
        else:
            document = {name: part for name, part in node.document.items() if name != "consolidated_metadata"}
            if claim := self.target.engine.claims.take_new(path):
                with claim:
                    self.target.engine.nodes.create(node_path(path), dump(document))

    def _is_unchanged(self, node: Node, existing: Node) -> bool:
        if node.kind == VALUE:
            return is_copy(existing, node)
        ours, theirs = (
            {one.path[len(at.path) :]: one for one in engine.nodes.list_status(at.path)}
            for engine, at in ((self.source.engine, node), (self.target.engine, existing))
        )
        return ours.keys() == theirs.keys() and all(
            one.size == theirs[path].size and not _is_newer(one.modified, theirs[path].modified)
            for path, one in ours.items()
        )

    def _copy(self, copier: Copier, job: CopyJob) -> Copied | ZdbError | None:
        """Copy, and return what was written, or why it was not, or None if it is not there any more."""
        for attempt in range(ATTEMPTS):
            try:
                return copier.copy(job)
            except (MissingChunkError, CorruptChunkError, KeyClaimedError) as error:
                return error
            except StaleValueError:
                now = self.source.engine.node(job.node.path)
                if now is None or now.kind != job.node.kind:
                    return None
                if attempt == ATTEMPTS - 1:
                    raise
                job = job._replace(node=now)
        return None

    def _note(self, job: CopyJob, copied: Copied | ZdbError | None) -> None:
        if isinstance(copied, KeyClaimedError):
            self.report.skipped[job.node.path] = str(copied)
        elif isinstance(copied, ZdbError):
            self.report.failed[job.node.path] = str(copied)
        elif copied is not None:
            self.report.copied.append(job.node.path)
            self.report.objects += copied.objects
            self.report.nbytes += copied.nbytes

    def _delete(self) -> None:
        """Delete what is in the target and not in the source, databases as a whole."""
        gone: list[str] = []
        for path, node, _ in walk(self.target.engine, self.target.path):
            inside = any(path.startswith(f"{one}/") for one in gone[-1:])
            if node is not None and path not in self._known and not inside:
                gone.append(path)
        for path in gone:
            try:
                if not self.rules.dry_run:
                    self.target.engine.delete(path)
                self.report.deleted.append(path)
            except KeyClaimedError as error:
                self.report.skipped[path] = str(error)


def _parsed(path: str, data: bytes | None) -> Node | None:
    """Return a node of the target; one that is damaged is written anew."""
    try:
        return None if data is None else Node.parse(path, data)
    except CorruptChunkError:
        return None


def _is_newer(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one > other
