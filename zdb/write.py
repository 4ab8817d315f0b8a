"""Writing one value: choose its format, encode it, and publish it with its provenance."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb import config
from zdb.engine.node import FOREIGN, VALUE, Node, node_path
from zdb.engine.options import LayoutOptions
from zdb.errors import (
    ClaimLostError,
    FormatNotInstalledError,
    KeyConflictError,
    KeyExistsError,
    UnsupportedValueError,
    WriteError,
    ZdbError,
)
from zdb.formats import registry
from zdb.formats.objects import encode_attributes
from zdb.keys import join, split
from zdb.provenance import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    import xarray as xr

    from zdb.engine.claim import Claim
    from zdb.engine.plain import PlainEngine
    from zdb.provenance import Provenance

__all__ = ["WriteRequest", "attrs_text", "check_replaceable", "write"]


@dataclass(frozen=True)
class WriteRequest:
    """What a caller asked for; see :meth:`zdb.Database.set`."""

    format: str | None = None
    chunks: Any = None
    shards: Any = None
    codec: Any = None
    overwrite: bool = True
    attrs: Mapping[str, Any] | None = None
    provenance: Provenance | None = None
    progress: bool | None = None
    inputs: tuple[str, ...] = ()
    source: str = ""  # the file that is imported, see zdb.exchange.sources


def write(engine: PlainEngine, path: str, value: Any, request: WriteRequest, claim: Claim | None = None) -> None:
    """Write a value, or a folder as a sub-database of its files; errors as in :meth:`zdb.Database.set`.

    The `claim` of the path is taken, unless the caller holds it.
    """
    if request.format is None and isinstance(value, Path) and value.is_dir():
        _write_folder(engine, path, value, request, claim)
        return
    with _progress(path, value, request):
        _write_value(engine, path, value, request, claim)


def _progress(path: str, value: Any, request: WriteRequest) -> AbstractContextManager[None]:
    """Show how far the computation is, if that is wanted and there is one."""
    shown = config.get("progress") if request.progress is None else request.progress
    lazy = hasattr(value, "__dask_graph__") and value.__dask_graph__() is not None
    if not shown or not lazy:
        return nullcontext()
    from zdb.engine.computing import showing_progress

    return showing_progress(path)


def _write_value(
    engine: PlainEngine,
    path: str,
    value: Any,
    request: WriteRequest,
    held: Claim | None = None,
    covering: Claim | None = None,
) -> None:
    """Write a value under a claim of its own, which may be held, or below a path of which the claim is held."""
    started = time.perf_counter()
    options = _naming(path, LayoutOptions.of, request)
    if request.format is not None:
        try:
            chosen = registry.by_name(request.format)
        except FormatNotInstalledError as error:
            raise FormatNotInstalledError(f"{path}: {error}") from error
    else:
        chosen = _naming(path, registry.for_value, value)
    encoded: xr.Dataset | xr.DataTree | None = None
    attrs = {"zdb_attrs": attrs_text(path, request.attrs)} if request.attrs else {}
    if request.source:
        attrs["zdb_source"] = request.source

    def seal(previous: Node | None, generation: int) -> dict[str, Any]:
        if covering is None:
            check_replaceable(engine, path, previous, request, look=chosen.name != "json")
            engine.create_databases(split(path)[0])
        if encoded is not None:
            chosen.check_written(encoded)
        duration = round(time.perf_counter() - started, 6)
        captured = (
            capture(duration, request.inputs) if request.provenance is None else request.provenance.recorded(duration)
        )
        for place, record in captured.records.items():
            engine.records.write(place, record)
        own = engine.value_attributes(chosen.name, chosen.version, previous, generation)
        return {**own, **attrs, **captured.attributes}

    if chosen.name == "json":
        _naming(path, options.require_fit, {})
        small = _naming(path, encode_attributes, value)
        engine.publish_small(path, lambda previous, generation: {**small, **seal(previous, generation)}, held)
        return
    partitioned = _naming(path, chosen.partitioned, value)
    if partitioned is None:
        encoded = _naming(path, chosen.encode, value)
    with covering.covering(path) if covering is not None else _claimed(engine, path, held) as claim:
        if covering is None:
            check_replaceable(engine, path, claim.previous, request)
        if partitioned is not None:
            engine.publish_parts(claim, partitioned, seal, options)
        elif encoded is not None:
            engine.publish(claim, encoded, seal, options)


def _claimed(engine: PlainEngine, path: str, held: Claim | None) -> AbstractContextManager[Claim]:
    """The claim of a path, which its holder releases if it is held."""
    return engine.claim(path, damaged=True) if held is None else nullcontext(held)


def check_replaceable(
    engine: PlainEngine, path: str, previous: Node | None, request: WriteRequest, *, look: bool = True
) -> None:
    """Raise unless what stands at a path may be replaced; what cannot be read, for which there is no node, may be."""
    if previous is None:
        if not request.overwrite and engine.nodes.get(node_path(path)) is not None:
            raise KeyExistsError(f"{path}: exists, though it cannot be read, and overwrite=False was given")
        engine.check_vacant(path, look=look)
        if engine.may_have_more_below(path):
            engine.require_nothing_below(path)
    elif previous.kind == FOREIGN:
        raise KeyConflictError(f"{path}: holds plain Zarr that zdb did not write; delete it first")
    elif previous.kind != VALUE:
        raise KeyConflictError(f"{path}: is a sub-database; delete it first, or choose another key")
    elif not request.overwrite:
        raise KeyExistsError(f"{path}: exists, and overwrite=False was given")


def _write_folder(
    engine: PlainEngine, path: str, folder: Path, request: WriteRequest, held: Claim | None = None
) -> None:
    """Write the files of a folder; the node of the sub-database comes last and makes them visible."""
    from zdb.formats.folders import iter_folder

    if engine.node(path) is not None:
        raise KeyExistsError(f"{path}: exists; delete it before a folder is put there")
    engine.check_vacant(path)
    files = _naming(path, lambda found: list(iter_folder(found)), folder)
    with _claimed(engine, path, held) as claim:
        if claim.previous is not None:
            raise KeyExistsError(f"{path}: exists; delete it before a folder is put there")
        engine.check_vacant(path)
        engine.make_room(claim)
        try:
            for relative, file in files:
                if file.is_dir():
                    engine.create_database_under(claim.covering(join(path, relative)))
                    continue
                single = replace(request, format="file")
                _write_value(engine, join(path, relative), file, single, covering=claim)
            inner = {above for relative, _ in files for above in _parents(relative)}  # the folders that hold files
            for above in sorted(inner, key=lambda p: -p.count("/")):
                engine.create_database_under(claim.covering(join(path, above)))
            engine.create_databases(split(path)[0])
            engine.create_database_under(claim)
        except BaseException as error:
            claim.give_up(settled=not claim.in_doubt)
            if not isinstance(error, ClaimLostError) and not claim.in_doubt:
                engine.clear(path)
            raise


def _parents(relative: str) -> list[str]:
    names = relative.split("/")[:-1]
    return ["/".join(names[: i + 1]) for i in range(len(names))]


def _naming(path: str, function: Callable[[Any], Any], value: Any) -> Any:
    """Call a function of a format; its complaint about the value gets the key put in front."""
    try:
        return function(value)
    except UnsupportedValueError as error:
        raise UnsupportedValueError(f"{path}: {error}") from error
    except (ZdbError, MemoryError):
        raise
    except Exception as error:
        chosen = getattr(function, "__self__", None)
        if isinstance(chosen, registry.Format) and not registry.is_of_types(chosen, value):
            raise UnsupportedValueError(f"{path}: {registry.why_not(chosen, value)}") from error
        what = f"a {type(value).__module__}.{type(value).__qualname__}: {type(error).__name__}: {error}"
        raise WriteError(f"{path}: encoding failed, the key is as it was before: {what}") from error


def attrs_text(path: str, attrs: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(attrs), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnsupportedValueError(f"{path}: attrs are kept as JSON: {error}") from error
