"""The service: a supervisor with a web process and, unless workers are elsewhere, a worker.

    supervisor --starts, restarts--> gunicorn (REST)      reads and writes the database
               --starts, restarts--> worker (Celery, torch)
               --every second------> sends messages for shards that are due, if no other does

The supervisor holds no state: kill any of the three, or all, and the database says
what is left to do.
"""

import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from annotations.errors import OptionError, ToolError
from app.broker import make_producer
from app.config import PREFIX, Settings
from app.database import check_schema, make_engine, transaction, upgrade
from app.dispatch import live_workers, release
from workers.celery_app import served_dictionaries, worker_name
from workers.children import Child, stop_children, told_to_stop
from workers.commands.places import as_variable
from workers.dispatcher import Dispatcher
from workers.startup import check_installation, clear_scratch, clear_uploads, only_server

TICK_SECONDS = 0.2
"""How often the children are looked after."""

READY_SECONDS = 180.0
"""How long the web process may take to answer for the first time."""

WEB_THREADS = 16
"""Requests the web process answers at once."""


def run_service(settings: Settings, *, say: Callable[[str], None], with_worker: bool = True) -> int:
    """Run the service until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : Settings
        The installation; port 0 picks a free one.
    say : callable
        Told, line by line, what the operator should know.
    with_worker : bool
        Whether to run a worker too, or leave the work to `tend_worker` elsewhere.

    Returns
    -------
    code : int
        0 after a clean stop, 1 if a child had to be killed.

    Raises
    ------
    OptionError
        If the port is taken, the address is not this machine's, the data folder cannot be
        written, or a models folder or the device is not there.
    StateError
        If another server uses the data folder, or the database is of a newer version, or, on
        PostgreSQL, of an older one.
    ToolError
        If the web process does not start.
    """
    settings = replace(settings, port=free_port(settings.host, settings.port))
    settings.make_folders()
    with only_server(settings):
        check_installation(settings)
        clear_uploads(settings)
        engine = make_engine(settings)
        try:
            if engine.dialect.name == "sqlite":
                upgrade(engine)
            else:
                # others may be at work on it: that is for the operator to say
                check_schema(engine)
            with told_to_stop() as stop:
                return _supervise(settings, engine, say, stop, with_worker=with_worker)
        finally:
            engine.dispose()


def _supervise(
    settings: Settings,
    engine: Engine,
    say: Callable[[str], None],
    stop: threading.Event,
    *,
    with_worker: bool,
) -> int:
    """Run the children until told to stop; returns the exit code."""
    environment = child_environment(settings)
    web = Child("web process", lambda name: web_command(settings), environment, say)
    worker = Child("worker", worker_command, environment, say)
    children = (worker, web) if with_worker else (web,)
    graves = Graves(settings, engine, say)
    dispatcher = Dispatcher(settings, engine, make_producer(settings), say, owner=worker_name())
    try:
        for child in children:
            child.start()
        _wait_until_ready(web, settings, stop)
        if not stop.is_set():
            say(where_it_is(settings))
        while not stop.wait(TICK_SECONDS):
            for child in children:
                ended = child.tend()
                graves.bury(ended if child is worker else None)
            dispatcher.tick()
        say("stopping")
    finally:
        clean = stop_children(children)
        dispatcher.leave()
        graves.bury(worker.name or None, stopped=True)
    return 0 if clean else 1


def tend_worker(
    settings: Settings,
    *,
    models: Sequence[str] = (),
    threads: int | None = None,
    say: Callable[[str], None],
) -> int:
    """Run a worker, again whenever it dies, until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : Settings
        The installation.
    models : sequence of str
        Ids of the models to serve; by default all that are installed.
    threads : int, optional
        CPU threads of the model.
    say : callable
        Told, line by line, what the operator should know.

    Returns
    -------
    code : int
        0 after a clean stop, 1 if the worker had to be killed.

    Raises
    ------
    OptionError
        If the data folder cannot be written, or a models folder or the device is not there.
    StateError
        If the database's schema is not this version's.
    UnknownNameError
        If a model is not installed.
    """
    settings.make_folders()
    served_dictionaries(check_installation(settings), models)
    engine = make_engine(settings)
    options = [f"--model={model}" for model in models]
    options += [] if threads is None else [f"--threads={threads}"]
    worker = Child(
        "worker",
        lambda name: [*worker_command(name), *options],
        child_environment(settings),
        say,
    )
    graves = Graves(settings, engine, say)
    clean = True
    try:
        check_schema(engine)
        with told_to_stop() as stop:
            while True:
                graves.bury(worker.tend())
                if stop.wait(TICK_SECONDS):
                    break
            clean = stop_children([worker])
            graves.bury(worker.name or None, stopped=True)
    finally:
        engine.dispose()
    return 0 if clean else 1


