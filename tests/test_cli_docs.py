"""``docs/cli.md`` is complete and true: each command and option is in it, and the examples print what it says.

``python tests/test_cli_docs.py`` runs the examples and writes what they print into the file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

import zdb
from zdb.cli import main
from zdb.cli.main import build_parser
from zdb.formats import registry

ROOT = Path(zdb.__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
COMMON = "Options of all commands"

# What differs from run to run and from machine to machine, and what stands for it on the page.
VOLATILE = [
    (r"\b\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?(?=Z|\+00:00)", r"2026-03-14\g<1>09:26:53"),
    (r"( [kM]?B +)(\d+ (s|min|h)|now)$", r"\g<1>2 s"),
    (r"\b[0-9a-f]{32}\b", "0c5f2b9e7a1d4c3e8f60b1a2c3d4e5f6"),
    (r"; \d\S* [kM]?B (?=read|listed)", "; 1.06 MB "),
    (r"(?<=[1-9] objects, )\d\S* [kM]?B\b", "7.13 kB"),
    (r"^(  user +)\S.*$", r"\1ada"),
    (r"^(  hostname +)\S.*$", r"\1workstation"),
    (r"^(  program +)\S.*$", r"\g<1>/home/ada/bin/zdb put results.zdb rates rates.csv"),
    (r"^(  git +)\S.*$", r"\1none"),
    (r"^(  python +)\S.*$", r"\g<1>3.13.2"),
    (r"^(  duration +)\S.*$", r"\g<1>0.0103 s"),
    (r"^(  environment +)\S.*$", r"\g<1>64 distributions, 31 imported modules, Linux-6.8.0-x86_64-with-glibc2.39"),
]


def sections() -> dict[str, str]:
    parts = re.split(r"(?m)^## (.+)$", PAGE.read_text("utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(parser: argparse.ArgumentParser, name: str = "zdb") -> dict[str, argparse.ArgumentParser]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        return {name: parser}
    found: dict[str, argparse.ArgumentParser] = {}
    for word, one in below[0].choices.items():
        found |= commands(one, f"{name} {word}")
    return found


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def documented_options(section: str) -> set[str]:
    """Options for which there is an item in a list."""
    items = re.findall(r"(?m)^- (`-.*?):", section)
    return {option for item in items for option in re.findall(r"`(--?[a-z][a-z-]*)", item)}


COMMANDS = commands(build_parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_documented_with_its_options(name: str) -> None:
    section = sections()[name]
    common = documented_options(sections()[COMMON])
    assert documented_options(section) == options_of(COMMANDS[name]) - common
    assert common <= options_of(COMMANDS[name])
    positionals = [action.metavar for action in COMMANDS[name]._actions if not action.option_strings]
    usage = re.search(r"`(zdb [^`]*)`", section)
    assert usage is not None
    assert re.findall(r"[A-Z]+", usage[1]) == positionals


def test_options_of_all_commands_stand_before_the_command_too() -> None:
    assert documented_options(sections()[COMMON]) | {"--version"} == options_of(build_parser())


def test_no_section_is_about_a_command_that_is_not_there() -> None:
    assert {name for name in sections() if name.startswith("zdb ")} == set(COMMANDS)


class Shell:
    """Runs the commands of the examples in a folder, ``zdb`` on its own in this process, which is faster."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        for name, target in {"zdb": "-m zdb", "python": ""}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {target} "$@"\n')
            program.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "LC_ALL": "C.UTF-8",
            "ZDB_CATALOG": str(self.home / "catalog"),
        }

    def run(self, command: str) -> str:
        alone = re.fullmatch(r'zdb ([^|;&]*)(; echo "exit code \$\?")?', command)
        output = self._in_process(alone[1], bool(alone[2])) if alone else self._in_bash(command)
        output = output.replace(str(self.home), "/home/ada").replace(str(self.home.resolve()), "/home/ada")
        for pattern, standing in VOLATILE:
            output = re.sub(pattern, standing, output, flags=re.MULTILINE)
        return output

    def _in_process(self, arguments: str, shows_code: bool) -> str:
        printed = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with (
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            mock.patch.dict(os.environ, {"COLUMNS": "80"}),
            mock.patch.object(sys, "argv", ["zdb", *shlex.split(arguments)]),
            zdb.config.set({"catalog": self.environment["ZDB_CATALOG"]}),
        ):
            try:
                code = main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        assert isinstance(printed.buffer, io.BytesIO)
        return printed.buffer.getvalue().decode() + (f"exit code {code}\n" if shows_code else "")

    def _in_bash(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout


def run_examples(page: str, folder: Path) -> str:
    """Return the page with what its examples print now."""
    shell = Shell(folder)

    def run(block: re.Match[str]) -> str:
        shown = (f"$ {command}\n{shell.run(command)}" for command in re.findall(r"(?m)^\$ (.*)$", block[1]))
        return f"```console\n{''.join(shown)}```"

    # Each command is a process of its own on the page, which knows the formats that are built in.
    with mock.patch.object(registry, "_registered", {}):
        return re.sub(r"(?s)```console\n(.*?)```", run, page)


def test_the_examples_print_what_the_page_says() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count("$ zdb ") > 20
    # The length of the path of the folder is among what they print, so it must not depend on TMPDIR.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        assert run_examples(page, Path(place)).splitlines() == page.splitlines()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        PAGE.write_text(run_examples(PAGE.read_text("utf-8"), Path(place)), "utf-8")
