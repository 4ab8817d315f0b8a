"""How well synaptic input predicts spikes: linear discriminant analysis, by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import zdb

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["PredictionRates", "UnpredictableError", "lda_prediction_rates"]


class UnpredictableError(zdb.ZdbError, ValueError):
    """The data cannot be separated: it has one class only, or too few trials."""


@dataclass(frozen=True)
class PredictionRates:
    """What :func:`lda_prediction_rates` found, an entry for each split into training and test data.

    Attributes
    ----------
    score : float
        Median of `score_0` plus median of `score_1`: 1 at chance, 2 at best.
    score_all, score_0, score_1 : ndarray of float64, shape (splits,)
        Share of the test data that was predicted right: of all, of trials without and of trials with a spike.
    roc_auc, roc_auc_full : ndarray of float64, shape (splits,)
        Area under the ROC curve, of the test data and of all data.
    coefficients : ndarray of float64, shape (splits, features)
    training_counts : ndarray of int64, shape (splits, 2)
        Number of trials without and with a spike in the training data.
    """

    score: float
    score_all: NDArray[np.float64]
    score_0: NDArray[np.float64]
    score_1: NDArray[np.float64]
    roc_auc: NDArray[np.float64]
    roc_auc_full: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    training_counts: NDArray[np.int64]


def lda_prediction_rates(
    x: ArrayLike,
    y: ArrayLike,
    splits: int = 5,
    *,
    solver: Literal["eigen", "svd", "lsqr"] = "eigen",
    normalize_group_size: bool = True,
    test_size: float = 0.4,
    max_tries: int = 2,
) -> PredictionRates:
    """Predict spikes from synaptic input by linear discriminant analysis, and tell how well it goes.

    Replaces ``data_base.analyze.LDA.prediction_rates``, with the same numbers for the same state of numpy's global
    random numbers. Needs scikit-learn: ``pip install 'zdb[neuro]'``.

    Parameters
    ----------
    x : array_like, shape (trials, features)
    y : array_like of bool or int, shape (trials,)
        Whether there is a spike.
    splits : int, default 5
        How often the data is split and a classifier trained.
    solver : {"eigen", "svd", "lsqr"}
        Of :class:`sklearn.discriminant_analysis.LinearDiscriminantAnalysis`.
    normalize_group_size : bool, default True
        Draw as many trials without spike as there are with one (or the other way round).
    test_size : float, default 0.4
        Share of the trials that is used for testing.
    max_tries : int, default 2
        How often the data may be drawn again, over all splits, because it cannot be used.

    Raises
    ------
    UnpredictableError
        There are trials of one class only, or too few.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    features, spike = np.asarray(x), np.asarray(y).astype(np.int64)
    if features.ndim != 2 or spike.shape != features.shape[:1]:
        raise ValueError(
            f"x of shape {features.shape} and y of shape {spike.shape} do not fit: (trials, features), (trials,)"
        )
    rows: list[tuple[Any, ...]] = []
    failures = 0
    while len(rows) < splits:
        try:
            drawn, labels = _equal_groups(features, spike) if normalize_group_size else (features, spike)
            train_x, test_x, train_y, test_y = train_test_split(
                drawn, labels, test_size=test_size, random_state=len(rows)
            )
            classifier = LinearDiscriminantAnalysis(n_components=1, shrinkage=None, solver=solver)
            classifier.fit(train_x, train_y)
        except ValueError as error:
            failures += 1
            if failures > max_tries:
                raise UnpredictableError(f"no classifier can be trained with this data: {error}") from error
            continue
        weights = classifier.coef_.squeeze()
        rows.append(
            (
                classifier.score(test_x, test_y),
                classifier.score(test_x[test_y == 0], test_y[test_y == 0]),
                classifier.score(test_x[test_y == 1], test_y[test_y == 1]),
                roc_auc_score(test_y, np.dot(test_x, weights)),
                roc_auc_score(spike, np.dot(features, weights)),
                classifier.coef_[0],
                np.bincount(train_y, minlength=2),
            )
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return PredictionRates(float(np.median(columns[2]) + np.median(columns[1])), *columns)


def _equal_groups(x: NDArray[Any], y: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    with_spike, without = x[y == 1], x[y == 0]
    np.random.shuffle(with_spike)  # noqa: NPY002 - the global state, as in the original
    np.random.shuffle(without)  # noqa: NPY002
    size = min(len(with_spike), len(without))
    return np.concatenate([with_spike[:size], without[:size]]), np.repeat([1, 0], size)
