"""Who holds a lock."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any

from zdb.process import Process

__all__ = ["Owner"]


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    host : str
    pid : int
        Number of the process.
    user : str
    thread : str
        Name of the thread that acquired it.
    since : str
        When it was acquired, by the clock of that machine, in UTC.
    job : str
        Number of the Slurm job, or "".
    """

    host: str
    pid: int
    user: str
    thread: str = ""
    since: str = ""
    job: str = ""

    @classmethod
    def here(cls) -> Owner:
        """Return this process and thread."""
        host, user, job = _process()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(host, os.getpid(), user, threading.current_thread().name, now, job)

    def dump(self) -> dict[str, str | int]:
        """Return what :meth:`parse` reads, of types that JSON knows."""
        return asdict(self)

    @classmethod
    def parse(cls, data: Any) -> Owner:
        """Read what :meth:`dump` wrote; what is something else has an unknown owner."""
        known = {field.name for field in fields(cls)}
        try:
            plain = json.loads(data) if isinstance(data, str | bytes) else data
            return cls(**{name: value for name, value in plain.items() if name in known})
        except (ValueError, TypeError, AttributeError):
            return cls("unknown", 0, "unknown")

    def __str__(self) -> str:
        parts = [f"{self.user}@{self.host}", f"process {self.pid}"]
        if self.job:
            parts.append(f"job {self.job}")
        if self.since:
            parts.append(f"since {self.since}")
        return ", ".join(parts)


@cache
def _process() -> tuple[str, str, str]:
    facts = Process().facts()
    return str(facts["zdb_hostname"]), str(facts["zdb_user"]), str(facts.get("zdb_slurm_job_id", ""))
