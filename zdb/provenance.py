"""Provenance: when, by whom, on which machine, from which code and in which environment.

:func:`capture` is called on every write, so what stays the same in a process is found out once, and
the state of git is reused for some seconds (:data:`zdb.git.MINIMAL_AGE`). What cannot be found out
is left empty or out; it is never an error. Secrets are taken out by :mod:`zdb.redact`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from zdb import git
from zdb.process import JOB_ATTRIBUTES, Process, dask_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Capture", "Provenance", "capture"]


# Fields of a provenance that are text, and attributes of the same name.
TEXTS = (
    "user",
    "hostname",
    "program",
    "git_commit",
    "git_state",
    "git_remote",
    "writer_version",
    "python_version",
    "imported_from",
)


@dataclass(frozen=True)
class Capture:
    """What is recorded with one write.

    Attributes
    ----------
    attributes : dict of str to str, int or float
        Flat attributes of the value, all prefixed ``zdb_``.
    records : dict of str to dict
        Records that the attributes point to, by their path in ``_zdb`` ("environments/<sha256>",
        "histories/<sha256>"), each to be written once per database. The same objects are returned
        as long as they have not changed; they are not to be modified.
    """

    attributes: dict[str, str | int | float]
    records: dict[str, dict[str, Any]]


def capture(duration: float | None = None, inputs: Sequence[str] = ()) -> Capture:
    """Collect the provenance of a value that is being written.

    Parameters
    ----------
    duration
        How long it took to write the value, in seconds.
    inputs
        Keys or URLs from which the value was computed.
    """
    process = _process
    attributes: dict[str, str | int | float] = {
        "zdb_created": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        **process.facts(),
    }
    state = git.current_state()
    attributes["zdb_git_state"] = state.state
    if state.commit:
        attributes["zdb_git_commit"] = state.commit
    if state.remote:
        attributes["zdb_git_remote"] = state.remote
    if duration is not None:
        attributes["zdb_duration"] = float(duration)
    if inputs:
        attributes["zdb_inputs"] = json.dumps(list(inputs))
    attributes.update(dask_task())

    environment, records = process.environment.current()
    attributes["zdb_environment"] = environment
    history = process.history.current()
    if history is not None:
        attributes["zdb_history"] = history[0]
        records = {**records, f"histories/{history[0]}": history[1]}
    return Capture(attributes, records)


_process = Process()


def _forget_process() -> None:
    global _process
    _process = Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_process)


@dataclass(frozen=True)
class Provenance:
    """Where a value comes from. Text that is not known is empty.

    Attributes
    ----------
    created : datetime
        When the value was written, in UTC.
    user, hostname, program : str
        Who wrote it, on which machine, with which command line.
    git_commit, git_state, git_remote : str
        The commit of the code; "clean", "dirty" or "none"; the remote without user info.
    writer_version, python_version, format : str
        Version of zdb and of Python, name of the format.
    duration : float or None
        How long the write took, in seconds.
    inputs : tuple of str
        What the value was computed from.
    jobs : mapping of str to str or int
        Ids of SLURM, MPI and dask: "slurm_job_id", "mpi_rank", "dask_task" ...
    parts : mapping or None
        Of a value that many jobs filled: the "number" of parts, when the "first" and the "last" one was written, and
        "by", a list of those who wrote them: "user", "hostname", "job" if there was one, and how many "parts".
    environment : mapping or None
        Python, platform, CPU, installed distributions and imported modules.
    history : tuple of str or None
        Notebook cells that had been run, secrets replaced; None outside of notebooks.
    is_post_hoc : bool
        Nothing was recorded by the writer; `created` is the time stamp of the store.
    imported_from : str
        Where the value was before, if it was made elsewhere; all else is then what was known of it there.
    imported : datetime or None
        When it was imported, in UTC.
    """

    created: datetime
    user: str = ""
    hostname: str = ""
    program: str = ""
    git_commit: str = ""
    git_state: str = "none"
    git_remote: str = ""
    writer_version: str = ""
    python_version: str = ""
    format: str = ""
    duration: float | None = None
    inputs: tuple[str, ...] = ()
    jobs: Mapping[str, str | int] = field(default_factory=dict)
    parts: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    history: tuple[str, ...] | None = None
    is_post_hoc: bool = False
    imported_from: str = ""
    imported: datetime | None = None

    @classmethod
    def from_attributes(
        cls,
        attributes: Mapping[str, Any],
        records_lookup: Callable[[str], Mapping[str, Any] | None],
    ) -> Provenance:
        """Read the provenance from the attributes of a value.

        Parameters
        ----------
        attributes
            Attributes of the value, as :func:`capture` made them; others are ignored.
        records_lookup
            Returns the record at a path in ``_zdb`` ("environments/<sha256>"), None if there is
            none.
        """

        def text(name: str) -> str:
            return str(attributes.get(f"zdb_{name}", ""))

        duration = attributes.get("zdb_duration")
        environment = history = None
        if "zdb_environment" in attributes:
            environment = records_lookup(f"environments/{attributes['zdb_environment']}")
        if "zdb_history" in attributes:
            history = records_lookup(f"histories/{attributes['zdb_history']}")
        return cls(
            created=datetime.fromisoformat(attributes["zdb_created"]),
            user=text("user"),
            hostname=text("hostname"),
            program=text("program"),
            git_commit=text("git_commit"),
            git_state=text("git_state") or "none",
            git_remote=text("git_remote"),
            writer_version=text("writer_version"),
            python_version=text("python_version"),
            format=text("format"),
            duration=None if duration is None else float(duration),
            inputs=tuple(json.loads(attributes.get("zdb_inputs", "[]"))),
            jobs={name.removeprefix("zdb_"): attributes[name] for name in JOB_ATTRIBUTES if name in attributes},
            parts=json.loads(text("parts") or "null"),
            environment=environment,
            history=None if history is None else tuple(history["cells"]),
            is_post_hoc=bool(attributes.get("zdb_post_hoc", 0)),
            imported_from=text("imported_from"),
            imported=datetime.fromisoformat(text("imported")) if text("imported") else None,
        )

    def recorded(self, duration: float | None = None) -> Capture:
        """Return the attributes and records that keep this; secrets are taken out, as by :func:`capture`.

        Parameters
        ----------
        duration
            How long it took to write the value here, in seconds, if it is not known how long it took there.
        """
        from zdb.environment import canonical_hash
        from zdb.redact import redact_credentials, redact_text

        texts = {name: getattr(self, name) for name in TEXTS}
        attributes: dict[str, str | int | float] = {
            "zdb_created": _iso(self.created),
            **{f"zdb_{name}": redact_credentials(text) for name, text in texts.items() if text},
            **{f"zdb_{name}": value for name, value in self.jobs.items()},
        }
        if self.imported_from:
            attributes["zdb_imported"] = _iso(self.imported or datetime.now(UTC))
        if self.is_post_hoc:
            attributes["zdb_post_hoc"] = 1
        if self.inputs:
            attributes["zdb_inputs"] = json.dumps(list(self.inputs))
        if self.parts is not None:
            attributes["zdb_parts"] = json.dumps(dict(self.parts))
        duration = duration if self.duration is None else self.duration
        if duration is not None:
            attributes["zdb_duration"] = float(duration)
        records: dict[str, dict[str, Any]] = {}
        if self.environment is not None:
            environment = dict(self.environment)
            attributes["zdb_environment"] = canonical_hash(environment)
            records[f"environments/{attributes['zdb_environment']}"] = environment
        if self.history is not None:
            history = {"cells": [redact_text(cell) for cell in self.history]}
            attributes["zdb_history"] = canonical_hash(history)
            records[f"histories/{attributes['zdb_history']}"] = history
        return Capture(attributes, records)

    @classmethod
    def post_hoc(cls, created: datetime, format: str = "") -> Provenance:  # noqa: A002
        """Make up the provenance of a value without any, from the time stamp of the store.

        Parameters
        ----------
        created
            The time stamp; one without time zone is taken for UTC.
        format
            Name of the format, if known.
        """
        created = created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC)
        return cls(created=created, format=format, is_post_hoc=True)

    @classmethod
    def from_dict(cls, made: Mapping[str, Any]) -> Provenance:
        """Read what :meth:`to_dict` returned; what is missing but `created` is not known.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is something else.
        """
        known = {f.name: made[f.name] for f in fields(cls) if f.name in made}
        known["created"] = datetime.fromisoformat(known["created"])
        if known.get("imported") is not None:
            known["imported"] = datetime.fromisoformat(known["imported"])
        for name in ("inputs", "history"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; `created` in ISO 8601."""
        made = {f.name: getattr(self, f.name) for f in fields(self)}
        made["created"] = _iso(self.created)
        made["imported"] = None if self.imported is None else _iso(self.imported)
        made["inputs"] = list(self.inputs)
        made["jobs"] = dict(self.jobs)
        made["parts"] = None if self.parts is None else dict(self.parts)
        made["environment"] = None if self.environment is None else dict(self.environment)
        made["history"] = None if self.history is None else list(self.history)
        return made

    def _rows(self) -> list[tuple[str, str]]:
        if self.is_post_hoc and not self.imported_from:
            rows = [("created", f"{_iso(self.created)} (post hoc: time stamp of the store)")]
            return [*rows, ("format", self.format)] if self.format else rows
        rows = [
            ("created", _iso(self.created) + (" (post hoc)" if self.is_post_hoc else "")),
            ("imported from", self.imported_from),
            ("imported", "" if self.imported is None else _iso(self.imported)),
            ("user", self.user),
            ("hostname", self.hostname),
            ("program", self.program),
            ("git", f"{self.git_commit or 'no commit'} ({self.git_state})"),
            ("git remote", self.git_remote),
            ("format", self.format),
            ("zdb", self.writer_version),
            ("python", self.python_version),
            ("duration", "" if self.duration is None else f"{self.duration:.3g} s"),
            *((name.replace("_", " "), str(value)) for name, value in self.jobs.items()),
            ("inputs", ", ".join(self.inputs)),
            ("parts", self._parts_summary()),
            ("environment", self._environment_summary()),
            ("history", "" if self.history is None else f"{len(self.history)} notebook cells"),
        ]
        if self.git_state == "none":
            rows = [(name, "none" if name == "git" else value) for name, value in rows]
        return [(name, text) for name, text in rows if text]

    def _parts_summary(self) -> str:
        if not self.parts:
            return ""
        by = (
            f"{one['parts']} by {one['user']}@{one['hostname']}" + (f" (job {one['job']})" if "job" in one else "")
            for one in self.parts["by"]
        )
        return f"{self.parts['number']}: {', '.join(by)}"

    def _environment_summary(self) -> str:
        if self.environment is None:
            return ""
        installed = len(self.environment.get("distributions", ()))
        imported = len(self.environment.get("imported", ()))
        platform = self.environment.get("platform", "")
        return f"{installed} distributions, {imported} imported modules, {platform}"

    def __repr__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"  {name:<{width}}  {_one_line(text)}" for name, text in rows]
        return "\n".join([f"<zdb.Provenance{' (post hoc)' if self.is_post_hoc else ''}>", *lines])

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in self._rows()
        )
        return f"<table><caption>zdb.Provenance</caption><tbody>{rows}</tbody></table>"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _one_line(text: str) -> str:
    return " ".join(text.split())
