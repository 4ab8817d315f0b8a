"""Writers as processes of their own, which start quickly because a server that has imported all forks them."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

from faults.checking import Expected
from faults.workload import notes, write
from other_processes import CONTEXT, new_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.workload import Note
    from places import Place

__all__ = ["Writer"]

PATIENCE = 300


class Writer:
    """A process that makes one change after the other, and what it may have written.

    Parameters
    ----------
    place : Place
    folder : pathlib.Path
        Where it notes what it does.
    writer : int
        Its number, which its keys and values tell.
    target : callable, optional
        Runs instead of :func:`faults.workload.write`, with the same arguments.
    may_return : bool
        See :class:`faults.checking.Expected`.
    """

    def __init__(
        self,
        place: Place,
        folder: Path,
        writer: int = 0,
        target: Callable[..., None] = write,
        *,
        may_return: bool = False,
    ) -> None:
        self.place = place
        self.folder = folder
        self.expected = Expected(writer, may_return=may_return)
        self.target = target
        self.process: Any = None

    def start(self, **options: Any) -> None:
        """Start the process, which goes on with the next change; `options` are those of opening the database."""
        self.log = self.folder / f"{uuid.uuid4().hex}.log"
        self.stop_event = CONTEXT.Event()
        arguments = (self.place, self.expected.writer, self.expected.number, self.log, self.stop_event, options)
        self.process = new_process(self.target, *arguments)
        self.process.start()

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def wait_for(self, changes: int, *, acknowledged: bool = False) -> None:
        """Wait until so many changes were begun (or were acknowledged) since it was started."""
        self._wait(lambda note: not acknowledged or note.outcome == "done", changes)

    def wait_for_errors(self, number: int) -> None:
        """Wait until so many changes have failed since it was started."""
        self._wait(lambda note: note.outcome == "failed", number)

    def _wait(self, matches: Callable[[Note], bool], number: int) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            noted = notes(self.log)
            if sum(map(matches, noted)) >= number:
                return
            assert self.process.is_alive(), f"the writer ended with {self.process.exitcode}"
            assert time.monotonic() < end, noted[-5:]
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill it, and take in what it noted."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL
        self.expected.add(notes(self.log))

    def stop(self) -> None:
        """Let it end the change that it makes, and take in what it noted."""
        self.stop_event.set()
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0, self.process.exitcode
        self.expected.add(notes(self.log))
