"""A server for S3 that ignores the conditions of conditional writes is refused for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from locks.lock_proxy import Proxy
from services.seaweedfs import S3Server

import zdb
from zdb.engine.store import open_store
from zdb.errors import ClaimsUnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[Proxy]:
    """A way to the server on which conditions can be lost."""
    made = Proxy(int(moto.endpoint.rpartition(":")[2]))
    yield made
    made.close()


def options(moto: S3Server, proxy: Proxy) -> dict[str, Any]:
    return S3Server(f"http://127.0.0.1:{proxy.port}", moto.key, moto.secret).options


@pytest.mark.parametrize("header", [b"If-None-Match", b"If-Match"])
def test_a_server_that_ignores_conditions(moto: S3Server, proxy: Proxy, header: bytes) -> None:
    name = f"ignores-{header.decode().lower()}.zdb"
    proxy.change = (header, b"X" + header[1:])
    with pytest.raises(ClaimsUnsupportedError, match=r"ignores the conditions.*ZDB_CLAIMS=none"):
        zdb.open(moto.url(name), "a", options(moto, proxy))
    # What is there can be read, and not written.
    db = zdb.open(moto.url(name), "a", moto.options)
    db["small"], db["array"] = 1, np.arange(3)
    before = open_store(moto.url(name), moto.options).list_objects("")
    refused = zdb.open(moto.url(name), "a", options(moto, proxy))
    for change in (
        lambda: refused.set("small", 2),
        lambda: refused.set("array", np.arange(4)),
        lambda: refused.set("new/one", np.arange(4)),
        lambda: refused.rename("small", "other"),
        lambda: refused.rename("array", "other"),
        lambda: refused.__delitem__("small"),
        lambda: refused.__delitem__("array"),
    ):
        with pytest.raises(ClaimsUnsupportedError):
            change()
    assert open_store(moto.url(name), moto.options).list_objects("") == before
    assert db["small"] == refused["small"] == 1
    np.testing.assert_array_equal(db["array"], np.arange(3))
    with zdb.config.set({"claims": "none"}):
        refused["small"], refused["array"] = 2, np.arange(4)
    assert db["small"] == 2
    np.testing.assert_array_equal(db["array"], np.arange(4))
