"""A simulated bucket and writers that go on by one request at a time, in the order that a test chooses."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from zdb.engine.nodes import NodeStore, Tagged
from zdb.engine.remote import ZarrNodes
from zdb.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from zdb.engine.nodes import Tag

__all__ = ["FATES", "Actor", "Lock", "SimulatedNodes", "actor", "pause"]

T = TypeVar("T")
PATIENCE = 60
# What becomes of a request: carried out; refused by the network on its way; carried out without an answer; given up by
# its sender, and carried out later.
FATES = ["done", "failed", "lost", "late"]
_here = threading.local()


class Crash(BaseException):
    """Ends the thread of a writer that is killed."""


class Actor(threading.Thread):
    """A writer, of which one thread at a time runs: it, or the test that lets it go on to its next request."""

    def __init__(self, number: int, function: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.function = function
        self.is_over = self.is_dead = False
        self.error: BaseException | None = None
        self.waits_for = ""  # the path of its next request
        self._fate = "done"
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def run(self) -> None:
        _here.actor = self
        self._go.acquire()
        try:
            if not self.is_dead:
                self.function()
        except Crash:
            pass
        except BaseException as error:
            self.error = error
        self.is_over = True
        self._paused.release()

    def step(self, fate: str = "done") -> None:
        """Let it carry out the request before which it waits, and go on to the next one."""
        self._fate = fate
        self._go.release()
        assert self._paused.acquire(timeout=PATIENCE)

    def crash(self, fate: str) -> None:
        """Kill it; the request before which it waits may have been sent."""
        self.is_dead = True
        self.step(fate)

    def pause(self, path: str = "") -> str:
        self.waits_for = path
        self._paused.release()
        self._go.acquire()
        return self._fate


def actor() -> Actor | None:
    """The writer in whose thread this is called."""
    return getattr(_here, "actor", None)


def pause(*_: object) -> None:
    """Let others go on."""
    if (one := actor()) is not None:
        one.pause()
        if one.is_dead:
            raise Crash


class Lock:
    """A lock of a writer, held across requests; others of its threads let others go on meanwhile."""

    def __init__(self) -> None:
        self.holder: Actor | None = None
        self.depth = 0

    def __enter__(self) -> None:
        while self.depth and self.holder is not actor():
            pause()
        self.holder = actor()
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


class SimulatedNodes(ZarrNodes):
    """A bucket in a dict.

    Attributes
    ----------
    objects : dict
    under_way : list
        Requests that are carried out later.
    before_write : callable
        Called with the path and data of each object that is written, None if it is deleted, before that happens.
    """

    loses_answers = True

    def __init__(self) -> None:
        super().__init__("s3://simulated", None)  # type: ignore[arg-type]
        self.objects: dict[str, bytes] = {}
        self.under_way: list[tuple[str, Callable[[], object]]] = []
        self.before_write: Callable[[str, bytes | None], None] = lambda *_: None

    def _request(self, path: str, effect: Callable[[], T], *, writes: bool = True) -> T:
        one = actor()
        if one is None:
            return effect()
        if one.is_dead:
            raise Crash
        fate = one.pause(path)
        if writes and fate == "late":
            self.under_way.append((path, effect))
        if one.is_dead:
            raise Crash
        if fate == "done" or (writes and fate == "lost"):
            found = effect()
            if fate == "done":
                return found
        raise StorageError(f"{path}: no answer")

    def arrive(self, number: int) -> None:
        self.under_way.pop(number)[1]()

    def _put(self, path: str, data: bytes | None) -> None:
        self.before_write(path, data)
        if data is None:
            self.objects.pop(path, None)
        else:
            self.objects[path] = data

    def get(self, path: str) -> bytes | None:
        return self._request(path, lambda: self.objects.get(path), writes=False)

    def get_many(self, paths: list[str]) -> list[bytes | None]:
        return [self.get(path) for path in paths]

    def read_tagged_many(self, paths: list[str]) -> list[Tagged | None]:
        found = self.get_many(paths)
        return [None if data is None else Tagged(data, _tag(data)) for data in found]

    def set(self, path: str, data: bytes) -> None:
        self._request(path, lambda: self._put(path, data))

    def replace(self, path: str, data: bytes, tag: Tag | None, *, lasting: bool = True) -> Tag | None:
        def replace() -> Tag | None:
            now = self.objects.get(path)
            if (None if now is None else _tag(now)) != tag:
                return None
            self._put(path, data)
            return _tag(data)

        return self._request(path, replace)

    def remove(self, path: str, tag: Tag) -> bool:
        def remove() -> bool:
            now = self.objects.get(path)
            if now is not None and _tag(now) == tag:
                self._put(path, None)
            return path not in self.objects

        return self._request(path, remove)

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._request(path, lambda path=path: self._put(path, None))  # type: ignore[misc]

    def list_names(self, path: str) -> list[str]:
        start = f"{path}/" if path else ""
        return sorted({one[len(start) :].split("/")[0] for one in self.list_objects(path) if "/" in one[len(start) :]})

    def list_objects(self, path: str) -> list[str]:
        start = f"{path}/" if path else ""
        return self._request(path, lambda: sorted(one for one in self.objects if one.startswith(start)), writes=False)

    def _run(self, path: str, work: Coroutine[Any, Any, T], doing: str = "read") -> T:
        import asyncio

        return asyncio.run(work)

    async def _copy(self, source: str, target: str) -> None:
        def copy() -> None:
            if source not in self.objects:
                raise StorageError(f"{source}: is gone")
            self._put(target, self.objects[source])

        self._request(target, copy)

    missing = NodeStore.missing


def _tag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
