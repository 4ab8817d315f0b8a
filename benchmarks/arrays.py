"""A large float64 array [trials × time]: write it, read all of it, and read parts."""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import zarr

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure
from zdb.engine.layout import choose_codecs, choose_layout

if TYPE_CHECKING:
    from pathlib import Path

TRIALS, SAMPLES = 13_200, 10_000
WINDOW = 100
RANDOM_ROWS = 1000
# Rows read one after the other for "one row", each another one.
SINGLE_ROWS = 20
DECIMALS = 6

Array = np.ndarray[Any, np.dtype[np.float64]]


def make_traces(trials: int, samples: int, seed: int = 0) -> Array:
    """Membrane potentials in mV: a bounded random walk and noise, rounded as simulators write them."""
    rng = np.random.default_rng(seed)
    traces = np.empty((trials, samples))
    for start in range(0, trials, 500):
        part = traces[start : start + 500]
        walk = np.cumsum(rng.normal(0, 0.05, part.shape), axis=1)
        walk -= walk.mean(axis=1, keepdims=True)
        part[:] = np.round(-65 + 4 * np.tanh(walk / 4) + rng.normal(0, 0.02, part.shape), DECIMALS)
    return traces


class Contender:
    """A library that keeps one array in a folder."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, data: Array) -> None:
        raise NotImplementedError

    def open(self) -> Any:
        """Return what is indexed to read; looking the array up belongs to every read."""
        raise NotImplementedError

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        return np.asarray(self.open()[rows, columns])

    def close(self) -> None:
        """Let go of the files."""


class Zdb(Contender):
    name = ZDB

    def write(self, data: Array) -> None:
        self.database = zdb.open(self.folder / "results.zdb")
        self.database["voltage"] = data

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        if columns == slice(None):
            part = self.database["voltage"] if rows == slice(None) else self.database.get("voltage", rows=rows)
        else:
            part = self.database.get("voltage", isel={"dim_1": columns})
        assert isinstance(part, np.ndarray)
        return part


class Npy(Contender):
    name = "npy"

    def write(self, data: Array) -> None:
        np.save(self.folder / "voltage.npy", data)

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        if rows == slice(None) and columns == slice(None):
            return np.asarray(np.load(self.folder / "voltage.npy"))
        return np.array(np.load(self.folder / "voltage.npy", mmap_mode="r")[rows, columns])


class H5py(Contender):
    name = "h5py blosc"
    needs = ("h5py", "hdf5plugin")

    def write(self, data: Array) -> None:
        h5py, plugin = (importlib.import_module(needed) for needed in self.needs)
        codec = plugin.Blosc(cname="lz4", clevel=5, shuffle=plugin.Blosc.SHUFFLE)
        chunks = choose_layout(data.shape, data.dtype).chunks
        with h5py.File(self.folder / "voltage.h5", "w") as file:
            file.create_dataset("voltage", data=data, chunks=chunks, **codec)
        self.file = h5py.File(self.folder / "voltage.h5", "r")

    def open(self) -> Any:
        return self.file["voltage"]

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        if isinstance(rows, list):  # h5py is much slower with an index list, which it also wants sorted
            found = self.open()
            return np.stack([found[row] for row in rows])
        return super().read(rows, columns)

    def close(self) -> None:
        self.file.close()


class ZarrDefault(Contender):
    name = "zarr default"

    def write(self, data: Array) -> None:
        self.group = zarr.create_group(self.folder / "voltage.zarr")
        self.group.create_array("voltage", data=data)

    def open(self) -> Any:
        return self.group["voltage"]

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        if isinstance(rows, list):
            return np.asarray(self.open().oindex[rows, columns])
        return super().read(rows, columns)


class ZarrSame(ZarrDefault):
    """zarr-python with its default codec pipeline, and chunks, shards and codec of zdb."""

    name = "zarr same codec"

    def write(self, data: Array) -> None:
        layout = choose_layout(data.shape, data.dtype)
        self.group = zarr.create_group(self.folder / "voltage.zarr")
        array = self.group.create_array(
            "voltage",
            shape=data.shape,
            dtype=data.dtype,
            chunks=layout.chunks,
            shards=layout.shards,
            compressors=[*_codecs(data)[1:]],
        )
        array[:] = data


class Tensorstore(Contender):
    name = "tensorstore"
    needs = ("tensorstore",)

    def write(self, data: Array) -> None:
        layout = choose_layout(data.shape, data.dtype)
        metadata = {
            "shape": list(data.shape),
            "data_type": "float64",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(layout.objects)}},
            "codecs": choose_codecs(data.dtype, layout),
        }
        store = importlib.import_module("tensorstore")
        store.open({**self._spec, "metadata": metadata}, create=True).result().write(data).result()

    @property
    def _spec(self) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(self.folder / "voltage")}}

    def open(self) -> Any:
        return importlib.import_module("tensorstore").open(self._spec, open=True).result()

    def read(self, rows: Any = slice(None), columns: slice = slice(None)) -> Array:
        return np.asarray(self.open()[rows, columns].read().result())


CONTENDERS: list[type[Contender]] = [Zdb, Npy, H5py, ZarrDefault, ZarrSame, Tensorstore]


def run(settings: Settings) -> Topic:
    """Measure all operations."""
    data = make_traces(settings.sized(TRIALS), SAMPLES)
    usable = [kind for kind in CONTENDERS if all(map(find_spec, kind.needs))]
    contenders = {kind.name: kind(settings.folder / kind.name) for kind in usable}
    rng = np.random.default_rng(1)
    singles = [int(row) for row in rng.permutation(len(data))[:SINGLE_ROWS]]
    random_rows = np.sort(rng.choice(len(data), min(RANDOM_ROWS, len(data)), replace=False)).tolist()
    middle = SAMPLES // 2
    window = slice(middle, middle + WINDOW)

    def clean(name: str) -> None:
        contenders[name].close() if hasattr(contenders[name], "file") else None
        fresh_folder(contenders[name].folder)

    write = measure(
        {n: lambda c=c: c.write(data) for n, c in contenders.items()}, settings.rounds, memory=data.nbytes, before=clean
    )
    parts: dict[str, tuple[Any, slice]] = {
        "read all": (slice(None), slice(None)),
        f"column window ({WINDOW} samples of all rows)": (slice(None), window),
        f"{len(random_rows)} random rows": (random_rows, slice(None)),
    }
    rows = [Row("write", write, _goals(), nbytes=data.nbytes)]
    for operation, (chosen, columns) in parts.items():
        expected = data[chosen, columns]

        def check(name: str, found: Array, expected: Array = expected) -> None:
            assert np.array_equal(found, expected), name

        work = {n: lambda c=c, part=(chosen, columns): c.read(*part) for n, c in contenders.items()}
        seconds = measure(work, settings.rounds, memory=expected.nbytes, check=check)
        whole = operation == "read all"
        rows.append(Row(operation, seconds, _goals() if whole else (), nbytes=data.nbytes if whole else 0))

    def read_singles(contender: Contender) -> None:
        for row in singles:
            contender.read(slice(row, row + 1))

    work = {n: lambda c=c: read_singles(c) for n, c in contenders.items()}
    seconds = measure(work, settings.rounds)
    goal = Goal("≤ 3 × h5py", peer=H5py.name, factor=3)
    rows.insert(2, Row("one row", {n: s / len(singles) for n, s in seconds.items()}, [goal]))
    for contender in contenders.values():
        contender.close()
    layout = choose_layout(data.shape, data.dtype)
    return Topic(
        f"Array: {data.nbytes / 1e9:.2f} GB of float64, {len(data)} trials × {SAMPLES} samples",
        f"Noisy membrane potentials in mV, rounded to {DECIMALS} decimals. zdb chooses chunks {layout.chunks}, shards "
        f"{layout.shards} and `{json.dumps(_codecs(data)[1])}`. “zarr default” is `group.create_array(name, data=data)`; "
        "“zarr same codec” and tensorstore get chunks, shards and codecs of zdb, h5py the same chunks and Blosc-LZ4. "
        "Reads open the array in a database, group or file that is open already. One row is the mean of "
        f"{len(singles)} rows read one by one, npy reads parts from a memory map, h5py the random rows one by one.",
        rows,
        [kind.name for kind in CONTENDERS if kind not in usable],
    )


def _goals() -> list[Goal]:
    return [
        Goal("≥ 1.0 × tensorstore", peer=Tensorstore.name, factor=1.0),
        Goal("≥ 3 × zarr default", peer=ZarrDefault.name, factor=1 / 3),
    ]


def _codecs(data: Array) -> list[dict[str, Any]]:
    """Codecs of the inner chunks that zdb chooses."""
    layout = choose_layout(data.shape, data.dtype)
    chain = choose_codecs(data.dtype, layout)
    if layout.shards is None:
        return chain
    codecs: list[dict[str, Any]] = chain[0]["configuration"]["codecs"]
    return codecs
