"""Deployments under test: the embedded server, and the scaled-out form on real servers.

Processes are those of the `saetrack` command, with gates in the workers (`tests.faults.gates`).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.auth import LOCAL_OWNER
from app.broker import make_producer, publish, queue_name
from app.config import Settings
from app.database import make_engine, reading, transaction
from app.dispatch import live_workers
from app.leftovers import find_leftovers
from app.models import Computation, Run, Shard
from app.storage import Storage, manifest_from_json, open_storage
from app.tokens import create_token
from tests.faults.gates import FOLDER_VARIABLE, Gates
from tests.servers import ObjectStore, Postgres, Redis, free_port
from workers.serve import child_environment

ROOT = Path(__file__).resolve().parents[2]

ACTIVE = ("QUEUED", "INITIALIZING", "RUNNING")

SETTINGS: dict[str, Any] = {
    "shard_bases": 1000,
    "lease_seconds": 6.0,
    "republish_seconds": 3.0,
    "worker_seconds": 20.0,
    "min_free_bytes": 0,
    "device": "cpu",
}
"""Shards of less than a second, and waits that a test can sit out."""

DISK_BYTES = 64 << 20
"""Of the file system of `SmallDisk`."""


class Process:
    """A `saetrack` command."""

    def __init__(self, deployment: "Deployment", *words: str, gated: bool, **extra: str) -> None:
        module = "tests.faults.gates" if gated else "workers.cli"
        log = (deployment.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**deployment.environment, **extra},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        log.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def descendants(self) -> list[int]:
        """Ids of its children and theirs."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(FileNotFoundError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found += map(int, children)
        return found[1:]

    def child(self, word: str) -> int | None:
        """The first descendant that has a word on its command line."""
        for pid in self.descendants():
            with contextlib.suppress(FileNotFoundError):
                if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def kill_all(self) -> None:
        """SIGKILL to it and everything below it, at once."""
        every = [self.process.pid, *self.descendants()]
        for pid in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class Deployment:
    """What both forms have in common; `serve` and `workers` are the processes."""

    kind = ""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.models = models
        self.gates = Gates(folder / "gates")
        self.servers_start()
        self.settings = self.make_settings(folder / "data")
        self.settings.make_folders()
        self.environment = {
            **os.environ,
            **self.server_variables(),
            **{
                name: value
                for name, value in child_environment(self.settings).items()
                if name.startswith("SAETRACK_")
            },
            FOLDER_VARIABLE: str(self.gates.folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        os.environ.update(self.server_variables())
        self.engine: Engine = make_engine(self.settings)
        self.storage: Storage = open_storage(self.settings)
        self.headers: dict[str, str] = {}
        self.prepare()
        self.serve: Process | None = None
        self.workers: list[Process] = []
        self.others: list[Process] = []
        self.ensure()

    # what the forms differ in

    def servers_start(self) -> None:
        """Start what is no process of ours."""

    def servers_stop(self) -> None:
        """Stop it."""

    def server_variables(self) -> dict[str, str]:
        return {}

    def make_settings(self, data: Path) -> Settings:
        raise NotImplementedError

    def prepare(self) -> None:
        """Before the first process."""

    def start(self) -> None:
        raise NotImplementedError

    def ensure(self) -> None:
        """Bring everything up that a cell has brought down."""
        raise NotImplementedError

    def worker_pid(self) -> int:
        raise NotImplementedError

    def set_database_clock(self, seconds: float) -> None:
        """Have the clock of the database's host be so many seconds fast from now on."""
        raise NotImplementedError

    # the same for both

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        method: str | None = None,
        *,
        patient: bool = True,
    ) -> Any:
        """One request; waits until the server is there, and, if patient, while it answers 503."""
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{self.settings.port}{path}",
                    data=body,
                    method=method,
                    headers=self.headers | ({"Content-Type": "text/x-fasta"} if body else {}),
                )
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or not patient or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def submit(self, sequence: bytes, *, patient: bool = True) -> str:
        """Submit; returns the run's id."""
        answer = self.ask("/v1/runs", b">one\n" + sequence + b"\n", patient=patient)
        return str(answer["id"])

    def wait_until(self, wanted: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            if time.monotonic() > deadline:
                log = (self.folder / "log").read_text()[-6000:]
                raise AssertionError(f"{what}: not within {seconds} s\n{log}")
            time.sleep(0.05)

    def state(self, run_id: str) -> str:
        with reading(self.engine) as session:
            run = session.get_one(Run, run_id)
            return "CANCELED" if run.canceled_at is not None else run.computation.state

    def computation(self, run_id: str) -> Computation:
        with reading(self.engine) as session:
            return session.get_one(Run, run_id).computation

    def shards(self, run_id: str) -> list[Shard]:
        with reading(self.engine) as session:
            computation = session.get_one(Run, run_id).computation_id
            found = select(Shard).where(Shard.computation_id == computation)
            return list(session.scalars(found.order_by(Shard.position)))

    def has_reported(self, pid: int | None) -> bool:
        """Whether a worker process is warm and has said so."""
        if pid is None:
            return False
        with contextlib.suppress(FileNotFoundError), reading(self.engine) as session:
            words = Path(f"/proc/{pid}/cmdline").read_text()
            return any(each.id in words for each in live_workers(session, self.settings))
        return False

    def finish(self, run_id: str, seconds: float = 90.0) -> str:
        """Wait for the end of a run; returns its state."""
        self.wait_until(lambda: self.state(run_id) not in ACTIVE, seconds, "the end of the run")
        return self.state(run_id)

    def publish(self, shard_id: int, queue: str) -> None:
        """Send a message for a shard."""
        producer = make_producer(self.settings)
        publish(producer, shard_id, queue=queue_name(queue, urgent=True))
        producer.close()

    def keys(self, run_id: str) -> list[str]:
        """Stored files of a run's computation."""
        return list(self.storage.list(self.computation(run_id).prefix))

    def leftovers(self) -> list[str]:
        """Stored files that nothing points to."""
        return find_leftovers(self.engine, self.storage, older_than=0)

    def digests(self, run_id: str) -> dict[str, str]:
        """SHA-256 of the tables of a run, read back through the storage."""
        manifest = manifest_from_json(self.computation(run_id).results or {})
        for file in manifest.values():
            self.storage.local_path(file)
        return {name: file.sha256 for name, file in manifest.items() if name.endswith(".parquet")}

    def delete(self, run_id: str) -> None:
        self.ask(f"/v1/runs/{run_id}", method="DELETE")

    def close(self) -> None:
        """End everything, however it is."""
        self.gates.clear()
        for process in [*self.workers, *self.others, *([self.serve] if self.serve else [])]:
            if process.alive:
                process.kill_all()
        self.engine.dispose()
        self.servers_stop()


class Embedded(Deployment):
    """`saetrack serve` alone: SQLite, messages as files, files in a folder."""

    kind = "embedded"

    def make_settings(self, data: Path) -> Settings:
        return Settings(data_dir=data, models_dirs=(self.models,), port=free_port(), **SETTINGS)

    def ensure(self) -> None:
        if self.serve is None or not self.serve.alive:
            self.serve = Process(self, "serve", gated=True)
        self.ask("/healthz")
        for process in self.others:
            if process.alive:
                process.kill_all()
        self.others.clear()
        self.wait_until(lambda: self.has_reported(self.serve_worker()), 90, "a worker")

    def serve_worker(self) -> int | None:
        return self.serve.child("--name=") if self.serve else None

    def worker_pid(self) -> int:
        pid = self.serve_worker()
        if pid is None:
            raise AssertionError("there is no worker")
        return pid

    def add_worker(self) -> None:
        """One more worker on the same data folder."""
        self.others.append(Process(self, "worker", gated=True))

    def flush_broker(self) -> None:
        for path in (self.settings.broker_dir / "messages").iterdir():
            path.unlink(missing_ok=True)

    def set_database_clock(self, seconds: float) -> None:
        self.gates.set_clock(seconds)


class SmallDisk(Embedded):
    """The embedded form with its data on a file system of its own, which a cell can fill."""

    kind = "small-disk"

    def servers_start(self) -> None:
        self.disk = self.folder / "data"
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "saetrack", self.disk]
        mounted = subprocess.run(mount, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")

    def servers_stop(self) -> None:
        subprocess.run(["umount", "--lazy", self.disk], check=True, capture_output=True)

    def make_settings(self, data: Path) -> Settings:
        return replace(super().make_settings(data), min_free_bytes=DISK_BYTES // 8)

    def fill(self, *, leave: int = 0) -> None:
        """Take all space there is, but for some bytes."""
        ballast = self.disk / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        os.truncate(ballast, max(0, ballast.stat().st_size - leave))

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.disk / "ballast").unlink(missing_ok=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.disk).free


class ScaledOut(Deployment):
    """Redis, PostgreSQL and an object store; a web process, and workers that are tended.

    Whoever asks has a token: where there are tokens, Redis counts requests.
    """

    kind = "scaled-out"

    def servers_start(self) -> None:
        self.redis = Redis(self.folder / "redis")
        self.postgres = Postgres(self.folder / "postgres")
        self.store = ObjectStore(self.folder / "store")
        for server in (self.redis, self.postgres, self.store):
            server.start()
        self.postgres.make_clock("saetrack")

    def servers_stop(self) -> None:
        for server in (self.redis, self.postgres, self.store):
            server.kill()

    def server_variables(self) -> dict[str, str]:
        return self.store.variables

    def make_settings(self, data: Path) -> Settings:
        return Settings(
            data_dir=data,
            models_dirs=(self.models,),
            port=free_port(),
            database_url=self.postgres.url,
            broker_url=self.redis.url,
            storage_url=self.store.url,
            auth="tokens",
            **SETTINGS,
        )

    def prepare(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "workers.cli", "migrate"],
            cwd=ROOT, env=self.environment, check=True, capture_output=True,
        )  # fmt: skip
        with transaction(self.engine) as session:
            word = create_token(session, owner=LOCAL_OWNER).word
        self.headers = {"Authorization": f"Bearer {word}"}

    def ensure(self) -> None:
        for server in (self.redis, self.postgres, self.store):
            if server.process is None:
                server.start()
        self.store.refuse(False)
        if self.serve is None or not self.serve.alive:
            self.serve = Process(self, "serve", "--no-worker", gated=False)
        for process in self.others:
            if process.alive:
                process.kill_all()
        self.others.clear()
        self.workers = [worker for worker in self.workers if worker.alive]
        if not self.workers:
            self.add_worker()
        self.ask("/healthz")
        self.wait_until(lambda: self.has_reported(self.workers[0].child("--name=")), 90, "a worker")

    def add_worker(self, *words: str) -> None:
        """One more worker, tended; with further words for its command line."""
        self.workers.append(Process(self, "worker", *words, gated=True))

    def worker_pid(self) -> int:
        for worker in self.workers:
            pid = worker.child("--name=") if worker.alive else None
            if pid is not None:
                return pid
        raise AssertionError("there is no worker")

    def flush_broker(self) -> None:
        self.redis.flush()

    def set_database_clock(self, seconds: float) -> None:
        self.postgres.set_clock(seconds)


@contextlib.contextmanager
def deployed(kind: str, folder: Path, models: Path) -> Iterator[Any]:
    """A deployment that is gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    form = {"embedded": Embedded, "scaled-out": ScaledOut, "small-disk": SmallDisk}[kind]
    deployment = form(folder, models)
    try:
        yield deployment
    finally:
        deployment.close()
