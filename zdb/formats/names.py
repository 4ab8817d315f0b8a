"""Names that every store can hold, for names that only Python can."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = ["is_safe_name", "safe_names"]

MAXIMUM_LENGTH = 100
_SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]*[A-Za-z0-9_-])?")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9._ -]+")
_RESERVED = frozenset({"zarr.json"})


def is_safe_name(name: Hashable) -> bool:
    """Whether `name` can be stored as it is: short, of ``[A-Za-z0-9._ -]``, no sign first."""
    return (
        type(name) is str
        and len(name) <= MAXIMUM_LENGTH
        and _SAFE.fullmatch(name) is not None
        and name.casefold() not in _RESERVED
    )


def safe_names(names: Sequence[Hashable], taken: Iterable[str] = ()) -> list[str]:
    """Map names of any kind to names that every store can hold.

    Parameters
    ----------
    names : sequence of hashable
        Names of variables, columns or dimensions. Repeated names get different safe names.
    taken : iterable of str
        Safe names that are already in use and must not be given again.

    Returns
    -------
    list of str
        One safe name for each name, in order; no two are equal when case is ignored. A name that
        is safe stays as it is, except where an earlier name differs from it by case only. The
        result depends on nothing but the input.
    """
    used = {name.casefold() for name in taken}
    result: dict[int, str] = {}
    for position, name in enumerate(names):
        if type(name) is str and is_safe_name(name) and name.casefold() not in used:
            result[position] = name
            used.add(name.casefold())
    counters: dict[str, int] = {}
    for position, name in enumerate(names):
        if position in result:
            continue
        base = _readable(name)
        candidate = base
        while candidate.casefold() in used or candidate.casefold() in _RESERVED:
            counters[base] = counters.get(base, 1) + 1
            candidate = f"{base}_{counters[base]}"
        result[position] = candidate
        used.add(candidate.casefold())
    return [result[position] for position in range(len(names))]


def _readable(name: Hashable) -> str:
    """The letters and digits of a name, as a safe name that may be taken already."""
    text = "_".join(str(part) for part in name) if isinstance(name, tuple) else str(name)
    text = _UNSAFE_RUN.sub("_", text)[:MAXIMUM_LENGTH].strip("._ -")
    return text or "unnamed"
