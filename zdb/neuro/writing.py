"""Write the keys of an import: each joins what was there before and the batches that were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import zdb
from zdb.neuro.imported import ACTIVITY, FOLDERS, KEYS, MARK, keys_in_folder
from zdb.neuro.joining import TRIALS, Part, Stored, join_ragged, join_spike_times, join_traces
from zdb.neuro.link_format import LinkFormat, read_link
from zdb.neuro.links import join_links
from zdb.neuro.staging import RECORD, holds_spike_times
from zdb.neuro.tasks import reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from zdb.neuro.tasks import Progress

__all__ = ["Source", "write_joined"]


@dataclass(frozen=True)
class Source:
    """A database with the keys of an import for some runs: this one ("" as `prefix`), or a batch."""

    prefix: str
    runs: frozenset[str]

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


def write_joined(db: zdb.Database, sources: Sequence[Source], trials: pd.DataFrame, progress: Progress) -> list[str]:
    """Write the keys that have data of every trial.

    Parameters
    ----------
    db : zdb.Database
    sources : sequence of Source
    trials : pandas.DataFrame
        ``sim_trial_index`` and ``path`` of all trials, in the order in which they are to be.
    progress : see :func:`zdb.neuro.import_simrun`

    Returns
    -------
    list of str
        The keys that were written or are as they should be.
    """
    stored = Stored(db)
    names = sorted({name for source in sources for name in _names(db, source)}, key=_order)
    written = []
    for name in names:
        parts = _parts(stored, sources, name, trials)
        if not parts:  # no trial has it any more
            if name in db:
                del db[name]
            continue
        written.append(name)
        if len(parts) == 1 and parts[0].key == name and _whole(stored, parts[0]):
            continue
        with reporting(name, progress):
            _write(stored, name, parts, trials)
    return written


def _names(db: zdb.Database, source: Source) -> list[str]:
    if source.prefix:
        return [name for name in db.database(source.prefix).keys(recursive=True) if name != RECORD]
    if not source.runs:
        return []
    return [key for key in KEYS[:4] if key in db] + [key for top in FOLDERS[:2] for key in keys_in_folder(db, top)]


def _order(name: str) -> tuple[int, str]:
    first = name.partition("/")[0]
    return ((*KEYS, *FOLDERS).index(first), name)


def _parts(stored: Stored, sources: Sequence[Source], name: str, trials: pd.DataFrame) -> list[Part]:
    """Where the trials of a key are, in order; trials that follow each other in one source are one part."""
    places: dict[str, tuple[str, int]] = {}
    for source in sources:
        key = source.key(name)
        if key in stored.db:
            labels = _labels(stored, key, name)
            places |= {label: (key, row) for row, label in enumerate(labels) if label.rpartition("/")[0] in source.runs}
    parts: list[Part] = []
    for label in trials[TRIALS]:
        if label not in places:
            continue
        key, row = places[label]
        if parts and parts[-1].key == key and parts[-1].trials.stop == row:
            parts[-1] = Part(key, slice(parts[-1].trials.start, row + 1))
        else:
            parts.append(Part(key, slice(row, row + 1)))
    return parts


def _labels(stored: Stored, key: str, name: str) -> list[str]:
    """``sim_trial_index`` of the trials of a stored value, in order."""
    if _is_link(stored.db, key):
        return list(read_link(stored.db, key).trials["trial"])
    if name in ACTIVITY:
        return list(stored.columns(key)[TRIALS].cat.categories)
    if holds_spike_times(name):
        return list(stored.db[key][TRIALS])
    return [str(label) for label in stored.dataset(key)["trial"].to_numpy()]


def _is_link(db: zdb.Database, key: str) -> bool:
    return db.info(key).format == LinkFormat.name


def _whole(stored: Stored, part: Part) -> bool:
    return part.trials == slice(0, len(_labels(stored, part.key, part.key)))


def _write(stored: Stored, name: str, parts: list[Part], trials: pd.DataFrame) -> None:
    db = stored.db
    linked = {_is_link(db, key) for key in {part.key for part in parts}}
    if len(linked) == 2:
        raise zdb.errors.KeyExistsError(
            f"{name}: holds data, and links would be added, or the other way round; import by the mode that was used "
            "before, or everything again with overwrite=True"
        )
    if linked == {True}:
        links = [(read_link(db, part.key), part.trials) for part in parts]
        db.set(name, join_links(links, list(trials[TRIALS])), format=LinkFormat.name, attrs=MARK)
    elif name in ACTIVITY:
        db.set(name, join_ragged(stored, parts, list(trials[TRIALS])), format="ragged", attrs=MARK)
    elif holds_spike_times(name):
        db.set(name, join_spike_times(db, parts), attrs=MARK)
    else:
        kind = "voltage" if name == "voltage_traces" else "dendrite"
        db.set(name, join_traces(stored, parts, kind), attrs=MARK)
