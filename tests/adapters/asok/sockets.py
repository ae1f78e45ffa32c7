"""A WebSocket server of an app, and a browser's side of its sockets."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from asok import Asok
from asok.testing import TestClient
from asok.ws import WebSocketServer
from asok.ws.connection import Connection

from asok_auth_core.testing.waiting import PATIENCE

ANSWER = "/say"


class Server:
    """``/say`` answers with the user and counts questions.

    ``/asok/live`` is Asok's own.
    """

    def __init__(self, app: Asok) -> None:
        self.delivered: list[str] = []
        self.left: list[str] = []
        self.open: list[Socket] = []
        self.asok = WebSocketServer(port=0, app=app)
        self.asok.on(ANSWER)(self._answer)
        self.asok.on_connect(ANSWER)(self._greet)
        self.asok.on_disconnect(ANSWER)(lambda conn: self.left.append(conn.path))

    def _greet(self, conn: Connection) -> None:
        conn.send(f"hello {emails(conn)}")

    def _answer(self, conn: Connection, text: str) -> None:
        self.delivered.append(text)
        if text.startswith("can "):
            conn.send(str(conn.user.can(text[4:])))
        else:
            conn.send(f"{text} {emails(conn)}")


def emails(conn: Connection) -> str:
    """The user of the connection, once if its request says the same."""
    found = [getattr(user, "email", "nobody") for user in (conn.user, conn.request.user)]
    return " ".join(dict.fromkeys(found))


@contextmanager
def sockets(app: Asok) -> Iterator[Server]:
    server = Server(app)
    server.asok.start()
    try:
        yield server
    finally:
        server.asok.stop()
        for one in server.open:
            one.close()


class Socket:
    """One open socket with the cookies of ``client``, or with ``headers`` only."""

    def __init__(
        self,
        server: Server,
        client: TestClient | None = None,
        path: str = ANSWER,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        cookies = "" if client is None else "; ".join(f"{k}={v}" for k, v in client.cookies.items())
        lines = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Origin": "http://localhost",
            **({"Cookie": cookies} if cookies else {}),
            **(headers or {}),
        }
        assert server.asok._sock is not None
        self._socket = socket.create_connection(server.asok._sock.getsockname(), timeout=PATIENCE)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self._file = self._socket.makefile("rb")
        server.open.append(self)
        self.status = self._file.readline().decode().split(" ", 1)[-1].strip()
        while self._file.readline().strip():
            pass
        self.hello = self.read() if path == ANSWER else ""

    def ask(self, message: str | dict[str, object]) -> str:
        """The answer to a message; ``closed 1008`` if the server closed the socket."""
        self.send(message)
        return self.read()

    def send(self, message: str | dict[str, object]) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        payload, mask = text.encode(), os.urandom(4)
        length = (
            bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        )
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(b"\x81" + length + mask + masked)

    def read(self) -> str:
        head = self._file.read(2)
        if len(head) < 2:
            return "closed"
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._file.read(2))[0]
        payload = self._file.read(length)
        if b'"type": "presence"' in payload:  # sent to all sockets whenever a user connects or leaves
            return self.read()
        if head[0] & 0x0F == 0x8:
            return f"closed {struct.unpack('>H', payload[:2])[0]}"
        return payload.decode()

    def close(self) -> None:
        self._file.close()
        self._socket.close()
