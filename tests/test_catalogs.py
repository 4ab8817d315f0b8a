"""The catalog finds databases by their id, when they moved, were copied, or written by many processes."""

from __future__ import annotations

import multiprocessing
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import zdb
from zdb.catalogs import CatalogWarning, _warned
from zdb.cli import main
from zdb.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_catalog(tmp_path: Path) -> Iterator[Path]:
    """Each test has a catalog of its own."""
    _warned.clear()
    with zdb.config.set({"catalog": str(tmp_path / "catalog")}):
        yield tmp_path / "catalog"


def id_of(db: zdb.Database) -> str:
    return db.info().id


def test_a_database_is_found_by_its_id(db: zdb.Database) -> None:
    db["x"] = 1
    again = zdb.open(id=id_of(db), mode="r")
    assert again.url == db.url
    assert again["x"] == 1
    frame = zdb.catalog()
    assert frame.loc[0, ["id", "url", "name"]].tolist() == [id_of(db), db.url, "results.zdb"]


def test_reading_registers_nothing(db: zdb.Database, own_catalog: Path) -> None:
    shutil.rmtree(own_catalog)
    zdb.open(db.url, "r")
    assert not own_catalog.exists()
    zdb.open(db.url, "r+")
    assert len(zdb.catalog()) == 1


def test_databases_in_memory_are_not_registered() -> None:
    zdb.open("memory://not-registered.zdb")
    assert zdb.catalog().empty


def test_without_a_catalog_databases_work(tmp_path: Path) -> None:
    with zdb.config.set({"catalog": False}):
        db = zdb.open(tmp_path / "x.zdb")
        db["x"] = 1
        with pytest.raises(zdb.errors.CatalogError, match="setting catalog is False"):
            zdb.catalog()
        with pytest.raises(zdb.errors.CatalogError):
            zdb.open(id=id_of(db))


