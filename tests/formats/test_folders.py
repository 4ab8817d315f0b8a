from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdb.errors import UnsupportedValueError
from zdb.formats.folders import LONGEST_NAME, iter_folder, key_names

LEGAL = re.compile(r"(?!\.|__)[A-Za-z0-9._-]{1,120}")
FILE_NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1)


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def listed(folder):
    return [(key, str(path.relative_to(folder))) for key, path in iter_folder(folder)]


@given(st.sets(FILE_NAMES | st.text("aA.b_ ", min_size=1) | st.text("a_", min_size=119)))
def test_names_of_keys_are_legal_and_unique(names):
    made = key_names(names)
    assert set(made) == names
    assert all(LEGAL.fullmatch(key) for key in made.values())
    assert not {key.casefold() for key in made.values()} & {"_zdb", "zarr.json"}
    assert len({key.casefold() for key in made.values()}) == len(names)
    assert made == key_names(sorted(names, reverse=True))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("run_1.csv", "run_1.csv"),
        ("my file (1).csv", "my_file__1_.csv"),
        (".hidden", "x.hidden"),
        ("__init__.py", "x__init__.py"),
        ("_zdb", "x_zdb"),
        ("zarr.json", "xzarr.json"),
        ("größe", "gr__e"),
        ("a*b", "a_b"),
    ],
)
def test_names_of_keys(name, key):
    assert key_names([name]) == {name: key}


def test_names_that_clash_get_a_hash():
    made = key_names(["a.csv", "A.csv", "a b.csv", "a_b.csv"])
    assert made["A.csv"] == "A.csv"
    assert re.fullmatch(r"a-[0-9a-f]{8}\.csv", made["a.csv"])
    assert made["a_b.csv"] == "a_b.csv"
    assert re.fullmatch(r"a_b-[0-9a-f]{8}\.csv", made["a b.csv"])


def test_long_names_are_cut_and_keep_their_suffix():
    key = key_names(["x" * 200 + ".csv"])["x" * 200 + ".csv"]
    assert len(key) == LONGEST_NAME
    assert re.fullmatch(r"x+-[0-9a-f]{8}\.csv", key)


def test_files_of_all_levels_are_listed_by_key(tmp_path):
    make(tmp_path, "b.txt", "a/x y.txt", "a/c/d", ".git/config", "Ä/e")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    assert listed(tmp_path) == [
        ("_/e", "Ä/e"),
        ("a/c/d", "a/c/d"),
        ("a/x_y.txt", "a/x y.txt"),
        ("b.txt", "b.txt"),
        ("empty/inner", "empty/inner"),
        ("x.git/config", ".git/config"),
    ]


def test_an_empty_folder_has_no_files(tmp_path):
    assert listed(tmp_path) == []


def test_links_are_followed(tmp_path):
    make(tmp_path, "data/a", "out/b")
    (tmp_path / "out" / "file").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "out" / "folder").symlink_to(tmp_path / "data")
    (tmp_path / "out" / "twice").symlink_to(tmp_path / "data")
    keys = [key for key, _ in iter_folder(tmp_path / "out")]
    assert keys == ["b", "file", "folder/a", "twice/a"]


def test_what_cannot_be_kept_is_refused_before_the_first_is_yielded(tmp_path):
    make(tmp_path, "a/b/c", "a/d")
    for make_bad, message in [
        (lambda path: path.symlink_to(tmp_path), "no end"),
        (lambda path: path.symlink_to("missing"), "does not exist"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (os.mkfifo, "named pipe"),
    ]:
        path = tmp_path / "a" / "z"
        make_bad(path)
        with pytest.raises(UnsupportedValueError, match=message):
            iter_folder(tmp_path)
        path.unlink()
    assert len([*iter_folder(tmp_path)]) == 2


def test_what_is_no_folder_is_refused(tmp_path):
    make(tmp_path, "a")
    for path in (tmp_path / "a", tmp_path / "missing"):
        with pytest.raises(UnsupportedValueError, match="no folder"):
            iter_folder(path)
