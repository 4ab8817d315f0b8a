"""Who holds a claim, and whether that process has certainly ended."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Holder"]


@dataclass(frozen=True)
class Holder:
    """A process, so described that others on its machine can tell whether it runs, and people who it was.

    Attributes
    ----------
    host, user : str
    boot, namespace : str
        The ids of the boot of the machine and of the namespace of its process ids; empty where the system has none.
    pid : int
    started : str
        When the process began, in the words of the system: process ids are used again.
    """

    host: str
    user: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Holder:
        return _describe(os.getpid())

    @classmethod
    def parse(cls, attributes: dict[str, Any]) -> Holder:
        texts = {name: str(attributes.get(name, "")) for name in ("host", "user", "boot", "namespace", "started")}
        return cls(pid=int(attributes.get("pid", 0)), **texts)

    def attributes(self) -> dict[str, Any]:
        return asdict(self)

    def can_be_seen(self) -> bool:
        """Whether it can be told from here if the process has ended."""
        here = Holder.this_process()
        return bool(self.boot) and (self.boot, self.namespace) == (here.boot, here.namespace)

    def is_dead(self) -> bool:
        """Whether the process has ended for certain; False for processes that cannot be seen from here."""
        if not self.can_be_seen():
            return False
        state, started = _state_and_start(self.pid)
        return state in "ZX" or started != self.started

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user or 'somebody'} on {self.host}"


@cache
def _describe(pid: int) -> Holder:
    import getpass

    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        user = ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
        started = _state_and_start(pid)[1]
    except OSError:
        boot = namespace = started = ""
    return Holder(platform.node(), user, boot if started else "", namespace, pid, started)


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the letter of the state of a process, and when it started; X if there is none."""
    try:
        # The name of the program stands in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return "X", ""
    return fields[0], fields[19]
