"""Filling one value from many jobs: begin, write a part, finish, give up.

``docs/parallel.md`` says what is promised, and why it holds.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from zdb.attributes import FORMAT_ATTRIBUTES
from zdb.engine.claim_record import given_back
from zdb.engine.computing import store
from zdb.engine.guarded import GuardedTarget
from zdb.engine.node import Node, dump, group_document, node_path, previous_path
from zdb.engine.options import LayoutOptions
from zdb.engine.writer import begin_node, check_plan, write_arrays
from zdb.errors import (
    ClaimLostError,
    CorruptChunkError,
    MissingChunkError,
    MissingPartsError,
    NotFillingError,
    StorageError,
    ZdbError,
)
from zdb.formats import registry
from zdb.formats.dtypes import is_lazy
from zdb.keys import split
from zdb.parallel.appending import provenance
from zdb.parallel.missing import Missing
from zdb.parallel.plan import Plan, fills_of, group, read_plan
from zdb.parallel.progress import Progress, lost
from zdb.parallel.records import Attempt, Part, Parts, check_names, state_of
from zdb.parallel.regions import as_dataset, check_aligned, pieces_of, resolve_region
from zdb.parallel.tables import (
    empty_frame,
    is_table,
    joined,
    layout_options,
    plain_options,
    read_empty,
    write_frame,
)
from zdb.parallel.templates import prepare
from zdb.provenance import capture
from zdb.write import attrs_text, check_replaceable

if TYPE_CHECKING:
    import xarray as xr

    from zdb.engine.claim import Claim
    from zdb.engine.plain import PlainEngine
    from zdb.parallel.regions import Piece
    from zdb.write import WriteRequest

__all__ = ["begin", "discard", "finish", "write_part"]


def begin(engine: PlainEngine, path: str, value: Any, request: WriteRequest, npartitions: int | None) -> Plan:
    """Make the plan of a value, and write what of it is in memory."""
    options = LayoutOptions.of(request)
    template, partitions = None, 0
    frame: Any = None
    if is_table(value):
        frame, partitions = empty_frame(value, npartitions)
        chosen = registry.by_name("table")
        check_plan(path, chosen.encode(frame), options)  # encoding refuses what it does not keep
    else:
        template = prepare(value, options, npartitions)
        chosen = template.format
        check_names(template.sizes, len(template.variables))
    attrs = {"zdb_attrs": attrs_text(path, request.attrs)} if request.attrs else {}
    who = capture().attributes
    filling = uuid.uuid4().hex
    with engine.claim(path, damaged=True) as claim:
        check_replaceable(engine, path, claim.previous, request)
        own = engine.value_attributes(chosen.name, chosen.version, claim.previous, claim.generation) | attrs
        try:
            if template is None:
                node = Node(path, group_document(own))
                only = {"partition": partitions}
                plan = Plan(path, filling, node, (), only, {"partition": 1}, partitions, who, plain_options(options))
                write_frame(engine, f"{plan.path}/template", frame)
            else:
                check_below = engine.require_nothing_below
                node = begin_node(engine.nodes, claim, template.encoded, options, own, check_below)
                plan = Plan(path, filling, node, template.variables, template.sizes, template.unit, 0, who, {})
                filled = {name for variable in plan.variables for name in variable.arrays}
                in_memory = [name for name in node.arrays if name not in filled]
                write_arrays(engine.nodes, claim, node, template.encoded, in_memory)
            _set_state(engine, plan, "open")
            engine.nodes.set(node_path(f"{plan.path}/plan"), plan.dump())
            claim.leave_filling(plan.path)
        except BaseException:
            claim.give_up(settled=False)
            engine.nodes.delete_tree(f"{fills_of(path)}/{filling}")
            raise
    return plan


def _set_state(engine: PlainEngine, plan: Plan, state: str) -> None:
    engine.nodes.set(node_path(plan.path), group({"key": plan.key, "state": state}))


def stored_dataset(engine: PlainEngine, plan: Plan) -> Any:
    """Return the value as far as it is there: its coordinates can be read; of a table only columns and dtypes."""
    if plan.partitions:
        return read_empty(engine, plan)
    from zdb.engine.reader import open_steady

    attributes = {name: text for name, text in plan.node.attributes.items() if name in FORMAT_ATTRIBUTES}
    opened = open_steady(engine.nodes, plan.node).assign_attrs(attributes)
    decoded = registry.by_name(plan.node.format).decode(opened)
    if plan.node.format == "array":
        import xarray as xr

        return xr.Dataset({"data": (plan.variables[0].dims, decoded)})
    return decoded if hasattr(decoded, "data_vars") else decoded.to_dataset(name=plan.variables[0].name)


def write_part(engine: PlainEngine, plan: Plan, stored: xr.Dataset, value: Any, region: Any, *, realign: bool) -> None:
    """Write a part of a value; errors as in :meth:`zdb.Database.write_region`."""
    started = time.perf_counter()
    part = as_dataset(plan, value, region)
    where = resolve_region(plan, part, region, stored)
    names, pieces = pieces_of(plan, part, where, stored)
    if not realign:
        check_aligned(plan, pieces, where)
    attempt = Attempt(engine.nodes, plan, Part.of(plan, where, names))
    attempt.begin()
    write_pieces(engine, plan.node, pieces, attempt.guard)
    engine.nodes.sync(plan.key)
    attempt.done(round(time.perf_counter() - started, 6))


def write_pieces(engine: PlainEngine, node: Node, pieces: list[Piece], guard: Any) -> None:
    """Write data to regions of arrays; what is lazy is computed meanwhile by the scheduler that is active."""
    lazy_from, lazy_to = [], []
    for piece in pieces:
        array = node.arrays[piece.array]
        if 0 in piece.data.shape:
            continue
        target = GuardedTarget(engine.nodes, array, guard, piece.origin)
        if is_lazy(piece.data):
            lazy_from.append(piece.data.rechunk(target.chunks_for(piece.data.chunks)))
            lazy_to.append(target)
        else:
            target.write(piece.data)
    if lazy_from:
        store(node.path, lazy_from, lazy_to)


def finish(engine: PlainEngine, path: str) -> None:
    """Make a value visible when all of it is there; errors as in :meth:`zdb.Database.finish`."""
    started = time.perf_counter()
    plan = read_plan(engine, path)
    if Missing.of(plan, Parts.list(engine.nodes, plan)).numbers:
        _require_complete(Progress.of(engine, plan))
    with engine.claims.take(path, resume=True, damaged=True) as claim:
        plan = _resumed(engine, claim)
        # From here on no job writes; who has begun to, shows in the listing.
        _set_state(engine, plan, "finishing")
        progress = Progress.of(engine, plan)
        try:
            if _is_committed(claim, plan):
                claim.give_up(settled=True)
            else:
                _require_complete(progress)
                publish = _join if plan.partitions else _commit
                publish(engine, claim, plan, progress, started)
        except BaseException as error:
            try:
                if _is_certainly_refused(claim, error):
                    _set_state(engine, plan, "open")
            finally:
                claim.leave_filling(plan.path)  # to be finished once more
            raise
    _forget(engine, claim)


def _is_certainly_refused(claim: Claim, error: BaseException) -> bool:
    """Whether nothing was committed when this was raised, nor will be, so that jobs may go on."""
    return isinstance(error, Exception) and not isinstance(error, (StorageError, ClaimLostError)) and not claim.in_doubt


def _resumed(engine: PlainEngine, claim: Claim) -> Plan:
    try:
        return read_plan(engine, claim.path, claim.plan)
    except NotFillingError:
        claim.give_up(settled=False)
        raise


def _is_committed(claim: Claim, plan: Plan) -> bool:
    """Whether a process that died when it finished the value has done so."""
    return claim.previous is not None and claim.previous.attributes.get("zdb_filling") == plan.id


def _require_complete(progress: Progress) -> None:
    if not progress.complete:
        raise MissingPartsError(progress.describe_missing())


def _require_objects(engine: PlainEngine, plan: Plan) -> None:
    sizes = {one.path: one.size for one in engine.nodes.list_status(plan.key)}
    gone = {
        name: places
        for name, array in plan.node.arrays.items()
        if (places := [place for place in array.places() if not sizes.get(array.object_path(place))])
    }
    if not gone:
        return
    variables = {name: variable for variable in plan.variables for name in variable.arrays}
    names = [plan.node.arrays[name].object_path(place) for name, places in gone.items() for place in places]
    what = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    in_memory = [name for name in gone if name not in variables]
    if in_memory:
        raise MissingChunkError(
            f"{plan.key}: {what} are not in the store any more, and {in_memory[0]!r} was written by db.create, not by "
            f"a job; give the filling up by db.discard({plan.key!r}) and begin it again"
        )
    regions = [
        Part.of(plan, plan.region_of(variables[name], plan.node.arrays[name], place), [variables[name].name])
        for name, places in gone.items()
        for place in places
    ]
    raise lost(engine, plan, regions, f"{what} are not in the store any more")


def _join(engine: PlainEngine, claim: Claim, plan: Plan, progress: Progress, started: float) -> None:
    """Write the table that the partitions are together."""
    from zdb.formats.dask_tables import PartitionedTable

    table = joined(engine, plan)

    def seal(previous: Node | None, generation: int) -> dict[str, Any]:  # noqa: ARG001
        engine.create_databases(split(plan.key)[0])
        return {**plan.node.attributes, **_provenance(engine, plan, progress, started)}

    engine.publish_parts(claim, PartitionedTable(table), seal, layout_options(plan))


def _commit(engine: PlainEngine, claim: Claim, plan: Plan, progress: Progress, started: float) -> None:
    _require_objects(engine, plan)
    documents = plan.node.below_documents()
    if claim.previous is not None:
        documents[previous_path(plan.key)] = claim.previous.document  # its chunks are still there
    engine.create_databases(split(plan.key)[0])
    claim.check()
    for place, document in documents.items():
        engine.nodes.stage(place, dump(document))
    engine.nodes.sync(plan.key)
    attributes = {**plan.node.attributes, **_provenance(engine, plan, progress, started)}
    node = dump({**plan.node.document, "attributes": attributes})
    claim.commit(lambda previous, generation: node)  # noqa: ARG005


def _provenance(engine: PlainEngine, plan: Plan, progress: Progress, started: float) -> dict[str, Any]:
    own = {"zdb_filling": plan.id, "zdb_parts": progress.summary()}
    return {**provenance(engine, started), **own}


def discard(engine: PlainEngine, path: str) -> None:
    """Give up a filling; errors as in :meth:`zdb.Database.discard`."""
    try:
        read_plan(engine, path)
    except (CorruptChunkError, NotFillingError) as error:
        record = engine.claims.state(path)
        if isinstance(error, NotFillingError) and (record is None or record.state != "filling"):
            raise
        _discard_damaged(engine, path)
        return
    with engine.claims.take(path, resume=True, damaged=True, blocking=False) as claim:
        plan = _resumed(engine, claim)
        if state_of(engine.nodes, plan) == "finishing" and not _is_committed(claim, plan):
            # Who was stopped just before the commit may come back and carry it out: nothing may be missing then.
            raise NotFillingError(
                f"{path}: was being finished when that ended; db.finish({path!r}) completes it, or opens it again if "
                "parts are missing"
            )
        _set_state(engine, plan, "discarding")
        kept = set() if claim.previous is None else set(claim.previous.object_paths())
        own = {one for array in plan.node.arrays.values() for one in array.object_paths()} - kept
        engine.nodes.delete(one for one in engine.nodes.list_objects(path) if one in own)
        engine.nodes.prune(path)
        claim.give_up(settled=False)  # chunks may be on their way, so the next writer takes other names
    _forget(engine, claim)


def _discard_damaged(engine: PlainEngine, path: str) -> None:
    """Give up a filling whose plan is lost or cannot be read; what was written of it is left to garbage collection."""
    with engine.claims.take(path, resume=True, damaged=True, blocking=False) as claim:
        claim.give_up(settled=False)
    _forget(engine, claim)


def _forget(engine: PlainEngine, claim: Claim) -> None:
    """Remove a plan that no claim names any more; gc does, should this fail or the process die before."""
    if claim.plan and claim.token not in given_back:
        with suppress(ZdbError):
            engine.nodes.delete_tree(claim.plan)
