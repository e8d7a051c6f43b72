"""The supervisor: its parts alone, and the whole service with a worker killed in mid-run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from celery.worker import state as celery_state
from sqlalchemy import select

from annotations.cards import find_cards
from annotations.errors import OptionError, UnknownNameError
from app.config import Settings
from app.database import make_engine, reading, upgrade
from app.models import Shard
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers.celery_app import run_worker, served_dictionaries, stopping
from workers.children import Child, backoff, stop_children
from workers.serve import (
    address,
    child_environment,
    free_port,
    web_command,
    where_it_is,
    worker_command,
)

ACTIVE = ("QUEUED", "INITIALIZING", "RUNNING")
ROOT = Path(__file__).resolve().parents[2]


def test_a_busy_port_is_refused_with_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=rf"port {port}: .*in use; .*--port"):
            free_port("127.0.0.1", port)


def test_port_0_picks_one():
    assert free_port("127.0.0.1", 0) > 1023


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OptionError, match=r"cannot listen on 192\.0\.2\.1"):
        free_port("192.0.2.1", 0)


def test_waits_grow_and_end_at_half_a_minute():
    assert [backoff(n) for n in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_children_get_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SAETRACK_DEBUG", "1")
    settings = Settings(
        data_dir=tmp_path, port=4321, lease_seconds=1.5, models_dirs=(tmp_path / "a", tmp_path)
    )
    assert Settings.from_env(child_environment(settings)) == settings


def test_who_reaches_the_service_is_said(tmp_path):
    assert "this machine only" in where_it_is(Settings(data_dir=tmp_path))
    open_to_all = Settings(data_dir=tmp_path, host="0.0.0.0", trust_network=True)  # noqa: S104
    assert "WHOEVER" in where_it_is(open_to_all)
    assert address(Settings(data_dir=tmp_path, host="::1", port=1)) == "http://[::1]:1"


def sleeper(said):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    return Child("worker", lambda name: command, dict(os.environ), said.append)


def test_a_child_that_dies_is_started_again_and_its_name_is_told():
    said = []
    child = sleeper(said)
    try:
        assert child.tend() is None
        first, name = child.process, child.name
        first.kill()
        first.wait()
        assert child.tend() == name
        assert said == ["the worker was killed by signal 9; it is started again"]
        assert child.tend() is None
        assert child.process.pid != first.pid
        assert child.name != name
        child.process.kill()
        child.process.wait()
        child.tend()
        assert said[-1].endswith("started again in 1 s")
        child.tend()
        assert child.process is None
    finally:
        stop_children([child])


def test_children_stop_when_asked(monkeypatch):
    child = sleeper([])
    child.start()
    assert stop_children([child])
    assert child.process.returncode == -signal.SIGTERM


def test_a_child_that_does_not_listen_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr("workers.children.STOP_SECONDS", 0.2)
    ready = tmp_path / "ready"
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    child = Child("worker", lambda name: [sys.executable, "-c", code], dict(os.environ), print)
    child.start()
    while not ready.exists():
        time.sleep(0.02)
    assert not stop_children([child])
    assert child.process.returncode == -signal.SIGKILL


def test_children_import_our_code_and_not_what_lies_in_the_users_folder(tmp_path, monkeypatch):
    """Gunicorn puts its working folder first among those it imports from."""
    for name in ("app", "workers", "celery"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    engine = make_engine(settings)
    upgrade(engine)
    engine.dispose()
    environment = child_environment(settings)
    for command in ([*web_command(settings), "--check-config"], [*worker_command("x"), "--help"]):
        child = Child("it", lambda _, line=command: line, environment, print)
        child.start()
        assert child.process is not None
        assert child.process.wait(60) == 0, command


def test_celerys_exit_code_0_means_stop(monkeypatch):
    assert not stopping()
    monkeypatch.setattr(celery_state, "should_stop", 0)
    assert stopping()


def test_a_workers_name_must_be_one_of_a_folder(tmp_path):
    with pytest.raises(OptionError, match=r"a worker's name is .*got '\.\./x'"):
        run_worker(Settings(data_dir=tmp_path), name="../x")


class Service:
    """A real `saetrack serve` in a temporary folder."""

    def __init__(self, folder, **environment):
        self.port = free_port("127.0.0.1", 0)
        self.log = (folder / "serve.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "serve", f"--port={self.port}"],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("SAETRACK_")},
                "SAETRACK_DATA_DIR": str(folder / "data"),
                "SAETRACK_MODELS_DIRS": str(folder / "models"),
                "SAETRACK_LEASE_SECONDS": "5",
                "SAETRACK_SHARD_BASES": "10000",
                "SAETRACK_MIN_FREE_BYTES": "0",
                "OMP_NUM_THREADS": "1",
                **environment,
            },
            stdout=self.log,
            stderr=self.log,
        )

    def ask(self, path, body=None, content_type="text/x-fasta"):
        """One request; waits for the service to be there."""
        deadline = time.monotonic() + 90
        while True:
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{self.port}{path}",
                    data=body,
                    headers={"Content-Type": content_type} if body else {},
                )
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError:
                raise
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.2)

    def wait_for(self, run_id, wanted, seconds):
        """Ask until the run's answer fits, or fail with the last answer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            view = self.ask(f"/v1/runs/{run_id}")
            if wanted(view):
                return view
            time.sleep(0.1)
        raise AssertionError(f"not reached in {seconds} s: {view}")

    def worker_pid(self):
        """The child of the supervisor that is the worker."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        raise AssertionError("the supervisor has no worker")

    def tree(self):
        """Ids of the supervisor, its children and theirs."""
        found = [self.process.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += map(int, children)
        return found

    def stop(self):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.log.close()
        return code


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stop_is_clean_and_nothing_is_written_outside_the_data_folder(tmp_path):
    make_tiny_models(tmp_path / "models")
    home, run = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    run.mkdir()
    service = Service(tmp_path, HOME=str(home), TMPDIR=str(run), XDG_RUNTIME_DIR=str(run))
    try:
        body = b">one\n" + random_sequence(400_000, 2) + b"\n"
        run_id = service.ask("/v1/runs", body)["id"]
        service.wait_for(run_id, lambda v: v["state"] == "RUNNING" and v["bases_done"] > 0, 120)
        processes = service.tree()
        assert len(processes) >= 4
    finally:
        started = time.monotonic()
        code = service.stop()
    assert time.monotonic() - started < 15
    assert code == 0, (tmp_path / "serve.log").read_text()
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []
    with reading(make_engine(Settings(data_dir=tmp_path / "data"))) as session:
        shards = session.scalars(select(Shard)).all()
    assert {shard.state for shard in shards} <= {"QUEUED", "COMPLETE"}
    assert {shard.attempts for shard in shards if shard.state == "QUEUED"} == {0}
    assert list((tmp_path / "data" / "cache" / "work").iterdir()) == []
    assert list(home.rglob("*")) == []
    assert [path for path in run.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_killed_in_mid_run_comes_back_and_the_run_completes(tmp_path):
    make_tiny_models(tmp_path / "models")
    service = Service(tmp_path)
    try:
        body = b">one\n" + random_sequence(150_000) + b"\n"
        run_id = service.ask("/v1/runs", body)["id"]
        service.wait_for(run_id, lambda v: v["state"] == "RUNNING" and v["bases_done"] > 0, 120)
        killed = service.worker_pid()
        os.kill(killed, signal.SIGKILL)
        view = service.wait_for(run_id, lambda v: v["state"] not in ACTIVE, 300)
        assert view["state"] == "COMPLETE", view
        assert service.worker_pid() != killed
        features = service.ask(f"/v1/runs/{run_id}/features?limit=5")
        assert features["features"]
    finally:
        code = service.stop()
    log = (tmp_path / "serve.log").read_text()
    assert code == 0, log
    assert "the worker was killed by signal 9; it is started again" in log
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_analyses_outlive_a_worker_that_is_killed(tmp_path):
    make_tiny_models(tmp_path / "models")
    service = Service(tmp_path)
    try:
        body = b">one\n" + random_sequence(60_000) + b"\n"
        run_id = service.ask("/v1/runs?taxon=fungi", body)["id"]
        service.wait_for(run_id, lambda v: v["state"] == "COMPLETE", 300)
        question = {"run": run_id, "strand": "+", "tf": "REB1", "sites": 500}
        asked = [
            service.ask(
                f"/v1/features/tiny-tree-64/{feature}/causal-tests",
                json.dumps(question).encode(),
                content_type="application/json",
            )["links"]["self"]
            for feature in range(6)
        ]
        deadline = time.monotonic() + 120
        while all(service.ask(one)["state"] == "QUEUED" for one in asked):
            assert time.monotonic() < deadline
        os.kill(service.worker_pid(), signal.SIGKILL)
        while any(service.ask(one)["state"] in ACTIVE for one in asked):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        views = [service.ask(one) for one in asked]
        assert {view["state"] for view in views} == {"COMPLETE"}, views
        assert [view["result"]["feature"] for view in views] == list(range(6))
        assert {view["result"]["motif_name"] for view in views} == {"REB1"}
        listed = service.ask(f"/v1/runs/{run_id}/analyses")["analyses"]
        assert len(listed) == len(asked)
    finally:
        code = service.stop()
    assert code == 0, (tmp_path / "serve.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_supervisor_takes_its_children_along_and_the_run_goes_on_later(tmp_path):
    make_tiny_models(tmp_path / "models")
    service = Service(tmp_path)
    body = b">one\n" + random_sequence(100_000, 1) + b"\n"
    run_id = service.ask("/v1/runs", body)["id"]
    worker = service.worker_pid()
    service.process.kill()
    service.process.wait()
    service.log.close()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path(f"/proc/{worker}").exists()
    again = Service(tmp_path)
    try:
        view = again.wait_for(run_id, lambda v: v["state"] not in ACTIVE, 300)
        assert view["state"] == "COMPLETE"
    finally:
        assert again.stop() == 0


def test_a_worker_serves_all_models_or_those_it_is_told(tmp_path):
    cards = find_cards([make_tiny_models(tmp_path / "models")])
    assert [card.id for card in served_dictionaries(cards, [])] == [DICTIONARY_ID]
    assert [card.id for card in served_dictionaries(cards, [MODEL_ID])] == [DICTIONARY_ID]
    with pytest.raises(UnknownNameError, match=f"no model 'evo2'.*there are: {MODEL_ID}"):
        served_dictionaries(cards, ["evo2"])
