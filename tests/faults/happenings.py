"""What goes wrong in the cells of the fault matrix: one function for each fault.

Each gets the deployment and the moment, submits the run, has the fault happen, and returns the
run's id, or None where the submission itself is what failed.
"""

import contextlib
import json
import os
import signal
import tempfile
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotations.cards import find_cards
from annotations.options import RunOptions
from app.storage import Storage
from app.submissions import create_run
from tests.faults.deployments import Deployment, Process, ScaledOut
from tests.workers.factories import DICTIONARY_ID

Happening = Callable[[Deployment, str, bytes], str | None]


def _at_gate(here: Deployment, moment: str, sequence: bytes) -> tuple[str, int]:
    """Submit, and wait until a worker is at a moment; the run, and the worker's process."""
    here.gates.arm(moment)
    run_id = here.submit(sequence)
    return run_id, here.gates.reached(moment)


def worker_killed(here: Deployment, moment: str, sequence: bytes) -> str:
    """SIGKILL to the process that works; whoever tends it starts another."""
    run_id, pid = _at_gate(here, moment, sequence)
    os.kill(pid, signal.SIGKILL)
    return run_id


def worker_told_to_stop(here: Deployment, moment: str, sequence: bytes) -> str:
    """SIGTERM to the process that works: it gives its shard back, and no attempt is counted."""
    run_id, pid = _at_gate(here, moment, sequence)
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    here.gates.clear()
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    return run_id


def worker_host_lost(here: ScaledOut, moment: str, sequence: bytes) -> str:
    """A worker and what tends it are gone without a word; another host comes later."""
    run_id, _ = _at_gate(here, moment, sequence)
    for worker in here.workers:
        worker.kill_all()
    here.workers.clear()
    here.add_worker()
    return run_id


def web_killed(here: Deployment, moment: str, sequence: bytes) -> str:
    """SIGKILL to gunicorn and its worker; the supervisor starts another."""
    run_id, _ = _at_gate(here, moment, sequence)
    assert here.serve is not None
    pid = here.serve.child("gunicorn")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    here.gates.clear()
    here.ask(f"/v1/runs/{run_id}")
    return run_id


def service_killed(here: Deployment, moment: str, sequence: bytes) -> str:
    """SIGKILL to the supervisor, the web process and the worker, if it has one."""
    run_id, _ = _at_gate(here, moment, sequence)
    assert here.serve is not None
    here.serve.kill_all()
    here.gates.clear()
    here.ensure()
    return run_id


def broker_flushed(here: Any, moment: str, sequence: bytes) -> str:
    """Every message is gone; the dispatcher sends anew what waits too long."""
    if moment == "queued":
        pid = here.worker_pid()
        os.kill(pid, signal.SIGSTOP)
        run_id = here.submit(sequence)
        here.wait_until(
            lambda: any(shard.published_at for shard in here.shards(run_id)), 30, "a message"
        )
        here.flush_broker()
        os.kill(pid, signal.SIGCONT)
        return str(run_id)
    run_id, _ = _at_gate(here, moment, sequence)
    here.flush_broker()
    here.gates.clear()
    return run_id


def broker_restarted(here: ScaledOut, moment: str, sequence: bytes) -> str:
    """Redis dies, stays away for two seconds, and has forgotten all."""
    if moment == "queued":
        here.redis.kill()
        run_id = here.submit(sequence)
    else:
        run_id, _ = _at_gate(here, moment, sequence)
        here.redis.kill()
    time.sleep(2)
    here.redis.start()
    here.gates.clear()
    return run_id


def message_doubled(here: Any, moment: str, sequence: bytes) -> str:
    """A second worker gets every message that the first one has."""
    here.add_worker()
    run_id, _ = _at_gate(here, moment, sequence)
    queue = here.computation(run_id).queue
    for shard in here.shards(run_id) * 2:
        here.publish(shard.id, queue)
    time.sleep(1)
    here.gates.clear()
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    return str(run_id)


def stale_owner(here: Any, moment: str, sequence: bytes) -> str:
    """A worker stands still past its lease, another does its shard, and then it goes on."""
    run_id, pid = _at_gate(here, moment, sequence)
    os.kill(pid, signal.SIGSTOP)
    here.add_worker()
    here.finish(run_id)
    before = {shard.id: shard.results for shard in here.shards(run_id)}
    here.gates.clear()
    os.kill(pid, signal.SIGCONT)
    time.sleep(2)
    assert {shard.id: shard.results for shard in here.shards(run_id)} == before
    assert sorted(shard.attempts for shard in here.shards(run_id))[-2:] == [1, 2]
    return str(run_id)


