"""A hostile pickle in every place where one can stand is refused, and nothing of it runs."""

from __future__ import annotations

import contextlib
import copyreg
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from legacy.legacy_pickles import (
    NDARRAY,
    Made,
    Ref,
    dumps,
    old_array,
    old_dtype,
    old_frame,
    old_index,
    old_range,
)
from legacy.samples import IsfWriter, MdbWriter, loader_pickle, pack_array, pack_frame

import zdb
import zdb.legacy
from zdb.errors import PickleRefusedError, UnreadableValueError
from zdb.legacy.inert import read_inert
from zdb.legacy.rebuild import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REFUSED = (PickleRefusedError, UnreadableValueError)
MARKER = "zdb_hostile_marker"
COMMAND = f"touch {MARKER}"
SYSTEM = Ref("os", "system")
RUN = Made(SYSTEM, (COMMAND,))

# What Python itself reports when code runs; pickle reports each name that it imports.
EVENTS = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}
_seen: list[str] = []
_watching = False


def _is_of_a_payload(event: str, args: tuple[Any, ...]) -> bool:
    if event == "exec":  # also of modules that are imported on first use, and of the dataclasses in them
        return MARKER in str(args[0].co_consts)
    if event == "import":
        return args[0] == "antigravity"
    return event in EVENTS or (event == "open" and MARKER in str(args[0]))


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watching and _is_of_a_payload(event, args):
        _seen.append(f"{event} {args!r:.200}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a program was started, a name imported by pickle, or the marker made."""
    global _watching
    monkeypatch.chdir(tmp_path)
    _seen.clear()
    yield
    _watching = False
    assert _seen == []
    assert not Path(MARKER).exists()


def refuses(read: Callable[[], Any]) -> None:
    """Read, with the audit hook on, what has to be refused."""
    global _watching
    _watching = True
    try:
        with pytest.raises(REFUSED):
            read()
    finally:
        _watching = False


def getattr_chain() -> Made:
    os = Made(Ref("builtins", "__import__"), ("os",))
    return Made(Made(Ref("builtins", "getattr"), (os, "system")), (COMMAND,))


def nested_in_blocks() -> Made:
    objects = np.array([[RUN, 1]], dtype=object)
    return old_frame(old_index(np.array(["a"], object)), old_range(2), [(old_array(objects), slice(0, 1, 1))])


def hostile_index() -> Made:
    return Made(Ref("pandas.core.indexes.base", "_new_Index"), (SYSTEM, {"data": COMMAND}))


def object_scalar() -> Made:
    """numpy unpickles the bytes of a scalar of dtype object."""
    return Made(Ref("numpy.core.multiarray", "scalar"), (old_dtype("O8"), dumps(RUN)))


def pointers_as_bytes() -> Made:
    """The memory of an array of objects would be pointers."""
    state = (1, (1,), old_dtype("O8"), False, b"\x10\x20\x30\x40\x50\x60\x70\x00")
    return Made(Ref("numpy.core.multiarray", "_reconstruct"), (NDARRAY, (0,), b"b"), state)


def structure_with_pointers() -> Made:
    fields = {"x": (old_dtype("O8"), 0)}
    dtype = Made(Ref("numpy", "dtype"), ("V8", False, True), (3, "|", None, ("x",), fields, 8, 1, 0))
    state = (1, (1,), dtype, False, b"\x10\x20\x30\x40\x50\x60\x70\x00")
    return Made(Ref("numpy.core.multiarray", "_reconstruct"), (NDARRAY, (0,), b"b"), state)


PAYLOADS: dict[str, Any] = {
    "os.system": RUN,
    "posix.system": Made(Ref("posix", "system"), (COMMAND,)),
    "nt": Made(Ref("nt", "system"), (COMMAND,)),
    "subprocess": Made(Ref("subprocess", "Popen"), (["touch", MARKER],)),
    "eval": Made(Ref("builtins", "eval"), (f"open({MARKER!r}, 'w').close()",)),
    "exec": Made(Ref("builtins", "exec"), (f"open({MARKER!r}, 'w').close()",)),
    "open": Made(Ref("builtins", "open"), (MARKER, "w")),
    "python 2": Made(Ref("__builtin__", "eval"), (f"open({MARKER!r}, 'w').close()",)),
    "getattr chain": getattr_chain(),
    "dotted name": Made(Ref("zdb.legacy.inert", "io.os.system"), (COMMAND,)),
    "own module": Made(Ref("zdb.legacy.rebuild", "importlib.import_module"), ("antigravity",)),
    "attrgetter": Made(
        Made(Ref("operator", "attrgetter"), ("system",)), (Made(Ref("builtins", "__import__"), ("os",)),)
    ),
    "partial": Made(Made(Ref("functools", "partial"), (SYSTEM, COMMAND)), ()),
    "reduce": Made(Ref("functools", "reduce"), (SYSTEM, [COMMAND])),
    "map": Made(Ref("builtins", "list"), (Made(Ref("builtins", "map"), (SYSTEM, [COMMAND])),)),
    "function": Made(Ref("types", "FunctionType"), (Made(Ref("types", "CodeType"), ()), {})),
    "cloudpickle": Made(Ref("cloudpickle.cloudpickle", "_make_function"), (None, {}, "f", None, None)),
    "subimport": Made(Ref("cloudpickle.cloudpickle", "subimport"), ("antigravity",)),
    "importlib": Made(Ref("importlib", "import_module"), ("antigravity",)),
    "runpy": Made(Ref("runpy", "run_path"), (MARKER,)),
    "numpy.load": Made(Ref("numpy", "load"), (MARKER, None, True)),
    "numpy runstring": Made(Ref("numpy.testing._private.utils", "runstring"), (COMMAND, {})),
    "numpy.frompyfunc": Made(Made(Ref("numpy", "frompyfunc"), (SYSTEM, 1, 1)), (COMMAND,)),
    "numpy.vectorize": Made(Ref("numpy", "vectorize"), (SYSTEM,)),
    "numpy memmap": Made(Ref("numpy", "memmap"), (MARKER, "u1", "w+", 0, (1,))),
    "numpy fromfile": Made(Ref("numpy", "fromfile"), (MARKER,)),
    "f2py": Made(Ref("numpy.f2py.crackfortran", "myeval"), (f"open({MARKER!r}, 'w').close()",)),
    "pandas.read_pickle": Made(Ref("pandas.io.pickle", "read_pickle"), (MARKER,)),
    "pandas.eval": Made(Ref("pandas.core.computation.eval", "eval"), ("1",)),
    "pandas.query": Made(Ref("pandas.core.frame", "DataFrame.eval"), ("1",)),
    "pandas apply": Made(Ref("pandas.core.frame", "DataFrame.apply"), (SYSTEM,)),
    "object scalar": object_scalar(),
    "object scalar of numpy 2": Made(Ref("numpy._core.multiarray", "scalar"), (old_dtype("O8"), dumps(RUN))),
    "object scalar without bytes": Made(Ref("numpy.core.multiarray", "scalar"), (old_dtype("O8"),)),
    "array of another class": Made(Ref("numpy.core.multiarray", "_reconstruct"), (SYSTEM, (0,), b"b")),
    "array of a class that calls": Made(
        Ref("numpy.core.multiarray", "_reconstruct"), (Ref("numpy", "memmap"), (0,), b"b")
    ),
    "pointers as bytes": pointers_as_bytes(),
    "structure of pointers": structure_with_pointers(),
    "frombuffer of pointers": Made(
        Ref("numpy.core.numeric", "_frombuffer"), (bytearray(8), old_dtype("O8"), (1,), "C")
    ),
    "dtype of text": Made(Ref("numpy", "dtype"), ("O,O", False, True)),
    "dtype of a dict": Made(Ref("numpy", "dtype"), ({"names": ["a"], "formats": [RUN]},)),
    "dtype of a name": Made(Ref("numpy", "dtype"), ("os.system",)),
    "objects in an array": old_array(np.array([RUN], dtype=object)),
    "in blocks": nested_in_blocks(),
    "index of another class": hostile_index(),
    "index of a call": Made(Ref("pandas.core.indexes.base", "_new_Index"), (RUN, {"data": 1})),
    "frame of a call": Made(Ref("pandas.core.frame", "DataFrame"), (RUN,)),
    "frame with another manager": Made(Ref("pandas.core.frame", "DataFrame"), (), {"_mgr": RUN}, new=True),
    "series with another manager": Made(Ref("pandas.core.series", "Series"), (), {"_mgr": RUN}, new=True),
    "timestamp": Made(Ref("pandas._libs.tslibs.timestamps", "Timestamp"), (RUN, None, None)),
    "datetime": Made(Ref("datetime", "datetime"), (RUN,)),
    "datetime of text": Made(Ref("datetime", "datetime"), ("1", "2")),
    "slice": Made(Ref("builtins", "slice"), (RUN, None, None)),
    "set": Made(Ref("builtins", "set"), ([RUN],)),
    "set of text": Made(Ref("builtins", "set"), (COMMAND,)),
    "bytes of a number": Made(Ref("builtins", "bytes"), (10**18,)),
    "encode": Made(Ref("_codecs", "encode"), ("x", "rot13")),
    "decode": Made(Ref("_codecs", "decode"), (b"x", "zip")),
    "ordered": Made(Ref("collections", "OrderedDict"), ([[1, RUN]],)),
    "default": Made(Ref("collections", "defaultdict"), (SYSTEM,), None, items=[RUN]),
    "zone": Made(Ref("pytz", "_p"), ("../../etc/passwd",)),
    "state of a set": Made(Ref("builtins", "set"), ([],), {"__class__": SYSTEM}),
    "slots of a class": Made(Ref("builtins", "slice"), (1, 2, 3), (None, {"__setstate__": SYSTEM})),
    "uuid": Made(Ref("uuid", "UUID"), (), {"int": RUN}, new=True),
    "path": Made(Ref("pathlib", "PosixPath"), (RUN,)),
    "reconstructor": Made(
        Ref("copyreg", "_reconstructor"), (Ref("subprocess", "Popen"), Ref("builtins", "object"), None)
    ),
    "new object": Made(Ref("copyreg", "__newobj__"), (Ref("subprocess", "Popen"), ["touch", MARKER])),
    "sklearn": Made(Ref("sklearn.pipeline", "Pipeline"), (), {"steps": RUN}, new=True),
    "in a dict": {"a": [1, (RUN,)]},
    "as a key": {(1, RUN): 1},
    "as a name": [SYSTEM],
    "module": [Ref("os", "environ")],
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
# Opcodes by hand, which no pickler writes.
OPCODES = {
    "persistent id": b"Pevil\n.",
    "binary persistent id": b"\x80\x02X\x04\x00\x00\x00evilQ.",
    "INST": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'" + COMMAND.encode() + b"'\no.",
    "NEWOBJ_EX": pickle.PROTO + b"\x04" + b"cos\nsystem\n(X\x01\x00\x00\x00xt}\x92.",
    "BUILD of a class": b"\x80\x02cbuiltins\nset\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.",
    "BUILD with slots of a class": b"\x80\x02cbuiltins\nset\nN}X\x07\x00\x00\x00__new__cos\nsystem\ns\x86b.",
    "BUILD twice": b"\x80\x02cbuiltins\nset\n)R}b}b.",
    "REDUCE of a list": b"\x80\x02])R.",
    "REDUCE of text": b"\x80\x02X\x06\x00\x00\x00system)R.",
    "out of band": b"\x80\x05\x97.",
    "memo that is not there": b"\x80\x04h\x00.",
    "memo bomb": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "memo bomb as text": b"I1\np99999999999\n.",
    "nothing": b"",
    "no pickle": b"PK\x03\x04" * 10,
    "cut": dumps(RUN)[:-1],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads(name: str, protocol: int) -> None:
    content = dumps(PAYLOADS[name], protocol)
    refuses(lambda: load(content, "it"))
    refuses(lambda: load(dumps([1, {"x": PAYLOADS[name]}], protocol), "it"))


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes(name: str) -> None:
    refuses(lambda: load(OPCODES[name], "it"))


def test_extension_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes of this process stand for objects without a name, and may be in its cache."""
    import os

    code = 0x7001
    copyreg.add_extension("posix", "system", code)
    try:
        cached = pickle.EXT2 + code.to_bytes(2, "little")
        assert pickle.loads(b"\x80\x02" + cached + b".") is os.system  # now it is in the cache
        content = b"\x80\x02" + cached + b"X" + len(COMMAND).to_bytes(4, "little") + COMMAND.encode() + b"\x85R."
        with pytest.raises(PickleRefusedError, match="extension code EXT2"):
            load(content, "it")
        refuses(lambda: load(content, "it"))
        refuses(lambda: load(content[:-1], "it"))
        assert load(dumps([1, 2]), "it") == [1, 2]
    finally:
        copyreg.remove_extension("posix", "system", code)


def test_nothing_that_is_read_changes_the_reader() -> None:
    for name in PAYLOADS:
        refuses(lambda name=name: load(dumps(PAYLOADS[name]), "it"))
    assert load(dumps(old_array(np.arange(3))), "it").tolist() == [0, 1, 2]
    assert load(dumps(Made(Ref("builtins", "set"), ([1],))), "it") == {1}


@given(st.binary(max_size=200), st.sampled_from(sorted(PAYLOADS)), st.integers(0, 5))
def test_damaged_payloads(noise: bytes, name: str, protocol: int) -> None:
    """Whatever the bytes are: a value of plain types, or one of the two errors."""
    global _watching
    content = bytearray(dumps(PAYLOADS[name], protocol))
    for position, byte in enumerate(noise):
        content[(position * 7919 + byte) % len(content)] ^= byte
    _watching = True
    try:
        load(bytes(content), "it")
    except REFUSED:
        pass
    finally:
        _watching = False


@pytest.mark.parametrize("name", ["os.system", "eval", "subimport"])
def test_the_payload_would_be_seen(name: str) -> None:
    global _watching
    _watching = True
    with contextlib.suppress(UnreadableValueError):
        load(dumps(PAYLOADS[name]), "it", trusted=True)
    _watching = False
    assert _seen
    _seen.clear()
    Path(MARKER).unlink(missing_ok=True)


def test_the_payload_would_run() -> None:
    """With trust the same pickle runs: the tests above look for something that can happen."""
    assert load(dumps(RUN), "it", trusted=True) == 0
    assert Path(MARKER).exists()
    Path(MARKER).unlink()


# Places


def npy(content: bytes) -> bytes:
    """An npy file of objects."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + content


def npz(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("arr_0.npy", npy(content))
    return file.getvalue()


def zarr_files(content: bytes, codec: str = "pickle") -> dict[str, bytes]:
    metadata = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": [{"id": codec, "protocol": 5}],
    }
    return {"obj.zarr/.zarray": json.dumps(metadata).encode(), "obj.zarr/0": content}


def packed(**changes: Any) -> bytes:
    return msgpack.packb({**pack_array(np.arange(2)), **changes})


def parquet(content: bytes) -> bytes:
    """A parquet file whose schema asks for a type that pyarrow once unpickled."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": content}
    field = pa.field("a", pa.int64(), metadata=metadata)
    file = io.BytesIO()
    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), file)
    return file.getvalue()


BAD = dumps(RUN)
POINTERS = msgpack.ExtType(0, b"\1" * 16)
ISF_PLACES: dict[str, tuple[str, dict[str, bytes]]] = {
    "to_pickle": ("to_pickle", {"to_pickle_dump": BAD}),
    "to_cloudpickle": ("to_cloudpickle", {"to_pickle_dump": BAD}),
    "to_msgpack": ("to_msgpack", {"to_pickle_dump": BAD}),
    "pandas_to_pickle": ("pandas_to_pickle", {"pandas_to_pickle.pickle": BAD}),
    "cell": ("cell", {"cell": BAD, "Loader.pickle": loader_pickle("cell")}),
    "npy": ("numpy_to_npy", {"np.npy": npy(BAD)}),
    "npy with objects": ("numpy_to_npy", {"np.npy": npy(dumps(old_array(np.array([RUN], object))))}),
    "npz": ("numpy_to_npz", {"np.npz": npz(BAD)}),
    "generation": ("genetic_algorithm_generation", {"parameters.npz": npz(BAD), "objectives.npz": npz(BAD)}),
    "zarr": ("numpy_to_zarr", zarr_files(BAD)),
    "zarr with an unknown codec": ("numpy_to_zarr", zarr_files(BAD, "os.system")),
    "Loader": ("to_pickle", {"Loader.pickle": BAD, "to_pickle_dump": dumps(1)}),
    "state of a Loader": ("dask_to_msgpack", {"Loader.pickle": loader_pickle("dask_to_msgpack", meta=RUN),
                          "dask_to_msgpack.0.csv": pack_frame(pd.DataFrame({"a": [1]}))}),
    "divisions of a Loader": ("dask_to_msgpack", {"Loader.pickle": loader_pickle("dask_to_msgpack", divisions=(RUN, 1)),
                              "dask_to_msgpack.0.csv": pack_frame(pd.DataFrame({"a": [1]}))}),
    "Loader of another class": ("to_pickle", {"Loader.pickle": dumps(Made(Ref("evil.LoaderDumper.x", "Run"), ())),
                                "to_pickle_dump": dumps(1)}),
    "msgpack": ("pandas_to_msgpack", {"pandas_to_msgpack": BAD}),
    "msgpack type": ("pandas_to_msgpack", {"pandas_to_msgpack": msgpack.packb({"typ": "os.system", "data": COMMAND})}),
    "msgpack extension": ("pandas_to_msgpack", {"pandas_to_msgpack": packed(data=msgpack.ExtType(5, BAD))}),
    "msgpack pointers": ("pandas_to_msgpack", {"pandas_to_msgpack": packed(dtype="O", data=POINTERS)}),
    "msgpack structure": ("pandas_to_msgpack", {"pandas_to_msgpack": packed(dtype="O,O", data=POINTERS)}),
    "partition": ("dask_to_msgpack", {"dask_to_msgpack.0.csv": BAD}),
    "meta": ("dask_to_msgpack", {"dask_to_msgpack.0.csv": packed(), "object_meta.msgpack": BAD}),
    "parquet": ("pandas_to_parquet", {"pandas_to_parquet.parquet": BAD}),
}  # fmt: skip


@pytest.mark.parametrize("allow_pickle", [False, "safe"])
@pytest.mark.parametrize("place", ISF_PLACES)
def test_places(place: str, allow_pickle: Any, tmp_path: Path) -> None:
    global _watching
    dumper, files = ISF_PLACES[place]
    isf = IsfWriter(tmp_path / "isf")
    isf.key("bad", dumper, files)
    _watching = True
    db = zdb.legacy.open(isf.path, allow_pickle=allow_pickle)
    assert list(db) == db.keys(recursive=True) == ["bad"]
    str(db.tree()), db.info("bad"), db.provenance("bad"), db.files("bad")
    refuses(lambda: db["bad"])


@pytest.mark.parametrize("part", ["Rm", "st", "lda_value_dicts_0"])
def test_reduced_models(part: str, tmp_path: Path) -> None:
    isf = IsfWriter(tmp_path / "isf")
    below = IsfWriter(isf.key("model", "reduced_lda_model") / "inner")
    for file in below.path.iterdir():
        file.rename(isf.path / "model" / file.name)
    below.path.rmdir()
    below.path = isf.path / "model"
    state = {"lda_value_dicts": [{"SA": "lda_value_dicts_0"}]}
    model = Made(Ref("simrun.reduced_model.get_kernel", "ReducedLdaModel"), (), state, new=True)
    for name, value in {"Rm": model, "st": {}, "lda_value_dicts_0": {}}.items():
        below.key(name, "to_pickle", {"to_pickle_dump": BAD if name == part else dumps(value)})
    refuses(lambda: zdb.legacy.open(isf.path, allow_pickle="safe")["model"])


def test_parquet_types_are_not_unpickled(tmp_path: Path) -> None:
    global _watching
    isf = IsfWriter(tmp_path / "isf")
    isf.key("bad", "pandas_to_parquet", {"pandas_to_parquet.parquet": parquet(BAD)})
    _watching = True
    value = zdb.legacy.open(isf.path)["bad"]
    assert value["a"].tolist() == [1]  # the type is left out, and what lies under it is read


@pytest.mark.parametrize("allow_pickle", [False, "safe"])
def test_the_state_of_a_model_data_base(allow_pickle: Any, tmp_path: Path) -> None:
    global _watching
    mdb = MdbWriter(tmp_path / "mdb")
    (mdb.path / "dbcore.pickle").write_bytes(BAD)
    mdb.row("row", BAD)
    mdb.row("metadata", dumps(1), metadata=BAD)
    wrapper = Ref("data_base.model_data_base.model_data_base", "LoaderWrapper")
    mdb.row("pointer", dumps(Made(wrapper, (), {"relpath": RUN}, new=True)))
    mdb.row("function", dumps(Made(Ref("data_base.model_data_base", "FunctionWrapper"), (), {"fun": RUN}, new=True)))
    mdb.key("loader", "loader_abcdefgh_", "to_pickle", {"Loader.pickle": BAD, "to_pickle_dump": dumps(1)})
    _watching = True
    db = zdb.legacy.open(mdb.path, allow_pickle=allow_pickle)
    assert db.id == ""
    assert "evil" not in str(db.tree())
    assert "os.system" in db.metadata["metadata"]["error"]
    db.provenance("metadata")
    for key in ("row", "pointer", "function", "loader"):
        refuses(lambda key=key: db[key])


@pytest.mark.parametrize("allow_pickle", [False, "safe"])
def test_migration(allow_pickle: Any, tmp_path: Path) -> None:
    """All places at once: each is kept as its raw files. What runs is seen by its marker: git and dask run too."""
    isf = IsfWriter(tmp_path / "isf")
    for number, (dumper, files) in enumerate(ISF_PLACES.values()):
        isf.key(f"bad{number}", dumper, files)
    report = zdb.legacy.migrate(isf.path, tmp_path / "new.zdb", workers=1, allow_pickle=allow_pickle)
    assert {key.outcome for key in report.keys} == {"raw"}
    assert len(report.keys) == len(ISF_PLACES)
    assert zdb.open(tmp_path / "new.zdb", mode="r")["bad0/to_pickle_dump"].read() == BAD


def test_files_of_another_place_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    isf = IsfWriter(tmp_path / "isf")
    folder = isf.key("folder", "just_create_folder", {"a": b"1"})
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    db = zdb.legacy.open(isf.path)
    for key in ("folder/link", "folder/up"):
        with pytest.raises(UnreadableValueError, match="link out of the database"):
            db[key]


def test_inert_objects_keep_what_was_noted() -> None:
    noted = read_inert(dumps(Made(Ref("a.b", "C"), (1, "x"), {"s": 1}, new=True)), "it")
    assert (noted.name, noted.original, noted.args, noted.called, noted.state) == (
        "a.b.C",
        ("a.b", "C"),
        (1, "x"),
        False,
        {"s": 1},
    )
