"""Codecs of text and of the other things that object arrays hold: cftime datetimes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from zdb.errors import UnsupportedValueError
from zdb.formats.codecs import Codec, Part, is_lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CalendarCodec", "FixedTextCodec", "ObjectTextCodec", "StringCodec", "codec_of_objects"]

TEXT = np.dtypes.StringDType()
# An element that is no ordinary string has its position here as its number in the mask.
ELEMENT_KINDS = ("str", "None", "NaN", "NA", "NaT", "numpy.str_")
MISSING = {"None": None, "NaN": float("nan"), "NA": pd.NA, "NaT": pd.NaT}


@dataclass(frozen=True)
class FixedTextCodec(Codec):
    """Strings (U) and bytes (S) of fixed width: variable-length strings, bytes read as Latin-1."""

    kind = "fixed text"
    dtype: np.dtype[Any]
    parts = (Part("", TEXT),)

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:  # noqa: ARG002
        if self.dtype.kind == "S":
            block = _recode(block, "u1", "u4", "U")
        return _to_text(block.astype(block.dtype.newbyteorder("="), copy=False))

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        width = self.dtype.itemsize // (4 if self.dtype.kind == "U" else 1)
        text = np.asarray(blocks[0]).astype(f"U{max(width, 1)}")
        if self.dtype.kind == "S":
            return _recode(text, "u4", "u1", "S")
        return text.astype(text.dtype.newbyteorder(self.dtype.byteorder), copy=False)

    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype.str}


@dataclass(frozen=True)
class StringCodec(Codec):
    """numpy's StringDType; missing values are a second array."""

    kind = "string"
    missing_name: str  # "": the dtype has no na_object; "text": it is a string; else one of MISSING
    missing_text: str = ""
    coerce: bool = True
    has_mask: bool = False

    @cached_property
    def dtype(self) -> Any:
        if not self.missing_name:
            return np.dtypes.StringDType(coerce=self.coerce)
        na_object = self.missing_text if self.missing_name == "text" else MISSING[self.missing_name]
        return np.dtypes.StringDType(na_object=na_object, coerce=self.coerce)

    @property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        values = Part("", TEXT)
        return (values, Part("mask", np.dtype(bool))) if self.has_mask else (values,)

    @classmethod
    def of(cls, data: Any) -> StringCodec:
        dtype = data.dtype
        if not hasattr(dtype, "na_object"):
            return cls("", coerce=dtype.coerce)
        if type(dtype.na_object) is str:
            return cls("text", dtype.na_object, dtype.coerce)
        missing = [name for name, na_object in MISSING.items() if _is_same(na_object, dtype.na_object)]
        if not missing:
            raise UnsupportedValueError(
                f"strings of {dtype!r} cannot be kept: na_object must be None, nan, pandas.NA or a str"
            )
        return cls(missing[0], "", dtype.coerce, is_lazy(data) or bool(_missing_mask(data).any()))

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:
        if self.missing_name in ("", "text"):
            return block.astype(TEXT)
        missing = _missing_mask(block)
        if part == 1:
            return missing
        elements = np.array(block.astype(object))
        elements[missing] = ""
        return elements.astype(TEXT)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        values = np.asarray(blocks[0]).astype(self.dtype)
        if self.has_mask:
            values[np.asarray(blocks[1])] = self.dtype.na_object
        return values

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "missing_name": self.missing_name,
            "missing_text": self.missing_text,
            "coerce": self.coerce,
            "has_mask": self.has_mask,
        }


@dataclass(frozen=True)
class ObjectTextCodec(Codec):
    """Object arrays of str, None, NaN and pandas.NA: strings, and a mask where not all are str."""

    kind = "object text"
    has_mask: bool = True
    dtype = np.dtype(object)

    @property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        values = Part("", TEXT)
        return (values, Part("mask", np.dtype("uint8"))) if self.has_mask else (values,)

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:
        kinds = _element_kinds(block)
        if part == 1:
            return kinds
        elements = np.array(block)
        elements[(kinds > 0) & (kinds < 5)] = ""
        return _to_text(elements)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        values = np.array(np.asarray(blocks[0]).astype(object), dtype=object)
        if self.has_mask:
            kinds = np.asarray(blocks[1])
            for name, missing in MISSING.items():
                values[kinds == ELEMENT_KINDS.index(name)] = missing
            for position, number in np.ndenumerate(kinds):
                if number == ELEMENT_KINDS.index("numpy.str_"):
                    values[position] = np.str_(values[position])
        return values

    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "has_mask": self.has_mask}