def database_restarted(here: ScaledOut, moment: str, sequence: bytes) -> str:
    """PostgreSQL dies and stays away for three seconds: less than a lease."""
    run_id, _ = _at_gate(here, moment, sequence)
    here.postgres.kill()
    here.gates.clear()
    time.sleep(3)
    here.postgres.start()
    return run_id


def storage_refuses(here: ScaledOut, moment: str, sequence: bytes) -> str | None:
    """The object store answers 503 for eight seconds."""
    if moment == "submitting":
        here.store.refuse(True)
        with pytest.raises(urllib.error.HTTPError) as refused:
            here.submit(sequence, patient=False)
        assert refused.value.code == 503
        here.store.refuse(False)
        return None
    run_id, _ = _at_gate(here, moment, sequence)
    here.store.refuse(True)
    here.gates.clear()
    time.sleep(8)
    here.store.refuse(False)
    return run_id


def disk_full(here: Deployment, moment: str, sequence: bytes) -> str:
    """No space left, once: the shard is tried again after a while."""
    here.gates.arm(moment, "full")
    run_id = here.submit(sequence)
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 2
    return run_id


def poison_shard(here: Deployment, moment: str, sequence: bytes) -> str:
    """Whoever works on a shard dies of it, three times."""
    here.gates.arm("merging" if moment == "merging" else "poison", "exit", times=3)
    run_id = here.submit(sequence)
    here.finish(run_id, 150)
    error = here.computation(run_id).error_message or ""
    named = "the merge was" if moment == "merging" else "shard 0 (contig 1, bases 1-896) was"
    assert f"{named} given up after 3 attempts" in error, error
    return run_id


def cancel(here: Deployment, moment: str, sequence: bytes) -> str:
    """The owner cancels; who is at work notices at its next renewal."""
    if moment == "queued":
        pid = here.worker_pid()
        os.kill(pid, signal.SIGSTOP)
        run_id = here.submit(sequence)
        here.ask(f"/v1/runs/{run_id}/cancel", method="POST")
        os.kill(pid, signal.SIGCONT)
        return run_id
    run_id, _ = _at_gate(here, moment, sequence)
    here.ask(f"/v1/runs/{run_id}/cancel", method="POST")
    # a lease of six seconds is renewed every two
    time.sleep(3)
    here.gates.clear()
    time.sleep(1)
    assert here.computation(run_id).results is None
    return run_id


def delete(here: Deployment, moment: str, sequence: bytes) -> None:
    """The owner deletes the run that is at work."""
    run_id, _ = _at_gate(here, moment, sequence)
    here.delete(run_id)
    time.sleep(3)
    here.gates.clear()


def clock_step(here: Any, moment: str, sequence: bytes) -> str:
    """A worker's clock is an hour fast: leases go by the database's."""
    run_id, _ = _at_gate(here, moment, sequence)
    words = ["worker", "--name=hasty"]
    here.others.append(Process(here, *words, gated=True, FAULT_CLOCK="3600"))
    time.sleep(8)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    here.gates.clear()
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    return str(run_id)


STEP_SECONDS = 3600.0
"""How far the clock of the database's host is set."""


def database_clock_forward(here: Any, moment: str, sequence: bytes) -> str:
    """The clock of the database's host is set an hour ahead: every lease looks over at once."""
    return _database_clock(here, moment, sequence, STEP_SECONDS)


def database_clock_back(here: Any, moment: str, sequence: bytes) -> str:
    """It is set an hour back: leases and messages look an hour younger than they are."""
    return _database_clock(here, moment, sequence, -STEP_SECONDS)


def _database_clock(here: Any, moment: str, sequence: bytes, step: float) -> str:
    """The clock steps while a worker is at work and another is idle, and steps back later.

    At worst a shard is done twice, and one of its results is dropped.
    """
    run_id = ""
    try:
        if moment == "queued":
            # its message is lost, and by the new clock it was sent in an hour
            pid = here.worker_pid()
            os.kill(pid, signal.SIGSTOP)
            run_id = here.submit(sequence)
            here.wait_until(
                lambda: any(shard.published_at for shard in here.shards(run_id)), 30, "a message"
            )
            here.flush_broker()
            here.set_database_clock(step)
            os.kill(pid, signal.SIGCONT)
        else:
            here.add_worker()
            run_id, pid = _at_gate(here, moment, sequence)
            here.set_database_clock(step)
            if step < 0 and moment == "finishing":
                # who holds the shard dies with its host: by the new clock its lease has an hour
                os.kill(pid, signal.SIGSTOP)
            time.sleep(8)
            here.gates.clear()
        assert here.finish(run_id) == "COMPLETE"
        if moment != "queued":
            os.kill(pid, signal.SIGCONT)
            time.sleep(1)
    finally:
        here.set_database_clock(0.0)
    assert max(shard.attempts for shard in here.shards(run_id)) <= 2
    return str(run_id)


