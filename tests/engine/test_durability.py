"""What was acknowledged is on disk: the order in which files and folders are synced and renamed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import zdb
from zdb.engine import chunks, durability
from zdb.engine.gate import Gate
from zdb.engine.local import LocalNodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


class Recorder:
    """Remembers what is synced, renamed and linked, in order, by paths below a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.events: list[tuple[str, str]] = []
        for name in ("replace", "rename", "link"):
            self._wrap(monkeypatch, os, name, lambda source, target, _name=name: ("name", target))
        self._wrap(monkeypatch, os, "fsync", lambda descriptor: ("sync", opened(descriptor)))
        real = durability._syncfs()
        if real is not None:

            def syncfs(descriptor: int) -> None:
                real(descriptor)
                self._add("syncfs", opened(descriptor))

            monkeypatch.setattr(durability, "_syncfs", lambda: syncfs)

    def _wrap(
        self, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, told: Callable[..., tuple[str, str]]
    ) -> None:
        real = getattr(where, name)

        def call(*arguments: Any, **options: Any) -> None:
            real(*arguments, **options)
            self._add(*told(*arguments))

        monkeypatch.setattr(where, name, call)

    def _add(self, what: str, path: Any) -> None:
        path = str(path)
        if path.startswith(str(self.folder)):
            relative = os.path.relpath(path, self.folder)
            # A file is synced under its temporary name ".zarr.json.<token>".
            parts = [part.split(".zarr.json.")[0] or "zarr.json" for part in relative.split("/")]
            self.events.append((what, "/".join(parts)))

    def take(self) -> list[tuple[str, str]]:
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    return Recorder(tmp_path, monkeypatch)


def in_order(events: list[tuple[str, str]], *wanted: tuple[str, str]) -> None:
    """The events happened, in this order, whatever came in between."""
    places = iter(events)
    for one in wanted:
        assert one in places, f"{one} is missing, or comes too early, in {events}"


def test_a_new_database_is_on_disk_with_the_folders_above_it(tmp_path: Path, recorder: Recorder) -> None:
    zdb.open(tmp_path / "new" / "x.zdb")
    events = recorder.take()
    in_order(events, ("sync", "."), ("sync", "new/x.zdb/zarr.json"), ("name", "new/x.zdb/zarr.json"))
    in_order(events, ("sync", "new"), ("name", "new/x.zdb/zarr.json"), ("sync", "new/x.zdb"))


def test_a_small_value(tmp_path: Path, recorder: Recorder) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["a/first"] = 1
    recorder.take()
    db["a/k"] = 1
    written = [("sync", "x.zdb/a/k/zarr.json"), ("name", "x.zdb/a/k/zarr.json"), ("sync", "x.zdb/a/k")]
    events = recorder.take()
    in_order(events, *written)
    assert ("sync", "x.zdb/a") in events  # where the folder k is new
    db["a/k"] = 2
    in_order(recorder.take(), *written)
    db["new/deep/k"] = 1
    in_order(recorder.take(), ("sync", "x.zdb"), ("sync", "x.zdb/new"), ("name", "x.zdb/new/deep/k/zarr.json"))


def check_array(events: list[tuple[str, str]], objects: list[str], synced: Callable[[str], tuple[str, str]]) -> None:
    assert len(objects) > 2
    for one in objects:
        in_order(events, synced(one), ("sync", "x.zdb/k/zarr.json"), ("name", "x.zdb/k/zarr.json"), ("sync", "x.zdb/k"))
        in_order(events, synced(one.rpartition("/")[0]), ("name", "x.zdb/k/zarr.json"))


@pytest.mark.parametrize("lazy", [False, True])
def test_an_array_is_on_disk_before_it_is_visible(tmp_path: Path, recorder: Recorder, lazy: bool) -> None:
    import dask.array as da

    if durability._syncfs() is None:
        pytest.skip("this system has no syncfs")
    db = zdb.open(tmp_path / "x.zdb")
    data = np.arange(40.0)
    for _ in range(2):
        recorder.take()
        db.set("k", da.from_array(data, chunks=10) if lazy else data, chunks=(10,))
        events = recorder.take()
        node = db._engine.node("k")
        assert node is not None
        objects = [f"x.zdb/{path}" for path in node.object_paths() if path != "k/zarr.json"]
        check_array(events, objects, lambda _: ("syncfs", "x.zdb"))
        last = events.index(("syncfs", "x.zdb"))
        assert not [one for one in events[last:] if one[0] == "name" and "data" in one[1]]
        assert not [one for one in events if one[0] == "sync" and "data" in one[1]]  # one by one would be slow


