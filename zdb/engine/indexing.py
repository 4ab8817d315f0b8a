"""Arithmetic of indices: what they are made of, and which part of an index falls into which chunk."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Piece", "as_positions", "as_slices", "objects_of", "pieces"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Index = tuple[Any, ...]


class Piece(NamedTuple):
    """What an index takes of one chunk along one dimension.

    Attributes
    ----------
    chunk : int
        Number of the chunk.
    inside, outside : slice or ndarray of int
        Where the elements are in the chunk, and where in the result.
    """

    chunk: int
    inside: Any
    outside: Any


def pieces(index: Any, size: int, chunk: int) -> list[Piece]:
    """Divide an index along a dimension among the chunks of it.

    Parameters
    ----------
    index : slice that runs forward, or array_like of int
    size, chunk : int
        Elements of the dimension, and of a chunk.
    """
    if isinstance(index, slice):
        return _pieces_of_range(range(*index.indices(size)), chunk)
    positions = np.atleast_1d(np.asarray(index))
    return _pieces_of_positions(np.where(positions < 0, positions + size, positions), chunk)


def objects_of(box: tuple[slice, ...], sizes: Shape) -> Iterator[tuple[Shape, tuple[slice, ...]]]:
    """Yield the place in the grid of each object that a box meets, and the part of the array that both share."""
    along = [
        [(n, slice(max(one.start, n * size), min(one.stop, (n + 1) * size))) for n in _numbers(one, size)]
        for one, size in zip(box, sizes, strict=True)
    ]
    for chosen in product(*along):
        yield tuple(number for number, _ in chosen), tuple(inside for _, inside in chosen)


def _numbers(one: slice, size: int) -> range:
    return range(one.start // size, math.ceil(one.stop / size))


def _pieces_of_range(taken: range, chunk: int) -> list[Piece]:
    found = []
    done = 0
    while done < len(taken):
        number = taken[done] // chunk
        first = number * chunk
        end = min(len(taken), done + math.ceil((first + chunk - taken[done]) / taken.step))
        inside = slice(taken[done] - first, taken[end - 1] - first + 1, taken.step)
        found.append(Piece(number, inside, slice(done, end)))
        done = end
    return found


def _pieces_of_positions(positions: Array, chunk: int) -> list[Piece]:
    numbers = positions // chunk
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return [Piece(int(numbers[own[0]]), positions[own] % chunk, own) for own in np.split(order, starts)[1:]]


def as_slices(index: Index, shape: Shape) -> tuple[Index, Index]:
    """Turn integers, and slices that run backwards, into slices that every pipeline takes.

    Also return the index that makes of the result what was asked for.
    """
    taken: list[Any] = []
    finish: list[Any] = []
    for one, size in zip(index, shape, strict=True):
        if isinstance(one, slice):
            positions = range(*one.indices(size))
            backwards = positions.step < 0
            positions = positions[::-1] if backwards else positions
            taken.append(slice(positions[0], positions[-1] + 1, positions.step) if positions else slice(0, 0))
            finish.append(slice(None, None, -1 if backwards else None))
        elif np.ndim(one):
            taken.append(one)
            finish.append(slice(None))
        else:
            position = range(size)[one]  # raises IndexError
            taken.append(slice(position, position + 1))
            finish.append(0)
    return tuple(taken), tuple(finish)


def as_positions(index: Index, shape: Shape) -> list[Array]:
    """Turn the slices among the indices of a vectorised read into integer arrays that broadcast after the others."""
    arrays = [np.asarray(one) for one in index if not isinstance(one, slice)]
    slices = [one for one in index if isinstance(one, slice)]
    ndim = max((a.ndim for a in arrays), default=0) + len(slices)
    made, position = [], ndim - len(slices)
    for one, size in zip(index, shape, strict=True):
        if isinstance(one, slice):
            axis = np.arange(*one.indices(size))
            made.append(axis.reshape([-1 if i == position else 1 for i in range(ndim)]))
            position += 1
        else:
            array = np.asarray(one)
            array = np.where(array < 0, array + size, array)
            made.append(array.reshape(array.shape + (1,) * len(slices)))
    return made
