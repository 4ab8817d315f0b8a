"""Settings come from defaults, files, the environment and the code, in this order."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import zdb
from zdb.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def settings_afterwards() -> Iterator[None]:
    yield
    zdb.config.refresh()


def test_set_holds_until_the_end_of_its_context() -> None:
    before = zdb.config.get("lock")
    with zdb.config.set({"lock": "none:"}):
        assert zdb.config.get("lock") == "none:"
        assert zdb.config.sources()["lock"] == "set"
    assert zdb.config.get("lock") == before
    assert zdb.config.sources()["lock"] == "default"


def test_an_unknown_setting_is_refused_and_nothing_is_set() -> None:
    before = zdb.config.get("lock")
    with pytest.raises(zdb.errors.UnknownSettingError, match="'lokc'"):
        zdb.config.set({"lock": "none:", "lokc": "none:"})
    assert zdb.config.get("lock") == before
    with pytest.raises(KeyError):
        zdb.config.get("lokc")


def test_the_environment_comes_before_files_and_files_before_defaults(tmp_path: Path) -> None:
    (tmp_path / "zdb.yaml").write_text("lock: 'redis://files'\n")
    program = "import zdb; print(zdb.config.get('lock'), zdb.config.sources()['lock'])"

    def lock(**variables: str) -> list[str]:
        environment = {k: v for k, v in os.environ.items() if k != "ZDB_LOCK"} | variables
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        return done.stdout.decode().split()

    folder = str(tmp_path)
    assert lock() == ["file:", "default"]
    assert lock(ZDB_CONFIG=folder) == ["redis://files", str(tmp_path / "zdb.yaml")]
    assert lock(ZDB_CONFIG=folder, ZDB_LOCK="redis://variable") == ["redis://variable", "ZDB_LOCK"]


def test_the_command_shows_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in zdb.config.SETTINGS)