def test_an_array_where_there_is_no_syncfs(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(descriptor: int) -> None:
        raise NotImplementedError

    db = zdb.open(tmp_path / "x.zdb")
    for syncfs in (None, lacking):
        monkeypatch.setattr(durability, "_syncfs", lambda found=syncfs: found)
        recorder.take()
        db.set("sub/k", np.arange(40.0), chunks=(10,))
        events = [(what, path.replace("/sub/", "/")) for what, path in recorder.take()]
        node = db._engine.node("sub/k")
        assert node is not None
        objects = [path.replace("sub/", "x.zdb/") for path in node.object_paths() if path != "sub/k/zarr.json"]
        check_array(events, objects, lambda path: ("sync", path))
        in_order(events, ("sync", "x.zdb/k"), ("sync", "x.zdb/sub"), ("sync", "x.zdb"), ("name", "x.zdb/k/zarr.json"))


def test_deleting_and_renaming(tmp_path: Path, recorder: Recorder) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["a/k"] = 1
    db["b/old"] = np.arange(5)
    recorder.take()
    del db["a/k"]
    events = recorder.take()
    hidden = next(path for what, path in events if what == "name")
    in_order(events, ("name", hidden), ("sync", "x.zdb/a"))
    db.rename("b/old", "c/new")
    events = recorder.take()
    in_order(events, ("sync", "x.zdb"), ("name", "x.zdb/c/new"), ("sync", "x.zdb/c"))
    in_order(events, ("name", "x.zdb/c/new"), ("sync", "x.zdb/b"))


def test_a_copy_is_on_disk_before_it_is_visible(tmp_path: Path, recorder: Recorder) -> None:
    source = zdb.open(tmp_path / "source.zdb")
    source.set("k", np.arange(40.0), chunks=(10,))
    target = zdb.open(tmp_path / "x.zdb")
    recorder.take()
    source.copy_to(target)
    events = recorder.take()
    chunk = next(path for what, path in events if what == "name" and "/data/c" in path)
    in_order(events, ("name", chunk), ("syncfs", "x.zdb"), ("name", "x.zdb/k/zarr.json"), ("sync", "x.zdb/k"))


def test_nothing_is_synced_if_not_wanted(tmp_path: Path, recorder: Recorder) -> None:
    def write(db: zdb.Database) -> list[str]:
        db["a/k"] = 1
        db["b"] = np.arange(5)
        db.rename("b", "c")
        del db["a/k"]
        return [what for what, _ in recorder.take() if what != "name"]

    assert write(zdb.open(tmp_path / "x.zdb", durability="none")) == []
    with zdb.config.set({"durability": "none"}):
        db = zdb.open(tmp_path / "y.zdb")
        assert write(db) == []
        assert write(zdb.open(tmp_path / "z.zdb", durability="commit"))
        del db["c"]
    assert write(pickle.loads(pickle.dumps(db))) == []  # as it was opened, in other processes too


def test_a_word_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zdb.errors.InvalidSettingError, match="'commit' or 'none', not 'always'"):
        zdb.open(tmp_path / "x.zdb", durability="always")  # type: ignore[arg-type]
    assert not (tmp_path / "x.zdb").exists()


def test_a_worker_on_another_machine_syncs_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(LocalNodes, "sync", lambda self, path: synced.append(path))
    db = zdb.open(tmp_path / "x.zdb")
    db.set("k", np.arange(40.0), chunks=(10,))
    assert synced == ["k"]
    node = db._engine.node("k")
    assert node is not None
    array = node.arrays["data"]
    target = chunks.ArrayTarget(db._engine.nodes, array, Gate())
    pickled = pickle.dumps(target)
    pickle.loads(pickled)[slice(0, 10),] = np.arange(10.0)
    assert synced == ["k"]
    monkeypatch.setattr(chunks, "machine", lambda: "another")
    pickle.loads(pickled)[slice(0, 10),] = np.arange(10.0)
    assert synced == ["k", "k/data"]


def test_a_disk_that_fails_when_it_syncs_leaves_the_old_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["k"], db["small"] = np.arange(5), 1

    def fail(*_: Any) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", fail)
        failing.setattr(durability, "_syncfs", lambda: fail)
        with pytest.raises(zdb.errors.StorageError, match="small"):
            db["small"] = 2
        with pytest.raises(zdb.errors.StorageError, match="k"):
            db["k"] = np.arange(6)
    assert db["small"] == 1
    np.testing.assert_array_equal(db["k"], np.arange(5))
    assert len(db._engine.nodes.list_objects("k")) == 3
