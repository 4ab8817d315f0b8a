"""Locks of a bucket: ``s3://bucket/prefix``, one object for each lock, changed only by conditional writes.

Nobody compares clocks: who waits takes a lease for ended when its record did not change for that long by the own clock.
The object is never deleted, because it holds the last token.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from zdb.errors import LockUnavailableError
from zdb.locks.backend import Backend, safe_name
from zdb.locks.lease import LeasedHold, answer_seconds
from zdb.locks.owner import Owner
from zdb.locks.waiting import Delays, now
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BucketBackend"]

# Attempts to renew or to release while others, who share the lock, do the same.
ATTEMPTS = 20
# What S3 answers where a condition does not hold; the second one if another conditional write is on its way.
REFUSALS = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}
CLIENT = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 2}}

Holder = dict[str, Any]


class BucketBackend(Backend):
    """A prefix in a bucket."""

    scheme = "s3"

    def __init__(self, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> None:
        import s3fs

        self.url = redact_url(url)
        self.lease = lease
        self._bucket, _, self._prefix = url.removeprefix("s3://").strip("/").partition("/")
        options = {"use_listings_cache": False, **(storage_options or {})}
        options["config_kwargs"] = {**CLIENT, **options.get("config_kwargs", {})}
        self._files = s3fs.S3FileSystem(**options)

    @classmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> BucketBackend:
        backend = cls(url, lease, storage_options)
        backend._require_conditions()
        return backend

    def _require_conditions(self) -> None:
        """Find out whether the server heeds conditions: some ignore them without a word, and would keep nobody out."""
        key = self._key(f"test-{uuid.uuid4().hex}")
        tag = self.put(key, b"1", None)
        try:
            heeds = tag is not None and self.put(key, b"2", None) is None and self.put(key, b"3", '"0"') is None
            heeds = heeds and self.put(key, b"4", tag) is not None
        finally:
            self._call("delete_object", key)
        if not heeds:
            raise LockUnavailableError(f"{self.url}: the server ignores conditions of writes, so it cannot keep locks")

    def hold(self, name: str, shared: bool) -> BucketHold:
        return BucketHold(self, self._key(safe_name(name)), shared)

    def owners(self, name: str) -> list[Owner]:
        return [Owner.parse(holder["owner"]) for holder in self.read(self._key(safe_name(name))).holders]

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}.json".lstrip("/")

    def read(self, key: str) -> Record:
        found = self._call("get_object", key)
        return Record(0, []) if found is None else Record.parse(*found, f"{self.url}/{key.rpartition('/')[2]}")

    def put(self, key: str, data: bytes, tag: str | None) -> str | None:
        """Write if the object still has this tag, or if there is none for None; return the new tag, or None."""
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        found = self._call("put_object", key, Body=data, **condition)
        return None if found is None else found[1]

    def _call(self, method: str, key: str, **arguments: Any) -> tuple[bytes, str] | None:
        """Send one request; return body and tag, or None if a condition did not hold or there is no object."""
        from fsspec.asyn import sync

        async def call() -> tuple[bytes, str]:
            answer = await self._files._call_s3(method, Bucket=self._bucket, Key=key, **arguments)  # noqa: SLF001
            body = await answer["Body"].read() if "Body" in answer else b""
            return body, answer.get("ETag", "")

        try:
            result: tuple[bytes, str] = sync(self._files.loop, call, timeout=answer_seconds(self.lease))
        except Exception as error:
            if _code(error) in REFUSALS:
                return None
            raise LockUnavailableError(f"{self.url} cannot be used: {str(error) or type(error).__name__}") from error
        return result


class Record:
    """What stands in the object of a lock: the last token and who holds it; and the tag of what was read."""

    def __init__(self, token: int, holders: list[Holder], tag: str | None = None) -> None:
        self.token = token
        self.holders = holders
        self.tag = tag

    @classmethod
    def parse(cls, data: bytes, tag: str, place: str) -> Record:
        try:
            plain = json.loads(data)
            return cls(int(plain["token"]), list(plain["holders"]), tag)
        except (ValueError, KeyError, TypeError) as error:
            raise LockUnavailableError(f"{place} is no record of a lock; remove it while nobody works") from error

    def dump(self) -> bytes:
        return json.dumps({"token": self.token, "holders": self.holders}).encode()

    def find(self, id: str) -> Holder | None:
        return next((holder for holder in self.holders if holder["id"] == id), None)


class BucketHold(LeasedHold):
    """One acquisition, an entry in the record."""

    delays = Delays(0.05, 1.0)

    def __init__(self, backend: BucketBackend, key: str, shared: bool) -> None:
        super().__init__(backend.lease)
        self.backend = backend
        self.key = key
        self.shared = shared
        self.id = uuid.uuid4().hex
        self._owner = Owner.here().dump()
        self._record = Record(0, [])
        # When each state of a holder was first seen.
        self._seen: dict[tuple[str, int], float] = {}

    def _take(self) -> int | None:
        record = self.backend.read(self.key)
        mine = record.find(self.id)
        if mine is None:
            others = [holder for holder in record.holders if not self._has_ended(holder)]
            if others and not (self.shared and all(holder["shared"] for holder in others)):
                return None
            token = record.token + 1
            mine = {"id": self.id, "token": token, "shared": self.shared, "lease": self.lease, "renewals": 0}
            if self._put(Record(token, [*others, {**mine, "owner": self._owner}]), record.tag):
                return token
            record = self.backend.read(self.key)
            mine = record.find(self.id)
        if mine is None:
            return None
        # It was written, but the answer was lost; who waits may have seen it some time ago.
        self._record = record
        return int(mine["token"]) if self._renew() else None

    def _has_ended(self, holder: Holder) -> bool:
        state = (holder["id"], holder["renewals"])
        return now() - self._seen.setdefault(state, now()) > float(holder["lease"])

    def _renew(self) -> bool:
        return self._change(lambda mine: [{**mine, "renewals": mine["renewals"] + 1}])

    def _free(self) -> bool:
        # Before the end of the lease nobody else removes the entry: it was this release, whose answer was lost.
        return self._change(lambda _: []) or now() < self._end

    def _change(self, change: Callable[[Holder], list[Holder]]) -> bool:
        """Put what takes the place of the own entry; False if there is none."""
        record = self._record
        for _ in range(ATTEMPTS):
            mine = record.find(self.id)
            if mine is None:
                return False
            others = [holder for holder in record.holders if holder is not mine]
            if self._put(Record(record.token, [*others, *change(mine)]), record.tag):
                return True
            record = self.backend.read(self.key)
        raise LockUnavailableError(f"{self.backend.url}: too many share this lock to change it")

    def _put(self, record: Record, tag: str | None) -> bool:
        record.tag = self.backend.put(self.key, record.dump(), tag)
        if record.tag is None:
            return False
        self._record = record
        return True


def _code(error: BaseException | None) -> str:
    """The code of S3 behind an error of s3fs."""
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
