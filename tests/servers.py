"""Real Redis, PostgreSQL and S3 servers for tests: each on a free port, in a folder of its own.

Redis and PostgreSQL are programs of the system (`scripts/install_servers.sh`); the S3 server is
moto, which keeps its objects in memory. All die with the test process, however it ends.
"""

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

READY_SECONDS = 30.0
"""How long a server may take to answer."""

POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", ".venv/servers/usr/lib/postgresql/*/bin")
"""Where Debian's packages put PostgreSQL, installed or unpacked."""

ACCOUNT = 65534
"""User id of `nobody`: PostgreSQL does not run as root."""

ROOT = Path(__file__).resolve().parents[1]

LIBRARIES = sorted((ROOT / ".venv" / "servers" / "usr" / "lib").glob("*-linux-gnu"))
"""Folders of libraries of unpacked packages."""


def require(program: str) -> str:
    """Path of a server program; without it the test is skipped, in CI it fails."""
    found = shutil.which(program)
    if found is None:
        for pattern in (*POSTGRES_FOLDERS, ".venv/servers/usr/bin"):
            base = Path("/") if pattern.startswith("/") else ROOT
            paths = sorted(base.glob(f"{pattern.lstrip('/')}/{program}"))
            found = str(paths[-1]) if paths else found
    if found is None:
        said = f"{program} is not installed: bash scripts/install_servers.sh"
        if os.environ.get("CI_REQUIRE_SERVERS") == "1":
            pytest.fail(said)
        pytest.skip(said)
    return found


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _as_nobody() -> None:
    os.setgroups([])
    os.setgid(ACCOUNT)
    os.setuid(ACCOUNT)
    _die_with_parent()


class Server:
    """A server process that can be stopped hard and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Ours; unpacked packages bring libraries that the system does not know."""
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, LIBRARIES))}

    prepare: Callable[[], None] = staticmethod(_die_with_parent)

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=dict(self.environment()),
            preexec_fn=self.prepare,
        )
        log.close()
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command()[0]}: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


class Redis(Server):
    """Redis without persistence: a restart loses every message."""

    def command(self) -> list[str]:
        return [
            require("redis-server"), f"--port {self.port}", "--bind 127.0.0.1", "--save ''",
            "--appendonly no", f"--dir {self.folder}", "--daemonize no",
        ]  # fmt: skip

    def start(self) -> None:
        # redis reads options as two words each
        self._words = [word for text in self.command()[1:] for word in text.split(" ", 1)]
        self._words = ["" if word == "''" else word for word in self._words]
        program = self.command()[0]
        self.command = lambda: [program, *self._words]  # type: ignore[method-assign]
        super().start()

    def answers(self) -> bool:
        return self._listens()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Forget every message."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall(b"FLUSHALL\r\n")
            if link.recv(10) != b"+OK\r\n":
                raise RuntimeError("redis did not flush")


class Postgres(Server):
    """PostgreSQL with one database, `saetrack`."""

    def __init__(self, folder: Path) -> None:
        self.root = os.getuid() == 0
        if self.root:
            # pytest's folders are closed to others, by each pytest that starts on the machine
            folder = Path(tempfile.mkdtemp(prefix="saetrack-postgres-"))
            os.chown(folder, ACCOUNT, ACCOUNT)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        super().__init__(folder)
        self.data = folder / "data"
        self.prepare = _as_nobody if self.root else _die_with_parent

    def command(self) -> list[str]:
        return [
            require("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1",
            "-k", str(self.folder), "-c", "fsync=off", "-c", "max_connections=200",
        ]  # fmt: skip

    def start(self) -> None:
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            if self.root:
                os.chown(self.data, ACCOUNT, ACCOUNT)
            subprocess.run(
                [require("initdb"), "-D", str(self.data), "-U", "saetrack", "--auth=trust",
                 "--no-sync", "--encoding=UTF8", "--locale=C"],
                check=True, capture_output=True, preexec_fn=self.prepare, cwd="/",
                env=dict(self.environment()),
            )  # fmt: skip
        super().start()
        self.create("saetrack")

    def create(self, name: str) -> str:
        """Make an empty database if there is none of the name; returns its URL."""
        import pg8000.dbapi

        with pg8000.dbapi.connect("saetrack", "127.0.0.1", "postgres", self.port) as link:
            link.autocommit = True
            cursor = link.cursor()
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchall():
                cursor.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://saetrack@127.0.0.1:{self.port}/{name}"

    def make_clock(self, name: str) -> None:
        """Have the connections of a database ask a clock that `set_clock` sets.

        A function of the same name in a schema that is searched before the system's own stands
        for a host whose clock was set.
        """
        self._execute(
            name,
            "CREATE SCHEMA IF NOT EXISTS stepped",
            "CREATE TABLE IF NOT EXISTS stepped.clock (seconds double precision)",
            "INSERT INTO stepped.clock VALUES (0)",
            "CREATE OR REPLACE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "VOLATILE AS 'SELECT pg_catalog.clock_timestamp() "
            "+ make_interval(secs => (SELECT max(seconds) FROM stepped.clock))'",
            f'ALTER DATABASE "{name}" SET search_path = public, stepped, pg_catalog',
        )

    def set_clock(self, seconds: float, name: str = "saetrack") -> None:
        """Have the clock of a database be so many seconds fast from now on."""
        statement = f"UPDATE stepped.clock SET seconds = {float(seconds)}"  # noqa: S608 - a number
        self._execute(name, statement)

    def _execute(self, name: str, *statements: str) -> None:
        import pg8000.dbapi

        with pg8000.dbapi.connect("saetrack", "127.0.0.1", name, self.port) as link:
            link.autocommit = True
            cursor = link.cursor()
            for statement in statements:
                cursor.execute(statement)

    def kill(self) -> None:
        """Stop at once, without a checkpoint; children of a killed server would linger."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def answers(self) -> bool:
        import pg8000.dbapi
        from pg8000.exceptions import DatabaseError, InterfaceError

        try:
            pg8000.dbapi.connect("saetrack", "127.0.0.1", "postgres", self.port).close()
        except (InterfaceError, DatabaseError, OSError):
            return False
        return True

    @property
    def url(self) -> str:
        return f"postgresql://saetrack@127.0.0.1:{self.port}/saetrack"


class ObjectStore(Server):
    """moto's S3, with one bucket, behind a gate that can be shut."""

    BUCKET = "saetrack"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.moto_gate", str(self.port), self.BUCKET]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.variables}

    def answers(self) -> bool:
        return self._listens()

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    @property
    def url(self) -> str:
        return f"s3://{self.BUCKET}/files"

    def refuse(self, refusing: bool) -> None:
        """Answer 503 to every request from now on, or no more."""
        (self.folder / "refusing").unlink(missing_ok=True)
        if refusing:
            (self.folder / "refusing").touch()
