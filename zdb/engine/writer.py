"""Publishing a Dataset as a value: chunks first, then the metadata of arrays, then one object that makes it visible.

The protocol is described in ``docs/format.md``, "Writing".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.engine.chunks import ArrayTarget
from zdb.engine.computing import close_everywhere, store
from zdb.engine.gate import Gate
from zdb.engine.layout import write_unit
from zdb.engine.node import ArrayNode, Node, dump, node_path, previous_path
from zdb.engine.store import LocalNodes
from zdb.engine.value_plan import ValuePlan, groups_of, typical_part
from zdb.errors import ClaimLostError, StorageError, WriteError, ZdbError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from zdb.engine.claim import Claim
    from zdb.engine.options import LayoutOptions
    from zdb.engine.store import NodeStore

__all__ = ["Seal", "begin_node", "check_plan", "publish", "write_arrays"]

_CONCURRENT_ARRAYS = 8
JSONDict = dict[str, Any]


Seal = Callable[[Node | None, int], JSONDict]


def publish(
    nodes: NodeStore,
    claim: Claim,
    encoded: xr.Dataset | xr.DataTree,
    seal: Seal,
    options: LayoutOptions,
    check_below: Callable[[str], object] = lambda _: None,
) -> None:
    """Write a value so that a reader sees the old one or the new one, never a part.

    Parameters
    ----------
    nodes : NodeStore
    claim : Claim
        Of the key; it says which generation to write, and is held until the value is visible.
    encoded : xarray.Dataset or xarray.DataTree
        The value as its format encoded it; dask arrays are computed while they are written.
    seal : callable
        Called with what is replaced and the generation when all chunks are written, just before the commit; returns the
        attributes of the engine for the node.
    options : LayoutOptions
    check_below : callable, optional
        Raises if others write below the path of a new value, or values lie there.

    Raises
    ------
    UnsupportedValueError
        A variable has a type, name or chunks that cannot be stored; nothing was written.
    WriteError
        Computing the data failed half-way. The old value is intact.
    StorageError
        The store failed. The old value is intact.
    ClaimLostError
        Another writer has taken over. What it writes is intact.
    """
    path = claim.path
    plan = ValuePlan(path, groups_of(encoded), claim.generation, options)
    gate = Gate(claim.fence)
    _clear_leftovers(nodes, claim, plan, check_below)
    try:
        _write_chunks(nodes, path, plan.sources, gate)
        claim.check()
        _write_metadata(nodes, plan, claim.previous)
        nodes.sync(path)
        claim.commit(lambda previous, generation: dump(plan.top_document(seal(previous, generation))))
    except BaseException as error:
        _close(gate, plan)
        # What got no answer may be carried out later, and must not meet the chunks of the next write.
        is_unanswered = nodes.loses_answers and (isinstance(error, StorageError) or not isinstance(error, Exception))
        claim.give_up(settled=not gate.was_sent and not claim.in_doubt and not is_unanswered)
        if not isinstance(error, ClaimLostError) and not claim.in_doubt:
            _discard(nodes, claim, plan)
        if isinstance(error, Exception) and not isinstance(error, (ZdbError, MemoryError)):
            raise WriteError(
                f"{path}: writing failed, the key is as it was before: {type(error).__name__}: {error}"
            ) from error
        raise


def _clear_leftovers(nodes: NodeStore, claim: Claim, plan: ValuePlan, check_below: Callable[[str], object]) -> None:
    """Remove what lies in the way of new chunks: all that is not of the current generation.

    When the claim was taken over from a writer that may still be at work, what that has written stays, because it may
    yet commit it.
    """
    # A small value, which needs no claim, may just have been written where nothing was.
    kept = {node_path(claim.path)} if claim.previous is None else set(claim.previous.object_paths())
    left = [path for path in nodes.list_objects(claim.path) if path not in kept]
    if left and claim.previous is None:
        check_below(claim.path)
    if not claim.is_clean:
        left = plan.own_chunks(left)
    claim.check()
    nodes.delete(left)
    nodes.prune(claim.path)  # where a chunk c/0/0 was, c/0 may come now


# What is done in one go above is done step by step where many processes write one value.


def begin_node(
    nodes: NodeStore,
    claim: Claim,
    encoded: xr.Dataset,
    options: LayoutOptions,
    attributes: JSONDict,
    check_below: Callable[[str], object],
) -> Node:
    """Return the node that a value will have, with attributes of the engine, and make room for its chunks."""
    plan = ValuePlan(claim.path, {"": encoded}, claim.generation, options)
    _clear_leftovers(nodes, claim, plan, check_below)
    return Node(claim.path, plan.top_document(attributes))


def check_plan(path: str, encoded: xr.Dataset | xr.DataTree, options: LayoutOptions) -> None:
    """Refuse what cannot be stored, or not with these options, before anything of it is written."""
    ValuePlan(path, groups_of(encoded), 0, options)


def write_arrays(nodes: NodeStore, claim: Claim, node: Node, encoded: xr.Dataset, names: Iterable[str]) -> None:
    """Write all chunks of some arrays of a planned node."""
    sources = [(node.arrays[name], encoded.variables[name]) for name in names]
    _write_chunks(nodes, claim.path, sources, Gate(claim.fence))


def _write_chunks(nodes: NodeStore, path: str, sources: Iterable[tuple[ArrayNode, xr.Variable]], gate: Gate) -> None:
    eager, lazy_from, lazy_to = [], [], []
    for node, variable in sources:
        if 0 in variable.shape or not variable.ndim:
            continue
        target = ArrayTarget(nodes, node, gate)
        if variable.chunks is None:
            eager.append((target, variable))
        else:
            part = typical_part(variable) or variable.shape
            unit = write_unit(node.object_shape, part, variable.shape)
            lazy_from.append(variable.data.rechunk(unit))
            lazy_to.append(target)

    def write(job: tuple[ArrayTarget, xr.Variable]) -> None:
        job[0].write(_in_memory(job[1]))

    if len(eager) == 1 or isinstance(nodes, LocalNodes):
        for job in eager:
            write(job)
    else:
        with ThreadPoolExecutor(_CONCURRENT_ARRAYS) as pool:
            list(pool.map(write, eager))
    if lazy_from:
        store(path, lazy_from, lazy_to)


def _close(gate: Gate, plan: ValuePlan) -> None:
    """Close the gate wherever chunks of the plan are written."""
    if plan.is_lazy:
        close_everywhere(gate)
    else:
        gate.close()


def _in_memory(variable: xr.Variable) -> np.ndarray[Any, Any]:
    """Return the data of a variable; a memory-mapped file stays on disk."""
    data = variable.data
    return data if isinstance(data, np.ndarray) else variable.values


def _write_metadata(nodes: NodeStore, plan: ValuePlan, previous: Node | None) -> None:
    documents = plan.metadata()
    if previous is not None:
        documents[previous_path(plan.path)] = previous.document  # its chunks are still there

    def write(path: str) -> None:
        nodes.stage(path, dump(documents[path]))

    if len(documents) < 2 or isinstance(nodes, LocalNodes):
        for path in documents:
            write(path)
    else:
        with ThreadPoolExecutor(_CONCURRENT_ARRAYS) as pool:
            list(pool.map(write, documents))


def _discard(nodes: NodeStore, claim: Claim, plan: ValuePlan) -> None:
    """Remove what a failed write left; what cannot be removed now is cleared by the next write.

    What the store holds now decides: a commit can have succeeded although its answer was lost.
    """
    with contextlib.suppress(ZdbError):
        claim.check(ask=True)
        claim.look_again()
        kept = set() if claim.previous is None else set(claim.previous.object_paths())
        written = {*plan.own_chunks(nodes.list_objects(plan.path)), *plan.metadata(), previous_path(plan.path)}
        nodes.delete(written - kept)
        nodes.prune(plan.path)
