"""What a copy between databases did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from zdb.display import format_count, format_size

__all__ = ["TransferReport"]

SHOWN = 20


@dataclass
class TransferReport:
    """What :meth:`zdb.Database.copy_to` and :meth:`zdb.Database.sync_to` did, or would do.

    Attributes
    ----------
    source, target : str
        Where the databases lie.
    dry_run : bool
        Nothing was done.
    copied : list of str
        Keys that were copied, as they are called in the source.
    deleted : list of str
        Keys that were deleted in the target.
    failed : dict of str to str
        Keys that are damaged in the source and were not copied, and why.
    skipped : dict of str to str
        Keys that jobs fill in the target, or that this thread itself writes there, which were left, and who does.
    unchanged : int
        How many values were the same already.
    objects, nbytes : int
        How many objects were written, and their bytes; those that an interrupted copy had brought are not counted.
    """

    source: str
    target: str
    dry_run: bool = False
    copied: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    objects: int = 0
    nbytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing failed or was skipped."""
        return not self.failed and not self.skipped

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        would = "would be " if self.dry_run else ""
        counts = f"{len(self.copied)} {would}copied, {self.unchanged} unchanged, {len(self.deleted)} {would}deleted"
        written = f"{format_count(self.objects, 'object')}, {format_size(self.nbytes)}"
        skipped = f", {len(self.skipped)} skipped" * bool(self.skipped)
        lines = [f"{self.source} → {self.target}", f"{counts}, {len(self.failed)} failed{skipped}; {written}"]
        lines += [f"  copy {key}" for key in self.copied[: SHOWN * self.dry_run]]
        lines += [f"  delete {key}" for key in self.deleted[:SHOWN]]
        for what, keys in (("failed", self.failed), ("skipped", self.skipped)):
            shown = list(keys.items())[:SHOWN]
            lines += [f"  {what} {key}: {why.removeprefix(f'{key}: ')}" for key, why in shown]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<zdb.TransferReport>\n{self}"
