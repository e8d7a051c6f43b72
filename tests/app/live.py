"""The test installation as a server that listens, and a stand-in for its worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask
from sqlalchemy import Engine, func, select
from werkzeug.serving import WSGIRequestHandler, make_server

from app.config import Settings
from app.database import reading
from app.models import Shard
from app.storage import LocalStorage
from tests.app.conftest import complete


class Quiet(WSGIRequestHandler):
    """Says nothing."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Drop a line of the log."""


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Address of an application that listens while the body runs."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def working(
    engine: Engine, storage: LocalStorage, settings: Settings, folder: Path
) -> Iterator[None]:
    """Complete the first run that is submitted, with the results made by hand."""
    leave = threading.Event()

    def work() -> None:
        while not leave.wait(0.05):
            with reading(engine) as session:
                waiting = session.scalar(select(func.count()).select_from(Shard))
            if waiting:
                complete(engine, storage, settings, folder)
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()