def test_opening_heals_a_move(db: zdb.Database, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.zdb"
    shutil.move(db.url, moved)
    with pytest.raises(zdb.errors.DatabaseNotFoundError, match="not there any more"):
        zdb.open(id=id_of(zdb.open(moved, "r")))
    opened = zdb.open(moved)
    assert zdb.open(id=id_of(opened)).url == str(moved)
    assert len(zdb.catalog()) == 1


def test_by_id_another_database_at_the_place_is_not_taken(db: zdb.Database, tmp_path: Path) -> None:
    lost = id_of(db)
    shutil.rmtree(db.url)
    zdb.open(db.url)
    with pytest.raises(zdb.errors.DatabaseNotFoundError, match=lost):
        zdb.open(id=lost)


def test_opening_by_id_creates_nothing(db: zdb.Database) -> None:
    lost = id_of(db)
    shutil.rmtree(db.url)
    for mode in ("a", "r", "r+"):
        with pytest.raises(zdb.errors.DatabaseNotFoundError):
            zdb.open(id=lost, mode=mode)
    with pytest.raises(ValueError, match="w-"):
        zdb.open(id=lost, mode="w-")
    with pytest.raises(ValueError, match="either"):
        zdb.open()
    with pytest.raises(ValueError, match="either"):
        zdb.open(db.url, id=lost)


def test_an_unknown_id_says_what_to_do() -> None:
    with pytest.raises(FileNotFoundError, match=r"knows no database .*search"):
        zdb.open(id="0" * 32)
    with pytest.raises(zdb.errors.DatabaseNotFoundError, match="no id"):
        zdb.open(id="../secrets")


def test_a_copy_is_told_and_gets_a_new_id_on_request(db: zdb.Database, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zdb"
    shutil.copytree(db.url, copy)
    with pytest.warns(CatalogWarning, match="one is a copy"):
        zdb.open(copy)
    assert zdb.open(id=id_of(db)).url == db.url
    fresh = zdb.catalog.renew(copy)
    assert fresh != id_of(db)
    assert zdb.open(id=fresh).url == str(copy)
    assert set(zdb.catalog().url) == {db.url, str(copy)}


def test_a_link_is_no_copy(db: zdb.Database, tmp_path: Path) -> None:
    """Warnings are errors here."""
    link = tmp_path / "links" / "link.zdb"
    link.parent.mkdir()
    link.symlink_to(db.url)
    zdb.open(link)["k"] = 1
    assert zdb.open(id=id_of(db)).url == db.url
    assert list(zdb.catalog.search(link).state) == ["known"]
    assert list(zdb.catalog().url) == [db.url]
    moved = shutil.move(db.url, tmp_path / "moved.zdb")
    zdb.open(moved)
    assert list(zdb.catalog().url) == [str(moved)]


def test_search_registers_what_lies_below_a_folder(tmp_path: Path) -> None:
    with zdb.config.set({"catalog": False}):
        for name in ("a.zdb", "deep/er/b.zdb"):
            inner = zdb.open(tmp_path / "data" / name)
            inner["sub/x"] = [1, 2, 3]
            inner["y"] = 1
    (tmp_path / "data" / "other").mkdir()
    found = zdb.catalog.search(tmp_path / "data")
    assert sorted(url.rpartition("/")[2] for url in found.url) == ["a.zdb", "b.zdb"]
    assert set(found.state) == {"new"}
    assert zdb.catalog()["keys"].tolist() == [2, 2]
    assert (zdb.catalog()["size"] > 0).all()
    assert set(zdb.catalog.search(tmp_path / "data").state) == {"known"}
    with pytest.raises(FileNotFoundError):
        zdb.catalog.search(tmp_path / "nothing")


def test_heal_tells_what_happened_to_each(tmp_path: Path) -> None:
    dbs = {name: zdb.open(tmp_path / "data" / name) for name in ("stays", "moves", "vanishes", "copied")}
    ids = {name: id_of(db) for name, db in dbs.items()}
    shutil.move(dbs["moves"].url, tmp_path / "data" / "moved")
    shutil.rmtree(dbs["vanishes"].url)
    shutil.copytree(dbs["copied"].url, tmp_path / "data" / "twin")
    report = zdb.catalog.heal([tmp_path / "data"])
    states = {(row.id, row.url.rpartition("/")[2]): row.state for row in report.itertuples()}
    twins = {states.pop((ids["copied"], name)) for name in ("copied", "twin")}
    assert twins == {"ok", "copy"}
    assert states == {
        (ids["stays"], "stays"): "ok",
        (ids["moves"], "moved"): "moved",
        (ids["vanishes"], "vanishes"): "vanished",
    }
    assert len(zdb.catalog()) == 4
    zdb.catalog.heal(forget=True)
    assert ids["vanishes"] not in set(zdb.catalog().id)


def test_merge_takes_what_is_newer(db: zdb.Database, tmp_path: Path) -> None:
    other = zdb.Catalog(tmp_path / "other")
    other.put(Record.now("1" * 32, "/data/one.zdb"))
    other.put(Record.now(id_of(db), "/data/later.zdb"))
    assert zdb.catalog.merge(other) == 2
    assert zdb.catalog.get(id_of(db)).url == "/data/later.zdb"
    assert zdb.catalog.merge(tmp_path / "other") == 0


def test_forget_leaves_the_database(db: zdb.Database) -> None:
    zdb.catalog.forget(id_of(db))
    assert zdb.catalog().empty
    assert zdb.open(db.url, "r").url == db.url
    with pytest.raises(zdb.errors.DatabaseNotFoundError):
        zdb.catalog.forget(id_of(db))


def test_a_failing_catalog_warns_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with zdb.config.set({"catalog": str(tmp_path / "file" / "catalog")}):
        with pytest.warns(CatalogWarning, match="not registered"):
            db = zdb.open(tmp_path / "x.zdb")
        db["x"] = 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert zdb.open(tmp_path / "x.zdb")["x"] == 1


def test_a_damaged_record_is_passed_over(db: zdb.Database, own_catalog: Path) -> None:
    (own_catalog / f"{'2' * 32}.json").write_text("{")
    with pytest.warns(CatalogWarning, match="no record"):
        assert zdb.catalog().id.tolist() == [id_of(db)]


def open_many(catalog: str, urls: list[str]) -> None:
    with zdb.config.set({"catalog": catalog}):
        for url in urls:
            zdb.open(url)


def test_many_processes_register_at_once(tmp_path: Path, own_catalog: Path) -> None:
    urls = [str(tmp_path / f"{number}.zdb") for number in range(12)]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=open_many, args=(str(own_catalog), urls)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    frame = zdb.catalog()
    assert set(frame.url) == set(urls)
    ids = {url: id_of(zdb.open(url, "r")) for url in urls}
    assert dict(zip(frame.url, frame.id, strict=True)) == ids
    assert {file.suffix for file in own_catalog.iterdir()} == {".json"}


@pytest.mark.s3
def test_a_catalog_in_a_bucket(s3: Any, tmp_path: Path) -> None:
    catalog = zdb.Catalog(s3.url("catalog"), s3.options)
    assert catalog.to_frame().empty
    assert catalog.get("3" * 32) is None
    catalog.put(Record.now("3" * 32, "/data/three.zdb"))
    assert catalog.to_frame().url.tolist() == ["/data/three.zdb"]
    catalog.forget("3" * 32)
    assert catalog.records() == []


@pytest.mark.s3
def test_databases_in_a_bucket_are_searched(s3: Any) -> None:
    with zdb.config.set({"catalog": False}):
        for name in ("searched/a.zdb", "searched/deep/b.zdb"):
            zdb.open(s3.url(name), storage_options=s3.options)["x/y"] = 1
    found = zdb.catalog.search(s3.url("searched"), s3.options)
    assert sorted(found.url) == [s3.url("searched/a.zdb"), s3.url("searched/deep/b.zdb")]
    db = zdb.open(id=found.id[0], storage_options=s3.options)
    assert db["x/y"] == 1


def test_the_command(db: zdb.Database, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["catalog", "ls"]) == 0
    assert id_of(db) in capsys.readouterr().out
    assert main(["catalog", "forget", id_of(db)]) == 0
    assert main(["catalog", "forget", id_of(db)]) == 3
    assert main(["catalog", "search", str(tmp_path), "--quiet"]) == 0
    assert "new" in capsys.readouterr().out
