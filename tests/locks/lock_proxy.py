"""A proxy between a program and a server, which refuses connections, loses answers and changes what is sent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

__all__ = ["Proxy"]


class Proxy:
    """Passes connections on to a port of this machine, as long as it is not told otherwise.

    Attributes
    ----------
    port : int
    lose : bytes or None
        The answer to the next request that holds these bytes does not arrive, and the connection breaks.
    lost : int
        How many answers were lost.
    change : tuple of bytes or None
        What is replaced by what in all requests.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.lose: bytes | None = None
        self.lost = 0
        self.change: tuple[bytes, bytes] | None = None
        self._refuses = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def refuse(self) -> None:
        """Break all connections, and let no new one last."""
        self._refuses = True
        for one in list(self._open):
            _reset(one)

    def pass_on(self) -> None:
        self._refuses = False

    def close(self) -> None:
        self.refuse()
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                _reset(client)
                continue
            self._open |= {client, server}
            armed = threading.Event()
            for work in (self._send, self._receive):
                threading.Thread(target=work, args=(client, server, armed), daemon=True).start()

    def _send(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.change is not None:
                    data = data.replace(*self.change)
                if self.lose is not None and self.lose in data:
                    self.lose = None
                    armed.set()
                server.sendall(data)
        self._end(client, server)

    def _receive(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if armed.is_set() and not data.startswith(b"HTTP/1.1 100"):
                    self.lost += 1
                    break
                client.sendall(data)
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            self._open.discard(one)
            _reset(one)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        one.close()
