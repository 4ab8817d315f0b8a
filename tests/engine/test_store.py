"""The objects of a database by path, the same on a folder, in memory and in a bucket."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zarr
from places import new_place
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from zdb.engine.conditional import MemoryNodes
from zdb.engine.node import dump, group_document
from zdb.engine.nodes import system_error, translated
from zdb.engine.store import LocalNodes, NodeStore, open_store
from zdb.errors import (
    AccessDeniedError,
    DatabaseNotFoundError,
    InvalidSettingError,
    KeyNotFoundError,
    MissingChunkError,
    ReadOnlyError,
    StorageError,
)


@pytest.fixture
def nodes(place) -> NodeStore:
    return open_store(place.url, place.options)


def allowed() -> None: ...


def fill(nodes, *paths):
    for path in paths:
        nodes.set(path, path.encode())


def test_objects_are_set_replaced_and_deleted(nodes):
    assert nodes.is_empty()
    assert nodes.get("a/b/zarr.json") is None
    nodes.set("a/b/zarr.json", b"one")
    assert not nodes.is_empty()
    assert nodes.get("a/b/zarr.json") == b"one"
    nodes.set("a/b/zarr.json", b"other")
    assert nodes.get("a/b/zarr.json") == b"other"
    nodes.set("empty", b"")
    assert nodes.get("empty") == b""
    nodes.delete(["a/b/zarr.json", "never/there"])
    assert nodes.get("a/b/zarr.json") is None
    assert nodes.get("empty") == b""


def test_a_folder_or_prefix_is_no_object(nodes):
    fill(nodes, "a/b/zarr.json")
    assert nodes.get("a") is None
    assert nodes.get("a/b") is None
    assert nodes.get("a/b/zarr.json/c") is None


def test_many_objects_in_their_order(nodes):
    fill(nodes, *(f"k{i}/zarr.json" for i in range(100)))
    wanted = [f"k{i}/zarr.json" for i in reversed(range(110))]
    found = nodes.get_many(wanted)
    assert found == [path.encode() if int(path[1:-10]) < 100 else None for path in wanted]
    assert nodes.missing(wanted) == [path for path in wanted if int(path[1:-10]) >= 100]
    assert nodes.get_many([]) == []
    assert nodes.missing([]) == []


def test_listings(nodes):
    fill(nodes, "zarr.json", "b/zarr.json", "b/data/zarr.json", "b/data/c/0", "a/zarr.json", "ab/zarr.json", "b.c/x")
    assert nodes.list_names("") == ["a", "ab", "b", "b.c"]
    assert nodes.list_names("b") == ["data"]
    assert nodes.list_names("a") == []
    assert nodes.list_names("nothing") == []
    assert nodes.list_objects("b") == ["b/data/c/0", "b/data/zarr.json", "b/zarr.json"]
    assert nodes.list_objects("nothing") == []
    assert len(nodes.list_objects("")) == 7


def test_deleting_a_tree_takes_no_neighbour(nodes):
    fill(nodes, "a/zarr.json", "a/data/zarr.json", "a/data/c/0", "ab/zarr.json", "a.b/zarr.json", "b/a/zarr.json")
    nodes.delete_tree("a")
    assert nodes.list_objects("") == ["a.b/zarr.json", "ab/zarr.json", "b/a/zarr.json"]
    nodes.delete_tree("a")
    nodes.delete_tree("never/there")
    fill(nodes, "a/zarr.json")
    assert nodes.list_objects("a") == ["a/zarr.json"]


def test_deleting_a_tree_removes_metadata_first_and_from_below(monkeypatch):
    nodes = open_store("memory://order-of-deletion")
    fill(nodes, "a/zarr.json", "a/b/zarr.json", "a/b/data/zarr.json", "a/b/data/c/0")
    batches = []
    delete = nodes.delete
    monkeypatch.setattr(nodes, "delete", lambda paths: batches.append(sorted(paths)) or delete(batches[-1]))
    nodes.delete_tree("a")
    assert batches == [["a/b/data/zarr.json"], ["a/b/zarr.json"], ["a/zarr.json"], ["a/b/data/c/0"]]


def test_moving_a_tree(nodes):
    fill(nodes, "a/data/zarr.json", "a/data/c/0", "ab/zarr.json")
    nodes.set("a/zarr.json", dump(group_document({})))
    assert not nodes.move_node("a", "x/y/z", "another tag", allowed)
    assert nodes.move_node("a", "x/y/z", nodes.read_tagged("a/zarr.json").tag, allowed)
    assert nodes.list_objects("") == ["ab/zarr.json", "x/y/z/data/c/0", "x/y/z/data/zarr.json", "x/y/z/zarr.json"]
    assert nodes.get("x/y/z/data/c/0") == b"a/data/c/0"


def test_moving_makes_the_new_name_visible_last(monkeypatch):
    nodes = open_store("memory://order-of-moving")
    fill(nodes, "a/data/zarr.json", "a/data/c/0")
    nodes.set("a/zarr.json", dump(group_document({})))
    written = []
    store_set = nodes.store.set

    def note(path, data):
        written.append(path)
        return store_set(path, data)

    monkeypatch.setattr(nodes.store, "set", note)
    assert nodes.move_node("a", "b", nodes.read_tagged("a/zarr.json").tag, allowed)
    assert written == ["b/data/c/0", "b/data/zarr.json", "b/zarr.json"]


def test_a_fingerprint_changes_with_the_object(nodes):
    assert nodes.fingerprint("k") is None
    nodes.set("k", b"one")
    one = nodes.fingerprint("k")
    assert nodes.fingerprint("k") == one
    nodes.set("k", b"two")
    assert nodes.fingerprint("k") is None or nodes.fingerprint("k") != one


def test_the_fingerprint_of_a_local_file_spares_reading_it(tmp_path):
    nodes = LocalNodes(tmp_path)
    before = None
    for _ in range(50):
        nodes.set("k", b"as long as ever")
        now = nodes.fingerprint("k")
        assert now not in (before, None)
        before = now


def test_the_time_of_an_object(nodes):
    nodes.set("k", b"one")
    when = nodes.modified("k")
    if "memory" in nodes.url:
        assert when is None
    else:
        assert abs(datetime.now(UTC) - when) < timedelta(hours=1)


def test_read_only_stores_refuse_every_change(place):
    writable = open_store(place.url, place.options)
    fill(writable, "a/zarr.json")
    nodes = open_store(place.url, place.options, read_only=True)
    assert nodes.get("a/zarr.json") == b"a/zarr.json"
    for change in (
        lambda: nodes.set("b", b""),
        lambda: nodes.delete(["a/zarr.json"]),
        lambda: nodes.delete_tree("a"),
        lambda: nodes.create("b", b""),
        lambda: nodes.replace("a/zarr.json", b"", b"a/zarr.json"),
        lambda: nodes.remove("a/zarr.json", b"a/zarr.json"),
        lambda: nodes.remove_node("a", b"a/zarr.json", is_database=False),
        lambda: nodes.move_node("a", "b", b"a/zarr.json", allowed),
    ):
        with pytest.raises(ReadOnlyError, match="open read-only"):
            change()
    assert writable.list_objects("") == ["a/zarr.json"]


def test_stores_for_reading_raise_for_what_is_absent(nodes):
    fill(nodes, "k/data/c/0")
    store = nodes.zarr_store(reading=True)
    prototype = default_buffer_prototype()
    with pytest.raises(MissingChunkError, match=r"chunk k/data/c/1 is not in the store"):
        sync(store.get("k/data/c/1", prototype))
    assert nodes.missing(["k/data/c/0", "k/data/c/1"]) == ["k/data/c/1"]
    assert sync(store.get("k/data/c/0", prototype)).to_bytes() == b"k/data/c/0"


def test_stores_pickle(place):
    nodes = open_store(place.url, place.options)
    fill(nodes, "k")
    copy = pickle.loads(pickle.dumps(nodes))
    assert copy.url == nodes.url
    assert copy.get("k") == b"k"
    copy.set("l", b"")
    assert nodes.list_objects("") == ["k", "l"]
    reader = pickle.loads(pickle.dumps(open_store(place.url, place.options, read_only=True)))
    assert reader.read_only


def test_stores_reopen_in_a_spawned_process(shared_place, tmp_path):
    nodes = open_store(shared_place.url, shared_place.options)
    fill(nodes, "k")
    (tmp_path / "nodes.pickle").write_bytes(pickle.dumps(nodes))
    program = f"import pickle; print(pickle.load(open({str(tmp_path / 'nodes.pickle')!r}, 'rb')).get('k'))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "b'k'"


def test_memory_cannot_be_reached_from_another_process(tmp_path):
    (tmp_path / "nodes.pickle").write_bytes(pickle.dumps(open_store("memory://here")))
    program = f"import pickle; pickle.load(open({str(tmp_path / 'nodes.pickle')!r}, 'rb'))"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "StorageError: memory://here lives in the memory of process" in done.stderr


# Which store a URL names


@pytest.mark.parametrize(
    ("url", "kind"),
    [("x/y", LocalNodes), (Path("x"), LocalNodes), ("file:///x", LocalNodes), ("memory://x", MemoryNodes)],
)
def test_urls(url, kind):
    assert type(open_store(url)) is kind


def test_a_zarr_store_is_taken_as_it_is():
    store = zarr.storage.MemoryStore()
    nodes = open_store(store)
    nodes.set("k", b"x")
    assert sync(store.get("k", default_buffer_prototype())).to_bytes() == b"x"
    assert open_store(store.with_read_only(True)).read_only


def test_an_unknown_protocol():
    with pytest.raises(InvalidSettingError, match="nosuchprotocol"):
        open_store("nosuchprotocol://x/y")


def test_zip_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("zarr.json", "{}")
        archive.writestr("a/zarr.json", "{}")
    nodes = open_store(tmp_path / "x.zip")
    assert nodes.read_only
    assert nodes.get("a/zarr.json") == b"{}"
    assert nodes.list_names("") == ["a"]
    assert pickle.loads(pickle.dumps(nodes)).get("zarr.json") == b"{}"
    with pytest.raises(ReadOnlyError):
        nodes.set("b", b"")
    with pytest.raises(DatabaseNotFoundError):
        open_store(tmp_path / "y.zip")
    (tmp_path / "z.zip").write_bytes(b"no zip file")
    with pytest.raises(StorageError, match=r"z\.zip"):
        open_store(tmp_path / "z.zip")
    (tmp_path / "folder.zip").mkdir()
    assert isinstance(open_store(tmp_path / "folder.zip"), LocalNodes)


# A local folder


def test_a_local_write_is_never_seen_half(tmp_path, monkeypatch):
    nodes = LocalNodes(tmp_path)
    nodes.set("a/zarr.json", b"old")

    def fail(source, target):
        assert nodes.get("a/zarr.json") == b"old"
        assert nodes.list_names("") == ["a"]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match="No space left on device; free some space") as caught:
        nodes.set("a/zarr.json", b"new")
    assert caught.value.errno == errno.ENOSPC
    assert nodes.list_objects("") == ["a/zarr.json"]
    assert nodes.get("a/zarr.json") == b"old"


def test_a_local_tree_is_gone_at_once(tmp_path, monkeypatch):
    nodes = LocalNodes(tmp_path)
    fill(nodes, "a/zarr.json", "a/data/c/0")
    monkeypatch.setattr("shutil.rmtree", lambda path: None)
    nodes.delete_tree("a")
    assert nodes.get("a/zarr.json") is None
    assert [name for name in nodes.list_names("") if not name.startswith(".")] == []


# Errors


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), ReadOnlyError),
        (PermissionError("Access Denied"), ReadOnlyError),
        (OSError(errno.EROFS, "Read-only file system"), ReadOnlyError),
        (RuntimeError("Permission denied (os error 13)"), ReadOnlyError),
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (RuntimeError("No space left on device (os error 28)"), StorageError),
        (ConnectionError("reset"), StorageError),
        (ValueError("odd answer"), StorageError),
    ],
)
def test_errors_of_stores_are_translated_and_name_the_object(raised, expected):
    with (
        pytest.raises(expected, match=r"s3://bucket/x: .*a/zarr\.json") as caught,
        translated("s3://bucket/x", "a/zarr.json"),
    ):
        raise raised
    assert caught.value.__cause__ is raised
    if "space" in str(raised):
        assert caught.value.errno == errno.ENOSPC
        assert "free some space" in str(caught.value)


class NoCredentialsError(Exception):
    """As of botocore."""


@pytest.mark.parametrize(
    ("url", "raised", "advice"),
    [
        ("/folder", PermissionError(errno.EACCES, "Permission denied"), "rights of the file"),
        ("/folder", RuntimeError("Permission denied (os error 13)"), "rights of the file"),
        ("s3://bucket/x", PermissionError("Access Denied."), "AWS_ACCESS_KEY_ID"),
        ("simplecache::s3://bucket/x", PermissionError("Access Denied."), "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x", NoCredentialsError("no credentials"), "AWS_ACCESS_KEY_ID"),
        ("gs://bucket/x", PermissionError("Forbidden"), "storage_options="),
    ],
)
def test_what_must_not_be_read(url, raised, advice):
    with (
        pytest.raises(AccessDeniedError, match=rf"^{url}: no permission to read a/zarr\.json: [\w ()]+; ") as caught,
        translated(url, "a/zarr.json", "read"),
    ):
        raise raised
    assert advice in str(caught.value)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("error", [KeyNotFoundError("k"), KeyboardInterrupt(), MemoryError()])
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error)) as caught, translated("url", "path"):
        raise error
    assert caught.value is error


def test_system_errors():
    assert system_error(ValueError("no space (os error)")) is None
    assert system_error(RuntimeError("cannot (os error 2)")).errno == errno.ENOENT
    own = OSError(5, "x")
    assert system_error(own) is own


@pytest.mark.s3
def test_a_copy_in_a_bucket_brings_nothing_that_came_later(tmp_path, request, monkeypatch):
    """As when the network delivers the request after the source was renamed and written again."""
    place = new_place("s3", tmp_path, request)
    nodes = open_store(place.url, place.options)
    nodes.set("old/c/0", b"one")
    sync(nodes._copy("old/c/0", "new/c/0"))
    assert nodes.get("new/c/0") == b"one"
    call = nodes.store.fs._call_s3

    async def call_late(method: str, *arguments: object, **options: object) -> object:
        if method == "copy_object":
            await call("put_object", Body=b"two", **nodes._place("old/c/0"))
        return await call(method, *arguments, **options)

    monkeypatch.setattr(nodes.store.fs, "_call_s3", call_late)
    with pytest.raises(OSError, match=r"pre-?condition"):
        sync(nodes._copy("old/c/0", "new/c/0"))
    monkeypatch.undo()
    assert nodes.get("new/c/0") == b"one"