def disk_filled(here: Any, moment: str, sequence: bytes) -> str | None:
    """The disk of the data folder is full in earnest, and has space again later."""
    try:
        if moment in {"submitting", "uploading"}:
            here.fill(leave=0 if moment == "submitting" else 2 << 20)
            sent = sequence if moment == "submitting" else sequence * 2000
            before = sorted(path.name for path in here.settings.upload_dir.iterdir())
            with pytest.raises(urllib.error.HTTPError) as refused:
                here.submit(sent)
            assert refused.value.code == 507, refused.value.read()
            body = json.loads(refused.value.read())
            assert body["detail"] == "the server's disk is full; nothing was stored"
            assert sorted(path.name for path in here.settings.upload_dir.iterdir()) == before
            assert here.leftovers() == []
            _is_not_ready(here)
            return None
        run_id, _ = _at_gate(here, moment, sequence)
        here.fill()
        here.gates.clear()
        _is_not_ready(here)
        # the worker says why, in the database or, where that is full too, in its log
        here.wait_until(
            lambda: (
                "No space left on device" in (here.folder / "log").read_text()
                or "disk is full" in (here.folder / "log").read_text()
            ),
            30,
            "a word of the full disk",
        )
        time.sleep(2)
        assert here.state(run_id) != "COMPLETE"
    finally:
        here.empty()
    if here.finish(run_id) == "SYSTEM_ERROR":
        assert "No space left on device" in (here.computation(run_id).error_message or "")
        # an equal submission goes on where it ended
        run_id = here.submit(sequence)
        assert here.finish(run_id) == "COMPLETE"
    return str(run_id)


def _is_not_ready(here: Any) -> None:
    """`/readyz` says that space is short."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        here.ask("/readyz", patient=False)
    assert refused.value.code == 503
    assert "free" in refused.value.read().decode()


def memory_short(here: Deployment, moment: str, sequence: bytes) -> str:
    """Memory runs out in a batch: the batch is halved, and nothing else changes."""
    here.gates.arm(moment, "memory")
    run_id = here.submit(sequence)
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    return run_id


class _Killed(BaseException):
    """Stands for a process that is killed: nothing is cleaned up."""


class _Deadly:
    """A storage that takes a file and then has its process killed; it deletes nothing."""

    def __init__(self, real: Storage) -> None:
        self._real = real

    def put_file(self, key: str, source: Path) -> None:
        self._real.put_file(key, source)
        raise _Killed

    def delete_prefix(self, prefix: str) -> None:
        """A dead process deletes nothing."""


def killed_before_insert(here: Deployment, moment: str, sequence: bytes) -> None:
    """A web process dies between the stored input and the row of its run: `gc` cleans up."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Killed):
        path = Path(folder) / "x.fa"
        path.write_bytes(b">one\n" + sequence + b"\n")
        create_run(
            here.engine,
            _Deadly(here.storage),  # type: ignore[arg-type]
            find_cards(here.settings.model_roots),
            sequences=path,
            options=RunOptions(dictionary=DICTIONARY_ID),
            owner="local",
            settings=here.settings,
        )
    keys = here.leftovers()
    assert [key.rpartition("/")[2] for key in keys] == ["sequences.fa"]
    command = Process(here, "gc", "--older-than=0", "--force", gated=False)
    assert command.process.wait(60) == 0


def two_dispatchers(here: ScaledOut, moment: str, sequence: bytes) -> str:
    """Two servers dispatch; the one whose turn it is dies, and the other takes over."""
    from tests.servers import free_port

    other = Process(
        here, "serve", "--no-worker", gated=False,
        SAETRACK_PORT=str(free_port()), SAETRACK_DATA_DIR=str(here.folder / "second"),
    )  # fmt: skip
    here.others.append(other)
    here.wait_until(lambda: other.child("gunicorn") is not None, 60, "the second server")
    if moment == "queued":
        run_id = here.submit(sequence)
    else:
        run_id, _ = _at_gate(here, moment, sequence)
    assert here.serve is not None
    here.serve.kill_all()
    here.gates.clear()
    here.finish(run_id)
    assert max(shard.attempts for shard in here.shards(run_id)) == 1
    here.ensure()
    return run_id
