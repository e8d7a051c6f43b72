"""The embedded service: a supervisor with a web process and a worker as its children.

    supervisor --starts, restarts--> gunicorn (REST)      reads and writes the database
               --starts, restarts--> worker (Celery, torch)
               --every second------> sends messages for shards that are due

The supervisor holds no state: kill any of the three, or all, and the database says
what is left to do.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FrameType

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from annotations.errors import OptionError, ToolError
from app.analysis_leases import due_analyses, fail_exhausted_analyses
from app.broker import make_producer, publish, publish_analysis
from app.config import PREFIX, Settings
from app.database import make_engine, transaction, upgrade
from app.dispatch import due, fail_exhausted, live_workers, release
from workers.celery_app import worker_name
from workers.commands.places import as_variable
from workers.startup import check_installation, clear_scratch, clear_uploads, only_server

CODE = Path(__file__).resolve().parents[1]
"""Folder of the packages that the children import."""

TICK_SECONDS = 0.2
"""How often the children are looked after."""

DISPATCH_SECONDS = 1.0
"""How often shards that are due get a message."""

READY_SECONDS = 180.0
"""How long the web process may take to answer for the first time."""

STOP_SECONDS = 20.0
"""How long a child may take to stop before it is killed; its shard is then run again."""

WEB_THREADS = 16
"""Requests the web process answers at once."""

_PR_SET_PDEATHSIG = 1


def backoff(failures: int) -> float:
    """Seconds to wait before a child that keeps dying is started again: 0, 1, 2, 4 .. 30."""
    return 0.0 if failures <= 1 else min(30.0, 2.0 ** (failures - 2))


@dataclass
class Child:
    """A process that is started again when it dies."""

    title: str
    """What it is, for messages."""
    command: Callable[[str], Sequence[str]]
    """Its command line, given the name of this life of it."""
    environment: Mapping[str, str]
    """All of its environment."""
    say: Callable[[str], None]
    """Where messages go."""
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    """Name of this life of the process."""
    failures: int = 0
    """Deaths in a row, each soon after its start."""
    started: float = 0.0
    start_at: float = 0.0
    """Not to be started before this time (monotonic)."""

    def start(self) -> None:
        """Start the process; it dies with the supervisor, where the system knows how."""
        self.name = worker_name()
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own command line
            self.command(self.name),
            env=dict(self.environment),
            cwd=CODE,  # gunicorn imports from its folder first: not from the user's
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
            start_new_session=True,  # Ctrl-C goes to the supervisor, which stops the children
        )

    def tend(self) -> str | None:
        """Start the process if it is not running and its time has come.

        Returns
        -------
        name : str or None
            Name of a life that has just ended, so that what it held can be freed.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_at:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            if now - self.started > READY_SECONDS:
                self.failures = 0
            return None
        self.process = None
        self.failures += 1
        wait = backoff(self.failures)
        self.start_at = now + wait
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        after = f" in {wait:g} s" if wait else ""
        self.say(f"the {self.title} {how}; it is started again{after}")
        return self.name

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait_or_kill(self, deadline: float) -> bool:
        """Wait until a time (monotonic) for the process to end, then kill it.

        Returns
        -------
        ended : bool
            Whether it ended by itself.
        """
        if self.process is None:
            return True
        try:
            self.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


@dataclass
class Dispatcher:
    """Sends messages for work that is due, and fails what was tried too often."""

    settings: Settings
    engine: Engine
    producer: Celery
    say: Callable[[str], None]
    next_at: float = 0.0
    broken: bool = field(default=False)
    """Whether the last round failed; said once, not every second."""

    def tick(self) -> None:
        """One round, if a second has passed since the last."""
        now = time.monotonic()
        if now < self.next_at:
            return
        self.next_at = now + DISPATCH_SECONDS
        try:
            self.dispatch()
        except (SQLAlchemyError, BrokerError, OSError) as error:
            if not self.broken:
                self.say(f"cannot send work to the worker, trying again: {type(error).__name__}")
            self.broken = True
        else:
            self.broken = False

    def dispatch(self) -> int:
        """Send the messages that are due now; returns how many."""
        with transaction(self.engine) as session:
            fail_exhausted(session, self.settings)
            fail_exhausted_analyses(session, self.settings)
            ready = due(session, self.settings)
            alive = len(live_workers(session, self.settings))
            asked = due_analyses(session, self.settings, alive=alive)
        for item in ready:
            publish(self.producer, item.shard_id, queue=item.queue)
        for question in asked:
            publish_analysis(self.producer, question.analysis_id, queue=question.queue)
        return len(ready) + len(asked)


def run_service(settings: Settings, *, say: Callable[[str], None]) -> int:
    """Run the service until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : Settings
        The installation; port 0 picks a free one.
    say : callable
        Told, line by line, what the operator should know.

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
        If another server uses the data folder, or the database is of a newer version.
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
            upgrade(engine)
            return _supervise(settings, engine, say)
        finally:
            engine.dispose()


def _supervise(settings: Settings, engine: Engine, say: Callable[[str], None]) -> int:
    """Run the children until told to stop; returns the exit code."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, _setter(stop)) for number in (signal.SIGTERM, signal.SIGINT)
    }
    environment = child_environment(settings)
    web = Child("web process", lambda name: web_command(settings), environment, say)
    worker = Child("worker", worker_command, environment, say)

    def bury(name: str, *, stopped: bool) -> None:
        """Free what a worker held that is no more."""
        try:
            with transaction(engine) as session:
                release(session, name, stopped=stopped)
                living = live_workers(session, settings)
        except SQLAlchemyError as error:
            # its leases end by themselves, only later
            say(f"cannot free the work of a worker that ended: {type(error).__name__}")
            return
        clear_scratch(settings, living=living)

    try:
        worker.start()
        web.start()
        _wait_until_ready(web, settings, stop)
        if not stop.is_set():
            say(where_it_is(settings))
        dispatcher = Dispatcher(settings, engine, make_producer(settings), say)
        while not stop.wait(TICK_SECONDS):
            web.tend()
            ended = worker.tend()
            if ended is not None:
                bury(ended, stopped=False)
            dispatcher.tick()
        say("stopping")
    finally:
        clean = stop_children((web, worker))
        if worker.name:
            bury(worker.name, stopped=True)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if clean else 1


def stop_children(children: Sequence[Child]) -> bool:
    """Stop processes together, killing what does not end in time; whether none was killed."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + STOP_SECONDS
    ended = [child.wait_or_kill(deadline) for child in children]
    return all(ended)


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
    reach = "this machine only" if settings.is_loopback else "WHOEVER REACHES THIS NETWORK ADDRESS"
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
        "app.factory:create_app()",
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


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """A signal handler that sets an event."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    return handle


def _die_with_parent() -> None:
    """In a new child: ask Linux for SIGTERM when the supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
