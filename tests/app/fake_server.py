"""A server that answers as it is told and remembers what it was asked: for tests of clients."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    length: int | None = None
    """Content-Length that is stated; by default the true one."""
    unread: bool = False
    """Whether the body of the request is left unread and the connection closed."""


class Patient(ThreadingHTTPServer):
    """Takes it quietly that a client goes away."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that was cut: some tests do that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeServer:
    """Replies one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[Asked] = []
        self.url = ""

    def next(self) -> Reply:
        """The reply to this request."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """A fake server that listens while the body runs."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Remember the request and send the next reply."""
            reply = fake.next()
            size = 0 if reply.unread else int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            self.send_response(reply.status)
            stated = len(reply.body) if reply.length is None else reply.length
            if reply.status != 304:
                self.send_header("Content-Length", str(stated))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            if stated != len(reply.body) or reply.unread:
                self.close_connection = True

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with Patient(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
