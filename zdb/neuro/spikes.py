"""Find spikes in voltage traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["detect_spikes"]


def detect_spikes(
    voltage: ArrayLike, time: ArrayLike, threshold: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Detect spikes: where the voltage crosses the threshold from below.

    Parameters
    ----------
    voltage : array_like, shape (samples,) or (trials, samples)
        In mV.
    time : array_like, shape (samples,)
        In ms.
    threshold : float, default 0
        In mV.

    Returns
    -------
    times : ndarray of float64
        For each spike, the time (ms) of the first sample at or above the threshold; all trials one
        after the other. A trace that starts above the threshold has no spike there.
    counts : ndarray of int64, shape (trials,)
        Number of spikes of each trial; ``np.split(times, np.cumsum(counts)[:-1])`` gives one array
        per trial.

    Raises
    ------
    ValueError
        The shapes do not fit each other.
    """
    traces = np.atleast_2d(np.asarray(voltage))
    samples = np.asarray(time, dtype=np.float64)
    if traces.ndim != 2 or samples.shape != traces.shape[1:]:
        raise ValueError(
            f"voltage of shape {np.shape(voltage)} and time of shape {samples.shape} do not fit; "
            "expected (trials, samples) and (samples,)"
        )
    crosses = (traces[:, :-1] < threshold) & (traces[:, 1:] >= threshold)
    trial, sample = np.nonzero(crosses)
    return samples[sample + 1], np.bincount(trial, minlength=len(traces)).astype(np.int64)
