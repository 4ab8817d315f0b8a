"""Writers whose clock is wrong, or who see the listings of some time ago."""

from __future__ import annotations

import datetime as datetimes
import sys
import time
from typing import TYPE_CHECKING, Any

from faults.workload import write

from zdb.engine.local import LocalNodes
from zdb.engine.remote import ZarrNodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.nodes import NodeStore

__all__ = ["collect_garbage_skewed", "skew_clock", "write_seeing_old_listings", "write_skewed"]


def skew_clock(seconds: float) -> None:
    """Let all of zdb in this process see a clock that is wrong; that of the store, and the monotonic one, are right."""
    right = time.time
    time.time = lambda: right() + seconds
    time.time_ns = lambda: int(time.time() * 1e9)

    class SkewedDatetime(datetimes.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetimes.datetime.fromtimestamp(time.time(), tz)

    import zdb.cli
    import zdb.engine.plain
    import zdb.maintenance.abilities
    import zdb.provenance  # noqa: F401

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "zdb" and vars(module).get("datetime") is datetimes.datetime:
            module.datetime = SkewedDatetime


def write_skewed(seconds: float, *arguments: Any) -> None:
    skew_clock(seconds)
    write(*arguments)


def collect_garbage_skewed(seconds: float, place: Any, grace: datetimes.timedelta, stop: Any, rounds: Any) -> None:
    """Collect garbage again and again, from a machine whose clock is wrong."""
    skew_clock(seconds)
    db = place.open()
    while not stop.is_set():
        db.gc(dry_run=False, grace=grace)
        rounds.value += 1


def write_seeing_old_listings(seconds: float, *arguments: Any) -> None:
    """Write with a view of the store in which listings are some seconds old."""
    for kind in (LocalNodes, ZarrNodes):
        for name in ("list_names", "list_objects", "list_status"):
            setattr(kind, name, _old(getattr(kind, name), seconds))
    write(*arguments)


def _old(function: Callable[[NodeStore, str], Any], seconds: float) -> Callable[[NodeStore, str], Any]:
    seen: dict[str, tuple[float, Any]] = {}

    def listing(nodes: NodeStore, path: str) -> Any:
        when, found = seen.get(path, (float("-inf"), None))
        if time.monotonic() - when > seconds:
            found = function(nodes, path)
            seen[path] = (time.monotonic(), found)
        return list(found)

    return listing
