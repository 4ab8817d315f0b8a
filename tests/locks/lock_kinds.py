"""The backends of the conformance suite, and what other processes do with their locks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import zdb

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LEASE", "Holder", "Kind", "count_up"]

LEASE = 2.0


@dataclass(frozen=True)
class Kind:
    """One backend: its URL and what it takes to reach it; it can be sent to other processes."""

    name: str
    url: str
    options: dict[str, Any] = field(default_factory=dict)
    scheduler: str = ""
    has_lease: bool = True
    has_shared: bool = True

    def lock(self, name: str, **options: Any) -> zdb.Lock:
        self.connect()
        return zdb.lock(name, url=self.url, storage_options=self.options or None, lease=LEASE, **options)

    def connect(self) -> None:
        """Make a dask client the current one of this process."""
        if self.scheduler:
            import dask
            import distributed

            dask.config.set({"distributed.scheduler.locks.lease-timeout": f"{LEASE}s"})
            try:
                distributed.get_client()
            except ValueError:
                distributed.Client(self.scheduler)


def count_up(kind: Kind, name: str, times: int, folder: Path) -> list[int]:
    """Increment a number in a file that nothing but the lock protects; return the tokens."""
    lock = kind.lock(name, timeout=120)
    tokens = []
    for _ in range(times):
        with lock:
            number = int((folder / "number").read_text())
            tokens.append(lock.token or 0)
            with (folder / "tokens").open("a") as log:
                log.write(f"{lock.token}\n")
            (folder / "number").write_text(str(number + 1))
    return tokens


class Holder:
    """Another process, which acquires a lock at once and then does what it is told."""

    def __init__(self, kind: Kind, name: str, **options: Any) -> None:
        command = [sys.executable, __file__, json.dumps({"kind": asdict(kind), "name": name, "options": options})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.token: int = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)

    def ask(self, method: str) -> Any:
        """Call a method of the lock there; return the name of its error, or what it returned."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{method}\n")
        self.process.stdin.flush()
        return self.answer()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def _serve(kind: dict[str, Any], name: str, options: dict[str, Any]) -> None:
    lock = Kind(**kind).lock(name, **options)
    assert lock.acquire(timeout=60)
    print(json.dumps(lock.token), flush=True)
    for line in sys.stdin:
        try:
            found = getattr(lock, line.strip())()
        except zdb.ZdbError as error:
            found = type(error).__name__
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _serve(**json.loads(sys.argv[1]))
