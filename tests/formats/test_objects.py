from __future__ import annotations

import collections
import enum
import json
import math
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from formats.memory import roundtrip, store
from hypothesis import given
from hypothesis import strategies as st

import zdb
from zdb.errors import CorruptChunkError, SelectionError, UnsupportedValueError
from zdb.formats import Selection, by_name, for_value
from zdb.formats.objects import (
    DEEPEST_NESTING,
    JsonFormat,
    PickleFormat,
    decode_attributes,
    encode_attributes,
)

JSON = JsonFormat()
PICKLE = PickleFormat()

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(min_value=-(10**60), max_value=10**60) | st.floats() | TEXTS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30)


def same(a, b):
    """Equal and of the same types all the way down; floats to the sign of zero and NaN."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if type(a) is list:
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


class Colour(enum.IntEnum):
    RED = 1


class Names(dict):
    pass


def nested(levels, leaf=None):
    for _ in range(levels):
        leaf = [leaf]
    return leaf


class TestJson:
    @given(VALUES)
    def test_values_come_back_the_same(self, value):
        assert for_value(value).name == "json"
        assert same(roundtrip(JSON, value), value)
        attributes = encode_attributes(value)
        assert all(type(a) is str for a in attributes.values())
        assert same(decode_attributes(attributes), value)
        assert dict(JSON.encode(value).attrs) == attributes
        assert same(json.loads(attributes["zdb_value"]), value)

    @pytest.mark.parametrize(
        ("value", "text", "kind", "shape"),
        [
            (None, "null", "NoneType", "[]"),
            (True, "true", "bool", "[]"),
            (-0.0, "-0.0", "float", "[]"),
            (math.nan, "NaN", "float", "[]"),
            (-math.inf, "-Infinity", "float", "[]"),
            (0.1, "0.1", "float", "[]"),
            ("µm \n\0", '"µm \\n\\u0000"', "str", "[]"),
            ({"b": 1, "a": [2.0]}, '{"b": 1, "a": [2.0]}', "dict", "[2]"),
            ([], "[]", "list", "[0]"),
        ],
    )
    def test_what_is_stored(self, value, text, kind, shape):
        assert encode_attributes(value) == {
            "zdb_type": kind,
            "zdb_dtype": "",
            "zdb_shape": shape,
            "zdb_recipe": "{}",
            "zdb_value": text,
        }

    @pytest.mark.parametrize("digits", [599, 600, 601, 640, 4300, 4301, 8000, 20001])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_integers_of_any_size(self, digits, sign):
        for number in (10 ** (digits - 1), 10**digits - 1, 7 ** int(digits / 0.845)):
            value = {"a": [sign * number, "1", 1.5], "b": None}
            assert same(roundtrip(JSON, value), value)

    def test_the_text_of_a_big_integer_is_decimal(self):
        text = encode_attributes(-(10**5000) - 7)["zdb_value"]
        assert text == "-1" + "0" * 4999 + "7"

    @pytest.mark.parametrize(
        ("value", "where", "advice"),
        [
            ({"a": [1, 2, 3, (4,)]}, "a tuple at ['a'][3]", "list"),
            ([{"x": {1, 2}}], "a set at [0]['x']", "list"),
            ({"a": {1: 2}}, "the key 1 at ['a'] is of type int", "str"),
            ({None: 2}, "the key None is of type NoneType", "str"),
            ({np.str_("a"): 2}, "is of type numpy.str_", "str"),
            ([np.float64(1.5)], "a numpy.float64 at [0]", ".item()"),
            ({"a": np.int32(1)}, "a numpy.int32 at ['a']", ".item()"),
            ([1, np.zeros(3)], "a numpy.ndarray at [1]", ".tolist()"),
            ({"a": b"x"}, "a bytes at ['a']", "key of its own"),
            ([Colour.RED], "Colour at [0]", "plain int"),
            (Names(a=1), "Names", "plain dict"),
            (collections.OrderedDict(a=1), "a collections.OrderedDict", "plain dict"),
            (collections.defaultdict(list), "a collections.defaultdict", "plain dict"),
            ([1j], "a complex at [0]", "dict, list, str or number"),
            ({"a": "\ud800"}, "the str at ['a'] has a lone surrogate ('\\ud800'", "bytes"),
            ({"\udce9": 1}, "lone surrogate", "bytes"),
            (["\ud83d", "\ude00"], "at [0]", "bytes"),
        ],
    )
    def test_what_is_no_json_is_refused(self, value, where, advice):
        with pytest.raises(UnsupportedValueError) as caught:
            encode_attributes(value)
        assert where in str(caught.value)
        assert advice in str(caught.value)
        with pytest.raises(UnsupportedValueError):
            JSON.encode(value)

    def test_a_value_that_contains_itself_is_refused(self):
        value = {"a": [1]}
        value["a"].append(value)
        with pytest.raises(UnsupportedValueError, match=r"contains itself \(\['a'\]\[1\]\)"):
            encode_attributes(value)
        loop = []
        loop.append(loop)
        with pytest.raises(UnsupportedValueError, match=r"the list at \['x'\]\[0\] contains itself"):
            encode_attributes({"x": [loop]})

    def test_the_same_object_twice_is_no_cycle(self):
        shared = {"a": [1]}
        assert roundtrip(JSON, [shared, shared]) == [shared, shared]

    def test_nesting_has_a_limit(self):
        value = nested(DEEPEST_NESTING)
        assert roundtrip(JSON, value) == value
        for levels in (DEEPEST_NESTING + 1, 900, 5000):
            with pytest.raises(UnsupportedValueError, match="nested more than 200 levels"):
                encode_attributes(nested(levels))
        with pytest.raises(UnsupportedValueError, match="a tuple at"):
            encode_attributes(nested(100, leaf=()))
        assert roundtrip(JSON, [[]] * 300) == [[]] * 300

    def test_lists_of_arrays_are_left_to_the_ragged_format(self):
        assert not JSON.accepts([np.zeros(2), np.zeros(3)])
        assert not JSON.accepts([np.ma.zeros(2)])
        assert JSON.accepts([np.zeros(2), 1])
        assert JSON.accepts([])
        assert for_value([np.zeros(2), 1]).name == "json"

    def test_numpy_scalars_are_left_to_the_array_format(self):
        assert not JSON.accepts(np.float64(1))
        assert not JSON.accepts(np.str_("a"))

    def test_text_that_is_no_json_is_corrupt(self):
        with pytest.raises(CorruptChunkError, match="zdb_value"):
            decode_attributes({"zdb_value": '{"a": '})

    def test_there_are_no_parts(self):
        with pytest.raises(SelectionError, match="'json'"):
            JSON.select(store(JSON.encode([1, 2])), Selection(rows=[0]))

    def test_small_values_need_neither_numpy_nor_xarray(self):
        code = (
            "import sys\n"
            "from zdb.formats import for_value\n"
            "from zdb.formats.objects import encode_attributes, decode_attributes\n"
            "value = {'a': [1, 2.5]}\n"
            "assert for_value(value).name == 'json'\n"
            "assert decode_attributes(encode_attributes(value)) == value\n"
            "print(*{'numpy', 'xarray', 'pandas', 'dask', 'zarr'} & set(sys.modules))\n"
        )
        project = Path(zdb.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", code], cwd=project, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == ""


class Neuron:
    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return type(other) is Neuron and other.name == self.name

    __hash__ = None


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("holds a connection")


class TestPickle:
    @pytest.mark.parametrize("value", [Neuron("L5PT"), (1, 2), {1: {2}}, 1j, None, Colour.RED])
    def test_objects_come_back(self, value):
        back = roundtrip(PICKLE, value)
        assert back == value
        assert type(back) is type(value)

    def test_functions_of_the_session_come_back(self):
        factor = 3
        assert roundtrip(PICKLE, lambda x: factor * x)(2) == 6

    def test_it_names_the_class_and_is_a_plain_pickle(self):
        dataset = PICKLE.encode(Neuron("a"))
        assert dataset.attrs["zdb_type"] == f"{__name__}.Neuron"
        assert dataset["content"].dims == ("byte",)
        assert pickle.loads(dataset["content"].values.tobytes()) == Neuron("a")

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (Unpicklable(), "holds a connection"),
            ((x for x in ()), "generator"),
            (sys._getframe(), "frame"),
        ],
    )
    def test_what_cannot_be_pickled_is_refused(self, value, reason):
        with pytest.raises(UnsupportedValueError, match=reason) as caught:
            PICKLE.encode(value)
        assert type(value).__qualname__ in str(caught.value)

    def test_a_class_that_is_gone_is_explained(self, monkeypatch):
        node = store(PICKLE.encode(Neuron("a")))
        monkeypatch.delattr(sys.modules[__name__], "Neuron")
        with pytest.raises(AttributeError) as caught:
            PICKLE.decode(node)
        assert "Neuron was loaded" in caught.value.__notes__[0]

    def test_it_is_never_chosen_by_itself(self):
        assert by_name("pickle").executes_code
        with pytest.raises(UnsupportedValueError, match="pickle"):
            for_value(Neuron("a"))

    def test_there_are_no_parts(self):
        with pytest.raises(SelectionError, match="'pickle'"):
            PICKLE.select(store(PICKLE.encode(1j)), Selection(columns=["a"]))
