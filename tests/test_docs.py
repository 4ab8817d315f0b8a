"""Every Python example in the README and in docs/ runs, and docs/api.md is what the docstrings say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from zdb.formats import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[object]:
    return [pytest.param(page, id=page.name) for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", examples())
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Formats that examples register are not left to the tests that follow.
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    # Examples define classes in ``__main__``, as a script does.
    namespace = vars(sys.modules["__main__"]).copy()
    namespace["__name__"] = "__main__"
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), namespace)


def test_readme_has_an_example() -> None:
    assert BLOCK.search((ROOT / "README.md").read_text())


def test_api_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_api", ROOT / "docs" / "generate_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "api.md").read_text() == module.render(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
