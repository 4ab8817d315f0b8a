"""The house of ``docs/architecture.md``: imports point down, and ``import zdb`` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import zdb

PACKAGE = Path(zdb.__file__).parent
HEAVY = {"dask", "fsspec", "numpy", "pandas", "pyarrow", "s3fs", "xarray", "zarr"}

# Floors from the top down. A module may import what lies on its own floor or below it, never what lies above;
# a folder lies where its name does, and what is on one floor may not import each other in circles.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"exchange"},
    {"filesystem", "references"},
    {"opening"},
    {"database"},
    {"display", "compute", "parallel", "maintenance", "transfer", "files", "find", "shared", "identity", "catalogs"},
    {"handle"},
    {"write", "info"},
    {"formats", "engine"},
    {"provenance", "attributes", "locks", "records", "keys", "openers"},
    {"environment", "process", "git", "redact"},
    {"config", "errors", "utils"},
]
# These live outside of the house and use the front door.
GUESTS = {"neuro", "legacy"}
# What the front door is: the package itself, and the modules that it hands out.
PUBLIC = {"zdb", "zdb.errors", "zdb.__version__"}


class Import(NamedTuple):
    """One import of a module of zdb by another."""

    source: str
    target: str
    line: int
    only_for_types: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports_of(module: str, source: str) -> list[Import]:
    """All imports of zdb in a module, at its top and inside of functions."""
    found: list[Import] = []

    def visit(node: ast.AST, only_for_types: bool) -> None:
        for name in targets(node):
            if name.partition(".")[0] == "zdb":
                found.append(Import(module, name, node.lineno, only_for_types))
        if is_type_checking(node):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, only_for_types)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, only_for_types)

    def targets(node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = MODULES.get(module, Path()).name == "__init__.py"
                above = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            return [f"{base}.{alias.name}" for alias in node.names]
        return []

    visit(ast.parse(source), False)
    return found


def resolve(target: str) -> str:
    """The module in which an imported name is found."""
    while target not in MODULES:
        target = target.rpartition(".")[0]
    return target


def room(module: str) -> str:
    """The name below zdb in which a module lies; "" for zdb itself."""
    return [*module.split("."), ""][1]


def floor(module: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if room(module) in rooms), None)


IMPORTS = [one for name, file in MODULES.items() for one in imports_of(name, file.read_text())]


def faults(imports: list[Import]) -> list[str]:
    """Imports that run upward, or from the core to a guest."""
    found = []
    for one in imports:
        target = resolve(one.target)
        if room(one.source) in GUESTS or not room(one.source):
            continue
        if room(one.source) == "cli" and (not room(target) or room(target) in GUESTS):
            continue  # it stands at the very top, and imports what guests bring
        if room(target) in GUESTS:
            found.append(f"{one}: the core does not know its guests")
        elif not room(target):
            if one.target != "zdb.__version__":
                found.append(f"{one}: the core does not use the front door")
        elif floor(target) < floor(one.source):
            found.append(f"{one}: upward")
    return found


def cycles(imports: list[Import], name=lambda module: module) -> list[list[str]]:
    """Rings of modules that import each other."""
    below: dict[str, set[str]] = {}
    for one in imports:
        source, target = name(one.source), name(resolve(one.target))
        if source != target and room(one.source) and room(resolve(one.target)):
            below.setdefault(source, set()).add(target)
    found, done = [], set()

    def follow(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for target in sorted(below.get(module, ())):
                follow(target, [*path, module])
            done.add(module)

    for module in sorted(below):
        follow(module, [])
    return found


def test_every_module_has_its_floor():
    homeless = {name for name in MODULES if room(name) and room(name) not in GUESTS and floor(name) is None}
    assert not homeless, f"say in FLOORS, and in docs/architecture.md, where these lie: {homeless}"


@pytest.mark.parametrize("only_for_types", [False, True], ids=["at run time", "for types"])
def test_imports_point_down(only_for_types):
    assert faults([one for one in IMPORTS if one.only_for_types == only_for_types]) == []


def test_formats_and_engine_do_not_need_each_other():
    across = [one for one in IMPORTS if {room(one.source), room(resolve(one.target))} == {"formats", "engine"}]
    assert [str(one) for one in across if not one.only_for_types] == []
    assert [str(one) for one in across if room(one.source) == "formats"] == []


@pytest.mark.parametrize("only_for_types", [False, True], ids=["at run time", "with those for types"])
def test_no_modules_import_each_other_in_a_circle(only_for_types):
    chosen = [one for one in IMPORTS if only_for_types or not one.only_for_types]
    assert cycles(chosen) == []


def test_no_rooms_import_each_other_in_a_circle():
    assert cycles([one for one in IMPORTS if not one.only_for_types], room) == []


def test_guests_use_the_public_interface_only():
    private = [
        str(one)
        for one in IMPORTS
        if room(one.source) in GUESTS
        and room(resolve(one.target)) != room(one.source)
        and one.target not in PUBLIC
        and one.target.removeprefix("zdb.") not in zdb.__all__
        and not one.target.startswith("zdb.errors.")
    ]
    assert private == []


def test_the_check_finds_what_it_looks_for():
    upward = imports_of("zdb.errors", "def f():\n    from zdb.database import Database\n")
    assert faults(upward) == ["zdb.errors:2 imports zdb.database.Database: upward"]
    relative = imports_of("zdb.engine.plain", "if TYPE_CHECKING:\n    from ..write import write\n")
    assert relative == [Import("zdb.engine.plain", "zdb.write.write", 2, True)]
    assert len(faults(relative)) == 1
    assert len(faults(imports_of("zdb.info", "import zdb.neuro"))) == 1
    assert len(faults(imports_of("zdb.info", "import zdb"))) == 1
    ring = imports_of("zdb.info", "import zdb.write") + imports_of("zdb.write", "from zdb import info")
    assert cycles(ring) == [["zdb.info", "zdb.write", "zdb.info"]]


def imported_by(code: str) -> set[str]:
    """Top-level packages that are loaded when a new process has run some code."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_zdb_loads_nothing_heavy():
    assert imported_by("import zdb; dir(zdb); zdb.errors.ZdbError") & HEAVY == set()


def test_small_values_need_nothing_heavy(tmp_path):
    code = f"""
import zdb
db = zdb.open({str(tmp_path / "small.zdb")!r})
db["run/parameters"] = {{"dt": 0.025}}
assert db["run/parameters"] == {{"dt": 0.025}}
assert list(db) == ["run"]
str(db), db.info("run/parameters")
"""
    assert imported_by(code) & {"dask", "pandas", "pyarrow", "s3fs", "xarray", "zarr"} == set()


def test_what_zdb_hands_out_is_there():
    for name in zdb.__all__:
        assert getattr(zdb, name) is not None
    assert set(zdb.__all__) <= set(dir(zdb))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zdb.nothing
