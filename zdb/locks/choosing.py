"""Which backend is used: the first that answers of those that are named."""

from __future__ import annotations

import importlib
import logging
import os
import re
import threading
from typing import TYPE_CHECKING, Any

from zdb import config
from zdb.errors import LockUnavailableError
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zdb.locks.backend import Backend

__all__ = ["candidates", "choose"]

# The module and class of each scheme, the packages that they need and the extra that brings them.
BACKENDS: dict[str, tuple[str, str, tuple[str, str] | None]] = {
    "file": ("zdb.locks.files", "FileBackend", None),
    "redis": ("zdb.locks.redis_server", "RedisBackend", ("redis", "zdb[redis]")),
    "rediss": ("zdb.locks.redis_server", "RedisBackend", ("redis", "zdb[redis]")),
    "unix": ("zdb.locks.redis_server", "RedisBackend", ("redis", "zdb[redis]")),
    "zookeeper": ("zdb.locks.zookeeper", "ZooKeeperBackend", ("kazoo", "zdb[zookeeper]")),
    "s3": ("zdb.locks.bucket", "BucketBackend", None),
    "dask": ("zdb.locks.dask_cluster", "DaskBackend", ("distributed", "distributed")),
    "none": ("zdb.locks.nothing", "NoBackend", None),
}
# A comma separates two URLs; in the URL of ZooKeeper also two hosts, as in "a:2181,b:2181".
_SEPARATOR = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+]*:(?!\d))|\s*,\s*$")

logger = logging.getLogger("zdb.locks")
_mutex = threading.Lock()
_chosen: dict[Any, tuple[Backend, str]] = {}


def candidates(url: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the URLs that are named, or those of the setting ``lock``."""
    wanted = config.get("lock") if url is None else url
    parts = [wanted] if isinstance(wanted, str) else [str(part) for part in wanted or ()]
    urls = tuple(one.strip() for part in parts for one in _SEPARATOR.split(part) if one and one.strip())
    if not urls:
        raise LockUnavailableError("the setting lock names no backend; name none: to work without locks")
    for one in urls:
        if one.partition(":")[0] not in BACKENDS or ":" not in one:
            known = ", ".join(f"{scheme}:" for scheme in BACKENDS)
            raise LockUnavailableError(f"{redact_url(one)!r} names no backend of locks; there are {known}")
    return urls


def choose(urls: tuple[str, ...], lease: float, storage_options: Mapping[str, Any] | None) -> tuple[Backend, str]:
    """Return the first backend that answers, and the URL that names it.

    A process that used it once stays with it: it would not exclude the others if it went to another one meanwhile.

    Raises
    ------
    LockUnavailableError
        None answers; the message says why of each.
    """
    options = repr(sorted(storage_options.items())) if storage_options else None
    chosen = (os.getpid(), urls, lease, options)
    with _mutex:
        if chosen not in _chosen:
            _chosen[chosen] = _first_that_answers(urls, lease, storage_options)
        return _chosen[chosen]


def _first_that_answers(
    urls: tuple[str, ...], lease: float, storage_options: Mapping[str, Any] | None
) -> tuple[Backend, str]:
    reasons: list[str] = []
    for url in urls:
        backend = _backend_class(url)
        try:
            found = backend.connect(url, lease, storage_options)
        except LockUnavailableError as error:
            reasons.append(str(error))
            continue
        if reasons:
            logger.warning("locks are kept by %s, because %s", found.url, "; ".join(reasons))
        else:
            logger.info("locks are kept by %s", found.url)
        return found, url
    raise LockUnavailableError(f"no backend of locks answers: {'; '.join(reasons)}")


def _backend_class(url: str) -> type[Backend]:
    module, name, package = BACKENDS[url.partition(":")[0]]
    try:
        found: type[Backend] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if package is None or (error.name or "").partition(".")[0] != package[0]:
            raise
        # Not passed over: where others have the package, they would use a lock that this process does not see.
        raise LockUnavailableError(
            f"{redact_url(url)} needs the package {package[0]}: pip install '{package[1]}'"
        ) from error
    return found
