"""The embedded server as a child process, for programs that bring their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from annotations.errors import ToolError
from app.client import Client, ClientError

START_SECONDS = 120.0
"""Longest wait for the server and its worker to be ready."""

STOP_SECONDS = 60.0
"""Longest wait for the server to stop once it is asked to."""


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
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(Client(url, retries=0), server, log)
            yield Client(url)
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
            client.get("/readyz")
            return
        except ClientError as error:
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
