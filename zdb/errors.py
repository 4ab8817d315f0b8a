"""Every error that zdb raises: one tree, each also the builtin that people already catch."""

from __future__ import annotations

__all__ = [
    "AccessDeniedError",
    "CatalogError",
    "ClaimLostError",
    "ClaimTimeoutError",
    "ClaimsUnsupportedError",
    "CorruptChunkError",
    "DatabaseNotFoundError",
    "FolderNotEmptyError",
    "FormatNotInstalledError",
    "InvalidKeyError",
    "InvalidQueryError",
    "InvalidReferenceError",
    "InvalidSettingError",
    "IsAFolderError",
    "KeyClaimedError",
    "KeyConflictError",
    "KeyExistsError",
    "KeyNotFoundError",
    "LockLostError",
    "LockTimeoutError",
    "LockUnavailableError",
    "LockUsageError",
    "MisalignedRegionError",
    "MissingChunkError",
    "MissingPartsError",
    "NoFileError",
    "NotADatabaseError",
    "NotAFolderError",
    "NotFillingError",
    "NotMappableError",
    "NotMigratedError",
    "PartMismatchError",
    "PickleRefusedError",
    "ReadOnlyError",
    "SelectionError",
    "StaleValueError",
    "StorageError",
    "UnknownSettingError",
    "UnreadableValueError",
    "UnsupportedValueError",
    "UnsupportedVersionError",
    "WriteError",
    "ZdbError",
]


class ZdbError(Exception):
    """Base of all errors of zdb."""


class KeyNotFoundError(ZdbError, KeyError):
    """There is nothing at this key."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which spoils a sentence.
        return str(self.args[0]) if self.args else ""


class InvalidKeyError(ZdbError, ValueError):
    """The key breaks the rules for names."""


class KeyExistsError(ZdbError, FileExistsError):
    """The key is taken and was not to be overwritten."""


class KeyConflictError(ZdbError, FileExistsError):
    """A value would lie under a value, or take the place of a sub-database."""


class KeyClaimedError(ZdbError, BlockingIOError):
    """Another writer has the claim of this key, and it was not to be waited for, or does not end by itself."""


class ClaimTimeoutError(ZdbError, TimeoutError):
    """Another writer had the claim of this key until the time was over."""


class ClaimLostError(ZdbError, RuntimeError):
    """This writer was taken for dead, because it stood still for too long, and another one has gone on in its place."""


class ClaimsUnsupportedError(ZdbError, NotImplementedError):
    """The store cannot keep two writers of one key apart."""


class ReadOnlyError(ZdbError, PermissionError):
    """The database, or the place where it lies, cannot be written."""


class AccessDeniedError(ZdbError, PermissionError):
    """The store refuses this user: credentials are wrong or missing, or the rights of a file forbid to read it."""


class DatabaseNotFoundError(ZdbError, FileNotFoundError):
    """There is no database at this URL."""


class NotADatabaseError(ZdbError, FileExistsError):
    """Something else than a database of zdb lies at this URL."""


class NoFileError(ZdbError, FileNotFoundError):
    """There is no file at this key: nothing, or a value that is not a file."""


class IsAFolderError(ZdbError, IsADirectoryError):
    """There is a sub-database at this key, not a file."""


class NotAFolderError(ZdbError, NotADirectoryError):
    """There is a value at this key, not a sub-database."""


class FolderNotEmptyError(ZdbError, OSError):
    """The folder holds values, and only an empty one, or one with nothing but files, is removed."""


class InvalidReferenceError(ZdbError, ValueError):
    """A ``reldb://`` or ``mdb://`` reference, or a URI of a file, cannot be understood."""


class NotMigratedError(ZdbError, AttributeError):
    """A database of another program has no such method; only one of zdb has."""


class UnsupportedVersionError(ZdbError, ValueError):
    """Written by a newer zdb, in a format version that this one does not know."""


class InvalidQueryError(ZdbError, ValueError):
    """A condition for finding keys cannot be understood."""


class FormatNotInstalledError(ZdbError, ImportError):
    """No installed package provides the format of this value."""


class UnsupportedValueError(ZdbError, TypeError):
    """The value cannot be kept exactly by the format."""


class SelectionError(ZdbError, ValueError):
    """The format of this value has no such part (columns, rows, labels)."""


class NotMappableError(ZdbError, ValueError):
    """A value cannot be mapped into memory, or not as it is stored; the message says what can be done."""


class PickleRefusedError(ZdbError, ValueError):
    """The value is a pickle, which can run code, and ``allow_pickle=True`` was not given."""


class UnreadableValueError(ZdbError, ValueError):
    """A value of an old database, or of another program, is damaged or of a kind that no reader knows."""


class MissingChunkError(ZdbError, OSError):
    """A chunk that the metadata promises is not in the store."""


class CorruptChunkError(ZdbError, OSError):
    """A chunk cannot be decoded, or its checksum does not match."""


class CatalogError(ZdbError, OSError):
    """The catalog cannot be read or written; the databases themselves are as they were."""


class LockUnavailableError(ZdbError, ConnectionError):
    """No backend keeps this lock: none answers, or the one that is used stopped to."""


class LockTimeoutError(ZdbError, TimeoutError):
    """Somebody else holds the lock, and it was not waited for any longer."""


class LockLostError(ZdbError, RuntimeError):
    """The lock was lost while it was held, so that another may have worked at the same time."""


class LockUsageError(ZdbError, RuntimeError):
    """The lock is not acquired, or is already, or the backend has none of this kind."""


class StaleValueError(ZdbError, RuntimeError):
    """The value was replaced since it was opened, and its old chunks are gone."""


class StorageError(ZdbError, OSError):
    """The store refused an operation: disk full, no connection, no permission."""


class InvalidSettingError(ZdbError, ValueError):
    """A setting, or an argument that says how to do something, has a value that it cannot have."""


class UnknownSettingError(ZdbError, KeyError):
    """There is no setting of this name."""

    __str__ = KeyNotFoundError.__str__


class NotFillingError(ZdbError, LookupError):
    """The value is not being filled by jobs: it was finished or given up, or this part of it is written by another."""


class PartMismatchError(ZdbError, ValueError):
    """A part does not fit into the value: its kind, variables, dtypes, sizes, labels or region differ."""


class MisalignedRegionError(ZdbError, ValueError):
    """A region does not begin and end where the objects in the store do, which other jobs write too."""


class MissingPartsError(ZdbError, RuntimeError):
    """A value cannot be finished because parts of it were not written."""


class WriteError(ZdbError, RuntimeError):
    """Computing or encoding the data failed while it was written; the old value is intact."""
