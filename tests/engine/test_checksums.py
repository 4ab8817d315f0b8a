"""Checksums tell of the same damage as decoding does."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from zdb.engine.checksums import ObjectCheck
from zdb.engine.decoding import ArrayDecoder
from zdb.engine.node import ArrayNode

if TYPE_CHECKING:
    from pathlib import Path

    from zdb import Database


def is_whole(array: ArrayNode, place: tuple[int, ...], data: bytes) -> bool:
    try:
        ObjectCheck(array)(place, data)
    except ValueError:
        return False
    return True


def is_decoded(array: ArrayNode, place: tuple[int, ...], data: bytes) -> bool:
    return not any(isinstance(chunk, Exception) for chunk in ArrayDecoder(array).decode(place, data))


@pytest.mark.parametrize(
    "options", [{"chunks": (5, 4)}, {"chunks": (5, 2), "shards": (20, 4)}, {"chunks": (5, 2), "shards": (30, 6)}]
)
def test_damage_is_told_as_by_decoding(db: Database, options: Any) -> None:
    numbers = random.Random(1)
    db.set("a", np.random.default_rng(1).normal(size=(42, 7)), **options)
    node = db._engine.node("a")
    assert node is not None
    array = node.arrays["data"]
    for place in product(*map(range, array.grid)):
        data = db._engine.nodes.get(array.object_path(place)) or b""
        assert is_whole(array, place, data)
        for _ in range(20):
            position = numbers.randrange(len(data))
            changed = bytearray(data)
            changed[position] ^= 1 << numbers.randrange(8)
            for damaged in (data[:position], bytes(changed)):
                assert not is_whole(array, place, damaged)
                assert not is_decoded(array, place, damaged)


def test_a_chunk_that_its_shard_lacks_is_told(db: Database) -> None:
    db.set("a", np.ones((20, 4)), chunks=(5, 4), shards=(20, 4))
    array = db._engine.node("a").arrays["data"]  # type: ignore[union-attr]
    shorter = ArrayNode(array.path, {**array.metadata, "shape": [10, 4]})
    shard = zarr.open_array(f"{db.url}/a/data", mode="r+")
    shard[10:15] = np.full((5, 4), shard.fill_value)  # zarr leaves out what is the fill value
    data = db._engine.nodes.get(array.object_path((0, 0))) or b""
    assert not is_whole(array, (0, 0), data)
    assert is_whole(shorter, (0, 0), data)


@pytest.mark.parametrize("shards", [None, (8,)])
def test_other_codecs_are_decoded(tmp_path: Path, shards: Any) -> None:
    written = zarr.create_array(
        tmp_path / "a.zarr", shape=(8,), chunks=(4,), shards=shards, dtype="f8", compressors=zarr.codecs.ZstdCodec()
    )
    written[:] = np.arange(8)
    array = ArrayNode("a", written.metadata.to_dict())
    data = (tmp_path / "a.zarr/c/0").read_bytes()
    assert is_whole(array, (0,), data)
    assert not is_whole(array, (0,), data[:-1])
    assert not is_whole(array, (0,), data[:10])
