"""What is known of a key of an old database without loading it: size, shape, and where it comes from."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import zdb
from zdb.errors import UnreadableValueError
from zdb.legacy.arrays import array_facts, raw_facts
from zdb.legacy.dumpers import data_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zdb.legacy.entries import Entry

__all__ = ["info_of", "provenance_of", "written_at"]


def written_at(metadata: Mapping[str, Any], entry: Entry | None = None) -> datetime | None:
    """When a value was written, in UTC: as its metadata says, or by the time stamp of its folder."""
    time = metadata.get("time")
    if isinstance(time, list | tuple) and len(time) >= 6:
        try:
            year, month, day, hour, minute, second = (int(part) for part in time[:6])
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except (TypeError, ValueError):
            pass
    if entry is not None and entry.folder is not None and entry.folder.exists():
        return datetime.fromtimestamp(entry.folder.stat().st_mtime, UTC)
    return None


def info_of(key: str, entry: Entry, metadata: Mapping[str, Any], *, is_database: bool) -> zdb.Info:
    """Return what is known of a key."""
    shape, dtype = (None, "") if is_database else _shape(entry)
    files = data_files(entry)
    return zdb.Info(
        key=key,
        kind="database" if is_database else "value",
        format=entry.dumper,
        type="",
        dtype=dtype,
        shape=shape,
        nbytes=sum(file.stat().st_size for file in files) if files else len(entry.row or b""),
        created=written_at(metadata, entry),
        attrs={"problem": entry.problem} if entry.problem else {},
    )


def _shape(entry: Entry) -> tuple[tuple[int, ...] | None, str]:
    """Shape and dtype, where a few bytes say it."""
    folder = entry.folder
    if folder is None or entry.problem:
        return None, ""
    try:
        if entry.dumper == "numpy_to_npy":
            return array_facts(folder / "np.npy")
        if entry.dumper == "numpy_to_zarr":
            return array_facts(folder / "obj.zarr")
        if entry.dumper == "raw_array":
            _, shape, dtype = raw_facts(folder)
            return shape, str(dtype)
        if entry.dumper == "pandas_to_parquet":
            return _parquet_shape(folder / "pandas_to_parquet.parquet"), ""
    except (OSError, ValueError, KeyError, UnreadableValueError):
        pass
    return None, ""


def _parquet_shape(path: Path) -> tuple[int, ...] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowException:
        return None
    return metadata.num_rows, metadata.num_columns


def provenance_of(metadata: Mapping[str, Any], entry: Entry) -> zdb.Provenance:
    """Return the metadata of a key in the words of zdb."""
    dirty = metadata.get("dirty")
    commit = str(metadata.get("full-revisionid") or "")
    history = metadata.get("history")
    cells = history if isinstance(history, list | tuple) else [history] if history else None
    return zdb.Provenance(
        created=written_at(metadata, entry) or datetime.fromtimestamp(0, UTC),
        hostname=str(metadata.get("hostname") or "").strip(),
        git_commit=commit,
        git_state="none" if not commit else "dirty" if dirty else "clean",
        writer_version=f"In Silico Framework {metadata.get('version') or 'unknown'}",
        python_version=_python(metadata),
        format=entry.dumper,
        environment=_environment(metadata),
        history=None if cells is None else tuple(str(cell) for cell in cells),
        is_post_hoc=metadata.get("metadata_creation_time") != "together_with_new_key",
    )


def _environment(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Installed packages, from the text that ``conda list`` or ``pip list`` printed, and imported modules."""
    listed = metadata.get("module_list") or metadata.get("conda_list") or ""
    lines = listed.splitlines() if isinstance(listed, str) else listed if isinstance(listed, list) else []
    words = [str(line).split() for line in lines if not str(line).startswith(("#", "-", "Package "))]
    distributions = {name: version for name, version, *_ in (w for w in words if len(w) >= 2)}
    modules = metadata.get("module_versions")
    imported = {str(name): str(v) for name, v in modules.items()} if isinstance(modules, dict) else {}
    if not distributions and not imported:
        return None
    return {"distributions": distributions, "imported": imported}


def _python(metadata: Mapping[str, Any]) -> str:
    """The version of Python: ``distutils`` had the same."""
    modules = metadata.get("module_versions")
    version = str(modules.get("distutils", "")) if isinstance(modules, dict) else ""
    return version if re.fullmatch(r"\d+(\.\d+)+", version) else ""
