"""Write docs/api.md from the docstrings: ``make docs``."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("api.md")

# Section title, module, names; "*" stands for all of ``__all__``.
SECTIONS = (
    ("Opening", "zdb", ["open", "adopt"]),
    ("Files", "zdb", ["export_files", "import_files"]),
    ("Database", "zdb", ["Database"]),
    ("Values", "zdb", ["Ragged", "StoredFile"]),
    ("Files by URI", "zdb", ["open_file", "create_reldb", "create_mdb", "Folder"]),
    ("What is known of a value", "zdb", ["Info", "Provenance"]),
    ("Catalog", "zdb", ["Catalog"]),
    ("Locks", "zdb", ["lock", "Lock"]),
    ("Who holds a lock", "zdb.locks.owner", ["Owner"]),
    ("Settings", "zdb.config", "*"),
    ("Reports", "zdb.maintenance.report", "*"),
    ("How far jobs have come", "zdb", ["Progress"]),
    ("Reports of copies", "zdb.transfer.report", "*"),
    ("Formats", "zdb", ["Format", "Selection", "key_names", "register"]),
    ("Layout", "zdb.engine.layout", ["choose_layout", "choose_codecs"]),
    ("Old databases", "zdb.legacy", "*"),
    ("Errors", "zdb.errors", "*"),
    ("Neuron simulations", "zdb.neuro", "*"),
)


def render() -> str:
    """Return the text of docs/api.md."""
    parts = ["# The Python interface", "Made from the docstrings by `make docs`."]
    for title, module_name, wanted in SECTIONS:
        module = importlib.import_module(module_name)
        names = sorted(module.__all__) if wanted == "*" else wanted
        parts.append(f"## {title}")
        for name in names:
            parts += _describe(f"{module_name}.{name}", getattr(module, name))
    return "\n\n".join(parts) + "\n"


def _describe(name: str, member: Any) -> list[str]:
    parts = [f"### `{name}`"]
    if inspect.isclass(member) and issubclass(member, Exception):
        bases = ", ".join(base.__name__ for base in member.__bases__)
        return [*parts, f"{_docstring(member)} Also a `{bases}`."]
    if callable(member):
        parts += [_signature(member), _docstring(member)]
    if inspect.isclass(member):
        for method_name, method in _methods(member):
            parts += [f"#### `{name.rpartition('.')[2]}.{method_name}`", _signature(method), _docstring(method)]
    return parts


def _methods(cls: type) -> list[tuple[str, Any]]:
    return [
        (name, method)
        for base in cls.__mro__
        if base.__module__.startswith("zdb.")
        for name, method in vars(base).items()
        if not name.startswith("_") and (inspect.isfunction(method) or isinstance(method, classmethod))
    ]


def _signature(member: Any) -> str:
    member = getattr(member, "__func__", member)
    text = str(inspect.signature(member)).replace("'", "")
    return f"```\n{member.__name__}{text}\n```"


def _docstring(member: Any) -> str:
    """Return the docstring; its numpydoc sections become paragraphs in monospace, which keeps their alignment."""
    text = inspect.getdoc(member)
    if not text:
        raise ValueError(f"{member!r} has no docstring")
    head, *sections = _split_sections(text)
    return "\n\n".join([head, *(f"```\n{section}\n```" for section in sections)]).strip()


def _split_sections(text: str) -> list[str]:
    parts: list[list[str]] = [[]]
    lines = text.splitlines()
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and set(lines[number + 1].strip()) == {"-"}
        if underlined:
            parts.append([])
        parts[-1].append(line)
    return ["\n".join(part).strip() for part in parts]


if __name__ == "__main__":
    TARGET.write_text(render())
