"""Many small JSON values: set, get and list them."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import zarr

import zdb
from benchmarks.harness import ZDB, Goal, Row, Settings, Topic, fresh_folder, measure

if TYPE_CHECKING:
    from pathlib import Path

VALUES = 10_000
# zarr-python is given this fraction of the values, and its times are multiplied accordingly.
NAIVE_FRACTION = 0.1
# The fraction that is set and waited for.
SYNCED_FRACTION = 0.1
SYNCED = "set, synced"

Values = dict[str, dict[str, Any]]


def make_values(count: int) -> Values:
    """Return results of one trial each, by key."""
    return {
        f"trial_{i:06d}": {"trial": i, "rate": i * 0.25, "label": f"evoked {i % 7}", "spikes": [i, i + 1.5], "ok": True}
        for i in range(count)
    }


class Contender:
    """Something that keeps small values in a folder."""

    name: ClassVar[str]
    fraction: ClassVar[float] = 1.0

    def create(self, folder: Path) -> None:
        raise NotImplementedError

    def set(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def get(self, key: str) -> Any:
        raise NotImplementedError

    def keys(self) -> list[str]:
        raise NotImplementedError


class Zdb(Contender):
    name = ZDB

    def __init__(self, *, synced: bool = False) -> None:
        self.durability: Literal["commit", "none"] = "commit" if synced else "none"

    def create(self, folder: Path) -> None:
        self.database = zdb.open(folder / "results.zdb", durability=self.durability)

    def set(self, key: str, value: Any) -> None:
        self.database[key] = value

    def get(self, key: str) -> Any:
        return self.database[key]

    def keys(self) -> list[str]:
        return list(self.database)


class Sqlite(Contender):
    name = "sqlite"

    def __init__(self, *, synced: bool = False) -> None:
        self.synchronous = "FULL" if synced else "NORMAL"
        self.connection = sqlite3.connect(":memory:")

    def __del__(self) -> None:
        self.connection.close()

    def create(self, folder: Path) -> None:
        self.connection.close()
        self.connection = sqlite3.connect(folder / "values.sqlite", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute(f"PRAGMA synchronous={self.synchronous}")
        self.connection.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT)")

    def set(self, key: str, value: Any) -> None:
        self.connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, json.dumps(value)))

    def get(self, key: str) -> Any:
        (text,) = self.connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return json.loads(text)

    def keys(self) -> list[str]:
        return [key for (key,) in self.connection.execute("SELECT key FROM entries ORDER BY key")]


class JsonFiles(Contender):
    name = "JSON files"

    def __init__(self, *, synced: bool = False) -> None:
        self.synced = synced

    def create(self, folder: Path) -> None:
        self.folder = folder

    def set(self, key: str, value: Any) -> None:
        if not self.synced:
            (self.folder / f"{key}.json").write_text(json.dumps(value))
            return
        temporary = self.folder / f".{key}"
        with temporary.open("w") as file:
            file.write(json.dumps(value))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / f"{key}.json")
        descriptor = os.open(self.folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def get(self, key: str) -> Any:
        return json.loads((self.folder / f"{key}.json").read_text())

    def keys(self) -> list[str]:
        return sorted(name.removesuffix(".json") for name in os.listdir(self.folder))  # noqa: PTH208


class NaiveZarr(Contender):
    name = "zarr create_group"
    fraction = NAIVE_FRACTION

    def create(self, folder: Path) -> None:
        self.group = zarr.create_group(folder / "values.zarr")

    def set(self, key: str, value: Any) -> None:
        self.group.create_group(key, attributes={"value": value})

    def get(self, key: str) -> Any:
        return self.group[key].attrs["value"]

    def keys(self) -> list[str]:
        return sorted(self.group)


CONTENDERS: list[type[Contender]] = [Zdb, Sqlite, JsonFiles, NaiveZarr]


def run(settings: Settings) -> Topic:
    """Measure all operations."""
    values = make_values(settings.sized(VALUES))
    contenders = {kind.name: kind() for kind in CONTENDERS}
    given = {n: dict(list(values.items())[: max(1, int(len(values) * c.fraction))]) for n, c in contenders.items()}

    def clean(name: str) -> None:
        if isinstance(contenders[name], Sqlite) and hasattr(contenders[name], "connection"):
            contenders[name].connection.close()
        contenders[name].create(fresh_folder(settings.folder / name))

    def set_all(name: str) -> None:
        contender = contenders[name]
        for key, value in given[name].items():
            contender.set(key, value)

    def get_all(name: str) -> list[Any]:
        contender = contenders[name]
        return [contender.get(key) for key in given[name]]

    def check_values(name: str, found: list[Any]) -> None:
        assert found == list(given[name].values()), name

    def check_keys(name: str, found: list[str]) -> None:
        assert found == list(given[name]), name

    synced: dict[str, Contender] = {kind.name: kind(synced=True) for kind in (Zdb, Sqlite, JsonFiles)}
    few = dict(list(values.items())[: max(1, int(len(values) * SYNCED_FRACTION))])

    def set_synced(name: str) -> None:
        for key, value in few.items():
            synced[name].set(key, value)

    naive = NaiveZarr.name
    seconds = {
        "set": measure({n: lambda n=n: set_all(n) for n in contenders}, settings.rounds, before=clean),
        SYNCED: measure(
            {n: lambda n=n: set_synced(n) for n in synced},
            settings.rounds,
            before=lambda name: synced[name].create(fresh_folder(settings.folder / f"{name} synced")),
        ),
        "get": measure({n: lambda n=n: get_all(n) for n in contenders}, settings.rounds, check=check_values),
        "list": measure({n: c.keys for n, c in contenders.items()}, settings.rounds, check=check_keys),
    }
    goals = {
        "set": [Goal("≥ 3 × zarr create_group", peer=naive, factor=1 / 3)],
        "get": [Goal("≥ 5 × zarr create_group", peer=naive, factor=1 / 5)],
    }
    rows = [
        Row(
            f"{operation} {len(few if operation == SYNCED else values)}",
            found if operation == SYNCED else _scaled(found, values, given),
            goals.get(operation, ()),
        )
        for operation, found in seconds.items()
    ]
    contenders[Sqlite.name].connection.close()
    return Topic(
        f"Small values: {len(values)} dicts",
        "Dicts of five entries, one key each, set and got one by one. zdb records provenance with each of them. sqlite "
        "commits each value (WAL, synchronous=NORMAL). zarr-python makes a group for each value by `create_group` and "
        f"reads its attributes; it is given {len(given[naive])} values and its times are scaled. Synced means that each value "
        'is on disk before the next one: zdb by durability="commit" (its default), sqlite by synchronous=FULL, JSON files by '
        "fsync of a temporary file and of the folder.",
        rows,
    )


def _scaled(seconds: dict[str, float], values: Values, given: dict[str, Values]) -> dict[str, float]:
    return {name: taken * len(values) / len(given[name]) for name, taken in seconds.items()}
