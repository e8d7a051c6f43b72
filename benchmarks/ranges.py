"""How fast parts of a track are served: under `saetrack serve`'s web process, and by send_file.

    python benchmarks/ranges.py --out benchmarks/results/2026-11-21-ranges.json

Two files are asked for by random ranges of 64 KB from several clients at once, as browsers of
genomes ask for a bigWig, and by ranges near the end of a file of 3 GB that has no blocks. Asked are
the share link of a run (a look into the database, then the file) and, under the same gunicorn with
the same options, a view that is Flask's `send_file` and nothing else. The clients are threads of
this process: on few cores they take as much of them as the server does.
"""

import argparse
import http.client
import json
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from annotations.provenance import environment
from app.api import run_cache
from app.config import Settings
from app.database import database_time, make_engine, transaction, upgrade
from app.models import Computation, Run
from app.share_links import create_link
from workers.embedded_server import free_port
from workers.serve import child_environment, web_command

PART = 64 * 1024
RUN = "benchmark"
MEDIUM, LARGE = "sequence.2bit", "sequence.fa"
"""Names under which a share link shows the two files: what is in them does not matter."""
LARGE_BYTES = 3 * 2**30

PLAIN = """
import os
from flask import Flask, send_file

def create_app():
    app = Flask(__name__)

    @app.get("/<name>")
    def view(name):
        return send_file(os.path.join(os.environ["FILES"], name), conditional=True)

    return app
"""


def main() -> None:
    """Run the benchmark and write its record."""
    args = arguments()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        settings = Settings(data_dir=Path(scratch) / "data", port=free_port(), min_free_bytes=0)
        settings.make_folders()
        engine = make_engine(settings)
        upgrade(engine)
        token = make_run(engine)
        engine.dispose()
        files = run_cache(settings, RUN)
        make_files(files, medium=args.megabytes * 10**6)
        (Path(scratch) / "plain.py").write_text(PLAIN)
        ours, plain = web_command(settings), web_command(settings)
        plain[plain.index("app.factory:serve_app()")] = "plain:create_app()"
        plain.append(f"--chdir={scratch}")
        variables = child_environment(settings)
        load = float(Path("/proc/loadavg").read_text().split()[0])
        found: dict[str, Any] = {}
        for name, command, base in (
            ("share link", ours, f"/s/{token}"),
            ("send_file", plain, ""),
        ):
            with web_process(command, variables | {"FILES": str(files)}, settings.port, base):
                found[name] = measure(settings.port, base, args)
    record = {
        "benchmark": "ranges",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        **environment(),
        "load_average_before": load,
        "clients": args.clients,
        "part_bytes": PART,
        "file_bytes": args.megabytes * 10**6,
        "large_file_bytes": LARGE_BYTES,
        "servers": found,
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=149, help="Of the file asked at random.")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8, help="Of asking at random.")
    parser.add_argument("--ends", type=int, default=30, help="Ranges near the end of 3 GB.")
    parser.add_argument("--slow-ends", type=int, default=3, help="The same of send_file.")
    parser.add_argument("--scratch", type=Path, help="Where 150 MB may be written.")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def make_run(engine: Engine) -> str:
    """A complete run without results, and a link to it; returns the token."""
    with transaction(engine) as session:
        now = database_time(session)
        computation = Computation(
            id=RUN, digest="", scope="local", state="COMPLETE", created_at=now, finished_at=now,
            dictionary_id="none", queue="none", parameters={}, lengths=[1], bases=1, inputs={},
            results={},
        )  # fmt: skip
        session.add(computation)
        session.flush()
        run = Run(
            id=RUN, owner="local", created_at=now, computation_id=RUN, contig_names=["c"],
            options={}, title="Benchmark",
        )  # fmt: skip
        session.add(run)
        session.flush()
        return create_link(session, run, title=None).token


def make_files(folder: Path, *, medium: int) -> None:
    """A file of random bytes, and a sparse one, with their sums beside them."""
    folder.mkdir(parents=True)
    (folder / MEDIUM).write_bytes(np.random.default_rng(0).bytes(medium))
    with (folder / LARGE).open("wb") as file:
        file.truncate(LARGE_BYTES)
    for name in (MEDIUM, LARGE):
        (folder / f"{name}.sha256").write_text("0" * 64)


def measure(port: int, base: str, args: argparse.Namespace) -> dict[str, Any]:
    """Requests per second and latencies of one server."""
    seconds, rate = ask_at_random(port, f"{base}/{MEDIUM}", args)
    ends = args.ends if base else args.slow_ends
    places = [LARGE_BYTES - PART * (1 + at) for at in range(ends)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    near_end = [ask(connection, f"{base}/{LARGE}", place) for place in places]
    connection.close()
    return {
        "requests_per_second": round(rate, 1),
        "latency_ms": percentiles(seconds),
        "end_of_large_file_ms": percentiles(near_end),
    }


def ask_at_random(port: int, path: str, args: argparse.Namespace) -> tuple[list[float], float]:
    """Seconds of each answer to clients that ask at once, and answers per second."""
    found: list[list[float]] = [[] for _ in range(args.clients)]
    last = args.megabytes * 10**6 - PART
    start = time.perf_counter()

    def client(number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - draws places, keeps no secret
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() - start < args.seconds:
            found[number].append(ask(connection, path, rng.randrange(last)))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(args.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = [value for each in found for value in each]
    return seconds, len(seconds) / (time.perf_counter() - start)


def ask(connection: http.client.HTTPConnection, path: str, place: int) -> float:
    """Seconds of one part, read to its end."""
    start = time.perf_counter()
    connection.request("GET", path, headers={"Range": f"bytes={place}-{place + PART - 1}"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 206 or len(body) != PART:
        raise SystemExit(f"{path} got {answer.status} and {len(body)} bytes")
    return time.perf_counter() - start


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, in milliseconds."""
    at = np.percentile(np.array(seconds) * 1e3, [50, 95, 100]).round(2).tolist()
    return dict(zip(("p50", "p95", "max"), at, strict=True))


@contextmanager
def web_process(
    command: Sequence[str], variables: dict[str, str], port: int, base: str
) -> Iterator[None]:
    """A web server that answers."""
    process = subprocess.Popen(command, env=variables)  # noqa: S603 - our own command
    try:
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                ask(connection, f"{base}/{MEDIUM}", 0)
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("the web process did not answer") from None
                time.sleep(0.2)
            finally:
                connection.close()
        yield
    finally:
        process.terminate()
        process.wait(30)


def output(*command: str) -> str:
    """What a command prints."""
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


if __name__ == "__main__":
    main()
