"""Which part of an array is covered by boxes, and which boxes are missing."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Box", "covered", "missing_boxes"]

# Start and stop along each dimension.
Box = tuple[tuple[int, int], ...]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def covered(shape: tuple[int, ...], done: Iterable[Box], open_: Iterable[Box] = ()) -> tuple[int, list[Box]]:
    """Return how many elements are covered, and boxes that together are the rest.

    Parameters
    ----------
    shape : tuple of int
    done : iterable of Box
        What is there.
    open_ : iterable of Box
        What counts as missing though it lies in a box of `done`.
    """
    done, open_ = list(done), list(open_)
    edges = [
        np.unique([0, size, *(edge for box in (*done, *open_) for edge in box[axis])]).astype(np.int64)
        for axis, size in enumerate(shape)
    ]
    mask: Mask = np.zeros([len(each) - 1 for each in edges], dtype=bool)
    for boxes, value in ((done, True), (open_, False)):
        for box in boxes:
            mask[_cells(edges, box)] = value
    sizes = np.ones((), dtype=np.int64)
    for each in edges:
        sizes = np.multiply.outer(sizes, np.diff(each))
    return int(sizes[mask].sum()), [_box(edges, cells) for cells in missing_boxes(mask)]


def _cells(edges: list[np.ndarray[Any, Any]], box: Box) -> tuple[slice, ...]:
    return tuple(
        slice(*np.searchsorted(each, (start, stop)).tolist()) for each, (start, stop) in zip(edges, box, strict=True)
    )


def _box(edges: list[np.ndarray[Any, Any]], cells: Box) -> Box:
    return tuple((int(each[start]), int(each[stop])) for each, (start, stop) in zip(edges, cells, strict=True))


def missing_boxes(mask: Mask) -> Iterator[Box]:
    """Yield boxes that together are the cells that are false: as long as they can be along the first dimensions."""
    if mask.ndim == 0:
        if not mask:
            yield ()
        return
    # Rows that look the same and follow each other are taken together.
    changes = [row for row in range(1, len(mask)) if not np.array_equal(mask[row], mask[row - 1])]
    for start, stop in pairwise([0, *changes, len(mask)]):
        for rest in missing_boxes(mask[start]):
            yield ((start, stop), *rest)
