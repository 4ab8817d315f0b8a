"""The command: what scripts rely on — exit codes, JSON, files in and out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import zdb
from zdb.cli import main
from zdb.cli.main import build_parser
from zdb.neuro import generate_simrun

if TYPE_CHECKING:
    from pathlib import Path

    from places import Place
    from services.seaweedfs import S3Server


@pytest.fixture
def url(tmp_path: Path) -> str:
    db = zdb.open(tmp_path / "x.zdb")
    db["params"] = {"dt": 0.025}
    db["soma/voltage"] = np.arange(12.0).reshape(3, 4)
    db["rates"] = pd.DataFrame({"trial": [0, 1], "rate": [1.5, 2.0]})
    return str(tmp_path / "x.zdb")


def test_listing_as_text_and_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", url]) == 0
    assert capsys.readouterr().out.split() == ["params", "rates", "soma/"]
    assert main(["ls", url, "--recursive", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["params", "rates", "soma/voltage"]


def test_info_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", url, "soma/voltage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [3, 4]


@pytest.mark.parametrize("place", range(3))
def test_common_options_stand_before_and_after_a_command(place: int) -> None:
    words = ["catalog", "ls"]
    for given, name, value in (
        (["--json"], "json", True),
        (["--allow-pickle"], "allow_pickle", True),
        (["--traceback"], "traceback", True),
        (["--storage-options", '{"anon": true}'], "storage_options", {"anon": True}),
    ):
        options = build_parser().parse_args([*words[:place], *given, *words[place:]])
        defaults = build_parser().parse_args(words)
        assert vars(options) == {**vars(defaults), name: value, "run": options.run}
        assert getattr(defaults, name) in (None, False)


def test_options_before_the_command_count(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "info", url, "params"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "json"
    with pytest.raises(zdb.errors.DatabaseNotFoundError):
        main(["--traceback", "ls", f"{url}/missing"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info", "{url}", "nothing"], 3),
        (["ls", "{url}/missing"], 3),
        (["mv", "{url}", "params", "rates"], 5),
        (["get", "{url}", "params", "{folder}/v.npy"], 1),
    ],
)
def test_exit_codes(
    url: str, arguments: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(url=url, folder=tmp_path) for argument in arguments]
    assert main(filled) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("zdb: error: ")
    assert "Traceback" not in captured.err


def test_options_stand_between_arguments(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "y.zdb")
    assert main(["sync", url, target, "--delete", "soma", "--quiet", "other"]) == 0
    assert zdb.open(target, "r").keys(recursive=True) == ["other/voltage"]
    capsys.readouterr()
    assert main(["ls", "--long", url, "--json", "soma"]) == 0
    assert [row["key"] for row in json.loads(capsys.readouterr().out)] == ["voltage"]
    assert main(["ls", url, "--", "soma"]) == 0
    assert main(["rm", target, "--force", "other/voltage", "--recursive", "none"]) == 0
    assert main(["catalog", "heal", "--forget", str(tmp_path), "--json"]) == 0
    assert zdb.open(target, "r").keys(recursive=True) == []


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["sync", "x", "y", "k", "n", "more"], "zdb sync [-h]"),
        (["sync", "x", "y", "--bogus"], "zdb sync [-h]"),
        (["sync", "x"], "zdb sync [-h]"),
        (["import", "files", "a", "b", "c", "d"], "zdb import files [-h]"),
        (["catalog", "ls", "more"], "zdb catalog ls [-h]"),
        (["catalog", "--bogus"], "zdb catalog [-h]"),
    ],
)
def test_wrong_usage_shows_that_of_the_command(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: {usage}")


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert "nothing" in capsys.readouterr().err


def test_files_in_and_out(url: str, tmp_path: Path) -> None:
    assert main(["get", url, "soma/voltage", str(tmp_path / "v.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), np.arange(12.0).reshape(3, 4))
    assert main(["put", url, "copy", str(tmp_path / "v.npy")]) == 0
    np.testing.assert_array_equal(zdb.open(url)["copy"], np.arange(12.0).reshape(3, 4))
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        assert main(["get", url, "rates", str(tmp_path / f"r.{suffix}")]) == 0
        pd.testing.assert_frame_equal(read(tmp_path / f"r.{suffix}"), zdb.open(url)["rates"])


def test_a_pickle_is_named_as_what_it_is(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zdb.open(url).set("pickled", {"dt": 1}, format="pickle")
    assert main(["get", url, "pickled", str(tmp_path / "f.bin"), "--allow-pickle"]) == 1
    assert (
        "a value of format 'pickle', which holds one of format 'json', is written as .json" in capsys.readouterr().err
    )
    assert main(["get", url, "pickled", str(tmp_path / "f.json"), "--allow-pickle"]) == 0
    assert json.loads((tmp_path / "f.json").read_text()) == {"dt": 1}


@pytest.mark.parametrize("value", [float("nan"), [1, -float("inf")]])
def test_json_is_strict(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: object) -> None:
    zdb.open(url)["odd"] = value
    for target in (str(tmp_path / "odd.json"), "-"):
        assert main(["get", url, "odd", target]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "JSON has neither NaN nor infinity" in printed.err
    assert not (tmp_path / "odd.json").exists()


def test_the_package_is_run(url: str) -> None:
    done = subprocess.run([sys.executable, "-m", "zdb", "ls", url], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["params", "rates", "soma/"]


def test_removing_and_moving(url: str) -> None:
    assert main(["mv", url, "soma", "cell"]) == 0
    assert main(["rm", url, "params"]) == 0
    assert zdb.open(url).keys(recursive=True) == ["cell/voltage", "rates"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "{url}/missing"], "{url}/missing: there is no database"),
        (["ls", "{folder}"], "is not empty and not a database; zdb catalog search FOLDER finds those below a folder"),
        (["get", "{url}", "pickled", "-"], "open the database with --allow-pickle"),
        (["put", "{url}", "p", "{folder}/p.json", "--no-overwrite"], "p: exists, and --no-overwrite was given"),
        (["import", "files", "{folder}/p.json", "{url}"], "p: exists; --overwrite replaces it"),
        (["cp", "{url}", "{url}.2", "params"], "params: exists in {url}.2; --overwrite replaces it"),
        (["export", "{url}", "{folder}"], "{folder}: exists and is no export of this database; --force replaces it"),
        (["put", "{folder}/group", "k", "{folder}/p.json"], "is a plain Zarr group; make it a database with zdb.adopt"),
        (["info", "{url}", "damaged"], "let zdb repair --yes rescue what is there"),
    ],
)
def test_messages_speak_of_options(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    db = zdb.open(url)
    db.set("pickled", {1, 2}, format="pickle")
    db["p"] = db["damaged"] = 1
    (tmp_path / "x.zdb" / "damaged" / "zarr.json").write_bytes(b"")
    zdb.open(f"{url}.2")["params"] = 2
    (tmp_path / "p.json").write_text("3")
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    assert main([argument.format(url=url, folder=tmp_path) for argument in arguments]) not in (0, 2)
    printed = capsys.readouterr().err
    assert words.format(url=url, folder=tmp_path) in printed
    assert not re.search(r"\b(overwrite|mode|allow_pickle|dry_run)=", printed)


def test_wrong_credentials(s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    options = json.dumps({**s3.options, "key": "unknown", "secret": "wrong"})
    assert main(["ls", s3.url("x.zdb"), "--storage-options", options]) == 4
    said = capsys.readouterr().err
    assert "access key ID you provided does not exist" in said
    assert """give --storage-options '{"key": "…", "secret": "…"}', or set AWS_ACCESS_KEY_ID""" in said


def test_the_catalog_without_an_action_is_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--json"], []):
        printed = []
        for action in (["ls"], []):
            assert main(["catalog", *action, *options]) == 0
            printed.append(capsys.readouterr().out)
        assert url in printed[0]
        assert printed[0] == printed[1]
    assert main(["--json", "catalog"]) == 0
    assert url in {row["url"] for row in json.loads(capsys.readouterr().out)}


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    """Results whose parameter file refers to a file that is not there."""
    made = generate_simrun(tmp_path / "made", runs=1, trials=2, duration=5.0)
    (run,) = (path.parent for path in made.folder.rglob("*_vm_all_traces.*"))
    (run / "0a1b_neuron_model.param").write_text("{'neuron': {'filename': '/gone/cell.hoc'}}")
    return made.folder


@pytest.mark.parametrize("key", [[], ["runs/first"]])
def test_an_import_that_fails_leaves_nothing(
    incomplete: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: list[str]
) -> None:
    url = str(tmp_path / "new.zdb")
    assert main(["import", "simrun", str(incomplete), url, *key, "-q"]) == 1
    printed = capsys.readouterr().err
    assert "/gone/cell.hoc" in printed
    assert "--relocate OLD=NEW" in printed
    assert "--missing report" in printed
    assert "relocate=" not in printed
    assert not (tmp_path / "new.zdb").exists()
    assert url not in set(zdb.catalog()["url"])
    assert main(["import", "simrun", str(incomplete), url, *key, "-q", "--missing", "report"]) == 0
    assert zdb.open(url).keys(recursive=True)


def test_an_import_that_fails_leaves_the_database_that_was_there(incomplete: Path, tmp_path: Path) -> None:
    zdb.open(tmp_path / "empty.zdb")
    (tmp_path / "none").mkdir()
    for folder in (incomplete, tmp_path / "none"):
        assert main(["import", "simrun", str(folder), str(tmp_path / "empty.zdb"), "-q"]) == 1
        assert list(zdb.open(tmp_path / "empty.zdb", "r")) == []
    assert main(["import", "simrun", str(tmp_path / "none"), str(tmp_path / "new.zdb"), "-q"]) == 1
    assert not (tmp_path / "new.zdb").exists()


def test_an_import_that_fails_leaves_no_empty_key(incomplete: Path, url: str) -> None:
    db = zdb.open(url)
    db.database("kept", create=True)
    before = db.keys(recursive=True)
    for key in ("new", "runs/first", "kept", "kept/new", "soma/new"):
        assert main(["import", "simrun", str(incomplete), url, key, "-q"]) == 1
    db = zdb.open(url)
    assert db.keys(recursive=True) == before
    assert sorted(db) == ["kept", "params", "rates", "soma"]
    assert list(db["kept"]) == []
    assert list(db["soma"]) == ["voltage"]
    assert db.verify(progress=False).ok


@pytest.mark.s3
def test_a_bucket(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = s3.url("cli.zdb")
    zdb.open(url, storage_options=s3.options)["k"] = [1, 2]
    assert main(["ls", url, "--storage-options", json.dumps(s3.options)]) == 0
    assert capsys.readouterr().out == "k\n"


def test_listing_imports_nothing_heavy(url: str) -> None:
    code = (
        "import sys; from zdb.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('xarray', 'dask', 'pandas', 'zarr', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, "ls", url], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_secret_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", str(tmp_path / "no.zdb"), "--storage-options", '{"secret": "hunter2"}'])
    assert "hunter2" not in capsys.readouterr().err


def test_place_is_used(shared_place: Place) -> None:
    shared_place.open()["k"] = 1
    options = json.dumps(shared_place.options)
    assert main(["info", shared_place.url, "k", "--json", "--storage-options", options]) == 0
