"""Modes, and what may lie at a URL already: nothing, a database, or something that zdb must not touch."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import zdb
from zdb.cli import main
from zdb.errors import (
    AccessDeniedError,
    DatabaseNotFoundError,
    InvalidSettingError,
    KeyExistsError,
    KeyNotFoundError,
    NotADatabaseError,
    ReadOnlyError,
    StorageError,
    UnsupportedVersionError,
)

PROJECT = Path(zdb.__file__).parents[1]


def files(folder):
    """Everything in a folder with its content."""
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob("*")}


# Modes


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_reading_modes_create_nothing(place, mode):
    with pytest.raises(DatabaseNotFoundError, match=r"there is no database; mode='a' would create it"):
        place.open(mode)
    with pytest.raises(FileNotFoundError):
        place.open(mode)
    assert place.open("a").mode == "a"


def test_creating_modes(place):
    db = place.open("w-")
    db["k"] = 1
    with pytest.raises(KeyExistsError, match="exists, and mode='w-' only creates"):
        place.open("w-")
    assert place.open("a")["k"] == 1
    assert place.open("r+")["k"] == 1
    assert place.open("r")["k"] == 1


@pytest.mark.parametrize("mode", ["w", "rb", "x", None])
def test_a_mode_that_there_is_not(tmp_path, mode):
    with pytest.raises(InvalidSettingError, match="mode is one of 'r', 'r\\+', 'a', 'w-'"):
        zdb.open(tmp_path / "db", mode)
    assert files(tmp_path) == {}


class BytesPath:
    def __fspath__(self):
        return b"db"


URLS = {
    "nothing": (None, "either a url or an id"),
    "an empty one": ("", r"url is empty; '\.' is the working directory"),
    "an empty file URL": ("file://", "url is empty"),
    "a number": (3, "a path, a URL or a zarr store, not 3"),
    "bytes": (b"db", "a path, a URL or a zarr store, not b'db'"),
    "a path of bytes": (BytesPath(), "a path as str, not as bytes"),
    "an unknown protocol": ("foo://user:secret@x", r"^foo://x: there is no protocol 'foo'; .*available_protocols"),
    "a protocol in capitals": ("S3://bucket/x", "no protocol 'S3'; did you mean s3://"),
    "one slash for two": ("s3:/user:secret@bucket/x", r"^s3://bucket/x: .*one slash; .*local folder 's3:', .*'\./'"),
    "of memory": ("memory:/x", "^memory://x: .*one slash"),
    "a file URL with one slash": ("file:/x", "^file:///x: .*one slash"),
    "a chain with one slash": ("simplecache::s3:/bucket/x", "^simplecache::s3://bucket/x: .*one slash"),
    "a path": (Path("s3://bucket/x"), "^s3://bucket/x: .*Path drops one"),
    "an unknown one in a chain": ("simplecash::s3://bucket/x", "'simplecash'; did you mean simplecache://"),
}


@pytest.mark.parametrize("case", URLS.values(), ids=URLS)
def test_a_url_that_is_none(tmp_path, monkeypatch, case):
    url, said = case
    monkeypatch.chdir(tmp_path)
    for mode in ("r", "r+", "a", "w-"):
        with pytest.raises(InvalidSettingError, match=said):
            zdb.open(url, mode)
    if url is not None:
        with pytest.raises(InvalidSettingError, match=said):
            zdb.adopt(url)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("name", ["s3", "a:b", "3:x/y", "run:1/s3:", "./s3:/x", "sub/s3:/bucket"])
def test_local_folders_with_a_colon(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    zdb.open(name)["k"] = 1
    assert zdb.open(tmp_path / name, "r")["k"] == 1


def test_an_id_and_a_url_or_an_id_to_create(tmp_path):
    with pytest.raises(InvalidSettingError, match="either a url or an id"):
        zdb.open(tmp_path, id="x")
    with pytest.raises(InvalidSettingError, match="mode='w-' creates"):
        zdb.open(id="x", mode="w-")


def test_opening_for_reading_writes_nothing(tmp_path):
    db = zdb.open(tmp_path / "db")
    db["a/k"] = np.arange(3)
    before = files(tmp_path)
    reader = zdb.open(tmp_path / "db", "r")
    str(reader), reader["a/k"], reader.info("a"), reader.keys(recursive=True)
    assert files(tmp_path) == before


def test_a_new_database_is_an_empty_zarr_group(tmp_path):
    db = zdb.open(tmp_path / "deep" / "down" / "db")
    assert db.info().kind == "database"
    assert len(db) == 0
    group = zarr.open_group(tmp_path / "deep" / "down" / "db", mode="r")
    assert dict(group.attrs)["zdb_kind"] == "database"
    assert dict(group.attrs)["zdb_version"] == 1


def test_an_empty_folder_becomes_a_database(tmp_path):
    zdb.open(tmp_path)["k"] = 1
    assert zdb.open(tmp_path, "r")["k"] == 1


def test_a_sub_database_opens_by_its_own_url(shared_place):
    db = shared_place.open()
    db["a/b"] = 1
    sub = zdb.open(f"{db.url}/a", "r+", shared_place.options)
    sub["c"] = 2
    assert db["a/c"] == 2
    assert list(sub) == ["b", "c"]


@pytest.mark.parametrize("spell", [str, Path, "file://{}".format], ids=["str", "Path", "file URL"])
def test_ways_to_name_a_local_folder(tmp_path, spell):
    db = zdb.open(spell(tmp_path / "db"))
    db["k"] = 1
    assert db.url == str(tmp_path / "db")
    assert zdb.open(tmp_path / "db", "r") == db


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    db = zdb.open("results.zdb")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    db["k"] = 1
    assert zdb.open(tmp_path / "results.zdb", "r")["k"] == 1


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert zdb.open("~/db").url == str(tmp_path / "db")


def test_a_zarr_store(tmp_path):
    store = zarr.storage.LocalStore(tmp_path / "db")
    zdb.open(store)["k"] = np.arange(3)
    np.testing.assert_array_equal(zdb.open(tmp_path / "db", "r")["k"], [0, 1, 2])


def test_memory_is_shared_by_name():
    zdb.open("memory://shared-by-name")["k"] = 1
    assert zdb.open("memory://shared-by-name", "r")["k"] == 1
    with pytest.raises(DatabaseNotFoundError):
        zdb.open("memory://another-name", "r")


def test_credentials_are_not_shown():
    with pytest.raises(InvalidSettingError) as caught:
        zdb.open("nosuchprotocol://user:secret@host/path")
    assert "secret" not in str(caught.value)
    assert "nosuchprotocol" in str(caught.value)


def test_a_zip_file_is_read_only(tmp_path):
    db = zdb.open(tmp_path / "db")
    db["a/k"] = np.arange(5)
    db["b"] = {"x": 1}
    with zipfile.ZipFile(tmp_path / "db.zip", "w") as archive:
        for file in sorted((tmp_path / "db").rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "db"))
    reader = zdb.open(tmp_path / "db.zip", "r")
    assert reader.keys(recursive=True) == ["a/k", "b"]
    np.testing.assert_array_equal(reader["a/k"], np.arange(5))
    np.testing.assert_array_equal(reader.dataset("a/k")["data"], np.arange(5))
    assert reader["b"] == {"x": 1}
    advice = "db.zip is open read-only; zip files are only read, with mode='r'; unpack it"
    with pytest.raises(ReadOnlyError, match=advice):
        reader["c"] = 1
    with pytest.raises(ReadOnlyError, match=advice):
        zdb.open(tmp_path / "db.zip", "a")


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w-"])
def test_a_zip_file_that_is_not_there(tmp_path, mode):
    with pytest.raises(DatabaseNotFoundError, match=r"no\.zip"):
        zdb.open(tmp_path / "no.zip", mode)
    assert files(tmp_path) == {}


# What is no database


def foreign_folder(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")


def foreign_file(path):
    path.write_text("years of work")


def zarr_version_2(folder):
    xr.Dataset({"x": ("t", [1, 2])}).to_zarr(folder, zarr_format=2, consolidated=False)


def broken_metadata(folder):
    folder.mkdir()
    (folder / "zarr.json").write_text('{"zarr_format": 3, ')


def other_metadata(folder):
    folder.mkdir()
    (folder / "zarr.json").write_text("[1, 2]")


def single_array(folder):
    zarr.create_array(folder, data=np.arange(3))


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (foreign_folder, "is not empty and not a database"),
        (foreign_file, "is a file, not a database"),
        (zarr_version_2, "is a group of Zarr version 2.*xarray.open_zarr"),
        (broken_metadata, "there: zarr.json is not valid Zarr metadata: [^;]*$"),
        (other_metadata, "there: zarr.json is not valid Zarr metadata: [^;]*$"),
        (single_array, "is a single Zarr array; open it with zarr.open_array"),
    ],
)
def test_what_is_no_database_is_refused_and_left_alone(tmp_path, make, why, mode):
    make(tmp_path / "there")
    before = files(tmp_path)
    with pytest.raises(NotADatabaseError, match=why) as caught:
        zdb.open(tmp_path / "there", mode)
    assert str(caught.value).count(str(tmp_path / "there")) == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("mode", "advice"),
    [("r", "catalog.search"), ("r+", "catalog.search"), ("a", "choose an empty"), ("w-", "choose an empty")],
)
def test_who_only_reads_is_not_told_where_to_write(tmp_path, mode, advice):
    foreign_folder(tmp_path / "there")
    with pytest.raises(NotADatabaseError, match=f"is not empty and not a database; .*{advice}"):
        zdb.open(tmp_path / "there", mode)


def test_a_foreign_prefix_in_a_bucket(s3):
    import s3fs

    bucket = s3fs.S3FileSystem(**s3.options)
    url = s3.url("foreign-prefix")
    bucket.pipe_file(f"{url}/thesis.tex", b"years of work")
    for mode in ("r", "r+", "a", "w-"):
        with pytest.raises(NotADatabaseError, match="is not empty and not a database"):
            zdb.open(url, mode, s3.options)
    assert bucket.find(url) == [f"{url}/thesis.tex".removeprefix("s3://")]


CREDENTIALS = {
    "a wrong secret": ({"key": "testkey", "secret": "wrong secret"}, "signature .* does not match"),
    "an unknown key": ({"key": "wrong key", "secret": "wrong secret"}, "access key ID .* does not exist"),
    "those of nobody": ({"anon": True}, "Access Denied"),
    "none": ({}, "Unable to locate credentials"),
}


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w-"])
@pytest.mark.parametrize("case", CREDENTIALS.values(), ids=CREDENTIALS)
def test_wrong_credentials(s3, monkeypatch, case, mode):
    credentials, answer = case
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    options = {"client_kwargs": s3.options["client_kwargs"], **credentials}
    with pytest.raises(AccessDeniedError, match=answer) as caught:
        zdb.open(s3.url("private.zdb"), mode, options)
    said = str(caught.value)
    assert said.startswith(f"{s3.url('private.zdb')}: no permission to read zarr.json: ")
    assert "storage_options=" in said
    assert "AWS_ACCESS_KEY_ID" in said
    assert "wrong" not in said


def test_a_server_that_does_not_answer():
    options = {
        "key": "x",
        "secret": "y",
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"},
        "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 1},
    }
    with pytest.raises(StorageError, match="bucket/db"):
        zdb.open("s3://bucket/db", "r", options)


@pytest.mark.parametrize("place", ["link", "link/below", "link/far/below"])
def test_a_folder_that_cannot_be_made(tmp_path, place):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted" / "disk")
    with pytest.raises(StorageError, match="link is a link to a folder that is not there"):
        zdb.open(tmp_path / place)
    assert os.listdir(tmp_path) == ["link"]  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_where_the_system_makes_none():
    with pytest.raises(StorageError, match=r"/proc/x: zarr.json: the folder /proc/x cannot be made"):
        zdb.open("/proc/x")


def test_a_value_is_no_database(tmp_path):
    db = zdb.open(tmp_path / "db")
    db["k"] = np.arange(3)
    before = files(tmp_path)
    for mode in ("r", "a"):
        with pytest.raises(NotADatabaseError, match="k: is a value; open the database it lies in"):
            zdb.open(tmp_path / "db" / "k", mode)
    with pytest.raises(NotADatabaseError):
        zdb.adopt(tmp_path / "db" / "k")
    assert files(tmp_path) == before


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_a_database_of_a_newer_version(tmp_path, mode):
    zdb.open(tmp_path / "db")["k"] = 1
    path = tmp_path / "db" / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["zdb_version"] = 2
    path.write_text(json.dumps(document))
    before = files(tmp_path)
    with pytest.raises(UnsupportedVersionError, match=r"format version 2; this zdb reads up to 1\. Update zdb"):
        zdb.open(tmp_path / "db", mode)
    with pytest.raises(UnsupportedVersionError):
        zdb.adopt(tmp_path / "db")
    assert files(tmp_path) == before


# Places that cannot be written


def test_a_place_where_nothing_can_be_made():
    # Not even root makes folders there.
    with pytest.raises(ReadOnlyError, match="/sys/zdb-test: no permission"):
        zdb.open("/sys/zdb-test")


def test_a_database_in_an_unwritable_folder(tmp_path):
    """As an ordinary user, whom permissions concern, in a process of its own."""
    db = zdb.open(tmp_path / "db")
    db["k"] = [1, 2]
    program = f"""
