"""Settings, in the words of :mod:`dask.config`: from files, from the environment, and from :func:`set` in the code.

Files are YAML in ``~/.config/zdb``, ``/etc/zdb`` and ``<prefix>/etc/zdb``, or what ``ZDB_CONFIG`` names. The setting
``lock`` is the environment variable ``ZDB_LOCK``, and so on. Files and environment are read when the first setting is
looked up, and again by :func:`refresh`. donfig reads them, as it does for zarr.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.errors import UnknownSettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import donfig
    from donfig.config_obj import ConfigSet

__all__ = ["SETTINGS", "Setting", "get", "refresh", "set", "sources"]

NAME = "zdb"


class Setting(NamedTuple):
    """One setting: its value where nothing else is said, and what it does."""

    default: Any
    description: str


SETTINGS = {
    "catalog": Setting(
        None,
        "where databases are registered: a folder or URL; by default a folder of the user; False for nowhere",
    ),
    "durability": Setting(
        "commit",
        "'commit': a write to the local disk returns when it is there, and survives a loss of power; 'none': sooner",
    ),
    "progress": Setting(False, "show a progress bar when a value is written that dask computes (db.set)"),
    "shared": Setting(
        None,
        "folder of the arrays that processes share (db.shared); by default one of the user in /dev/shm",
    ),
    "claims": Setting(
        "auto",
        '"none" writes without claims, also to stores that cannot keep writers apart; one may write at a time',
    ),
    "lease": Setting(30.0, "seconds after which a writer that gives no sign of life loses the claim of its key"),
    "lock": Setting("file:", "URLs of the backends of zdb.lock in order of preference, separated by commas"),
}


@cache
def _config() -> donfig.Config:
    from donfig import Config

    return Config(NAME, defaults=[{name: setting.default for name, setting in SETTINGS.items()}])


def _checked(name: str) -> str:
    if name not in SETTINGS:
        raise UnknownSettingError(f"there is no setting {name!r}; there are {', '.join(SETTINGS)}")
    return name


def get(name: str) -> Any:
    """Return the value of a setting.

    Raises
    ------
    UnknownSettingError
        There is no setting of this name.
    """
    return _config().get(_checked(name))


def set(values: Mapping[str, Any]) -> ConfigSet:  # noqa: A001 - the word of dask.config and zarr.config
    """Change settings in this process; as a context manager, until its end.

    Raises
    ------
    UnknownSettingError
        There is no setting of this name; nothing is changed.

    Examples
    --------
    >>> with zdb.config.set({"lock": "redis://localhost:6379"}):
    ...     ...
    """
    for name in values:
        _checked(name)
    return _config().set(dict(values))


def refresh() -> None:
    """Read files and environment again, and forget what :func:`set` has set."""
    _config().refresh()


def sources() -> dict[str, str]:
    """Return where the value of each setting comes from: "default", a file, an environment variable or "set"."""
    import yaml

    found = dict.fromkeys(SETTINGS, "default")
    values = {name: setting.default for name, setting in SETTINGS.items()}
    config = _config()
    for folder in map(Path, config.paths):
        files = sorted(folder.glob("*.y*ml")) if folder.is_dir() else [folder] * folder.is_file()
        for file in files:
            for name, value in (yaml.safe_load(file.read_text("utf-8")) or {}).items():
                if name in SETTINGS:
                    found[name], values[name] = str(file), value
    for name in SETTINGS:
        variable = f"{NAME}_{name}".upper()
        if variable in os.environ:
            found[name], values[name] = variable, os.environ[variable]
        if str(config.get(name)) != str(values[name]):
            found[name] = "set"
    return found
