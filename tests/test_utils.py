"""Small helpers, and what stands for those of the original that numpy, pandas and dask have."""

from __future__ import annotations

import inspect
import itertools
import signal
import subprocess
import sys
import threading

import dask.core
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from zdb.utils import delayed_interrupt, pooled_std

GROUPS = st.lists(st.lists(st.floats(-1e3, 1e3), max_size=6), min_size=1, max_size=5).filter(any)


@given(GROUPS)
def test_pooled_std_is_that_of_all_samples(groups: list[list[float]]) -> None:
    means = [np.mean(group) if group else np.nan for group in groups]
    stds = [np.std(group, ddof=1) if len(group) > 1 else np.nan for group in groups]
    together = np.concatenate(groups)
    mean, std = pooled_std(means, stds, [len(group) for group in groups])
    assert mean == pytest.approx(together.mean(), abs=1e-9)
    if together.size > 1:
        assert std == pytest.approx(together.std(ddof=1), abs=1e-6)
    else:
        assert np.isnan(std)


def test_pooled_std_keeps_its_precision_far_from_zero() -> None:
    groups = np.random.default_rng(0).normal(1e9, 1.0, (3, 100))
    _, std = pooled_std(groups.mean(axis=1), groups.std(axis=1, ddof=1), [100] * 3)
    assert std == pytest.approx(groups.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize("arguments", [([1], [1], [1, 2]), ([], [], []), ([1], [1], [0]), ([1, 1], [1, 1], [3, -1])])
def test_pooled_std_says_what_is_wrong(arguments: tuple[list[float], list[float], list[int]]) -> None:
    with pytest.raises(ValueError, match="counts"):
        pooled_std(*arguments)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []

    @delayed_interrupt()
    def work() -> None:
        for step in ("first", "second"):
            signal.raise_signal(signal.SIGINT)
            done.append(step)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first", "second"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # as before


def test_an_error_of_the_block_does_not_hide_the_interrupt() -> None:
    @delayed_interrupt()
    def fail() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError("in the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_without_an_interrupt_nothing_happens() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with delayed_interrupt():
        assert signal.getsignal(signal.SIGINT) != handler
    assert signal.getsignal(signal.SIGINT) is handler


def test_nested_blocks_are_interrupted_at_the_end_of_the_outer_one() -> None:
    done = []

    @delayed_interrupt()
    def outer() -> None:
        with delayed_interrupt():
            signal.raise_signal(signal.SIGINT)
        done.append("still in the outer one")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done


def test_other_threads_may_use_it() -> None:
    found: list[str] = []

    @delayed_interrupt()
    def work() -> None:
        found.append(threading.current_thread().name)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert found == ["worker"]


SLEEPER = """
import time
from zdb.utils import delayed_interrupt

with delayed_interrupt():
    print("begun", flush=True)
    input()
    print("whole", flush=True)
print("never")
"""


def test_a_signal_from_outside() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate("\n")
    assert out == "whole\n"
    assert "KeyboardInterrupt" in error


def test_what_takes_the_place_of_other_helpers() -> None:
    """The calls that docs/from-isf.md names give what the original gave."""
    assert [part.tolist() for part in np.array_split([1, 2, 3, 4, 5], 2)] == [[1, 2, 3], [4, 5]]
    frame = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    assert frame.query("a == 1 and b == 'y'").index.tolist() == [1]
    assert list(dict.fromkeys([3, 1, 3, 2, 1])) == [3, 1, 2]
    assert list(dask.core.flatten([1, [2, [3, "ab"]], []])) == [1, 2, 3, "ab"]
    assert list(itertools.chain.from_iterable([[1], [2, 3]])) == [1, 2, 3]
    assert frame.rename(columns=str).columns.tolist() == ["a", "b"]

    def plot(x: int, color: str) -> None:
        """A function that takes some of the arguments."""

    words = {"color": "red", "size": 3}
    assert {name: words[name] for name in inspect.signature(plot).parameters if name in words} == {"color": "red"}
