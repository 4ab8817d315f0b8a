"""A proxy that does to connections what a bad network does: it delays, cuts, resets, and loses answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FaultProxy", "Faults"]

PIECE = 1 << 16
# A connection that was reset by a proxy is no news for its other side before what was sent has arrived.
SETTLING = 0.02


@dataclass(frozen=True)
class Faults:
    """What goes wrong, from when it is set on.

    Attributes
    ----------
    latency : float
        Seconds by which each answer comes later.
    reset : float
        Probability with which a request is not passed on and the connection reset.
    lose_answer : float
        Probability with which the server gets a request, and its answer is not passed on but the connection reset.
    late : float
        Probability with which the connection is reset, and the server gets the request, a PUT, all the same, later.
    late_seconds : float
        How much later.
    cut_after : tuple of int, optional
        A connection is reset when it has sent so many bytes, a random number between these.
    """

    latency: float = 0
    reset: float = 0
    lose_answer: float = 0
    late: float = 0
    late_seconds: float = 1
    cut_after: tuple[int, int] | None = None


class FaultProxy:
    """Passes connections on to a port of this machine; as a context manager, runs in a thread of its own.

    Attributes
    ----------
    port : int
        Where it listens.
    faults : Faults
        What goes wrong; may be set at any time.
    made : int
        How many faults there were; a delay is none.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self.faults = Faults()
        self.made = 0
        self.port = 0
        self._target = target
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._is_up = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_up.wait(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=512)

        server = self._loop.run_until_complete(listen())
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        self._loop.run_forever()

        async def end() -> None:
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._loop.run_until_complete(end())
        self._loop.close()

    def _happens(self, probability: float) -> bool:
        happens = self._random.random() < probability
        self.made += happens
        return happens

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        try:
            upward = self._requests(reader, to_server, writer)
            await asyncio.gather(upward, self._answers(from_server, writer, to_server))
        finally:
            for one in (writer, to_server):
                with contextlib.suppress(OSError, RuntimeError):
                    one.close()

    async def _requests(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        sent = 0
        limit = self.faults.cut_after and self._random.randint(*self.faults.cut_after)
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                if self._happens(self.faults.reset):
                    break
                if piece.startswith(b"PUT ") and self._happens(self.faults.late):
                    if b"100-continue" in piece:  # the client keeps the rest until it is asked for it
                        client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    with contextlib.suppress(TimeoutError):
                        while more := await asyncio.wait_for(reader.read(PIECE), SETTLING):
                            piece += more
                    _reset(client)
                    await asyncio.sleep(self.faults.late_seconds)
                    to_server.write(piece)
                    await to_server.drain()
                    await asyncio.sleep(self.faults.late_seconds)
                    break
                if limit and sent + len(piece) > limit:
                    self.made += 1
                    to_server.write(piece[: limit - sent])
                    await asyncio.sleep(SETTLING)
                    break
                sent += len(piece)
                to_server.write(piece)
                await to_server.drain()
        _reset(client)
        _reset(to_server)

    async def _answers(
        self, from_server: asyncio.StreamReader, client: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await from_server.read(PIECE):
                if self.faults.latency:
                    await asyncio.sleep(self.faults.latency)
                if self._happens(self.faults.lose_answer):
                    break
                client.write(piece)
                await client.drain()
        _reset(client)
        _reset(to_server)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, so that its other side gets an error."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
