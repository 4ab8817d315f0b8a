"""The text of parameter files: parsed safely, with the references in it found and replaced.

Neuron and network parameters are Python literals. They are parsed by :func:`ast.literal_eval`, which evaluates no
expression; references are replaced in the text, so that all else in a file stays as it was written.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdb.neuro.readers import SimulationFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ParameterText",
    "Reference",
    "read_parameters",
    "replace_second_line_reference",
    "second_line_reference",
]

MORPHOLOGY, RECORDING_SITES, SYNAPSES, CONNECTIONS = "morphology", "recsites_folder", "syn_folder", "con_folder"
_OF_SYNAPSES = {"connectionFile": CONNECTIONS, "distributionFile": SYNAPSES}
# What the second line of a file of connections or synapses refers to.
_SECOND_LINE = {
    CONNECTIONS: re.compile(r"[^\s#]+\.syn\b|reldb://\S+"),
    SYNAPSES: re.compile(r"[^\s#]+\.hoc\b|reldb://\S+|(?<=corresponding to cell: )\S+"),
}


def read_parameters(path: str | Path) -> dict[str, Any]:
    """Read a file of neuron or network parameters, ``*.param``.

    Replaces ``single_cell_parser.build_parameters`` of the In Silico Framework, which evaluates
    the file; this does not.

    Parameters
    ----------
    path : path
        A Python literal of dicts, lists, tuples, strings, numbers, True, False, None.

    Raises
    ------
    SimulationFileError
        It is something else.
    """
    return ParameterText(str(path), Path(path).read_bytes()).parameters


@dataclass(frozen=True)
class Reference:
    """A path in a parameter file: as it is written, for which folder of the database, and where in the bytes."""

    path: str
    folder: str
    start: int
    stop: int


class ParameterText:
    """A parameter file in memory.

    Attributes
    ----------
    name : str
        For errors.
    content : bytes
    parameters : dict
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content
        self._indent = len(content) - len(content.lstrip())
        try:
            self._tree = ast.parse(content[self._indent :], mode="eval")
            self.parameters: dict[str, Any] = ast.literal_eval(self._tree)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
            raise SimulationFileError(f"{name}: is not a Python literal: {error}") from error
        if not isinstance(self.parameters, dict):
            raise SimulationFileError(f"{name}: should be a dict, it is a {type(self.parameters).__name__}")

    def references(self) -> list[Reference]:
        """The paths of morphology, recording sites, synapses and connections, in the order of the text."""
        lines = self.content[self._indent :].splitlines(keepends=True)
        starts = [self._indent]
        for line in lines:
            starts.append(starts[-1] + len(line))

        def reference(node: ast.Constant, folder: str) -> Reference:
            assert isinstance(node.value, str)
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            stop = starts[node.end_lineno - 1] + node.end_col_offset
            return Reference(node.value, folder, start, stop)

        found = [reference(node, folder) for node, folder in self._path_nodes()]
        return sorted(found, key=lambda reference: reference.start)

    @cached_property
    def has_relative_paths(self) -> bool:
        return any(not Path(reference.path).is_absolute() for reference in self.references())

    def _path_nodes(self) -> Iterator[tuple[ast.Constant, str]]:
        top = _items(self._tree.body)
        yield from _strings(_items(top.get("neuron")).get("filename"), MORPHOLOGY)
        yield from _strings(_items(top.get("sim")).get("recordingSites"), RECORDING_SITES)
        for cell_type in _items(top.get("network")).values():
            synapses = _items(_items(cell_type).get("synapses"))
            for name, folder in _OF_SYNAPSES.items():
                yield from _strings(synapses.get(name), folder)

    def pairs(self) -> set[tuple[str, str]]:
        """Which file of connections is used with which file of synapses, by the paths as written."""
        cell_types = _items(_items(self._tree.body).get("network")).values()
        found = set()
        for cell_type in cell_types:
            synapses = _items(_items(cell_type).get("synapses"))
            of_type = [[node.value for node, _ in _strings(synapses.get(name), "")] for name in _OF_SYNAPSES]
            found |= {(str(con), str(syn)) for con in of_type[0] for syn in of_type[1]}
        return found

    def replaced(self, new: Mapping[tuple[str, str], str]) -> bytes:
        """The text with other paths, by folder and path as written; those that are not in `new` stay."""
        parts, done = [], 0
        for reference in self.references():
            key = reference.folder, reference.path
            if key in new:
                parts += [self.content[done : reference.start], json.dumps(new[key]).encode()]
                done = reference.stop
        return b"".join([*parts, self.content[done:]])


def _items(node: ast.AST | None) -> dict[Any, ast.expr]:
    if not isinstance(node, ast.Dict):
        return {}
    items = zip(node.keys, node.values, strict=True)
    return {key.value: value for key, value in items if isinstance(key, ast.Constant)}


def _strings(node: ast.AST | None, folder: str) -> Iterator[tuple[ast.Constant, str]]:
    for each in node.elts if isinstance(node, ast.List | ast.Tuple) else [node]:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each, folder


def second_line_reference(folder: str, content: bytes) -> str | None:
    """What the second line of a file of connections (their synapses) or synapses (their morphology) refers to."""
    match = _second_line_match(folder, content)
    return match[0] if match else None


def replace_second_line_reference(folder: str, content: bytes, new: str) -> bytes:
    """The content with another reference in its second line."""
    match = _second_line_match(folder, content)
    if match is None:
        return content
    first, second, *rest = content.split(b"\n", 2)
    line = second.decode("utf-8", "surrogateescape")
    line = line[: match.start()] + new + line[match.end() :]
    return b"\n".join([first, line.encode("utf-8", "surrogateescape"), *rest])


def _second_line_match(folder: str, content: bytes) -> re.Match[str] | None:
    lines = content.split(b"\n", 2)
    if folder not in _SECOND_LINE or len(lines) < 2:
        return None
    return _SECOND_LINE[folder].search(lines[1].decode("utf-8", "surrogateescape"))
