"""Exact comparison: also of dtypes, byte order, NaN and the types of elements."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same_array(actual: Any, expected: Any) -> None:
    """Equal class, dtype, byte order, shape and every element, bit by bit or object by object."""
    assert type(actual) is type(expected)
    assert actual.dtype == expected.dtype
    assert str(actual.dtype) == str(expected.dtype)
    assert actual.shape == expected.shape
    _assert_same_elements(np.asarray(actual), np.asarray(expected))


def _assert_same_elements(actual: np.ndarray, expected: np.ndarray) -> None:
    dtype = expected.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _assert_same_elements(actual[name], expected[name])
    elif dtype.kind == "O" or isinstance(dtype, np.dtypes.StringDType):
        for a, b in zip(actual.flat, expected.flat, strict=True):
            assert type(a) is type(b)
            assert a is b or a == b or (isinstance(a, float) and a != a and b != b)
    else:
        native = dtype.newbyteorder("=")
        if dtype.char in "gG":  # has padding, which no copy keeps
            np.testing.assert_array_equal(actual, expected)
            return
        assert actual.astype(native).tobytes() == expected.astype(native).tobytes()