import os, numpy, zdb
db = zdb.open({str(tmp_path / "db")!r}, "a")
elsewhere = zdb.open("memory://elsewhere")  # imports everything while that is allowed
elsewhere["k"] = numpy.arange(3)
elsewhere["sub/k"] = [str(elsewhere), elsewhere["k"].tolist()]
if os.geteuid() == 0:
    os.chdir({str(tmp_path)!r})
    for folder in {[str(p) for p in tmp_path.parents]!r}:
        os.chmod(folder, os.stat(folder).st_mode | 0o755)
    os.seteuid(65534)
for value in ([3], numpy.arange(3)):
    for key in ("k", "new", "sub/new"):
        try:
            db[key] = value
        except zdb.errors.ReadOnlyError as error:
            assert "no permission" in str(error), error
        else:
            raise AssertionError(key)
assert db["k"] == [1, 2]
assert zdb.open({str(tmp_path / "db")!r}, "r")["k"] == [1, 2]
"""
    unwritable = [tmp_path, tmp_path / "db", tmp_path / "db" / "k"]
    before = files(tmp_path)
    for folder in unwritable:
        folder.chmod(0o555)
    try:
        subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, env={**os.environ, "HOME": "/"})
        assert files(tmp_path) == before
    finally:
        for folder in unwritable:
            folder.chmod(0o755)


# Plain Zarr groups


@pytest.fixture
def plain(tmp_path):
    """A group of plain Zarr: a Dataset in a group, and another group with an array in it."""
    folder = tmp_path / "plain.zarr"
    with warnings.catch_warnings(action="ignore", category=zarr.errors.ZarrUserWarning):  # consolidated metadata
        xr.Dataset({"v": ("t", np.arange(4.0))}, {"t": np.arange(4)}).to_zarr(folder / "runs" / "first", zarr_format=3)
        zarr.open_group(folder, mode="a").create_array("loose", data=np.arange(3))
        zarr.open_group(folder / "runs", mode="a")
        zarr.consolidate_metadata(folder)
    return folder


def test_a_plain_zarr_group_is_readable(plain):
    before = files(plain)
    db = zdb.open(plain, "r")
    assert list(db) == ["loose", "runs"]
    assert db.keys(recursive=True) == ["loose", "runs/first"]
    np.testing.assert_array_equal(db["loose"], [0, 1, 2])
    assert isinstance(db["runs"], zdb.Database)
    xr.testing.assert_equal(db["runs/first"].load(), xr.Dataset({"v": ("t", np.arange(4.0))}, {"t": np.arange(4)}))
    assert db.info("runs/first").kind == "foreign"
    assert "first" in str(db)
    with pytest.raises(KeyNotFoundError):
        db["nothing"]
    assert files(plain) == before


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_a_plain_zarr_group_is_not_written_to(plain, mode):
    before = files(plain)
    with pytest.raises(NotADatabaseError, match=r"plain Zarr group; read it with mode='r', or .* zdb.adopt\(url\)"):
        zdb.open(plain, mode)
    with pytest.raises(KeyExistsError):
        zdb.open(plain, "w-")
    assert files(plain) == before


def test_an_adopted_group_is_a_database(plain):
    arrays = {path: content for path, content in files(plain).items() if "first" in path.parts or "loose" in path.parts}
    db = zdb.adopt(plain)
    assert {path: content for path, content in files(plain).items() if path in arrays} == arrays
    db["runs/second"] = np.array([1.0, 2.0])
    again = zdb.open(plain, "a")
    assert again.keys(recursive=True) == ["loose", "runs/first", "runs/second"]
    np.testing.assert_array_equal(again["runs/first"]["v"], np.arange(4.0))
    with pytest.raises(zdb.errors.KeyConflictError, match="loose: holds plain Zarr"):
        again["loose"] = 1
    with pytest.raises(zdb.errors.KeyConflictError, match="runs/first is a value"):
        again["runs/first/deeper"] = 1
    with xr.open_zarr(plain / "runs" / "first") as untouched:
        np.testing.assert_array_equal(untouched["v"], np.arange(4.0))
    again.rename("runs/first", "runs/zeroth")
    np.testing.assert_array_equal(again["runs/zeroth"]["v"], np.arange(4.0))
    del again["loose"]
    again["loose"] = 1
    assert zdb.open(plain, "r")["loose"] == 1


def test_sizes_of_plain_zarr(plain):
    zarr.open_group(plain / "runs", mode="a").create_group("bare").create_array("w", shape=(2, 3), dtype="f4")
    for db in (zdb.open(plain, "r"), zdb.adopt(plain), zdb.open(plain)):
        loose, first, bare = (db.info(key) for key in ("loose", "runs/first", "runs/bare"))
        assert (loose.nbytes, loose.dtype, loose.shape) == (24, "int64", (3,))
        assert loose.arrays["loose"].chunks == (3,)
        assert (first.nbytes, set(first.arrays)) == (64, {"v", "t"})
        assert (bare.nbytes, bare.dtype, bare.shape) == (24, "float32", (2, 3))
        assert "int64 (3)" in str(db.tree())
        found = db.find(kind="foreign", min_size=1).set_index("key")
        assert found["size"].to_dict() == {"loose": 24, "runs/first": 64, "runs/bare": 24}
        assert list(db.find(dtype="int64")["key"]) == ["loose", "runs/first"]


def test_plain_zarr_of_a_kind_that_is_not_known_is_listed(plain):
    node = plain / "loose" / "zarr.json"
    node.write_text(node.read_text().replace('"regular"', '"rectilinear"').replace('"chunk_shape"', '"chunk_shapes"'))
    db = zdb.open(plain, "r")
    assert db.keys(recursive=True) == ["loose", "runs/first"]
    assert db.info("loose").format == "zarr"
    assert "loose" in str(db.tree())


def test_adopting_twice_changes_nothing(plain):
    zdb.adopt(plain)["k"] = 1
    before = files(plain)
    assert zdb.adopt(plain)["k"] == 1
    assert files(plain) == before


def test_there_has_to_be_something_to_adopt(tmp_path):
    with pytest.raises(DatabaseNotFoundError, match="there is no Zarr group to adopt"):
        zdb.adopt(tmp_path / "nothing")
    single_array(tmp_path / "array")
    with pytest.raises(NotADatabaseError, match="is an array or a value"):
        zdb.adopt(tmp_path / "array")
    foreign_folder(tmp_path / "folder")
    with pytest.raises(DatabaseNotFoundError):
        zdb.adopt(tmp_path / "folder")
    assert not (tmp_path / "nothing").exists()


def test_of_many_that_create_a_database_at_once_one_gives_it_its_id(place) -> None:
    ready = threading.Barrier(4)

    def create(_: int) -> str:
        ready.wait()
        return place.open().info().id

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(create, range(4)))
    assert ids == {place.open("r").info().id}


def test_without_hard_links_a_database_is_created_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    db = zdb.open(tmp_path / "x.zdb")
    db["a/b"] = 1
    assert zdb.open(tmp_path / "x.zdb", "r")["a/b"] == 1


@pytest.mark.parametrize("damaged", [False, True])
def test_a_database_that_lost_its_own_node_is_made_again(shared_place, damaged, capsys):
    place = shared_place
    db = place.open()
    db["sub/a"] = np.arange(3)
    db["b"] = 1
    before, nodes = db.info().id, db._engine.nodes
    if damaged:
        nodes.set("zarr.json", b"{")
    else:
        nodes.delete(["zarr.json"])
    for mode in ("r", "r+", "a", "w-"):
        with pytest.raises(NotADatabaseError, match="2 of its keys are there: let zdb repair"):
            place.open(mode)
    options = ["--storage-options", json.dumps(place.options)]
    assert main(["repair", place.url, *options]) == 6
    assert "/: rebuild: make the zarr.json of the database again" in capsys.readouterr().out
    with pytest.raises(NotADatabaseError):
        place.open("r")
    assert main(["repair", place.url, "--yes", *options]) == 0
    assert "1 repair done" in capsys.readouterr().out
    whole = place.open("r+")
    assert whole.info().id != before
    assert whole.keys(recursive=True) == ["b", "sub/a"]
    assert whole.verify().ok
    assert main(["repair", place.url, *options]) == 0


def test_what_was_no_database_is_not_made_one(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/zarr.json").write_text("{")
    (tmp_path / "files/a").mkdir()
    (tmp_path / "files/a/zarr.json").write_text('{"zarr_format":3,"node_type":"group"}')
    with pytest.raises(NotADatabaseError) as raised:
        zdb.open(tmp_path / "files")
    assert "repair" not in str(raised.value)
    with pytest.raises(NotADatabaseError):
        zdb.adopt(tmp_path / "files")
    assert main(["repair", str(tmp_path / "files"), "--yes"]) != 0
    assert (tmp_path / "files/zarr.json").read_text() == "{"


def test_a_sub_database_that_lost_its_node_is_repaired_by_the_one_above(tmp_path):
    db = zdb.open(tmp_path / "outer.zdb")
    db["sub/a"] = 1
    (tmp_path / "outer.zdb/sub/zarr.json").unlink()
    with pytest.raises(DatabaseNotFoundError):
        zdb.adopt(tmp_path / "outer.zdb/sub")
    assert main(["repair", str(tmp_path / "outer.zdb/sub"), "--yes"]) != 0
    assert main(["repair", str(tmp_path / "outer.zdb"), "--yes"]) == 0
    assert db["sub/a"] == 1