@dataclass
class Graves:
    """Frees what workers held that are no more."""

    settings: Settings
    engine: Engine
    say: Callable[[str], None]
    waiting: list[str] = field(default_factory=list)
    """Names of the dead whose work could not be freed yet."""

    def bury(self, name: str | None, *, stopped: bool = False) -> None:
        """Free the work of a worker, and of those before that the database was away for.

        Parameters
        ----------
        name : str or None
            Name of a life that has ended; None for the others only.
        stopped : bool
            Whether it was told to stop.
        """
        self.waiting += [] if name is None else [name]
        if not self.waiting:
            return
        try:
            with transaction(self.engine) as session:
                for dead in self.waiting:
                    release(session, dead, stopped=stopped)
                living = [worker.id for worker in live_workers(session, self.settings)]
        except SQLAlchemyError as error:
            # until then the leases may end by themselves
            if name is not None:
                self.say(f"cannot free the work of a worker that ended: {type(error).__name__}")
            return
        self.waiting.clear()
        clear_scratch(self.settings, living=living)


def free_port(host: str, port: int) -> int:
    """The port to listen on, after a check that it is free.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        Port; 0 for any that is free.

    Returns
    -------
    port : int
        A port that was free just now.

    Raises
    ------
    OptionError
        If the port is taken or not allowed, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OptionError(
                f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}; "
                "stop the program that uses it, or choose another port with --port"
            ) from error
        return int(probe.getsockname()[1])


def where_it_is(settings: Settings) -> str:
    """The line that says where the service is and who reaches it."""
    if settings.is_loopback:
        reach = "this machine only"
    elif settings.has_tokens:
        reach = "whoever has a token; put TLS in front of it"
    else:
        reach = "WHOEVER REACHES THIS NETWORK ADDRESS"
    return f"saetrack is at {address(settings)} ({reach}); Ctrl-C stops it"


def address(settings: Settings) -> str:
    """URL of the service."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of the children: ours, with every setting spelled out."""
    values = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    for item in fields(settings):
        values[PREFIX + item.name.upper()] = as_variable(getattr(settings, item.name))
    return values


def web_command(settings: Settings) -> list[str]:
    """Command line of the web process."""
    return [
        sys.executable,
        "-P",
        "-m",
        "gunicorn",
        "app.factory:serve_app()",
        f"--bind={address(settings).removeprefix('http://')}",
        "--worker-class=gthread",
        "--workers=1",
        f"--threads={WEB_THREADS}",
        "--timeout=120",
        "--graceful-timeout=5",
        "--log-level=warning",
        "--no-control-socket",  # it would be a file in the home folder
    ]


def worker_command(name: str) -> list[str]:
    """Command line of the worker."""
    return [sys.executable, "-P", "-m", "workers.cli", "worker", f"--name={name}"]


def _wait_until_ready(web: Child, settings: Settings, stop: threading.Event) -> None:
    """Wait for the first answer of the web process."""
    deadline = time.monotonic() + READY_SECONDS
    while not stop.wait(TICK_SECONDS / 2):
        if web.process is not None and web.process.poll() is not None:
            raise ToolError(
                f"the web process did not start (code {web.process.returncode}); "
                "its own message is above"
            )
        try:
            with urllib.request.urlopen(f"{address(settings)}/healthz", timeout=5):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise ToolError(
                    f"the web process does not answer after {READY_SECONDS:g} s: {error}"
                ) from error
