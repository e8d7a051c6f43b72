"""The web process that `saetrack serve` starts, for tests of what a test client cannot show."""

import http.client
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.config import Settings
from workers.serve import child_environment, web_command


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """One answer, on a connection of its own: the server closes idle ones after two seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


@contextmanager
def web_process(settings: Settings, log: Path, variables: Mapping[str, str] = {}) -> Iterator[int]:
    """The web process, once it answers; yields its process id."""
    environment = child_environment(settings) | dict(variables)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            web_command(settings), env=environment, stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                ask(settings.port, "/healthz")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
