"""The environment record: everything needed to say with which software a value was made.

The record is kept once per content, under the hash of its canonical JSON. What differs from job to
job (host, job ids) is recorded with the value itself, so that a thousand jobs share one record.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

__all__ = [
    "RECORDED_VARIABLES",
    "EnvironmentRecords",
    "canonical_hash",
    "installed_distributions",
]

# The only environment variables that are ever recorded.
RECORDED_VARIABLES = (
    "BLIS_NUM_THREADS",
    "CONDA_DEFAULT_ENV",
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PIXI_ENVIRONMENT_NAME",
    "PYTHONHASHSEED",
    "SLURM_CLUSTER_NAME",
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_NUM_NODES",
    "SLURM_JOB_PARTITION",
    "SLURM_NTASKS",
    "TZ",
    "ZARR_CONFIG",
)
_VERSIONED_NAME = re.compile(r"(?P<name>.+)-(?P<version>\d[^-]*)\.dist-info")
_STANDARD_LIBRARY = frozenset(sys.stdlib_module_names) | {"__main__", "__mp_main__"}


def canonical_hash(content: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a JSON value written with sorted keys and no spaces.

    Characters outside ASCII are escaped, as :func:`json.dumps` does.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class EnvironmentRecords:
    """The record of this process; made when first asked for, and again after imports."""

    def __init__(self) -> None:
        self._number_of_modules = -1
        self._imported: dict[str, str] = {}
        self._fixed: dict[str, Any] | None = None
        self._lock_record: dict[str, Any] | None = None
        self._current: tuple[str, dict[str, dict[str, Any]]] = ("", {})

    def current(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """Return the hash of the environment record, and its records by their path in ``_zdb``.

        The same objects are returned until the record changes.
        """
        number = len(sys.modules)
        if number == self._number_of_modules:
            return self._current
        if self._fixed is None:
            self._fixed = self._describe()
        imported = imported_versions(self._fixed["distributions"])
        if not self._current[0] or imported != self._imported:
            record = {**self._fixed, "imported": imported}
            identifier = canonical_hash(record)
            records = {f"environments/{identifier}": record}
            if self._lock_record is not None:
                records[f"environments/{canonical_hash(self._lock_record)}"] = self._lock_record
            self._imported, self._current = imported, (identifier, records)
        self._number_of_modules = number
        return self._current

    def _describe(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "python": {
                "version": platform.python_version(),
                "implementation": platform.python_implementation(),
                "executable": Path(sys.executable or "").name,
            },
            "platform": platform.platform(),
            "cpu": {"model": cpu_model(), "count": os.cpu_count() or 0},
            "distributions": installed_distributions(),
            "conda": describe_conda(),
            "variables": {n: os.environ[n] for n in RECORDED_VARIABLES if n in os.environ},
        }
        lock = find_pixi_lock()
        if lock is not None:
            self._lock_record = {"pixi_lock": lock}
            record["pixi_lock"] = canonical_hash(self._lock_record)
        return record


def cpu_model() -> str:
    """Return the name of the processor, or its architecture where the name is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "cpu model"}:
            return value.strip()
    return platform.processor() or platform.machine()


def installed_distributions() -> dict[str, str]:
    """Return the version of every distribution that can be imported, by its normalised name."""
    found: dict[str, str] = {}
    for entry in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(entry or "."))  # noqa: PTH208 (names only)
        except OSError:  # not there, or a zip file
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                project, version = _name_and_version(Path(entry), name)
                if project:
                    found.setdefault(re.sub(r"[-_.]+", "-", project).lower(), version)
    return dict(sorted(found.items()))


def _name_and_version(folder: Path, name: str) -> tuple[str, str]:
    # The name of the folder tells both, which saves reading hundreds of files.
    match = _VERSIONED_NAME.fullmatch(name)
    if match:
        return match["name"], match["version"]
    from importlib.metadata import PathDistribution

    # Broken installations are common and no reason to fail.
    try:
        metadata = PathDistribution(folder / name).metadata
        return metadata["Name"], metadata["Version"]
    except Exception:  # noqa: BLE001
        return "", ""


def imported_versions(distributions: dict[str, str]) -> dict[str, str]:
    """Return the versions of the top-level modules imported so far, where they are known.

    The module's own ``__version__`` counts (code that runs from a source folder), else the version
    of the distribution of the same name.
    """
    versions = {}
    for name in {name.partition(".")[0] for name in list(sys.modules)} - _STANDARD_LIBRARY:
        if name.startswith("_"):
            continue
        # vars() does not run a module's lazy __getattr__.
        version = getattr(sys.modules.get(name), "__dict__", {}).get("__version__")
        if type(version) is not str:
            version = distributions.get(name.replace("_", "-").lower())
        if version:
            versions[name] = version
    return dict(sorted(versions.items()))


def describe_conda() -> dict[str, Any] | None:
    """Return name and packages (name-version-build) of the conda or pixi environment, if any."""
    for prefix in (sys.prefix, os.environ.get("CONDA_PREFIX", "")):
        try:
            names = os.listdir(Path(prefix, "conda-meta")) if prefix else []  # noqa: PTH208
        except OSError:
            continue
        packages = sorted(n.removesuffix(".json") for n in names if n.endswith(".json"))
        if packages:
            return {"environment": Path(prefix).name, "packages": packages}
    return None


def find_pixi_lock() -> str | None:
    """Return the lock file of the pixi environment in use, without credentials; None if none."""
    candidates = [
        parent.parent / "pixi.lock"
        for prefix in (sys.prefix, os.environ.get("CONDA_PREFIX", ""))
        for parent in Path(prefix).parents
        if prefix and parent.name == ".pixi"
    ]
    manifest = os.environ.get("PIXI_PROJECT_MANIFEST")
    if manifest:
        candidates.append(Path(manifest).parent / "pixi.lock")
    for candidate in candidates:
        try:
            text = candidate.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        from zdb.redact import redact_credentials

        return redact_credentials(text)
    return None
