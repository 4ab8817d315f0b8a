from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import zdb
from zdb.display import Tree, format_age, format_size


@pytest.fixture
def filled(db):
    db["soma/voltage"] = np.zeros((6, 9802))
    db["soma/spikes/times"] = [1.5, 2.5]
    db["parameters"] = {"dt": 0.025}
    db["synapses"] = pd.DataFrame({"delay": [0.5, 1.5]})
    return db


def test_the_tree_as_text(filled):
    lines = str(filled.tree()).splitlines()
    assert lines[0] == f"zdb.Database {filled.url}"
    shown = [re.sub(r"(now|\d+ s)$", "AGE", re.sub(r"(?<=\w|\))  +", "  ", line)) for line in lines[1:]]
    assert shown == [
        "├─ parameters  json  dict (1)  13 B  AGE",
        "├─ soma/",
        "│  ├─ spikes/",
        "│  │  └─ times  json  list (2)  10 B  AGE",
        "│  └─ voltage  array  float64 (6, 9802)  470 kB  AGE",
        "└─ synapses  table  DataFrame (2, 1)  16 B  AGE",
    ]


def test_columns_are_aligned(filled):
    lines = str(filled.tree()).splitlines()[1:]
    formats = [re.search(r" (json|array|table) ", line) for line in lines]
    assert len({found.start() for found in formats if found}) == 1


def test_an_empty_database(db):
    assert str(db) == f"zdb.Database {db.url}\n(empty)"
    assert "<table>" in db._repr_html_()


def test_a_database_shows_itself_by_its_tree(filled):
    assert repr(filled) == str(filled.tree(depth=2, lines=40))
    assert "times" not in repr(filled)
    assert repr(filled["soma"]).startswith(f"zdb.Database {filled.url}/soma\n")
    assert "times" in repr(filled["soma"])


@pytest.mark.parametrize(("depth", "seen"), [(1, "soma/"), (2, "voltage"), (3, "times"), (None, "times")])
def test_depth(filled, depth, seen):
    order = ["soma/", "voltage", "times"]
    text = str(filled.tree(depth=depth))
    for name in order:
        assert (name in text) == (order.index(name) <= order.index(seen))


def test_signs_of_what_depth_cuts(filled):
    filled["soma/empty"] = filled["parameters"]
    shown = [line.rstrip() for line in str(filled.tree(depth=1)).splitlines()]
    assert "├─ soma/ …" in shown
    assert not any("…" in line for line in shown if "soma" not in line)
    shown = str(filled.tree(depth=2)).splitlines()
    assert [line.strip("│├└─ ") for line in shown if "…" in line] == ["spikes/ …"]
    assert "…" not in str(filled.tree(depth=3))
    assert "soma/ …" in Checker(filled.tree(depth=1).to_html()).cells
    assert [row["key"] for row in filled.tree(depth=1).to_dict()] == ["parameters", "soma", "synapses"]


def test_no_level_at_all(filled):
    assert str(filled.tree(depth=0)).splitlines()[1:] == ["└─ … 3 more"]
    assert filled.tree(depth=0).to_dict() == []


@pytest.mark.parametrize("lines", range(9))
def test_lines_are_capped_and_the_rest_is_counted(filled, lines):
    text = str(filled.tree(lines=lines)).splitlines()[1:]
    keys = [line for line in text if "more" not in line]
    assert len(keys) == min(lines, 6)
    assert ("more" in text[-1]) == (lines < 6)


def test_a_long_database_is_cut(db):
    for number in range(60):
        db[f"k{number:02}"] = number
    text = repr(db).splitlines()
    assert len(text) == 42
    assert text[-1] == "└─ … 20 more"
    assert text[-2].startswith("├─ k39 ")


class Checker(HTMLParser):
    """Takes note of the text in the cells, and of tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def test_the_tree_as_html(filled):
    html = filled.tree().to_html()
    cells = Checker(html).cells
    assert cells[0::5] == ["parameters", "soma/", "spikes/", "times", "voltage", "synapses"]
    assert "float64 (6, 9802)" in cells
    assert "470 kB" in cells
    assert filled._repr_html_() == filled.tree(depth=3, lines=200).to_html()
    assert filled.tree()._repr_html_() == html


def test_html_is_escaped(db):
    db["k"] = 1
    tree = Tree(db._engine, "", "<script>", depth=None, lines=5)
    assert "<script>" not in tree.to_html()
    assert "&lt;script&gt;" in tree.to_html()


def test_the_tree_as_plain_data(filled):
    rows = filled.tree().to_dict()
    assert [(row["level"], row["key"]) for row in rows] == [
        (1, "parameters"),
        (1, "soma"),
        (2, "spikes"),
        (3, "times"),
        (2, "voltage"),
        (1, "synapses"),
    ]
    assert rows[4]["shape"] == (6, 9802)


def test_notebooks_complete_keys(filled):
    """What IPython offers after ``db["``."""
    from IPython.core.completer import IPCompleter, provisionalcompleter

    keys = ["parameters", "soma", "soma/spikes", "soma/spikes/times", "soma/voltage", "synapses"]
    assert filled._ipython_key_completions_() == filled.tree().keys() == keys
    assert filled["soma"]._ipython_key_completions_() == ["spikes", "spikes/times", "voltage"]
    line = 'db["soma/v'
    with provisionalcompleter():
        offered = [found.text for found in IPCompleter(namespace={"db": filled}).completions(line, len(line))]
    assert any("voltage" in text for text in offered)


def test_nothing_but_metadata_is_read(shared_place):
    """All chunks are taken away; what only looks must not notice."""
    db = shared_place.open()
    db["a/array"] = np.arange(10)
    db["a/lazy"] = da.zeros((10, 10), chunks=5)
    db["table"] = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    expected = str(db.tree())
    nodes = db._engine.nodes
    chunks = [path for path in nodes.list_objects("") if not path.endswith("zarr.json")]
    assert len(chunks) > 3
    nodes.delete(chunks)
    again = shared_place.open("r")
    strip = re.compile(r"(now|\d+ s)$", re.MULTILINE)
    assert strip.sub("", str(again.tree())) == strip.sub("", expected)
    repr(again), again._repr_html_()
    assert list(again) == ["a", "table"]
    assert len(again) == 2
    assert "a/array" in again
    assert again.keys(recursive=True) == ["a/array", "a/lazy", "table"]
    for key in again.keys(recursive=True):
        assert str(again.info(key))
        assert repr(again.provenance(key))
        again.dataset(key)
    assert again["a/lazy"].shape == (10, 10)
    with pytest.raises(zdb.errors.MissingChunkError):
        again["a/array"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (999_499, "999 kB"), (999_500, "1 MB"),
     (470_496, "470 kB"), (5 * 10**9, "5 GB"), (10**12, "1 TB"), (2.5 * 10**15, "2.5 PB"), (10**18, "1e+03 PB")],
)  # fmt: skip
def test_sizes(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "now"), (0.5, "now"), (1, "1 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
     (86400, "1 d"), (86400 * 364, "364 d"), (86400 * 800, "2 y")],
)  # fmt: skip
def test_ages(seconds, text):
    now = datetime.now(UTC)
    assert format_age(now - timedelta(seconds=seconds), now) == text
