"""From a URL to a store: the only module that knows about protocols."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.engine.conditional import MemoryNodes, S3Nodes
from zdb.engine.local import LocalNodes
from zdb.engine.nodes import NodeStore, translated
from zdb.engine.remote import ZarrNodes
from zdb.errors import DatabaseNotFoundError, InvalidSettingError, StorageError
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, MemoryStore

__all__ = ["LocalNodes", "NodeStore", "ZarrNodes", "open_store", "places_above"]

_memory: dict[str, MemoryStore] = {}  # by URL


def _open_memory(url: str, *, read_only: bool = False) -> ZarrNodes:
    """Open the store of this name in this process; all who name it share it."""
    from zarr.storage import MemoryStore

    store = _memory.setdefault(url, MemoryStore())
    return MemoryNodes(url, store, read_only=read_only, reopen=(_reopen_memory, (url, os.getpid(), read_only)))


def _reopen_memory(url: str, process: int, read_only: bool) -> ZarrNodes:
    if process != os.getpid():
        raise StorageError(f"{url} lives in the memory of process {process} and cannot be reached from {os.getpid()}")
    return _open_memory(url, read_only=read_only)


def _open_zip(path: str) -> ZarrNodes:
    from zarr.storage import ZipStore

    if not Path(path).exists():
        raise DatabaseNotFoundError(f"{path}: there is no such file; zip files are only read, so write to a folder")
    with translated(path, "", "read"):
        store = ZipStore(path, mode="r")
        store._sync_open()  # noqa: SLF001 - opened by the first asynchronous call otherwise
    nodes = ZarrNodes(path, store, read_only=True, reopen=(_open_zip, (path,)))
    nodes.how_to_write = "zip files are only read, with mode='r'; unpack it into a folder to write"
    return nodes


def _open_fsspec(url: str, storage_options: Mapping[str, Any] | None, read_only: bool) -> ZarrNodes:
    from zarr.storage import FsspecStore

    _require_protocols(url)
    # A cached listing hides what other processes write.
    options = {"use_listings_cache": False, **(storage_options or {})}
    with translated(redact_url(url), "", "read"):
        store: FsspecStore = FsspecStore.from_url(url, storage_options=options)
    reopen = (_open_fsspec, (url, storage_options, read_only))
    kind = S3Nodes if _is_s3(store) else ZarrNodes
    return kind(redact_url(url), store, read_only=read_only, reopen=reopen)


def _require_protocols(url: str) -> None:
    from fsspec import available_protocols

    known = available_protocols()
    for protocol in url.partition("://")[0].split("::"):
        if protocol not in known:
            near = difflib.get_close_matches(protocol.lower(), known, n=1)
            hint = f"; did you mean {near[0]}://?" if near else "; fsspec.available_protocols() lists those there are"
            raise InvalidSettingError(f"{redact_url(url)}: there is no protocol {protocol!r}{hint}")


def _require_no_protocol(path: str) -> None:
    """Raise for a URL that lost a slash, as by :class:`pathlib.Path`, which would be a local folder."""
    protocol, slash, rest = path.partition("/")
    if not slash or not protocol.endswith(":"):
        return
    from fsspec import available_protocols

    if protocol[:-1].rpartition("::")[2] in available_protocols():
        whole = f"{protocol}//{'/' * (protocol in ('file:', 'local:'))}{rest}"
        raise InvalidSettingError(
            f"{redact_url(whole)}: was given with one slash; a URL has two, and is a str, since Path drops one. For a "
            f"local folder {protocol!r}, begin with './'"
        )


def _is_s3(store: FsspecStore) -> bool:
    protocol = store.fs.protocol
    return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)


def _nodes_of(store: Store, *, read_only: bool) -> NodeStore:
    """Return the nodes of a zarr store, in the way that keeps several writers apart, where there is one."""
    from zarr.storage import FsspecStore, LocalStore, MemoryStore

    if isinstance(store, LocalStore):
        return LocalNodes(store.root, read_only=read_only)
    if isinstance(store, FsspecStore) and _is_s3(store):
        return S3Nodes(str(store), store, read_only=read_only)
    kind = MemoryNodes if isinstance(store, MemoryStore) else ZarrNodes
    return kind(str(store), store, read_only=read_only)


def open_store(
    url: str | os.PathLike[str] | Store,
    storage_options: Mapping[str, Any] | None = None,
    *,
    read_only: bool = False,
    durability: str | None = None,
) -> NodeStore:
    """Open the store that a URL names.

    Parameters
    ----------
    url : str, path-like or zarr.abc.store.Store
        A local path or ``file://`` URL, a path that ends in ``.zip`` (read-only), ``memory://name``, any other fsspec
        URL (``s3://bucket/path``), or a zarr store.
    storage_options : mapping, optional
        Passed to the fsspec file system.
    read_only : bool
        Refuse to write.
    durability : {"commit", "none"}, optional
        Whether writes to the local disk wait for it; by default what the setting says.

    Raises
    ------
    InvalidSettingError
        It is no path, URL or store, or the protocol is not known.
    StorageError
        The store cannot be opened.
    """
    if not isinstance(url, (str, os.PathLike)):
        from zarr.abc.store import Store

        if not isinstance(url, Store):
            raise InvalidSettingError(f"url is a path, a URL or a zarr store, not {url!r}")
        return _nodes_of(url, read_only=read_only or url.read_only)
    text = os.fspath(url)
    if not isinstance(text, str):
        raise InvalidSettingError(f"url is a path as str, not as bytes: {text!r}")
    protocol, separator, rest = text.partition("://")
    if not separator or protocol == "file":
        path = rest if separator else text
        if not path:
            raise InvalidSettingError("url is empty; '.' is the working directory")
        _require_no_protocol(path)
        if path.endswith(".zip") and not Path(path).is_dir():
            return _open_zip(path)
        return LocalNodes(path, read_only=read_only, durability=durability)
    if protocol == "memory":
        return _open_memory(text, read_only=read_only)
    return _open_fsspec(text, storage_options, read_only)


def places_above(url: str | os.PathLike[str] | Store) -> Iterator[tuple[str, str]]:
    """Yield the places above one, the nearest first, each with the path from there.

    There are none above a zarr store, a name in memory, or a URL of several protocols.
    """
    if not isinstance(url, (str, os.PathLike)):
        return
    protocol, separator, rest = os.fspath(url).partition("://")
    if separator and protocol != "file":
        if protocol == "memory" or "::" in rest:
            return
        top, *names = rest.strip("/").split("/")
        start = f"{protocol}://{top}"
    else:
        folder = Path(rest if separator else protocol).expanduser().resolve()
        start, names = folder.anchor.rstrip("/"), list(folder.parts[1:])
    for depth in reversed(range(len(names))):
        yield "/".join([start, *names[:depth]]) or "/", "/".join(names[depth:])
