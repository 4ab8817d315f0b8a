from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdb import keys
from zdb.errors import InvalidKeyError

NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", fullmatch=True).filter(
    lambda name: not name.startswith("__") and name not in keys.RESERVED_NAMES
)
BAD_NAMES = {
    "": "empty",
    " ": "contains ' '",
    "a b": "contains ' '",
    "a*b": "contains '*'",
    "a\\b": r"contains '\\'",
    "a:b": "contains ':'",
    "a\nb": r"contains '\n'",
    "voltage\n": r"contains '\n'",
    "µ": "contains 'µ'",
    ".": "starts with '.'",
    "..": "starts with '.'",
    ".hidden": "starts with '.'",
    "__init__": "starts with '.' or '__'",
    "_zdb": "'_zdb' is reserved",
    "zarr.json": "'zarr.json' is reserved",
    "a" * 121: "121 characters; at most 120",
}


@pytest.mark.parametrize("name", ["a", "A", "0", "-", "_", "_a", "a.b", "a..", "zarr.json5", "_zdb2", "x" * 120])
def test_a_good_name_is_its_own_key(name):
    assert keys.check_name(name) == name
    assert keys.normalize(name) == name
    assert keys.is_listed(name)


@pytest.mark.parametrize(("name", "why"), BAD_NAMES.items())
def test_a_bad_name_is_refused_and_the_error_says_why(name, why):
    with pytest.raises(InvalidKeyError, match=re.escape(why)):
        keys.check_name(name)
    with pytest.raises(InvalidKeyError, match=re.escape(repr(("good", name)))):
        keys.normalize(("good", name))


@pytest.mark.parametrize("name", [None, 1, b"a", ("a",), 1.5])
def test_only_text_is_a_name(name):
    with pytest.raises(InvalidKeyError, match=f"not {type(name).__name__}"):
        keys.check_name(name)


@pytest.mark.parametrize("key", [None, 1, b"a", (), ["a", "b"], frozenset("a")])
def test_only_text_and_tuples_are_keys(key):
    with pytest.raises(InvalidKeyError, match="is no key"):
        keys.normalize(key)


@pytest.mark.parametrize("key", ["/a", "a/", "a//b", "/", ("a/b", "c"), ("a", ""), ("a", 1), "a/../b"])
def test_every_name_of_a_key_is_checked(key):
    with pytest.raises(InvalidKeyError):
        keys.normalize(key)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_path_and_a_tuple_of_names_are_the_same_key(names):
    path = "/".join(names)
    assert keys.normalize(path) == keys.normalize(tuple(names)) == path
    parent, name = keys.split(path)
    assert name == names[-1]
    assert keys.join(parent, name) == path


@given(st.text(max_size=8))
def test_whatever_is_accepted_is_safe_on_every_store(text):
    try:
        path = keys.normalize(text)
    except InvalidKeyError:
        return
    for name in path.split("/"):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", name)
        assert not name.startswith((".", "__"))
        assert keys.is_listed(name)


@pytest.mark.parametrize("name", ["_zdb", "zarr.json", ".zgroup", "__pycache__", ".zarr.json.tmp"])
def test_what_is_not_a_key_is_not_listed(name):
    assert not keys.is_listed(name)
