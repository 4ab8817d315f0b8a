from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdb.parallel.coverage import covered


@st.composite
def shapes_and_boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))

    def box():
        edges = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
        return tuple((a, max(a + 1, b)) for a, b in edges)

    return shape, [box() for _ in range(draw(st.integers(0, 5)))], [box() for _ in range(draw(st.integers(0, 3)))]


@given(shapes_and_boxes())
def test_what_is_covered_and_missing_is_that_of_a_mask(case):
    shape, done, begun = case
    mask = np.zeros(shape, bool)
    for boxes, value in ((done, True), (begun, False)):
        for box in boxes:
            mask[tuple(slice(*one) for one in box)] = value
    number, missing = covered(shape, done, begun)
    assert number == mask.sum()
    for box in missing:
        there = tuple(slice(*one) for one in box)
        assert not mask[there].any()
        mask[there] = True  # no element is named twice
    assert mask.all()


@pytest.mark.parametrize(
    ("done", "expected"), [([], [((0, 10), (0, 4))]), ([((2, 5), (0, 4))], [((0, 2), (0, 4)), ((5, 10), (0, 4))])]
)
def test_missing_boxes_are_joined(done, expected):
    assert covered((10, 4), done)[1] == expected
