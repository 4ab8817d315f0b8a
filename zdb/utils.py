"""Small helpers that numpy, pandas, dask and the standard library do not have."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

__all__ = ["delayed_interrupt", "pooled_std"]


def pooled_std(means: ArrayLike, stds: ArrayLike, counts: ArrayLike) -> tuple[float, float]:
    """Mean and standard deviation of all samples of some groups, of which only these are known.

    Parameters
    ----------
    means : array_like
        Of each group.
    stds : array_like
        Standard deviation of each group, with ``ddof=1``; not looked at where a group has one sample.
    counts : array_like of int
        Samples of each group. A group without samples is left out, whatever its mean is.

    Returns
    -------
    mean, std : float
        As of the concatenated samples; `std` with ``ddof=1``, NaN for a single sample.

    Raises
    ------
    ValueError
        The lengths differ, a count is negative, or there is no sample.

    Notes
    -----
    The sum of squares about the common mean is that within the groups and that of their means [1]_:

    .. math:: (N - 1)\\,s^2 = \\sum_i (n_i - 1)\\,s_i^2 + \\sum_i n_i\\,(m_i - m)^2

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
       variances", Stanford STAN-CS-79-773, 1979.

    Examples
    --------
    >>> pooled_std([1.0, 4.0], [1.0, 2.0], [3, 5])
    (2.875, 2.2320714274285...)
    """
    import numpy as np

    mean, std, count = (np.asarray(one, dtype=np.float64) for one in (means, stds, counts))
    if not mean.shape == std.shape == count.shape or mean.ndim != 1:
        raise ValueError(
            f"means, stds and counts are of shapes {mean.shape}, {std.shape} and {count.shape}, not of one"
        )
    if (count < 0).any() or not count.sum():
        raise ValueError(f"counts {count.tolist()}: give numbers of samples from 0 on, of which one is more")
    mean, std, count = mean[count > 0], std[count > 0], count[count > 0]
    total = count.sum()
    common = float(np.average(mean, weights=count))
    within = np.where(count > 1, (count - 1) * std**2, 0.0).sum()
    between = (count * (mean - common) ** 2).sum()
    return common, float(np.sqrt((within + between) / (total - 1))) if total > 1 else float("nan")


@contextmanager
def delayed_interrupt() -> Iterator[None]:
    """Let a block run to its end before Ctrl-C interrupts the program; a context manager, or a decorator.

    For steps that must not be left half-done, such as two files that belong together. What zdb writes does not need
    it. In other threads than the main one, which are never interrupted, it does nothing.

    Examples
    --------
    >>> with delayed_interrupt():
    ...     path.write_text(text)
    ...     index.write_text(entry)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, Any]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if received and callable(before):
            before(*received[0])
        elif received and before != signal.SIG_IGN:
            signal.raise_signal(signal.SIGINT)
