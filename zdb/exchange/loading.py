"""Reading files as values, in the file format that their suffix names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.errors import FormatNotInstalledError, InvalidSettingError, UnsupportedValueError, ZdbError
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KIND_OF_SUFFIX", "load", "local_path", "require_netcdf"]

KIND_OF_SUFFIX = {".npy": "npy", ".csv": "csv", ".parquet": "parquet", ".nc": "nc", ".json": "json"}


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return a path of this machine; a URL would become a folder that is called as its protocol.

    Raises
    ------
    InvalidSettingError
        It is a URL.
    """
    text = os.fspath(path)
    if "://" in text:
        raise InvalidSettingError(
            f"{redact_url(text)}: is a URL, and files are read and written on this machine only; give a path, and copy "
            "databases to other stores by zdb cp or zdb sync"
        )
    return Path(text)


@contextlib.contextmanager
def load(source: str, kind: str | None) -> Iterator[Any]:
    """Open a file as a value, which may be lazy and is to be stored before the context ends.

    Parameters
    ----------
    source : str
        Path of a file or folder, "-" for standard input.
    kind : str or None
        "npy", "csv", "parquet", "nc", "json", or "file" for the file as it is; by default what the suffix says, and
        "file" for all other suffixes.

    Raises
    ------
    InvalidSettingError
        `source` is a URL.
    UnsupportedValueError
        The file cannot be read as this kind.
    FormatNotInstalledError
        A package for the file format is missing.
    """
    if source == "-":
        with _standard_input(kind or "file") as value:
            yield value
        return
    path = local_path(source)
    if path.is_dir():
        if kind not in (None, "file"):
            raise UnsupportedValueError(f"{source}: is a folder, which is kept as a sub-database of its files")
        yield path
        return
    path.open("rb").close()  # an unreadable file is told from an unsuitable one
    with _opened(path, kind or KIND_OF_SUFFIX.get(path.suffix.lower(), "file"), source) as value:
        yield value


@contextlib.contextmanager
def _standard_input(kind: str) -> Iterator[Any]:
    if kind == "file":
        yield sys.stdin.buffer.read()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with _opened(path, kind, "standard input") as value:
            yield value


@contextlib.contextmanager
def _opened(path: Path, kind: str, shown: str) -> Iterator[Any]:
    if kind == "file":
        yield path
        return
    with contextlib.ExitStack() as stack:
        try:
            value = _READERS[kind](path, stack)
        except ZdbError:
            raise
        except (ValueError, TypeError, OSError, NotImplementedError, RecursionError) as error:
            raise UnsupportedValueError(
                f"{shown}: cannot be read as {kind}: {error}; zdb put --as file keeps it as it is"
            ) from error
        yield value


def _read_npy(path: Path, _: contextlib.ExitStack) -> Any:
    import numpy as np

    return np.lib.format.open_memmap(path, mode="r")


def _read_csv(path: Path, _: contextlib.ExitStack) -> Any:
    import pandas as pd

    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        return pd.read_csv(path, float_precision="round_trip")  # the default was off by the last bit
    return pd.read_csv(path)


def _read_parquet(path: Path, _: contextlib.ExitStack) -> Any:
    import pandas as pd

    return pd.read_parquet(path, engine="pyarrow")


def _read_json(path: Path, _: contextlib.ExitStack) -> Any:
    return json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice!r} twice")
    return found


def _read_netcdf(path: Path, stack: contextlib.ExitStack) -> Any:
    require_netcdf()
    import netCDF4
    import xarray as xr

    with netCDF4.Dataset(path) as file:
        has_groups = bool(file.groups)
    # Only what was written as a timedelta is one: a time in "ms" stays a number.
    coder = xr.coders.CFTimedeltaCoder(decode_via_units=False)
    if has_groups:
        return stack.enter_context(xr.open_datatree(path, engine="netcdf4", chunks={}, decode_timedelta=coder))
    return stack.enter_context(xr.open_dataset(path, engine="netcdf4", chunks={}, decode_timedelta=coder))


def require_netcdf() -> None:
    """Raise :class:`~zdb.errors.FormatNotInstalledError` unless netCDF files can be read and written."""
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise FormatNotInstalledError("netCDF files need the package netCDF4: pip install 'zdb[netcdf]'") from error


_READERS: dict[str, Callable[[Path, contextlib.ExitStack], Any]] = {
    "npy": _read_npy,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "json": _read_json,
    "nc": _read_netcdf,
}
