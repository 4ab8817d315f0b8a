from __future__ import annotations

import pickle

import pytest

from zdb import errors

BUILTINS = {
    "AccessDeniedError": PermissionError,
    "CatalogError": OSError,
    "KeyNotFoundError": KeyError,
    "InvalidKeyError": ValueError,
    "KeyExistsError": FileExistsError,
    "InvalidQueryError": ValueError,
    "InvalidSettingError": ValueError,
    "KeyClaimedError": BlockingIOError,
    "ClaimTimeoutError": TimeoutError,
    "ClaimLostError": RuntimeError,
    "ClaimsUnsupportedError": NotImplementedError,
    "KeyConflictError": FileExistsError,
    "ReadOnlyError": PermissionError,
    "DatabaseNotFoundError": FileNotFoundError,
    "NotADatabaseError": FileExistsError,
    "UnsupportedVersionError": ValueError,
    "FormatNotInstalledError": ImportError,
    "UnsupportedValueError": TypeError,
    "SelectionError": ValueError,
    "PickleRefusedError": ValueError,
    "NotMappableError": ValueError,
    "NotMigratedError": AttributeError,
    "UnreadableValueError": ValueError,
    "MissingChunkError": OSError,
    "CorruptChunkError": OSError,
    "LockUnavailableError": ConnectionError,
    "LockTimeoutError": TimeoutError,
    "LockLostError": RuntimeError,
    "LockUsageError": RuntimeError,
    "NoFileError": FileNotFoundError,
    "IsAFolderError": IsADirectoryError,
    "NotAFolderError": NotADirectoryError,
    "FolderNotEmptyError": OSError,
    "InvalidReferenceError": ValueError,
    "StaleValueError": RuntimeError,
    "StorageError": OSError,
    "UnknownSettingError": KeyError,
    "NotFillingError": LookupError,
    "PartMismatchError": ValueError,
    "MisalignedRegionError": ValueError,
    "MissingPartsError": RuntimeError,
    "WriteError": RuntimeError,
}


def test_all_errors_are_listed():
    defined = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    assert defined == set(errors.__all__) == {*BUILTINS, "ZdbError"}


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_an_error_is_also_the_builtin_that_people_catch(name, builtin):
    error = getattr(errors, name)
    assert issubclass(error, errors.ZdbError)
    assert issubclass(error, builtin)
    assert error.__doc__
    assert error.__doc__.endswith(".")


@pytest.mark.parametrize("name", errors.__all__)
def test_the_message_is_shown_as_it_is_and_survives_pickling(name):
    error = getattr(errors, name)("soma/voltage: it's gone")
    assert str(error) == "soma/voltage: it's gone"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_a_storage_error_carries_the_number_of_the_system_error():
    assert errors.StorageError(28, "no space").errno == 28
