"""zdb: a database for simulation results, as one Zarr group on disk or in a bucket."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zdb import errors
from zdb.errors import ZdbError

if TYPE_CHECKING:
    from zdb import config, utils
    from zdb.catalogs import Catalog, catalog
    from zdb.database import Database
    from zdb.exchange.folders import export_files
    from zdb.exchange.importing import import_files
    from zdb.files.folder import Folder
    from zdb.formats.files import StoredFile
    from zdb.formats.folders import key_names
    from zdb.formats.ragged import Ragged
    from zdb.formats.registry import Format, Selection, register
    from zdb.info import Info
    from zdb.locks.lock import Lock, lock
    from zdb.maintenance.report import GarbageReport, RepairReport, VerifyReport
    from zdb.opening import adopt, open  # noqa: A004
    from zdb.parallel.progress import Progress
    from zdb.provenance import Provenance
    from zdb.references import create_mdb, create_reldb, open_file
    from zdb.shared.pool import clear_shared
    from zdb.transfer.report import TransferReport

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Database",
    "Folder",
    "Format",
    "GarbageReport",
    "Info",
    "Lock",
    "Progress",
    "Provenance",
    "Ragged",
    "RepairReport",
    "Selection",
    "StoredFile",
    "TransferReport",
    "VerifyReport",
    "ZdbError",
    "__version__",
    "adopt",
    "catalog",
    "clear_shared",
    "config",
    "create_mdb",
    "create_reldb",
    "errors",
    "export_files",
    "import_files",
    "key_names",
    "lock",
    "open",
    "open_file",
    "register",
    "utils",
]

# Imported on first use, so that ``import zdb`` is fast.
_LAZY = {
    "Catalog": "zdb.catalogs",
    "Database": "zdb.database",
    "Folder": "zdb.files.folder",
    "Format": "zdb.formats.registry",
    "Info": "zdb.info",
    "Progress": "zdb.parallel.progress",
    "Provenance": "zdb.provenance",
    "Ragged": "zdb.formats.ragged",
    "Selection": "zdb.formats.registry",
    "StoredFile": "zdb.formats.stored_file",
    "GarbageReport": "zdb.maintenance.report",
    "RepairReport": "zdb.maintenance.report",
    "TransferReport": "zdb.transfer.report",
    "VerifyReport": "zdb.maintenance.report",
    "adopt": "zdb.opening",
    "export_files": "zdb.exchange.folders",
    "import_files": "zdb.exchange.importing",
    "catalog": "zdb.catalogs",
    "clear_shared": "zdb.shared.pool",
    "config": "zdb.config",
    "create_mdb": "zdb.references",
    "create_reldb": "zdb.references",
    "key_names": "zdb.formats.folders",
    "Lock": "zdb.locks.lock",
    "lock": "zdb.locks.lock",
    "open": "zdb.opening",
    "open_file": "zdb.references",
    "register": "zdb.formats.registry",
    "utils": "zdb.utils",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'zdb' has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    found = module if module.__name__ == f"zdb.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
