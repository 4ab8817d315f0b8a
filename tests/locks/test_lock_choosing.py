"""Which backend is used, and what is told when none can be."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from lock_proxy import Proxy
from moto.server import ThreadedMotoServer

import zdb
from zdb.errors import LockUnavailableError
from zdb.locks.choosing import candidates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Nothing listens there.
DEAD_REDIS, DEAD_ZOOKEEPER = "redis://127.0.0.1:1/0", "zookeeper://127.0.0.1:1,127.0.0.1:2/path"


@pytest.fixture(autouse=True)
def settings_afterwards() -> Iterator[None]:
    yield
    zdb.config.refresh()


def test_the_first_that_answers_is_used_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zdb.locks")
    with zdb.config.set({"lock": f"{DEAD_REDIS}, file:{tmp_path}"}):
        lock = zdb.lock("a")
        with lock:
            assert (lock.backend, lock.url) == ("file", f"file:{tmp_path}")
        with zdb.lock("b") as other:
            assert other.backend == "file"
    told = [record.getMessage() for record in caplog.records if record.name == "zdb.locks"]
    assert len(told) == 1
    assert f"file:{tmp_path}" in told[0]
    assert DEAD_REDIS in told[0]


def test_the_setting_may_be_a_list(tmp_path: Path) -> None:
    with zdb.config.set({"lock": [DEAD_REDIS, f"file:{tmp_path}"]}):
        assert zdb.lock("a").backend == "file"


def test_a_lock_that_was_sent_stays_with_its_backend(tmp_path: Path) -> None:
    lock = zdb.lock("a", url=f"{DEAD_REDIS},file:{tmp_path}")
    assert DEAD_REDIS in repr(pickle.loads(pickle.dumps(lock)))
    with lock:
        pass
    assert DEAD_REDIS not in repr(pickle.loads(pickle.dumps(lock)))


def test_none_that_answers_is_an_error_that_names_each(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    places = [DEAD_REDIS, DEAD_ZOOKEEPER, "dask:", f"file:{tmp_path / 'taken' / 'locks'}"]
    lock = zdb.lock("a", url=places, lease=2)
    with pytest.raises(LockUnavailableError) as found:
        lock.acquire()
    assert isinstance(found.value, ConnectionError)
    assert all(place in str(found.value) for place in places)
    assert "refused" in str(found.value)
    assert "make one: distributed.Client(address)" in str(found.value)
    assert "Not a directory" in str(found.value)


def test_secrets_are_not_told() -> None:
    lock = zdb.lock("a", url="redis://anna:hidden@127.0.0.1:1/0")
    with pytest.raises(LockUnavailableError) as found:
        lock.acquire()
    assert "hidden" not in f"{found.value} {lock!r}"


@pytest.mark.parametrize("url", ["etcd://somewhere", "somewhere", "", ()])
def test_what_names_no_backend_is_an_error_at_once(url: Any) -> None:
    with pytest.raises(LockUnavailableError, match="no backend"):
        zdb.lock("a", url=url)


def test_commas_separate_urls_and_hosts() -> None:
    assert candidates(f" {DEAD_ZOOKEEPER} ,redis://a,file:/b, none: ,") == (
        DEAD_ZOOKEEPER,
        "redis://a",
        "file:/b",
        "none:",
    )


@pytest.mark.parametrize(
    ("url", "package", "extra"), [(DEAD_REDIS, "redis", "redis"), (DEAD_ZOOKEEPER, "kazoo", "zookeeper")]
)
def test_a_missing_extra_is_named(url: str, package: str, extra: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None\nimport zdb\nzdb.lock('a', url='{url}, none:').acquire()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"needs the package {package}: pip install 'zdb[{extra}]'" in done.stderr


def test_none_keeps_nobody_out_but_counts() -> None:
    with zdb.lock("a", url="none:") as first, zdb.lock("b", url="none:", shared=True) as second:
        assert (first.token or 0) < (second.token or 0)
        first.check()
        assert not first.locked()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="empty"):
        zdb.lock("", url="none:")
    with pytest.raises(ValueError, match="lease"):
        zdb.lock("a", url="none:", lease=0)


def test_the_folder_of_the_user_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with zdb.lock("a", url="file:") as lock:
        assert str(tmp_path) in lock.url
    with zdb.lock("a", url="file:~/locks") as lock:
        assert lock.url == f"file:{tmp_path / 'locks'}"
    with zdb.lock("a", url=f"file://{tmp_path}/there") as lock:
        assert lock.url == f"file:{tmp_path / 'there'}"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a b", "a%20b", "ä" * 500, "ä" * 499 + "o", "A:\\?*\n"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with zdb.lock(name, url=f"file:{tmp_path}"), zdb.lock(f"{name}+", url=f"file:{tmp_path}") as other:
        assert other.token == 1
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting takes the rights of root")
def test_a_read_only_place_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        with zdb.lock("a", url=f"file:{place}"):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for url in (f"file:{place}", f"file:{place}/below"):
            with pytest.raises(LockUnavailableError, match=r"place.* Read-only file system"):
                zdb.lock("a", url=url).acquire()
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    port = server.get_host_and_port()[1]
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")):
        yield port
    server.stop()


def options(port: int) -> dict[str, Any]:
    client = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    return {"key": "a", "secret": "b", "client_kwargs": client, "skip_instance_cache": True}


def test_another_server_for_s3(moto: int) -> None:
    lock = zdb.lock("a", url="s3://bucket", storage_options=options(moto))
    with lock:
        assert not zdb.lock("a", url="s3://bucket", storage_options=options(moto)).acquire(blocking=False)
        first = lock.token
    with lock:
        assert (lock.token or 0) > (first or 0)


def test_a_server_that_ignores_conditions_is_refused(moto: int) -> None:
    proxy = Proxy(moto)
    try:
        for header in (b"If-None-Match", b"If-Match"):
            proxy.change = (header, b"X" + header[1:])
            lock = zdb.lock("a", url="s3://bucket/ignored", storage_options=options(proxy.port))
            with pytest.raises(LockUnavailableError, match="ignores conditions"):
                lock.acquire()
    finally:
        proxy.close()


def test_a_bucket_that_is_not_there(moto: int) -> None:
    with pytest.raises(LockUnavailableError, match=r"s3://nothing/there.*bucket"):
        zdb.lock("a", url="s3://nothing/there", storage_options=options(moto)).acquire()
