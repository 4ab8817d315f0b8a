"""A bad network between writers and a bucket: what was acknowledged is whole, and no late request undoes it.

But for one that makes a value where nothing was, which may come when that was deleted: docs/reliability.md.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from faults.checking import check_store
from faults.processes import Writer
from faults.rounds import rounds
from places import Place, new_place
from services.faultproxy import FaultProxy, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.seaweedfs import S3Server

FAULTS = {
    "latency of 200 ms": Faults(latency=0.2),
    "5 % of requests reset": Faults(reset=0.05),
    "connection cut after N bytes": Faults(cut_after=(300, 12_000)),
    "answer lost after the server acted": Faults(lose_answer=0.1),
    # Later than three replacements of a key, a chunk would get into another generation: docs/reliability.md.
    "PUT that comes late, when its sender has given it up": Faults(late=0.1, late_seconds=0.15),
}
CHANGES = rounds(10, 60)
WRITERS = 2

pytestmark = pytest.mark.s3


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server; nothing goes wrong yet."""
    with FaultProxy(urlsplit(s3.endpoint).port or 0) as made:
        yield made


@pytest.fixture
def places(s3: S3Server, proxy: FaultProxy, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Place, Place]:
    """An empty place, as it is reached through the proxy and without it."""
    direct = new_place("s3", tmp_path, request)
    return Place(direct.url, replace(s3, endpoint=f"http://127.0.0.1:{proxy.port}").options), direct


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_network(
    fault: str, proxy: FaultProxy, places: tuple[Place, Place], tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    through_proxy, direct = places
    direct.open()
    proxy.faults = FAULTS[fault]
    may_return = bool(proxy.faults.late)
    writers = [Writer(through_proxy, tmp_path, number, may_return=may_return) for number in range(WRITERS)]
    changes = CHANGES // 5 if proxy.faults.latency else CHANGES
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.wait_for(changes, acknowledged=True)
    for writer in writers:
        writer.stop()
    made = proxy.made
    proxy.faults = Faults()
    time.sleep(2 if FAULTS[fault].late else 0)  # until all have arrived, on a busy machine too
    check_store(direct.open(), [writer.expected for writer in writers])
    acknowledged = sum(writer.expected.acknowledged for writer in writers)
    assert acknowledged >= WRITERS * changes
    assert made or FAULTS[fault].latency
    count(fault, made or acknowledged)


def test_late_requests_do_arrive(proxy: FaultProxy, places: tuple[Place, Place]) -> None:
    """The proxy does what it says: without it, the test above would show nothing."""
    import s3fs
    from botocore.exceptions import BotoCoreError

    through_proxy, direct = places
    proxy.faults = Faults(late=1, late_seconds=0.2)
    options = {**through_proxy.options, "config_kwargs": {"retries": {"max_attempts": 0}}}
    files = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    files.retries = 1
    path = f"{direct.url.removeprefix('s3://')}/late"
    with pytest.raises((OSError, BotoCoreError)):
        files.pipe_file(path, b"late")
    proxy.faults = Faults()
    files = s3fs.S3FileSystem(**direct.options, skip_instance_cache=True)
    end = time.monotonic() + 30
    while not files.exists(path):
        assert time.monotonic() < end
        files.invalidate_cache()
        time.sleep(0.1)
    assert files.cat_file(path) == b"late"
