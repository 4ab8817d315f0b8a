"""Verifying a database: is all there that its metadata promises, and can it be decoded?"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.engine.concurrency import concurrently
from zdb.engine.decoding import ArrayDecoder
from zdb.engine.node import DATABASE, FORMAT_VERSION, VALUE, Node, node_path
from zdb.engine.provenance_records import RECORDS
from zdb.environment import canonical_hash
from zdb.errors import InvalidKeyError, MissingChunkError
from zdb.keys import check_name, split
from zdb.maintenance.inspecting import Inspection, inspect, without_node
from zdb.maintenance.report import Problem, VerifyReport
from zdb.maintenance.walking import Found, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zdb.engine.plain import PlainEngine

__all__ = ["Verification"]

# Values that are replaced while they are verified are verified again.
ATTEMPTS = 10
# Small objects are checked together.
JOB_BYTES = 4 << 20


class _Job(NamedTuple):
    """Objects of one array that are read and decoded one after the other."""

    inspection: Inspection
    decoder: ArrayDecoder
    objects: list[tuple[tuple[int, ...], str, int]]
    sha256: str | None

    @property
    def weight(self) -> int:
        return max(size for _, _, size in self.objects)


class Verification:
    """One verification of a database or of a part of it.

    Parameters
    ----------
    engine : PlainEngine
    path : str
        What to verify: a value or a database.
    deep : bool
        Read and decode all chunks; otherwise only list them.
    progress : bool
        Show a bar on the terminal.
    """

    def __init__(self, engine: PlainEngine, path: str, *, deep: bool, progress: bool) -> None:
        self._engine = engine
        self._nodes = engine.nodes
        self._path = path
        self._deep = deep
        self._progress = progress
        self._ids: dict[str, str] = {}  # path by id
        self._records: dict[str, tuple[str, int]] = {}  # the first key that refers to it, and how many do
        self._names: dict[tuple[str, str], str] = {}  # name by database and folded name
        self._listed: dict[str, Any] | None = None  # the nodes that consolidated metadata of the root shows
        self.report = VerifyReport(engine.nodes.url, deep)

    def run(self) -> VerifyReport:
        """Verify, and return the report."""
        with self._bar() as bar:
            suspects = self._check(self._values(walk(self._engine, self._path)), bar)
            for _ in range(ATTEMPTS):
                suspects = self._check(self._changed(suspects), bar)
                if not suspects:
                    break
            self.report.unfinished += [node.path for node in self._changed(suspects)]
        self._check_records()
        self._check_fillings()
        self.report.problems.sort()
        return self.report

    @classmethod
    def is_whole(cls, engine: PlainEngine, node: Node) -> bool:
        """Whether all chunks of a value can be read, with this metadata of it."""
        one = Inspection(node, {status.path: status.size for status in engine.nodes.list_status(node.path)})
        return not cls._problems(engine, one)

    @classmethod
    def problems_of(cls, engine: PlainEngine, node: Node) -> list[Problem]:
        """Return what is wrong with a value, without what depends on others."""
        return cls._problems(engine, inspect(engine.nodes, node, deep=True))

    @classmethod
    def _problems(cls, engine: PlainEngine, one: Inspection) -> list[Problem]:
        node = one.node
        check = cls(engine, node.path, deep=True, progress=False)
        results = concurrently(check._read, check._jobs(one, None), weight=lambda job: job.weight)
        found = [problem for _, problems in results for problem in problems]
        return one.problems + found

    def _bar(self) -> Any:
        if not self._progress:
            return nullcontext()
        from tqdm import tqdm

        unit, scale = ("B", True) if self._deep else (" values", False)
        return tqdm(total=0, desc="verify", unit=unit, unit_scale=scale, disable=None)

    # All nodes

    def _values(self, found: Iterable[Found]) -> Iterator[Node]:
        for path, node, error in found:
            if error:
                self._report(path, "node", node_path(path), error)
            elif node is None:
                self._check_prefix(path)
            elif node.kind == VALUE or node.kind == DATABASE:
                self._check_node(node)
                if node.kind == VALUE and node.version <= FORMAT_VERSION:
                    yield node
            else:
                self.report.foreign.append(path)

    def _check_prefix(self, path: str) -> None:
        below = self._engine.nodes_below(path)
        if any(node.path == path for node in below):
            return  # it was committed a moment ago
        if below:
            message = f"is not in the store, and hides {below[0].path}" + " and others" * (len(below) > 1)
            self._report(path, "node", node_path(path), message)
        elif lost := without_node(self._engine, path):
            names = ", ".join(lost.arrays)
            whole = f"its arrays {names} are whole" if len(lost.arrays) > 1 else f"its array {names} is whole"
            self._report(path, "node", node_path(path), f"is not in the store; {whole}")
        elif self._nodes.has_folders or self._nodes.list_objects(path):
            self.report.unfinished.append(path)

    def _check_node(self, node: Node) -> None:
        if node.kind == DATABASE:
            self.report.databases += 1
        else:
            self.report.values += 1
            for kind in ("environment", "history"):
                record = node.attributes.get(f"zdb_{kind}")
                if record:
                    self._refer(f"{'environments' if kind == 'environment' else 'histories'}/{record}", node.path)
        self._check_listed(node)
        if node.version > FORMAT_VERSION:
            message = f"has format version {node.version}, which this zdb does not know"
            self._report(node.path, "node", node_path(node.path), message)
        if node.path:
            self._check_name(node.path)
        if not node.id:
            self._report(node.path, "id", node_path(node.path), "has no zdb_id")
        elif self._ids.setdefault(node.id, node.path) != node.path:
            self._report(node.path, "id", node_path(node.path), f"has the zdb_id of {self._ids[node.id] or '/'}")

    def _check_listed(self, node: Node) -> None:
        """Compare a node with what the root, which need not have consolidated metadata, shows of it."""
        if not node.path:
            consolidated = node.document.get("consolidated_metadata")
            self._listed = consolidated["metadata"] if consolidated else None
        elif self._listed is not None:
            shown = self._listed.get(node.path, {}).get("attributes", {})
            if (shown.get("zdb_id"), shown.get("zdb_generation")) != (node.id, node.attributes.get("zdb_generation")):
                self._report("", "consolidated metadata", "zarr.json", f"hides what is at {node.path} now")

    def _check_name(self, path: str) -> None:
        above, name = split(path)
        try:
            check_name(name)
        except InvalidKeyError as error:
            self._report(path, "name", path, str(error))
        twin = self._names.setdefault((above, name.casefold()), name)
        if twin != name:
            self._report(path, "name", path, f"differs from {twin} only by case")

    def _refer(self, record: str, key: str) -> None:
        first, number = self._records.get(record, (key, 0))
        self._records[record] = (first, number + 1)

    def _report(self, key: str, kind: str, path: str, message: str) -> None:
        self.report.problems.append(Problem(key, kind, path, message))

    # Values and their chunks

    def _check(self, values: Iterable[Node], bar: Any) -> list[Inspection]:
        """Check values, and return those with problems."""
        suspects: dict[str, Inspection] = {}

        def inspected() -> Iterator[Inspection]:
            for one in concurrently(lambda node: inspect(self._nodes, node, deep=self._deep), values):
                self.report.arrays += len(one.node.arrays)
                yield one

        def jobs() -> Iterator[_Job]:
            for one in inspected():
                yield from self._jobs(one, bar)
                if one.problems:
                    suspects[one.node.path] = one

        if self._deep:
            for job, problems in concurrently(self._read, jobs(), weight=lambda job: job.weight):
                if problems:
                    job.inspection.problems += problems
                    suspects[job.inspection.node.path] = job.inspection
                if bar is not None:
                    bar.update(sum(size for _, _, size in job.objects))
        else:
            for one in inspected():
                self._check_listing(one)
                if one.problems:
                    suspects[one.node.path] = one
                if bar is not None:
                    bar.update()
        return list(suspects.values())

    def _count(self, size: int) -> None:
        self.report.objects += 1
        self.report.nbytes += size

    def _check_listing(self, one: Inspection) -> None:
        empty: list[str] = []
        for array in one.arrays:
            for _, path, size in one.objects(array):
                self._count(size)
                if not size:
                    empty.append(path)
        missing = set(self._nodes.missing(empty))
        for path in empty:
            if path in missing:
                one.report("missing chunk", path, "is not in the store")
            elif path in one.sizes:
                one.report("damaged chunk", path, "is empty")

    def _jobs(self, one: Inspection, bar: Any) -> Iterator[_Job]:
        sha256 = one.node.attributes.get("zdb_sha256") if one.node.format == "file" else None
        for array in one.arrays:
            try:
                decoder = ArrayDecoder(array)
            except Exception as error:  # noqa: BLE001 - whatever zarr raises on metadata that makes no sense
                one.report("value", node_path(one.node.path), f"the metadata of {array.path} makes no sense: {error}")
                continue
            objects: list[tuple[tuple[int, ...], str, int]] = []
            waiting = 0
            for place, path, size in one.objects(array):
                self._count(size)
                objects.append((place, path, size))
                waiting += size
                if bar is not None:
                    bar.total += size
                if waiting >= JOB_BYTES and sha256 is None:  # a checksum needs all of the file
                    yield _Job(one, decoder, objects, None)
                    objects, waiting = [], 0
            if objects:
                yield _Job(one, decoder, objects, sha256)
        is_empty = not any(array.nbytes for array in one.arrays)
        if sha256 is not None and is_empty and sha256 != hashlib.sha256(b"").hexdigest():
            one.report("checksum", node_path(one.node.path), "is empty and does not match its SHA-256")

    def _read(self, job: _Job) -> tuple[_Job, list[Problem]]:
        problems: list[Problem] = []
        key = job.inspection.node.path
        digest = hashlib.sha256()
        for place, path, _ in job.objects:
            data = self._nodes.get(path)
            if data is None:
                problems.append(Problem(key, "missing chunk", path, "is not in the store"))
                continue
            if not data:
                problems.append(Problem(key, "damaged chunk", path, "is empty"))
                continue
            for chunk in job.decoder.decode(place, data):
                if isinstance(chunk, Exception):
                    kind = "missing chunk" if isinstance(chunk, MissingChunkError) else "damaged chunk"
                    problems.append(Problem(key, kind, path, str(chunk)))
                elif job.sha256 is not None:
                    digest.update(chunk.tobytes())
        if job.sha256 is not None and not problems and digest.hexdigest() != job.sha256:
            problems.append(Problem(key, "checksum", job.decoder.array.path, "does not match the SHA-256 of the file"))
        return job, problems

    def _changed(self, suspects: list[Inspection]) -> list[Node]:
        """Report the problems of values that are still as they were, and return the others as they are now."""
        changed = []
        for one in suspects:
            path = one.problems[0].key
            now = self._engine.node(path)
            if now is not None and _is_same(now, one.node):
                self.report.problems += one.problems
            elif now is not None and now.kind == VALUE:
                changed.append(now)
        return changed

    # Records

    def _check_records(self) -> None:
        checked: set[str] = set()
        while left := self._records.keys() - checked:
            checked |= left
            for record in left:
                self._check_record(record)

    def _check_record(self, record: str) -> None:
        place = f"{RECORDS}/{record}"
        first, number = self._records[record]
        needed = f"needed by {first}" + (f" and {number - 1} more" if number > 1 else "")
        data = self._nodes.get(node_path(place))
        found = None if data is None else Node.read(place, data)
        if found is None:
            self._report(place, "record", node_path(place), f"is not in the store; {needed}")
        elif found.error:
            self._report(place, "record", node_path(place), f"{found.error}; {needed}")
        elif canonical_hash(found.attributes) != record.rpartition("/")[2]:
            self._report(place, "record", node_path(place), f"does not match its SHA-256; {needed}")
        elif "pixi_lock" in found.attributes:
            self._refer(f"environments/{found.attributes['pixi_lock']}", place)

    # Values that jobs fill

    def _check_fillings(self) -> None:
        claims = self._engine.claims
        for _, record in claims.below(""):
            is_inside = not self._path or f"{record.key}/".startswith(f"{self._path}/")
            if record.state != "filling" or not is_inside:
                continue
            for place in (record.plan, f"{record.plan}/plan"):
                data = self._nodes.get(node_path(place))
                error = "is not in the store" if data is None else Node.read(place, data).error
                if error and claims.state(record.key) == record:
                    message = f"{error}; it belongs to the filling of {record.key}"
                    self._report(record.key, "filling", node_path(place), message)


def _is_same(now: Node, before: Node) -> bool:
    return (now.id, now.generation, now.attributes) == (before.id, before.generation, before.attributes)
