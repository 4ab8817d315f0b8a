"""Arrays in npy and npz files, in Zarr version 2, and as raw files of a shared store."""

from __future__ import annotations

import json
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zdb.errors import PickleRefusedError, UnreadableValueError
from zdb.legacy.numpy_pickles import array_from_bytes
from zdb.legacy.rebuild import load

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from zdb.legacy.trust import Trust

__all__ = ["array_facts", "raw_facts", "read_npy", "read_npz", "read_raw", "read_zarr"]

# Codecs of Zarr version 2 that only rearrange numbers and text. "pickle" is not one of them.
CODECS = frozenset(
    [
        "astype",
        "base64",
        "bitround",
        "blosc",
        "bz2",
        "categorize",
        "crc32",
        "delta",
        "fixedscaleoffset",
        "gzip",
        "json2",
        "lz4",
        "lzma",
        "msgpack2",
        "packbits",
        "quantize",
        "shuffle",
        "vlen-array",
        "vlen-bytes",
        "vlen-utf8",
        "zlib",
        "zstd",
    ]
)
UNSAFE_CODEC = "pickle"
# npy files of this size in bytes, and larger ones, are mapped.
MAPPED = 64 * 2**20


def read_npy(path: Path, trust: Trust) -> NDArray[Any]:
    """Read an npy file; objects in it are a pickle. A large one is mapped, so that memory holds what is used of it."""
    with path.open("rb") as file:
        if path.stat().st_size < MAPPED or _npy_header(file, path.name)[2].hasobject:
            file.seek(0)
            return _npy(file, path.name, trust)
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="c"))
    except ValueError as error:
        raise UnreadableValueError(f"{path.name}: is damaged ({error})") from error


def read_npz(path: Path, trust: Trust) -> Any:
    """Read an npz file: its array, or a dict if it has several."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    arrays[member.removesuffix(".npy")] = _npy(file, f"{path.name}/{member}", trust)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UnreadableValueError(f"{path.name}: is no npz file, or damaged ({error})") from error
    return arrays["arr_0"] if list(arrays) == ["arr_0"] else arrays


def _npy(file: IO[bytes], what: str, trust: Trust) -> NDArray[Any]:
    shape, fortran, dtype = _npy_header(file, what)
    if not dtype.hasobject:
        return array_from_bytes(file.read(), dtype, shape, "F" if fortran else "C")
    trust.require_pickle(what)
    content = file.read()
    made = np.asarray(load(content, what, trusted=trust.all))
    return array_from_bytes(list(made.ravel()), np.dtype(object), shape)


def _npy_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and dtype."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return reader(file)
    except (ValueError, EOFError) as error:
        raise UnreadableValueError(f"{what}: is no npy file, or damaged ({error})") from error


def read_zarr(path: Path, trust: Trust) -> NDArray[Any]:
    """Read an array of Zarr version 2.

    Raises
    ------
    PickleRefusedError
        It holds pickled objects.
    UnreadableValueError
        It is damaged, or encoded by a codec that is not known.
    """
    import zarr

    metadata = _zarr_metadata(path)
    codecs = [metadata.get("compressor"), *(metadata.get("filters") or [])]
    for codec in codecs:
        name = codec.get("id") if codec else "none"
        if name == UNSAFE_CODEC:
            if not trust.all:
                raise PickleRefusedError(f"{path.name}: its objects are pickled by a codec; {trust.hint}")
        elif codec and name not in CODECS:
            raise UnreadableValueError(f"{path.name}: is encoded by {name!r:.60}, which is not known")
    try:
        return np.asarray(zarr.open_array(path, mode="r", zarr_format=2)[...])
    except Exception as error:
        raise UnreadableValueError(f"{path.name}: cannot be read ({type(error).__name__}: {error})") from error


def _zarr_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((path / ".zarray").read_bytes())
        filters = metadata.get("filters") or []
        if not all(isinstance(codec, dict) for codec in [metadata.get("compressor") or {}, *filters]):
            raise ValueError("its codecs are no mappings")
    except (ValueError, AttributeError, OSError) as error:
        raise UnreadableValueError(f"{path.name}: is no array of Zarr version 2, or damaged ({error})") from error
    return dict(metadata)


def raw_facts(path: Path) -> tuple[str, tuple[int, ...], np.dtype[Any]]:
    """Name, shape and dtype of a raw array, which stand in its file name: ``name__4_6__float64``.

    Raises
    ------
    UnreadableValueError
        The file has another name, or is shorter than that.
    """
    name, _, rest = path.name.partition("__")
    sizes, _, dtype_name = rest.partition("__")
    try:
        dtype = np.dtype(dtype_name)
        shape = tuple(int(n) for n in sizes.split("_")) if sizes else ()
        if dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError("is none of numbers")
    except (TypeError, ValueError, SyntaxError) as error:
        raise UnreadableValueError(f"{path.name}: its name does not say shape and dtype ({error})") from error
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    if path.stat().st_size < nbytes:
        raise UnreadableValueError(f"{path.name}: has {path.stat().st_size} bytes, and its name says {nbytes}")
    return name, shape, dtype


def read_raw(path: Path) -> NDArray[Any]:
    """Map an array of a shared store from its file; nothing is read until it is used."""
    _, shape, dtype = raw_facts(path)
    if 0 in shape or dtype.itemsize == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=shape, order="C")


def array_facts(path: Path) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of an npy file or an array of Zarr version 2, from its metadata."""
    if path.suffix == ".npy":
        with path.open("rb") as file:
            shape, _, dtype = _npy_header(file, path.name)
        return tuple(shape), str(dtype)
    metadata = _zarr_metadata(path)
    return tuple(metadata["shape"]), str(metadata["dtype"])
