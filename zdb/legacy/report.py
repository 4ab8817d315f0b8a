"""What became of each key of an old database that was migrated."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MigratedKey", "MigrationReport"]

Outcome = Literal["converted", "present", "raw", "failed"]


@dataclass(frozen=True)
class MigratedKey:
    """What became of one key.

    Attributes
    ----------
    old, new : str
        The key in the old database, and in the new one.
    outcome : str
        "converted": read and written, and equal when it was read back; "present": an earlier migration had done it;
        "raw": not converted, its files lie below the new key; "failed": nothing of it is in the new database.
    dumper, format : str
        What wrote it in the old database, and the format of the new one.
    reason : str
        Why it was not converted.
    note : str
        What is different in the new database.
    nbytes : int
        Size of its files in the old database, in bytes.
    """

    old: str
    new: str
    outcome: Outcome
    dumper: str = ""
    format: str = ""
    reason: str = ""
    note: str = ""
    nbytes: int = 0

    @property
    def is_renamed(self) -> bool:
        return self.old != self.new


@dataclass
class MigrationReport:
    """What became of all keys.

    Attributes
    ----------
    old, new : str
        Where the databases lie.
    kind, id : str
        "ISFDataBase" or "ModelDataBase", and the unique id that it had.
    keys : list of MigratedKey
    left_behind : list of str
        Files and folders of the old database that belong to no key, and were not copied.
    """

    old: str
    new: str
    kind: str
    id: str
    keys: list[MigratedKey] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything was converted."""
        return all(key.outcome in ("converted", "present") for key in self.keys)

    def count(self, outcome: Outcome) -> int:
        """How many keys had an outcome."""
        return Counter(key.outcome for key in self.keys)[outcome]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return {**asdict(self), "ok": self.ok}

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each key."""
        import pandas as pd

        return pd.DataFrame([asdict(key) for key in self.keys])

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.old} -> {self.new}"]
        lines.append(
            f"{self.count('converted')} converted, {self.count('present')} were there, "
            f"{self.count('raw')} kept as raw files, {self.count('failed')} failed"
        )
        lines += [f"  {key.outcome}  {key.old}: {key.reason}" for key in self.keys if key.reason]
        lines += [f"  renamed  {key.old} -> {key.new}" for key in self.keys if key.is_renamed]
        lines += [f"  note  {key.old}: {key.note}" for key in self.keys if key.note]
        lines += [f"  left behind  {path}: belongs to no key" for path in self.left_behind]
        return "\n".join(lines)

    __repr__ = __str__
