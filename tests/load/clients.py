"""Clients as they come: each submits, asks how far it is, and streams tracks in parts.

A client follows no redirects, repeats nothing and keeps every answer's status and time, so that
nothing the server did wrong is smoothed over. Times are until the last byte, each request on a
connection of its own.
"""

import hashlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ACTIVE = ("QUEUED", "INITIALIZING", "RUNNING")

POLL_SECONDS = 1.0
"""Between two questions for the state of a run; the server says 2."""

STREAM_SECONDS = 0.2
"""Between two parts of a track: about what a browser of genomes does as one pans."""

PARTS = 12
"""Parts read of one track."""

PART_BYTES = 4096

TIMEOUT = 60.0


class Answered(NamedTuple):
    """One request."""

    kind: str
    """``submit``, ``status``, ``features``, ``table``, ``make`` (a track that was not there yet),
    ``range``."""
    status: int
    """0 where the connection failed."""
    seconds: float


class Work(NamedTuple):
    """A sequence to submit, and what comes of it."""

    fasta: bytes
    features_sha256: str
    """Of features.parquet, as one process makes it."""


@dataclass
class Client:
    """One user with a token of their own."""

    name: str
    port: int
    token: str
    works: Sequence[Work]
    """Submitted one after the other."""
    until: float
    """When to submit no more (monotonic); what was submitted is waited for."""
    answers: list[Answered] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    """State of each run at the end, by id."""
    wrong: list[str] = field(default_factory=list)
    """What was not as it has to be."""

    def run(self) -> None:
        """Work through the list while there is time."""
        draw = random.Random(self.name)  # noqa: S311 - draws pauses, keeps no secret
        time.sleep(draw.random() * 2)
        for work in self.works:
            if time.monotonic() > self.until:
                return
            run_id = self.submit(work)
            if run_id is None or self.wait_for(run_id, draw) != "COMPLETE":
                continue
            self.check_table(run_id, work)
            self.stream(run_id, draw)

    def submit(self, work: Work) -> str | None:
        """Submit; the id of the run."""
        status, body = self.ask("submit", "/v1/runs", work.fasta)
        if status != 202:
            self.wrong.append(f"a submission got {status}: {body[:200]!r}")
            return None
        run_id = str(json.loads(body)["id"])
        if run_id in self.runs:
            self.wrong.append(f"run {run_id} was given twice")
        self.runs[run_id] = "QUEUED"
        return run_id

    def wait_for(self, run_id: str, draw: random.Random) -> str:
        """Ask for the state until it is the last one."""
        state, done = "QUEUED", 0.0
        while state in ACTIVE:
            time.sleep(POLL_SECONDS * draw.uniform(0.7, 1.3))
            status, body = self.ask("status", f"/v1/runs/{run_id}")
            if status != 200:
                self.wrong.append(f"run {run_id} got {status}")
                break
            view = json.loads(body)
            state = view["state"]
            if view["progress"] < done:
                self.wrong.append(f"run {run_id} went back from {done} to {view['progress']}")
            done = view["progress"]
            if time.monotonic() > self.until + 300:
                self.wrong.append(f"run {run_id} is still {state}")
                break
        self.runs[run_id] = state
        if state != "COMPLETE":
            self.wrong.append(f"run {run_id} ended as {state}")
        return state

    def check_table(self, run_id: str, work: Work) -> None:
        """Make sure that the result is that of the submitted sequence."""
        status, body = self.ask("table", f"/v1/runs/{run_id}/features.parquet")
        if status != 200 or hashlib.sha256(body).hexdigest() != work.features_sha256:
            self.wrong.append(f"run {run_id} has other features ({status})")

    def stream(self, run_id: str, draw: random.Random) -> None:
        """Read tracks in parts, as browsers of genomes do."""
        status, body = self.ask("features", f"/v1/runs/{run_id}/features?limit=2")
        if status != 200:
            self.wrong.append(f"features of {run_id} got {status}")
            return
        for row in json.loads(body)["features"]:
            address = f"/v1/runs/{run_id}/features/{row['feature']}{row['strand']}/signal.bw"
            status, whole = self.ask("make", address)
            if status != 200:
                self.wrong.append(f"{address} got {status}")
                continue
            for _ in range(PARTS):
                if time.monotonic() > self.until:
                    return
                time.sleep(STREAM_SECONDS * draw.uniform(0.7, 1.3))
                first = draw.randrange(max(1, len(whole) - 64))
                last = min(len(whole), first + PART_BYTES) - 1
                status, part = self.ask("range", address, first=first, last=last)
                if status != 206 or part != whole[first : last + 1]:
                    self.wrong.append(f"{address} {first}-{last} got {status}, {len(part)} bytes")

    def ask(
        self, kind: str, path: str, body: bytes | None = None, **part: int
    ) -> tuple[int, bytes]:
        """One request; status and body of its answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "text/x-fasta"
        if part:
            headers["Range"] = f"bytes={part['first']}-{part['last']}"
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            status, found = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{path}: {type(error).__name__}: {error}")
            status, found = 0, b""
        finally:
            connection.close()
        self.answers.append(Answered(kind, status, time.perf_counter() - start))
        return status, found


def run_clients(clients: Sequence[Client], watch: Callable[[], None] = lambda: None) -> None:
    """Have all clients work at once, and wait for the last of them; `watch` is called meanwhile."""
    threads = [threading.Thread(target=client.run, name=client.name) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(1.0)
    for thread in threads:
        thread.join()


def summary(clients: Sequence[Client], seconds: float) -> dict[str, Any]:
    """Requests and their times in milliseconds, by kind."""
    answers = [answer for client in clients for answer in client.answers]
    by_kind: dict[str, list[float]] = {}
    for answer in answers:
        by_kind.setdefault(answer.kind, []).append(answer.seconds * 1e3)
    return {
        "clients": len(clients),
        "seconds": round(seconds, 1),
        "requests": len(answers),
        "requests_per_second": round(len(answers) / seconds, 1),
        "statuses": {str(k): n for k, n in sorted(Counter(a.status for a in answers).items())},
        "runs": sum(len(client.runs) for client in clients),
        "ms": {kind: percentiles(times) for kind, times in sorted(by_kind.items())},
    }


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Count, median, 95th and 99th percentile and largest (nearest rank)."""
    ordered = sorted(times)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {
        "count": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": at(1.0),
    }  # fmt: skip
