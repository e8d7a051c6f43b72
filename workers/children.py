"""Processes that are started again when they die, and stopped together."""

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from workers.celery_app import worker_name

CODE = Path(__file__).resolve().parents[1]
"""Folder of the packages that the children import."""

STEADY_SECONDS = 30.0
"""A child that has lived for so long has started well."""

STOP_SECONDS = 20.0
"""How long a child may take to stop before it is killed; its shard is then run again."""

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
            return None
        self.process = None
        # one that has lived long, or ended in good order, is no child that cannot start
        steady = code == 0 or now - self.started > STEADY_SECONDS
        self.failures = 1 if steady else self.failures + 1
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


def stop_children(children: Sequence[Child]) -> bool:
    """Stop processes together, killing what does not end in time; whether none was killed."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + STOP_SECONDS
    ended = [child.wait_or_kill(deadline) for child in children]
    return all(ended)


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set while the block runs."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> None:
    """In a new child: ask Linux for SIGTERM when the supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