@dataclass(frozen=True)
class CalendarCodec(Codec):
    """Object arrays of cftime datetimes: int64 microseconds since 1970 in their calendar."""

    kind = "cftime"
    calendar: str
    has_year_zero: bool
    class_name: str
    parts = (Part("", np.dtype("int64")),)
    dtype = np.dtype(object)
    UNITS: ClassVar[str] = "microseconds since 1970-01-01"

    @classmethod
    def of(cls, sample: Any) -> CalendarCodec:
        return cls(sample.calendar, bool(sample.has_year_zero), type(sample).__name__)

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:  # noqa: ARG002
        import cftime

        for element in block.flat:
            if not isinstance(element, cftime.datetime) or CalendarCodec.of(element) != self:
                raise UnsupportedValueError(
                    f"an array of cftime datetimes of calendar {self.calendar!r} also holds "
                    f"{element!r} ({type(element).__name__}): all elements must be of one class "
                    "and calendar"
                )
        if block.size == 0:
            return np.zeros(block.shape, np.int64)
        numbers = np.asarray(
            cftime.date2num(block, self.UNITS, calendar=self.calendar, has_year_zero=self.has_year_zero)
        )
        if numbers.dtype != np.int64 or not np.array_equal(self.decode([numbers]), block):
            raise UnsupportedValueError("cftime datetimes more than 290000 years from 1970 cannot be kept")
        return numbers.reshape(block.shape)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        import cftime

        numbers = np.asarray(blocks[0])
        values = np.empty(numbers.shape, dtype=object)
        if not numbers.size:
            return values
        values[...] = cftime.num2date(
            numbers,
            self.UNITS,
            calendar=self.calendar,
            has_year_zero=self.has_year_zero,
            only_use_cftime_datetimes=True,
        )
        if self.class_name == "datetime":
            for position, date in np.ndenumerate(values):
                values[position] = cftime.datetime(
                    *(date.year, date.month, date.day, date.hour, date.minute, date.second),
                    date.microsecond,
                    calendar=self.calendar,
                    has_year_zero=self.has_year_zero,
                )
        return values

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "calendar": self.calendar,
            "has_year_zero": self.has_year_zero,
            "class_name": self.class_name,
        }

    def attributes(self, data: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"units": self.UNITS, "calendar": self.calendar}


def codec_of_objects(data: Any) -> Codec:
    if not data.size:
        return ObjectTextCodec(has_mask=False)
    first = data[(0,) * data.ndim]
    sample = first.compute() if is_lazy(data) else first
    if isinstance(sample, np.ndarray) and sample.ndim == 0:
        sample = sample[()]
    if type(sample).__module__.partition(".")[0] == "cftime":
        return CalendarCodec.of(sample)
    return ObjectTextCodec(has_mask=is_lazy(data) or bool(_element_kinds(data).any()))


def _element_kind(element: Any) -> int:
    if type(element) is str:
        return 0
    if isinstance(element, float) and element != element:
        return 2
    for number, missing in ((1, None), (3, pd.NA), (4, pd.NaT)):
        if element is missing:
            return number
    if type(element) is np.str_:
        return 5
    raise UnsupportedValueError(
        f"an object array holds {element!r} "
        f"({type(element).__module__}.{type(element).__qualname__}): only strings, None, NaN, "
        "pandas.NA and cftime datetimes of one calendar can be kept; convert it with astype(), "
        'or keep it by format="pickle"'
    )


def _is_same(missing: Any, other: Any) -> bool:
    both_nan = isinstance(missing, float) and isinstance(other, float) and other != other
    return missing is other or both_nan


def _element_kinds(block: NDArray[Any]) -> NDArray[Any]:
    """Position in ELEMENT_KINDS of each element."""
    if set(map(type, block.flat)) <= {str}:
        return np.zeros(block.shape, np.uint8)
    kinds = (_element_kind(element) for element in block.flat)
    return np.fromiter(kinds, np.uint8, block.size).reshape(block.shape)


def _missing_mask(block: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_element_kinds(np.asarray(block.astype(object))) != 0)


def _to_text(block: NDArray[Any]) -> NDArray[Any]:
    try:
        return block.astype(TEXT)
    except (TypeError, UnicodeEncodeError) as error:
        raise UnsupportedValueError(
            "a string holds a code point that is no Unicode character (a lone surrogate?) and "
            "cannot be kept; keep such text as bytes"
        ) from error


def _recode(block: NDArray[Any], old: str, new: str, kind: str) -> NDArray[Any]:
    """Widen or narrow every character of fixed-width text, keeping its number."""
    flat = np.array(block, order="C").reshape(-1)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    width = flat.dtype.itemsize // np.dtype(old).itemsize
    codes = flat.view(old).astype(new)
    return codes.view(f"{kind}{width}").reshape(block.shape)
