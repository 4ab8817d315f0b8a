"""Formats that installed packages bring by an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import zarr

import zdb
from zdb.errors import FormatNotInstalledError

PACKAGE = """
import xarray as xr
import zdb

print("imported")

class Polynomial:
    def __init__(self, coefficients):
        self.coefficients = coefficients

class PolynomialFormat(zdb.Format):
    name = "polynomial"
    types = ("polynomials.Polynomial",)

    def encode(self, value):
        attrs = {"zdb_type": "Polynomial", "zdb_dtype": "", "zdb_shape": "[]", "zdb_recipe": "{}"}
        return xr.Dataset({"coefficients": ("power", value.coefficients)}, attrs=attrs)

    def decode(self, node):
        return Polynomial(node["coefficients"].values.tolist())
"""


@pytest.fixture
def installed(tmp_path):
    """A folder with an installed package, and one more whose module is not there."""
    for name, target in {"polynomials": "polynomials:PolynomialFormat", "broken": "not_there:Format"}.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        format_name = "polynomial" if name == "polynomials" else name
        (info / "entry_points.txt").write_text(f"[zdb.formats]\n{format_name} = {target}\n")
    (tmp_path / "polynomials.py").write_text(PACKAGE)
    return tmp_path


def run(installed, code):
    path = os.pathsep.join([str(installed), str(Path(zdb.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", f"import zdb\ndb = zdb.open({str(installed / 'x.zdb')!r})\n{code}"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_plug_in_is_found_and_a_broken_one_passed_over(installed):
    write = "import polynomials; db['p'] = polynomials.Polynomial([1.0, 2.0]); print(db.info('p').format)"
    assert run(installed, write) == ["imported", "polynomial"]
    assert run(installed, "print(*db['p'].coefficients)") == ["imported", "1.0", "2.0"]


def test_a_value_of_a_format_that_is_not_installed(installed):
    run(installed, "import polynomials; db['p'] = polynomials.Polynomial([1.0, 2.0])")
    db = zdb.open(installed / "x.zdb")
    assert list(db) == ["p"]
    with pytest.raises(FormatNotInstalledError, match="format 'polynomial' is not installed"):
        db["p"]
    assert db.dataset("p")["coefficients"].values.tolist() == [1.0, 2.0]
    assert zarr.open_group(installed / "x.zdb" / "p", mode="r")["coefficients"][:].tolist() == [1.0, 2.0]


def test_plug_ins_are_not_imported_for_plain_values(installed):
    assert run(installed, "db['a'] = {'b': [1, 'c', None]}; db['d'] = 5; print(db['a']['b'][0])") == ["1"]
