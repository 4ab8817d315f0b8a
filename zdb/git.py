"""The state of the git repository that the running code belongs to."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GIT_TIMEOUT", "MINIMAL_AGE", "GitState", "current_state", "read_state"]

# Seconds for which an answer of git is reused. A repository on a slow disk is asked less often, so
# that git takes at most a twentieth of the time.
MINIMAL_AGE = 5.0
AGE_PER_SECOND_OF_WORK = 20.0
# Seconds after which a call of git is given up.
GIT_TIMEOUT = 5.0
# Set by git itself while a hook runs; they would lead to another repository.
_MISLEADING_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
)


@dataclass(frozen=True)
class GitState:
    """What git says about a folder.

    Attributes
    ----------
    commit : str
        Hash of the commit that is checked out; empty without a repository or before its first one.
    state : str
        "clean", "dirty" (a tracked file differs from the commit, or the running script is not
        tracked) or "none" (no repository, no git, or git refused).
    remote : str
        URL of the remote, "origin" if there are several, without user info; empty if none.
    """

    commit: str = ""
    state: str = "none"
    remote: str = ""


_cache: dict[str, tuple[float, GitState]] = {}


def current_state() -> GitState:
    """Return the state of the repository of the running script, at most some seconds old.

    It is looked for in the folder of the script. A program that is installed (a console script,
    ``python -m pytest``), a notebook and an interactive session are looked for in the working
    directory.
    """
    script = running_script()
    try:
        folder = str(script.parent) if script else os.getcwd()  # noqa: PTH109 (much faster)
    except OSError:  # the working directory was removed
        return GitState()
    known = _cache.get(folder)
    started = time.monotonic()
    if known is not None and started < known[0]:
        return known[1]
    state = read_state(folder, script)
    now = time.monotonic()
    age = max(MINIMAL_AGE, AGE_PER_SECOND_OF_WORK * (now - started))
    _cache[folder] = (now + age, state)
    return state


_script: tuple[str | None, Path | None] = (None, None)


def running_script() -> Path | None:
    """Return the absolute path of the running script; None if there is none or it is installed."""
    global _script
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(name, str):
        return None
    if _script[0] != name:
        path = Path(name).absolute()
        _script = (name, None if _is_installed(path) or not path.is_file() else path)
    return _script[1]


def _is_installed(script: Path) -> bool:
    import sysconfig

    folders = [sysconfig.get_path(name) for name in ("scripts", "purelib", "platlib", "stdlib")]
    folders += [sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))]
    return "site-packages" in script.parts or any(script.is_relative_to(f) for f in folders if f)


def read_state(folder: str, script: Path | None = None) -> GitState:
    """Ask git about a folder, and whether it tracks `script`."""
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return GitState()
    commit = ""
    dirty = False
    for line in status.splitlines():
        if line.startswith("# branch.oid "):
            commit = line.removeprefix("# branch.oid ").strip()
        elif not line.startswith("#"):
            dirty = True
    if commit == "(initial)":
        commit, dirty = "", True
    if not dirty and script is not None:
        dirty = _git(folder, "ls-files", "--error-unmatch", "--", script.name) is None
    return GitState(commit, "dirty" if dirty else "clean", _remote(folder))


def _remote(folder: str) -> str:
    listed = _git(folder, "config", "--get-regexp", r"^remote\..*\.url$")
    remotes = dict(line.split(" ", 1) for line in (listed or "").splitlines() if " " in line)
    if not remotes:
        return ""
    from zdb.redact import redact_url

    return redact_url(remotes.get("remote.origin.url") or next(iter(remotes.values())))


def _git(folder: str, *arguments: str) -> str | None:
    """Return what git prints; None if it fails, is missing or takes too long."""
    import subprocess

    environment = {k: v for k, v in os.environ.items() if k not in _MISLEADING_VARIABLES}
    environment.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
