"""What is known about the running process: user, host, program, job, environment and notebook."""

from __future__ import annotations

import os
import sys
from typing import Any

from zdb.environment import EnvironmentRecords, canonical_hash

__all__ = ["JOB_ATTRIBUTES", "NotebookHistory", "Process", "dask_task"]

# Longer command lines are cut; they hold lists of files.
LONGEST_PROGRAM = 1000
_JOB_VARIABLES = {
    "zdb_slurm_job_id": ("SLURM_JOB_ID",),
    "zdb_slurm_array_job_id": ("SLURM_ARRAY_JOB_ID",),
    "zdb_slurm_array_task_id": ("SLURM_ARRAY_TASK_ID",),
    "zdb_slurm_node": ("SLURMD_NODENAME",),
    "zdb_mpi_rank": ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
    "zdb_mpi_size": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
}
_DASK_WORKER, _DASK_TASK = "zdb_dask_worker", "zdb_dask_task"
JOB_ATTRIBUTES = (*_JOB_VARIABLES, _DASK_WORKER, _DASK_TASK)


class Process:
    """What stays the same as long as this process runs."""

    def __init__(self) -> None:
        self._facts: dict[str, str | int | float] = {}
        self.environment = EnvironmentRecords()
        self.history = NotebookHistory()

    def facts(self) -> dict[str, str | int | float]:
        """Return user, host, program, versions and job ids as attributes of a value."""
        if not self._facts:
            import platform

            facts: dict[str, str | int | float] = {
                "zdb_user": _user(),
                "zdb_hostname": platform.node(),
                "zdb_program": _program(),
                "zdb_writer_version": sys.modules["zdb"].__version__,
                "zdb_python_version": platform.python_version(),
            }
            for name, variables in _JOB_VARIABLES.items():
                value = next((os.environ[v] for v in variables if os.environ.get(v)), None)
                if value is not None:
                    is_number = name.startswith("zdb_mpi") and value.isdecimal()
                    facts[name] = int(value) if is_number else value
            self._facts = {
                name: _encodable(value) if isinstance(value, str) else value for name, value in facts.items()
            }
        return self._facts


class NotebookHistory:
    """The cells that IPython has run so far, redacted once each."""

    def __init__(self) -> None:
        self._redacted: list[tuple[str, str]] = []
        self._current: tuple[str, dict[str, Any]] = ("", {})

    def current(self) -> tuple[str, dict[str, Any]] | None:
        """Return hash and record of the history; None outside of IPython."""
        shell = _ipython()
        cells = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
        if cells is None:
            return None
        # The first entry is no cell. A cell is identified by its place and text: both change when
        # the history is reset.
        number = len(cells) - 1
        known = self._redacted
        if self._current[0] and number == len(known) and (not known or cells[-1] == known[-1][0]):
            return self._current
        from zdb.redact import redact_text

        self._redacted = [
            known[i] if i < len(known) and known[i][0] == cell else (cell, redact_text(cell))
            for i, cell in enumerate(list(cells)[1:])
        ]
        record = {"cells": [_encodable(redacted) for _, redacted in self._redacted]}
        self._current = (canonical_hash(record), record)
        return self._current


def _ipython() -> Any:
    module = sys.modules.get("IPython")
    get_ipython = getattr(module, "get_ipython", None)
    return get_ipython() if get_ipython is not None else None


def _encodable(text: str) -> str:
    """Escape what UTF-8 cannot hold, such as bytes of file names."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container whose user has no entry
        return f"uid:{os.getuid()}" if hasattr(os, "getuid") else ""


def _program() -> str:
    """Return the command line: script, "python -m module", or "jupyter", "ipython", "python"."""
    import shlex

    from zdb.redact import redact_argv, redact_credentials

    shell = _ipython()
    if shell is not None:
        if getattr(shell, "kernel", None) is None:
            return "ipython"
        # The notebook's path, where the server or the editor tells it.
        notebook = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
        return f"jupyter {redact_credentials(notebook)}" if isinstance(notebook, str) else "jupyter"
    main = sys.modules.get("__main__")
    arguments = redact_argv([str(argument) for argument in sys.argv[1:]])
    file = getattr(main, "__file__", None)
    module = getattr(getattr(main, "__spec__", None), "name", None)
    if isinstance(module, str) and module != "__main__":
        words = ["python", "-m", module.removesuffix(".__main__"), *arguments]
    elif isinstance(file, str) and not file.startswith("<"):
        words = [os.path.abspath(file), *arguments]  # noqa: PTH100 (keeps links)
    elif sys.argv[:1] == ["-c"]:
        words = ["python", "-c", *arguments]
    else:
        words = ["python"]
    text = shlex.join(words)
    return text if len(text) <= LONGEST_PROGRAM else text[: LONGEST_PROGRAM - 1] + "…"


def dask_task() -> dict[str, str]:
    """Return address of the worker and key of the task, when called in a task of dask."""
    thread_state = getattr(sys.modules.get("distributed.worker"), "thread_state", None)
    task = getattr(thread_state, "key", None)
    if task is None:
        return {}
    found = {_DASK_TASK: _encodable(str(task))}
    execution = getattr(thread_state, "execution_state", None) or {}
    address = getattr(execution.get("worker"), "address", None)
    if address:
        found[_DASK_WORKER] = str(address)
    return found
