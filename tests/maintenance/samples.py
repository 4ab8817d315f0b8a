"""A database of one value of each kind, and ways to damage it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

import zdb
from zdb.engine.node import node_path

if TYPE_CHECKING:
    from zdb import Database

__all__ = ["damage", "damages", "fill", "objects_in_use"]


def fill(db: Database) -> None:
    """Write one value of each kind, some of them twice."""
    numbers = np.random.default_rng(1)
    db["parameters"] = {"dt": 0.025}
    db.set("run/traces", numbers.normal(size=(20, 30)), chunks=(5, 30))
    db.set("run/traces", numbers.normal(size=(21, 31)), chunks=(5, 30))
    db.set("run/sharded", numbers.normal(size=(40, 10)), chunks=(5, 10), shards=(20, 10))
    db["run/deep/frame"] = pd.DataFrame({"rate": [1.5, 2.5], "cell": ["a", "b"]})
    db["file"] = b"content of a file"
    db["empty"] = b""
    db["scalar"] = np.float64(2.5)
    db["spikes"] = zdb.Ragged(np.arange(5.0), np.array([2, 3]))
    children = {"/": xr.Dataset({"a": ("x", [1.0, 2.0])}), "/below": xr.Dataset({"b": ("y", [3, 4])})}
    db["forest"] = xr.DataTree.from_dict(children)
    db["words"] = np.array(["one", "two"], dtype=object)


def objects_in_use(db: Database) -> dict[str, str]:
    """Paths of all chunks, and of the metadata of arrays and groups, with the keys they belong to."""
    found = {}
    for key in db.keys(recursive=True):
        node = db._engine.node(key)
        assert node is not None
        for array in node.arrays.values():
            found |= dict.fromkeys([*array.object_paths(), node_path(array.path)], key)
        found |= {node_path(f"{key}/{name}"): key for name in node.groups if name}
    return found


def damages(path: str) -> list[str]:
    """Ways to damage an object that can be found.

    The metadata of a group may be a step ahead with any attributes, so that a flipped bit is not known from that.
    """
    return ["lose", "cut"] if path == "forest/below/zarr.json" else ["lose", "cut", "flip"]


def damage(db: Database, path: str, how: str, where: float) -> None:
    """Lose an object, cut it off, or flip a bit at a relative position or soon after it."""
    nodes = db._engine.nodes
    data = nodes.get(path) or b""
    position = int(where * len(data))
    if how == "lose":
        nodes.delete([path])
    elif how == "cut":
        nodes.set(path, data[:position])
    else:
        while is_step_ahead(data, flipped := with_flipped_bit(data, position)):
            position += 1
        nodes.set(path, flipped)


def with_flipped_bit(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def is_step_ahead(before: bytes, after: bytes) -> bool:
    """Whether the metadata of an array looks as if the next generation, or something added, is being written."""
    try:
        old, new = json.loads(before), json.loads(after)
    except ValueError:
        return False
    changed = {name for name in old if old[name] != new.get(name)} if old.keys() == new.keys() else set()
    return bool(changed) and changed <= {"shape", "chunk_key_encoding"}
