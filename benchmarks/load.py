"""How fast the service answers fifty users while four workers compute.

    python -m benchmarks.load --kind embedded --out benchmarks/results/DATE-load.json
    python -m benchmarks.load --kind scaled-out --niceness 0 --niceness 5 --niceness 10 --out ...

The clients of `tests.load`: each submits sequences, asks for the state every second, and streams
tracks in parts. Server, workers and clients share the cores of this machine. Each record is added
to the list in the file.
"""

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotations.provenance import environment
from tests.load.clients import Client, run_clients, summary
from tests.load.installations import check_installation, installed, make_works
from tests.workers.factories import make_tiny_models

GOAL_MS = 100.0
"""95th percentile of requests for a state and for a part of a track."""


def main() -> None:
    """Run the benchmark and add its records."""
    # so that a benchmark that is stopped stops its servers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args = arguments()
    records = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = make_tiny_models(folder / "models")
        works = make_works(models, folder / "expected", args.works)
        for niceness in args.niceness or [None]:
            for kind in args.kind or ["embedded"]:
                records.append(measure(args, folder / "here", models, works, kind, niceness))
    if args.out is None:
        sys.stdout.write(json.dumps(records, indent=2, sort_keys=True) + "\n")
        return
    before = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else []
    text = json.dumps(before + records, indent=2, sort_keys=True) + "\n"
    args.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--kind", action="append", choices=["embedded", "scaled-out"])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--works", type=int, default=8, help="Sequences of each client.")
    parser.add_argument("--niceness", type=int, action="append", help="Of the workers.")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(
    args: argparse.Namespace,
    folder: Path,
    models: Path,
    works: Any,
    kind: str,
    niceness: int | None,
) -> dict[str, Any]:
    """One load on one installation."""
    load = float(Path("/proc/loadavg").read_text().split()[0])
    changes = {} if niceness is None else {"worker_niceness": niceness}
    with installed(kind, folder, models, n_workers=args.workers, **changes) as here:
        tokens = here.tokens(args.clients)
        cpu = {name: -seconds for name, seconds in cpu_of(here).items()}
        own = time.process_time()
        started = time.monotonic()
        clients = [
            Client(f"client{n}", here.settings.port, token, works, started + args.seconds)
            for n, token in enumerate(tokens)
        ]
        run_clients(clients)
        seconds = time.monotonic() - started
        for name, after in cpu_of(here).items():
            cpu[name] = cpu.get(name, 0.0) + after
        cpu["clients"] = time.process_time() - own
        runs = [run_id for client in clients for run_id in client.runs]
        wrong = [said for client in clients for said in client.wrong]
        wrong += check_installation(here, runs)
        found = summary(clients, seconds)
        worker_niceness = here.settings.worker_niceness
    times = found["ms"]
    return {
        "benchmark": "load",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(
            ["python", "-m", "benchmarks.load", *(Path(a).name for a in sys.argv[1:])]
        ),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), **environment()},
        "cores": os.cpu_count(),
        "load_average_before": load,
        "kind": kind,
        "workers": args.workers,
        "worker_niceness": worker_niceness,
        **found,
        "cpu_seconds": {name: round(value, 1) for name, value in cpu.items()},
        "cpu_busy": round(sum(cpu.values()) / seconds / (os.cpu_count() or 1), 3),
        "wrong": wrong,
        "goal_ms": GOAL_MS,
        "goal_reached": all(reached(times, kind) for kind in ("status", "range")),
    }


def reached(times: Mapping[str, Any], kind: str) -> bool:
    """Whether the 95th percentile of a kind of request is below the goal."""
    return kind in times and times[kind]["p95"] < GOAL_MS


def cpu_of(here: Any) -> dict[str, float]:
    """CPU time so far of the web process, and of everything else of an installation."""
    found = {"web": 0.0, "workers_and_supervisors": 0.0}
    for process in [here.serve, *here.workers, *here.others]:
        for pid in [process.process.pid, *process.descendants()]:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            name = "web" if b"gunicorn" in command else "workers_and_supervisors"
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
            ticks = sum(int(field) for field in fields[11:13])
            found[name] += ticks / os.sysconf("SC_CLK_TCK")
    return found


def output(*command: str) -> str:
    """What a command prints."""
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


if __name__ == "__main__":
    main()
