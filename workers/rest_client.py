"""A client of the REST interface in plain Python, and the embedded server as its child.

It knows the server by its URLs alone, as any client in another house would.
"""

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from annotations.errors import ToolError

START_SECONDS = 120.0
"""Longest wait for the server and its worker to be ready."""

STOP_SECONDS = 60.0
"""Longest wait for the server to stop once it is asked to."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    """HTTP status."""
    location: str
    """The Location header, "" if there is none."""
    body: bytes
    """The body as sent."""


class Client:
    """Requests to one server on this machine; refuses every answer that is no success."""

    def __init__(self, port: int) -> None:
        """Remember the port; nothing is sent yet."""
        self.port = port

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer.

        Raises
        ------
        ToolError
            If the server refuses; the message is the `detail` of its problem document.
        OSError
            If the server cannot be reached.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.getheader("Location") or "", response.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise ToolError(f"{method} {path} got {answer.status}: {problem_text(answer.body)}")
        return answer

    def get(self, path: str, **query: object) -> Any:
        """JSON of `path` with the given query."""
        question = f"?{urlencode(query)}" if query else ""
        return json.loads(self.ask("GET", path + question).body)

    def save(self, path: str, target: Path, **query: object) -> Path:
        """Write the answer of `path` to a file."""
        question = f"?{urlencode(query)}" if query else ""
        target.write_bytes(self.ask("GET", path + question).body)
        return target

    def submit(self, sequences: Path, options: Mapping[str, str]) -> str:
        """Submit a file as a multipart form.

        Returns
        -------
        path : str
            Path of the new run, from the Location header.
        """
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in options.items()
        ]
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{sequences.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        answer = self.ask(
            "POST",
            "/v1/runs",
            body="".join(parts).encode()
            + head.encode()
            + sequences.read_bytes()
            + f"\r\n--{boundary}--\r\n".encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        return urlsplit(answer.location).path


def problem_text(body: bytes) -> str:
    """What a problem document says, or the start of a body that is none."""
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        return body[:200].decode(errors="replace")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_server(data: Path, log: Path) -> Iterator[Client]:
    """Run `saetrack serve` while the body runs; its output goes to `log`.

    Raises
    ------
    ToolError
        If the server stops or is not ready in `START_SECONDS`.
    """
    port = free_port()
    environment = {**os.environ, "SAETRACK_DATA_DIR": str(data), "SAETRACK_PORT": str(port)}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            client = Client(port)
            wait_until_ready(client, server, log)
            yield client
        finally:
            stop(server)


def wait_until_ready(client: Client, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when `/readyz` says yes."""
    deadline = time.monotonic() + START_SECONDS
    why = "it did not answer"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ToolError(f"the server stopped with {server.returncode}: {last_line(log)}")
        try:
            client.ask("GET", "/readyz")
            return
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or why
        except ToolError as error:
            why = str(error)
        time.sleep(0.2)
    raise ToolError(f"the server was not ready after {START_SECONDS:.0f} s ({why}); see {log}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, and make it stop if it does not."""
    if server.poll() is not None:
        return
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def last_line(log: Path) -> str:
    """The last line of the log that says something."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
