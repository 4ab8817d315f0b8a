"""Arrays of any numpy dtype, taken apart into arrays of stored dtypes and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zdb.errors import UnsupportedValueError
from zdb.formats.blocks import checked
from zdb.formats.codecs import Codec, Part, PlainCodec, RawCodec, TimeCodec, is_lazy
from zdb.formats.text_codecs import (
    CalendarCodec,
    FixedTextCodec,
    ObjectTextCodec,
    StringCodec,
    codec_of_objects,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Codec", "codec_for", "codec_from_recipe", "decode_array", "encode_array", "is_lazy"]


@dataclass(frozen=True)
class StructuredCodec(Codec):
    """Structured dtypes: every field by the codec of its own dtype."""

    kind = "structured"
    dtype: np.dtype[Any]
    fields: tuple[tuple[str, Codec], ...]

    @cached_property
    def _routes(self) -> tuple[tuple[str, Codec, int], ...]:
        return tuple((name, c, part) for name, c in self.fields for part in range(len(c.parts)))

    @cached_property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        found = []
        for name, codec, number in self._routes:
            part = codec.parts[number]
            suffix = f"{name}.{part.suffix}" if part.suffix else name
            found.append(Part(suffix, part.dtype, self.dtype[name].shape + part.extra))
        return tuple(found)

    @classmethod
    def of(cls, data: Any) -> StructuredCodec:
        dtype = data.dtype
        if not dtype.names:
            raise UnsupportedValueError("a structured dtype without fields cannot be kept")
        return cls(dtype, tuple((name, codec_for(data[name])) for name in dtype.names))

    def encode(self, block: NDArray[Any], part: int) -> NDArray[Any]:
        name, codec, number = self._routes[part]
        return codec.encode(block[name], number)

    def decode(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        ndim = blocks[0].ndim - len(self.parts[0].extra)
        values = np.zeros(blocks[0].shape[:ndim], dtype=self.dtype)
        used = 0
        for name, codec in self.fields:
            values[name] = codec.decode(blocks[used : used + len(codec.parts)])
            used += len(codec.parts)
        return values

    def recipe(self) -> dict[str, Any]:
        assert self.dtype.fields is not None
        entries = []
        for name, codec in self.fields:
            field = self.dtype.fields[name]
            title = field[2] if len(field) > 2 else None
            if title is not None and not isinstance(title, str):
                raise UnsupportedValueError(f"the title {title!r} of field {name!r} is not a string")
            entries.append(
                {
                    "name": name,
                    "codec": codec.recipe(),
                    "shape": list(field[0].shape),
                    "offset": field[1],
                    "title": title,
                }
            )
        return {
            "kind": self.kind,
            "fields": entries,
            "itemsize": self.dtype.itemsize,
            "aligned": self.dtype.isalignedstruct,
            "record": self.dtype.type is np.record,
        }

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> StructuredCodec:
        entries = recipe["fields"]
        codecs = [codec_from_recipe(entry["codec"]) for entry in entries]
        spec: dict[str, Any] = {
            "names": [entry["name"] for entry in entries],
            "formats": [
                (codec.dtype, tuple(entry["shape"])) if entry["shape"] else codec.dtype
                for entry, codec in zip(entries, codecs, strict=True)
            ],
            "offsets": [entry["offset"] for entry in entries],
            "itemsize": recipe["itemsize"],
        }
        if any(entry["title"] is not None for entry in entries):
            spec["titles"] = [entry["title"] for entry in entries]
        dtype = _make_dtype(spec, recipe["aligned"])
        if recipe["record"]:
            dtype = _make_dtype((np.record, dtype))
        return cls(dtype, tuple(zip(spec["names"], codecs, strict=True)))


def codec_for(data: Any) -> Codec:
    """Choose the codec for an array.

    Parameters
    ----------
    data : numpy.ndarray or dask.array.Array
        Of an object array the elements decide; of a lazy one the first element, which is computed.

    Raises
    ------
    UnsupportedValueError
        Values of this dtype cannot be kept exactly.
    """
    dtype = data.dtype
    if isinstance(dtype, np.dtypes.StringDType):
        return StringCodec.of(data)
    if dtype.kind in "biufc":
        return RawCodec(dtype) if dtype.char in "gG" else PlainCodec(dtype)
    if dtype.kind in "mM":
        return TimeCodec(dtype)
    if dtype.kind in "US" and dtype.itemsize:
        return FixedTextCodec(dtype)
    if dtype.kind == "O":
        return codec_of_objects(data)
    if dtype.names is not None:
        return StructuredCodec.of(data)
    if dtype.type is np.void and dtype.itemsize:
        return RawCodec(dtype)
    raise UnsupportedValueError(
        f"an array of dtype {dtype!r} cannot be kept; convert it to another dtype with astype()"
    )


def codec_from_recipe(recipe: dict[str, Any]) -> Codec:
    """Read what :meth:`Codec.recipe` wrote."""
    arguments = {name: value for name, value in recipe.items() if name != "kind"}
    kind = recipe["kind"]
    if kind == "structured":
        return StructuredCodec.from_recipe(recipe)
    for simple in (StringCodec, ObjectTextCodec, CalendarCodec):
        if kind == simple.kind:
            return simple(**arguments)
    dtype = _portable_dtype(recipe)
    by_kind = {c.kind: c for c in (PlainCodec, TimeCodec, FixedTextCodec, RawCodec)}
    return by_kind[kind](dtype)


def encode_array(codec: Codec, name: str, data: Any) -> list[Any]:
    """Take an array apart into one stored array for each part of the codec; lazy if `data` is.

    The blocks of a lazy array are checked when they are computed; the `name` stands in the error.
    """
    if is_lazy(data):
        data = checked(name, data)
    if codec.is_identity:
        return [data]
    if not is_lazy(data):
        return [codec.encode(data, number) for number in range(len(codec.parts))]
    import dask.array as da

    axes = tuple(range(data.ndim))
    stored = []
    for number, part in enumerate(codec.parts):
        new = {data.ndim + axis: size for axis, size in enumerate(part.extra)}
        stored.append(
            da.blockwise(  # type: ignore[no-untyped-call]
                partial(codec.encode, part=number),
                (*axes, *new),
                data,
                axes,
                new_axes=new,
                dtype=part.dtype,
                meta=np.empty((0,) * (data.ndim + len(new)), part.dtype),
            )
        )
    return stored


def decode_array(codec: Codec, stored: Sequence[Any]) -> Any:
    """Put the stored arrays together; lazy if they are (then all in the same chunks)."""
    if codec.is_identity:
        return stored[0]
    if not is_lazy(stored[0]):
        return codec.decode(stored)
    import dask.array as da

    axes = tuple(range(stored[0].ndim - len(codec.parts[0].extra)))
    arguments: list[Any] = []
    used = len(axes)
    for array, part in zip(stored, codec.parts, strict=True):
        extra = tuple(range(used, used + len(part.extra)))
        used += len(extra)
        arguments += [array, (*axes, *extra)]
    return da.blockwise(  # type: ignore[no-untyped-call]
        partial(_decode_blocks, codec),
        axes,
        *arguments,
        concatenate=True,
        align_arrays=False,
        dtype=codec.dtype,
        meta=np.empty((0,) * len(axes), codec.dtype),
    )


def _decode_blocks(codec: Codec, *blocks: NDArray[Any]) -> NDArray[Any]:
    return codec.decode(blocks)


def _make_dtype(spec: Any, aligned: bool = False) -> Any:
    return np.dtype(spec, align=aligned)


def _portable_dtype(recipe: dict[str, Any]) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(recipe["dtype"])
    except TypeError as error:
        raise UnsupportedValueError(
            f"dtype {recipe['dtype']!r} does not exist on this machine; read the raw bytes with db.dataset(key)"
        ) from error
    bits = recipe.get("mantissa_bits")
    if bits is not None and np.finfo(dtype).nmant != bits:
        raise UnsupportedValueError(
            f"the long double of the machine that wrote this value has {bits} bits of mantissa, "
            f"that of this one {np.finfo(dtype).nmant}; read the raw bytes with db.dataset(key)"
        )
    return dtype
