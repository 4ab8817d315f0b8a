"""A writer that stands still for longer than its lease: another one takes its key over, and it cannot commit more."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from faults.checking import orphans
from faults.rounds import rounds
from other_processes import CONTEXT, new_process

import zdb

if TYPE_CHECKING:
    from collections.abc import Callable

    from places import Place

ROUNDS = rounds(3, 15)
LEASE = 1.0


def write_slowly(place: Place, number: int, begun: Any, outcome: Any) -> None:
    """Replace a value whose chunks take their time, and tell what came of it."""
    import dask
    import dask.array as da

    def chunk(block_info: Any = None) -> np.ndarray:
        begun.set()
        time.sleep(0.05)
        return np.full(10, float(number))

    with zdb.config.set({"lease": LEASE}), dask.config.set(scheduler="synchronous"):
        db = place.open()
        try:
            db.set("k", da.map_blocks(chunk, chunks=((10,) * 20,), dtype=float, meta=np.empty(0)), chunks=(10,))
            outcome.put("done")
        except zdb.errors.ZdbError as error:
            outcome.put(type(error).__name__)


def test_a_writer_that_is_stopped_past_its_lease(shared_place: Place, count: Callable[[str, int], None]) -> None:
    db = shared_place.open()
    moments = random.Random(1)
    outcomes = []
    db["k"] = np.zeros(200)
    for number in range(1, 2 * ROUNDS, 2):
        begun, outcome = CONTEXT.Event(), CONTEXT.Queue()
        writer = new_process(write_slowly, shared_place, number, begun, outcome)
        writer.start()
        assert begun.wait(180)
        time.sleep(moments.uniform(0, 0.8))
        os.kill(writer.pid or 0, signal.SIGSTOP)
        before = db["k"][0]
        db.set("k", np.full(200, number + 1.0), chunks=(20,))  # waits for the lease
        os.kill(writer.pid or 0, signal.SIGCONT)
        outcomes.append(outcome.get(timeout=60))
        writer.join()
        # It had committed before it was stopped, or it could not any more; what came after it stays in any case.
        assert outcomes[-1] == "ClaimLostError" or before == number
        np.testing.assert_array_equal(db["k"], np.full(200, number + 1.0))
        assert db.verify().ok
    assert "ClaimLostError" in outcomes
    db.gc(dry_run=False, grace=0)
    assert orphans(db) == set()
    np.testing.assert_array_equal(db["k"], np.full(200, 2.0 * ROUNDS))
    store = "S3" if "://" in shared_place.url else "local"
    count(f"SIGSTOP of a writer past its lease, {store}", ROUNDS)
