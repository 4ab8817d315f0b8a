"""Formats turn values into Datasets and back; see :mod:`zdb.formats.registry`."""

from __future__ import annotations

from zdb.formats.registry import Format, Selection, by_name, for_value, names, register

__all__ = ["Format", "Selection", "by_name", "for_value", "names", "register"]
