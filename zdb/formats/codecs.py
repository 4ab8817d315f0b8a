"""Codecs take values of one numpy dtype apart into stored arrays: here numbers, times and bytes.

A codec names the parts that are stored (one, as a rule), makes each part from a block of values,
and makes the values from the blocks of all parts. It works block by block, so that lazy arrays
stay lazy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zdb.formats.times import time_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Codec", "Part", "PlainCodec", "RawCodec", "TimeCodec", "is_lazy"]

STORED = frozenset(np.dtype(code) for code in ("?", *"bhilBHIL", "i8", "u8", *"efdFD"))


@dataclass(frozen=True)
class Part:
    """One stored array of a value: the end of its name, its dtype, its additional dimensions."""

    suffix: str
    dtype: Any
    extra: tuple[int, ...] = ()


class Codec(ABC):
    """How values of one dtype are stored."""

    kind: ClassVar[str]
    dtype: Any
    parts: tuple[Part, ...]

    @abstractmethod
    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:
        """Make the stored block of one part."""

    @abstractmethod
    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Make the values from the stored blocks of all parts."""

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Describe the codec in JSON; :func:`codec_from_recipe` reads it."""

    @property
    def is_identity(self) -> bool:
        """Whether the values are stored as they are."""
        return False

    def attributes(self, data: Any) -> dict[str, Any]:  # noqa: ARG002
        """CF attributes of the first part, by which plain xarray decodes it."""
        return {}


@dataclass(frozen=True)
class PlainCodec(Codec):
    """Numbers: stored in native byte order."""

    kind = "plain"
    dtype: np.dtype[Any]

    @cached_property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        return (Part("", np.dtype(self.dtype.newbyteorder("=").str)),)

    @property
    def is_identity(self) -> bool:
        return self.dtype.isnative and self.dtype in STORED

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:
        stored = self.parts[part].dtype
        return block.astype(stored, copy=False).view(stored)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return blocks[0].astype(self.dtype, copy=False)

    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype.str}


@dataclass(frozen=True)
class TimeCodec(Codec):
    """datetime64 and timedelta64 of any unit: int64, where the minimum is NaT."""

    kind = "time"
    dtype: np.dtype[Any]
    parts = (Part("", np.dtype("int64")),)

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:  # noqa: ARG002
        return block.astype(self.dtype.newbyteorder("="), copy=False).view(np.int64)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        values = np.asarray(blocks[0], dtype=np.int64).view(self.dtype.newbyteorder("="))
        return values.astype(self.dtype, copy=False)

    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype.str}

    def attributes(self, data: Any) -> dict[str, Any]:
        counts = np.empty(0, np.int64) if is_lazy(data) else self.encode(data, 0)
        return dict(time_attributes(self.dtype, counts))


@dataclass(frozen=True)
class RawCodec(Codec):
    """Void and long double: their bytes, along one more dimension."""

    kind = "raw"
    dtype: np.dtype[Any]

    @property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        return (Part("", np.dtype("uint8"), (self.dtype.itemsize,)),)

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:  # noqa: ARG002
        flat = np.array(block, order="C").reshape(-1)
        return flat.view(np.uint8).reshape(*block.shape, self.dtype.itemsize)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        flat = np.array(blocks[0], order="C").reshape(-1)
        return flat.view(self.dtype).reshape(blocks[0].shape[:-1])

    def recipe(self) -> dict[str, Any]:
        recipe: dict[str, Any] = {"kind": self.kind, "dtype": self.dtype.str}
        if self.dtype.kind in "fc":
            recipe["mantissa_bits"] = np.finfo(self.dtype).nmant
        return recipe


def is_lazy(data: Any) -> bool:
    """Whether `data` is a dask array."""
    return hasattr(data, "dask")
