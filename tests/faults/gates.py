"""Gates: moments of a worker's work at which a test stops it, or has something happen to it.

A test arms a moment with an action; the first worker that comes to it does that. The processes
under test are the project's own, but for the calls wrapped here.

    wait    say that the moment is reached, and wait until the gate is opened
    exit    the process ends at once, as when it is killed for its memory
    memory  as if memory ran out, once
    full    the disk is full, once
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTS = ("reading", "encoding", "storing", "finishing", "merging", "poison")
"""As the model reads, in the midst of a shard, before its files are stored, before it is handed
in, in the merge, and at the beginning of the first shard alone."""

CLOCK_VARIABLE = "FAULT_CLOCK"
"""Environment variable: how many seconds the clock of this process is fast."""

STEP_FILE = "clock"
"""File of the folder of the gates: how many seconds the clock of an SQLite database is fast."""

FOLDER_VARIABLE = "FAULT_GATES"
"""Environment variable: the folder of the gates."""

WAIT_SECONDS = 120.0
"""A gate that nobody opens opens by itself, so that no process is left behind."""


class Gates:
    """The gates of one deployment, as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arm(self, moment: str, action: str = "wait", times: int = 1) -> None:
        """Have the next workers that come to a moment do something."""
        self.clear()
        for _ in range(times):
            # a number that no gate had before: one that was opened for the dead stays open
            (self.folder / f"{moment}.{time.monotonic_ns()}.armed").write_text(action)

    def set_clock(self, seconds: float) -> None:
        """Have the clock of an SQLite database be so many seconds fast from now on."""
        part = self.folder / f"{STEP_FILE}.part"
        part.write_text(str(seconds))
        part.rename(self.folder / STEP_FILE)

    def clock(self) -> float:
        """How many seconds the clock of an SQLite database is fast."""
        try:
            return float((self.folder / STEP_FILE).read_text())
        except FileNotFoundError:
            return 0.0

    def clear(self) -> None:
        """Open every gate and forget what was armed."""
        for path in self.folder.glob("*.armed"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("*.reached"):
            path.with_suffix(".open").touch()
            path.unlink(missing_ok=True)

    def reached(self, moment: str, seconds: float = 60.0) -> int:
        """Wait until a worker is at a moment; returns its process id."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for path in self.folder.glob(f"{moment}.*.reached"):
                text = path.read_text()
                if text.isdigit():  # the gate is renamed before the process id is in it
                    return int(text)
            time.sleep(0.02)
        raise AssertionError(f"no worker came to {moment} in {seconds} s")

    def pass_through(self, moment: str) -> None:
        """In a worker: do what is armed for a moment, if anything is."""
        for path in sorted(self.folder.glob(f"{moment}.*.armed")):
            reached = path.with_suffix(".reached")
            try:
                action = path.read_text()
                path.rename(reached)
            except FileNotFoundError:
                continue
            reached.write_text(str(os.getpid()))
            self._act(action, reached.with_suffix(".open"))
            return

    def _act(self, action: str, opened: Path) -> None:
        if action == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "memory":
            raise MemoryError
        if action == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        end = time.monotonic() + WAIT_SECONDS
        while not opened.exists() and time.monotonic() < end:
            time.sleep(0.02)
        opened.unlink(missing_ok=True)


def step_sqlite_clock(gates: Gates) -> None:
    """Have the connections of this process to SQLite ask a clock that the gates can set.

    `app.database.now` asks ``julianday('now')``, which in SQLite is the clock of this process's
    host; one function of SQL stands for a host whose clock was set.
    """
    from app import database

    prepare = database._prepare_sqlite

    def prepared(connection: Any, record: object) -> None:
        prepare(connection, record)
        connection.create_function(
            "julianday", 1, lambda _now: 2440587.5 + (time.time() + gates.clock()) / 86400.0
        )

    database._prepare_sqlite = prepared


def install(gates: Gates) -> None:
    """Wrap the steps of a worker of this process."""
    from workers import registry, tasks

    step_sqlite_clock(gates)

    fast = float(os.environ.get(CLOCK_VARIABLE, "0"))
    if fast:
        real_time = time.time
        time.time = lambda: real_time() + fast  # type: ignore[assignment]

    def before(function: Callable[..., Any], moment: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            gates.pass_through(moment)
            return function(*args, **options)

        return wrapped

    real_encode = tasks.run_shard

    def encode(*args: Any, **options: Any) -> Any:
        """Comes to its moment after the first batch, and again for every later one."""
        on_progress = options["on_progress"]
        if args[1][0].start == 0:
            gates.pass_through("poison")

        def progress(done: int) -> None:
            on_progress(done)
            gates.pass_through("encoding")
            on_progress(done)

        return real_encode(*args, **{**options, "on_progress": progress})

    real_merge = tasks.merge

    def merge(*args: Any, **options: Any) -> Any:
        """Comes to its moment once its first progress is reported."""
        on_progress = options["on_progress"]

        def progress(share: float) -> None:
            on_progress(share)
            gates.pass_through("merging")
            on_progress(share)

        return real_merge(*args, **{**options, "on_progress": progress})

    tasks.run_shard = encode
    tasks.merge = merge
    tasks.finish = before(tasks.finish, "finishing")
    tasks.ShardRunner.store = before(tasks.ShardRunner.store, "storing")  # type: ignore[method-assign]
    registry.Encoder.activations_of = before(  # type: ignore[method-assign]
        registry.Encoder.activations_of, "reading"
    )


def main() -> None:
    """A `saetrack` command with gates: the words after the module's name are its own."""
    install(Gates(Path(os.environ[FOLDER_VARIABLE])))
    from workers import serve
    from workers.cli import main as saetrack

    def gated_command(name: str) -> list[str]:
        return [sys.executable, "-m", "tests.faults.gates", "worker", f"--name={name}"]

    serve.worker_command = gated_command
    saetrack(sys.argv[1:])


if __name__ == "__main__":
    main()
