"""Locks of a Redis server: ``redis://host:port/database``, ``rediss://`` with TLS, ``unix://path``."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import redis

from zdb.errors import LockUnavailableError
from zdb.locks.backend import Backend
from zdb.locks.lease import LeasedHold, answer_seconds
from zdb.locks.owner import Owner
from zdb.locks.waiting import Delays
from zdb.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RedisBackend"]

CONNECT_SECONDS = 5.0

# Each script is one step of the server. KEYS: who holds it exclusively (a string that expires), who shares it (a sorted
# set by the end of the lease), the last token, what was freed last. ARGV: the acquisition, the lease in ms, 1 to share.
# Tokens are microseconds of the server, so that they also increase when it forgot what it knew; repeating is harmless.
_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local function share()
  redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
  local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[2], last[2])
end
"""
_TAKE = f"""{_CLOCK}
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
if ARGV[3] == '1' then
  share()
else
  if redis.call('ZCARD', KEYS[2]) > 0 then return false end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
local token = math.max(time[1] * 1000000 + time[2], (redis.call('GET', KEYS[3]) or 0) + 1)
redis.call('SET', KEYS[3], string.format('%.0f', token))
return string.format('%.0f', token)
"""
_RENEW = f"""{_CLOCK}
if ARGV[3] == '1' then
  if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
  share()
  return 1
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_FREE = f"""{_CLOCK}
if ARGV[3] == '1' then
  if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
    redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
  end
elseif redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
end
return redis.call('GET', KEYS[4]) == ARGV[1] and 1 or 0
"""


class RedisBackend(Backend):
    """A Redis server, with a lease for each lock."""

    scheme = "redis"

    def __init__(self, url: str, lease: float, client: redis.Redis) -> None:
        self.url = url
        self.lease = lease
        self.client = client
        self.take, self.renew, self.free = (client.register_script(text) for text in (_TAKE, _RENEW, _FREE))

    @classmethod
    def connect(cls, url: str, lease: float, storage_options: Mapping[str, Any] | None) -> RedisBackend:  # noqa: ARG003
        shown = redact_url(url)
        try:
            client = redis.Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=answer_seconds(lease),
                decode_responses=True,
            )
        except ValueError as error:
            raise LockUnavailableError(f"{shown}: {error}") from error
        with _unavailable(shown):
            client.ping()
        return cls(shown, lease, client)

    def hold(self, name: str, shared: bool) -> RedisHold:
        return RedisHold(self, name, shared)

    def owners(self, name: str) -> list[Owner]:
        holder, sharers, *_ = _keys(name)
        with _unavailable(self.url):
            seconds, microseconds = self.client.time()
            now = seconds * 1000 + microseconds // 1000
            found = [self.client.get(holder), *self.client.zrangebyscore(sharers, now, "+inf")]
        return [Owner.parse(one) for one in found if one]


class RedisHold(LeasedHold):
    """One acquisition, which the server knows by the text that stands in its key."""

    delays = Delays(0.005, 0.1)

    def __init__(self, backend: RedisBackend, name: str, shared: bool) -> None:
        super().__init__(backend.lease)
        self.backend = backend
        self._keys = _keys(name)
        self._text = json.dumps({**Owner.here().dump(), "id": uuid.uuid4().hex})
        self._arguments = (self._text, int(self.lease * 1000), int(shared))

    def _run(self, script: Any) -> Any:
        with _unavailable(self.backend.url):
            return script(keys=self._keys, args=self._arguments)

    def _take(self) -> int | None:
        token = self._run(self.backend.take)
        return None if token is None else int(token)

    def _renew(self) -> bool:
        return bool(self._run(self.backend.renew))

    def _free(self) -> bool:
        return bool(self._run(self.backend.free))


def _keys(name: str) -> tuple[str, ...]:
    # What stands in braces chooses the node of a cluster.
    base = f"zdb:lock:{{{name}}}"
    return base, f"{base}:shared", f"{base}:token", f"{base}:freed"


@contextlib.contextmanager
def _unavailable(url: str) -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise LockUnavailableError(f"{url} cannot be used: {error}") from error
