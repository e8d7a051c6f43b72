"""Time from SIGKILL of a worker to the redelivery of its shard, on Redis and PostgreSQL.

`python -m benchmarks.recovery [--rounds N]` writes results/recovery.tsv: the worker's process
alone is killed (what tends it is there), or its whole host is lost with the default lease and
with one of ten seconds. The time ends when another process has claimed the shard.
"""

import argparse
import csv
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from app.config import Settings
from app.database import reading
from app.dispatch import live_workers
from app.models import Shard
from tests.faults import deployments
from tests.faults.deployments import ScaledOut, deployed
from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence

OUT = Path(__file__).resolve().parent / "results" / "recovery.tsv"


def one_round(here: ScaledOut, *, host: bool) -> float:
    """Seconds from the kill to the second claim."""
    here.gates.arm("encoding")
    run_id = here.submit(random_sequence(3500, 17))
    pid = here.gates.reached("encoding")
    victim = next(worker for worker in here.workers if pid in worker.descendants())
    started = time.monotonic()
    if host:
        victim.kill_all()
    else:
        os.kill(pid, signal.SIGKILL)
    while not claimed_again(here, run_id):
        if time.monotonic() - started > 180:
            raise RuntimeError("the shard was not delivered again")
        time.sleep(0.05)
    seconds = time.monotonic() - started
    here.gates.clear()
    here.finish(run_id)
    here.delete(run_id)
    return seconds


def workers_ready(here: ScaledOut) -> int:
    """Workers that have reported and whose process lives."""
    alive = " ".join(
        Path(f"/proc/{pid}/cmdline").read_text()
        for worker in here.workers
        if worker.alive
        for pid in [worker.child("--name=")]
        if pid is not None
    )
    with reading(here.engine) as session:
        return sum(each.id in alive for each in live_workers(session, here.settings))


def claimed_again(here: ScaledOut, run_id: str) -> bool:
    """Whether a shard of a run is at its second attempt, or beyond."""
    with reading(here.engine) as session:
        return session.scalar(select(Shard.id).where(Shard.attempts > 1).limit(1)) is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    default = Settings(data_dir=Path(tempfile.gettempdir())).lease_seconds
    cases = (("process", default, False), ("host", 10.0, True), ("host", default, True))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        models = make_tiny_models(Path(folder) / "models")
        for what, lease, host in cases:
            deployments.SETTINGS["lease_seconds"] = lease
            with deployed("scaled-out", Path(folder) / f"{what}{lease:g}", models) as here:
                for round_ in range(given.rounds):
                    # a second worker is up: what is measured is the delivery, not its start
                    while sum(worker.alive for worker in here.workers) < 2:
                        here.add_worker()
                    here.wait_until(lambda: workers_ready(here) == 2, 120, "two workers")
                    seconds = one_round(here, host=host)
                    rows.append([what, f"{lease:g}", round_ + 1, f"{seconds:.2f}"])
                    sys.stderr.write("\t".join(map(str, rows[-1])) + "\n")
                    here.workers = [worker for worker in here.workers if worker.alive]
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["killed", "lease_seconds", "round", "seconds_to_redelivery"])
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
