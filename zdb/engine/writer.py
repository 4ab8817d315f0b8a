"""Publishing a Dataset as a value: chunks first, then the metadata of arrays, then one object that makes it visible.

The protocol is described in ``docs/format.md``, "Writing".
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.core.metadata import ArrayV3Metadata

from zdb.attributes import FORMAT_ATTRIBUTES
from zdb.engine.chunks import ArrayTarget
from zdb.engine.computing import close_everywhere, store
from zdb.engine.gate import Gate
from zdb.engine.layout import choose_codecs, choose_layout, write_unit
from zdb.engine.node import ArrayNode, Node, dump, group_document, is_chunk_of, key_encoding, node_path, previous_path
from zdb.engine.store import LocalNodes
from zdb.errors import ClaimLostError, StorageError, UnsupportedValueError, WriteError, ZdbError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zdb.engine.claim import Claim
    from zdb.engine.options import LayoutOptions
    from zdb.engine.store import NodeStore

__all__ = ["Seal", "begin_node", "below_documents", "check_plan", "publish", "write_arrays"]

# The types that lie in the store; formats turn all others into these.
_STORED_KINDS = "biufcT"
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
    plan = _Plan(path, _groups(encoded), claim.generation, options)
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


def _clear_leftovers(nodes: NodeStore, claim: Claim, plan: _Plan, check_below: Callable[[str], object]) -> None:
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
    plan = _Plan(claim.path, {"": encoded}, claim.generation, options)
    _clear_leftovers(nodes, claim, plan, check_below)
    return Node(claim.path, plan.top_document(attributes))


def check_plan(path: str, encoded: xr.Dataset | xr.DataTree, options: LayoutOptions) -> None:
    """Refuse what cannot be stored, or not with these options, before anything of it is written."""
    _Plan(path, _groups(encoded), 0, options)


def write_arrays(nodes: NodeStore, claim: Claim, node: Node, encoded: xr.Dataset, names: Iterable[str]) -> None:
    """Write all chunks of some arrays of a planned node."""
    sources = [(node.arrays[name], encoded.variables[name]) for name in names]
    _write_chunks(nodes, claim.path, sources, Gate(claim.fence))


def below_documents(node: Node) -> dict[str, JSONDict]:
    """Return the metadata of the arrays of a value by the paths of their objects."""
    return {node_path(array.path): array.metadata for array in node.arrays.values()}


class _Plan:
    """The metadata of all groups and arrays of a value, and where the data of each array comes from."""

    def __init__(self, path: str, groups: dict[str, xr.Dataset], generation: int, options: LayoutOptions) -> None:
        self.path = path
        self.generation = generation
        self.options = options
        self.groups: dict[str, JSONDict] = {}
        self.sources: list[tuple[ArrayNode, xr.Variable]] = []
        for group, dataset in groups.items():
            self.groups[group] = _group_attributes(path, dataset)
            for name, variable in dataset.variables.items():
                array_path = "/".join(filter(None, (path, group, str(name))))
                self.sources.append((self._plan_array(array_path, variable), variable))
        try:
            options.require_fit({node.path[len(path) + 1 :]: variable for node, variable in self.sources})
        except UnsupportedValueError as error:
            raise UnsupportedValueError(f"{path}: {error}") from error

    def _plan_array(self, path: str, variable: xr.Variable) -> ArrayNode:
        dtype = variable.dtype
        if dtype.kind not in _STORED_KINDS or not dtype.isnative:
            raise UnsupportedValueError(
                f"{path}: an array of dtype {dtype} cannot be stored; this is a defect of the format"
            )
        if any(size != size for size in variable.shape):  # NaN: dask does not know the size
            raise UnsupportedValueError(
                f"{path}: the dask array has chunks of unknown size; call compute_chunk_sizes() on it first"
            )
        options, encoding = self.options, variable.encoding
        try:
            layout = encoding.get("zdb_layout") or choose_layout(
                variable.shape,
                dtype,
                parts=_typical_part(variable),
                chunks=options.chunks_of(variable) or encoding.get("chunks"),
                shards=options.shards_of(variable) or encoding.get("shards"),
            )
            codecs = choose_codecs(dtype, layout, encoding.get("zdb_codec", options.codec))
        except UnsupportedValueError as error:
            raise UnsupportedValueError(f"{path}: {error}") from error
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(variable.shape),
            "data_type": "string" if dtype.kind == "T" else dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": list(layout.objects)},
            },
            "chunk_key_encoding": key_encoding(self.generation),
            "fill_value": _fill_value(variable),
            "codecs": codecs,
            "attributes": _checked_attributes(path, variable.attrs),
            "dimension_names": list(map(str, variable.dims)),
            "storage_transformers": [],
        }
        if options.codec is not None and options.codec is not False:
            _require_codec(path, metadata, options.codec)
        return ArrayNode(path, metadata)

    @property
    def is_lazy(self) -> bool:
        """Whether any array is computed while it is written."""
        return any(variable.chunks is not None for _, variable in self.sources)

    def own_chunks(self, paths: Iterable[str]) -> list[str]:
        """Return those of the paths that are the keys of chunks of this generation of these arrays."""
        prefixes = [f"{node.path}/" for node, _ in self.sources]
        return [
            path
            for path in paths
            if any(path.startswith(p) and is_chunk_of(self.generation, path[len(p) :]) for p in prefixes)
        ]

    def metadata(self) -> dict[str, JSONDict]:
        """Return the metadata of groups and arrays by path, without that of the value itself."""
        groups = {node_path(f"{self.path}/{name}"): group_document(own) for name, own in self.groups.items() if name}
        return groups | {node_path(node.path): node.metadata for node, _ in self.sources}

    def top_document(self, attributes: JSONDict) -> JSONDict:
        """Return the ``zarr.json`` of the value, which holds the metadata of all that lies below it."""
        start = len(self.path) + 1
        below = {name: group_document(own) for name, own in self.groups.items() if name} | {
            node.path[start:]: node.metadata for node, _ in self.sources
        }
        consolidated = {"kind": "inline", "must_understand": False, "metadata": below}
        document = group_document({**self.groups[""], **attributes})
        return {**document, "consolidated_metadata": consolidated}


def _groups(encoded: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    if isinstance(encoded, xr.Dataset):
        return {"": encoded}
    return {node.path.strip("/"): node.to_dataset(inherit=False) for node in encoded.subtree}


def _group_attributes(path: str, dataset: xr.Dataset) -> JSONDict:
    coords = [str(name) for name, c in dataset.coords.items() if c.dims != (name,)]
    made = _checked_attributes(path, dataset.attrs)
    reserved = [n for n in made if n.startswith("zdb_") and n not in FORMAT_ATTRIBUTES]
    if reserved or "coordinates" in made:
        raise UnsupportedValueError(
            f"{path}: the format sets attributes that belong to the engine: {', '.join(reserved) or 'coordinates'}"
        )
    plain = [name for name in coords if " " not in name]
    if plain:
        made["coordinates"] = " ".join(plain)
    if len(plain) < len(coords):
        made["zdb_coordinates"] = json.dumps([name for name in coords if " " in name])
    return made


def _checked_attributes(path: str, attributes: dict[Any, Any]) -> JSONDict:
    try:
        dump(attributes)
    except (TypeError, ValueError) as error:
        raise UnsupportedValueError(f"{path}: attributes are not plain JSON: {error}") from error
    return dict(attributes)


def _require_codec(path: str, metadata: JSONDict, codec: Any) -> None:
    """Refuse a codec of which zarr makes no array."""
    try:
        ArrayV3Metadata.from_dict(metadata)
    except Exception as error:
        raise UnsupportedValueError(
            f"{path}: codec={codec!r} is none that zarr takes here ({type(error).__name__}: {error}); give one such as "
            "zarr.codecs.BloscCodec(), its dict, or False"
        ) from error


def _typical_part(variable: xr.Variable) -> tuple[int, ...] | None:
    if variable.chunks is None or not all(map(all, variable.chunks)):
        return None
    return tuple(max(sizes) for sizes in variable.chunks)


def _fill_value(variable: xr.Variable) -> Any:
    """Return the fill value as JSON. An array without dimensions has no chunk: its value is its fill value."""
    kind = variable.dtype.kind
    value = variable.values[()] if not variable.ndim else None
    if kind == "T":
        return "" if value is None else str(value)
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value or 0)
    if kind == "f":
        return "NaN" if value is None else _float_json(value)
    return ["NaN", "NaN"] if value is None else [_float_json(value.real), _float_json(value.imag)]


def _float_json(value: Any) -> float | str:
    if np.isfinite(value):
        return float(value)
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # The bits tell one NaN from another.
    return f"0x{np.asarray(value, value.dtype.newbyteorder('>')).tobytes().hex()}"


def _write_chunks(nodes: NodeStore, path: str, sources: Iterable[tuple[ArrayNode, xr.Variable]], gate: Gate) -> None:
    eager, lazy_from, lazy_to = [], [], []
    for node, variable in sources:
        if 0 in variable.shape or not variable.ndim:
            continue
        target = ArrayTarget(nodes, node, gate)
        if variable.chunks is None:
            eager.append((target, variable))
        else:
            part = _typical_part(variable) or variable.shape
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


def _close(gate: Gate, plan: _Plan) -> None:
    """Close the gate wherever chunks of the plan are written."""
    if plan.is_lazy:
        close_everywhere(gate)
    else:
        gate.close()


def _in_memory(variable: xr.Variable) -> np.ndarray[Any, Any]:
    """Return the data of a variable; a memory-mapped file stays on disk."""
    data = variable.data
    return data if isinstance(data, np.ndarray) else variable.values


def _write_metadata(nodes: NodeStore, plan: _Plan, previous: Node | None) -> None:
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


def _discard(nodes: NodeStore, claim: Claim, plan: _Plan) -> None:
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
