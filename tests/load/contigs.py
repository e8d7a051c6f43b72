"""A run of very many short contigs through a service: what it takes, and whether all is there once.

make_contigs --as_fasta--> submit_contigs --> run, figures --check_contigs--> what is wrong
"""

import contextlib
import http.client
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import select

from annotations.activations import read_feature, stretch_sizes
from app import catalog
from app.database import reading
from app.models import TERMINAL_STATES, Computation, Run, Shard
from app.storage import StoredPaths, manifest_from_json
from tests.faults.deployments import Deployment

SUBMIT_SECONDS = 600.0
"""How long the answer to a submission may take."""

LOOK_SECONDS = 0.5

BASES = np.frombuffer(b"ACGT", np.uint8)


def make_contigs(count: int, shortest: int, longest: int, *, seed: int = 0) -> list[bytes]:
    """Random contigs of random lengths."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(shortest, longest + 1, count)
    ends = np.cumsum(lengths)
    letters = BASES[draw.integers(0, 4, int(ends[-1]))].tobytes()
    return [letters[end - n : end] for end, n in zip(ends.tolist(), lengths.tolist(), strict=True)]


def as_fasta(contigs: list[bytes]) -> bytes:
    """Contigs named c1, c2, ..."""
    return b"".join(b">c%d\n%s\n" % (n, bases) for n, bases in enumerate(contigs, 1))


def peak_memory(pid: int) -> int:
    """Peak memory of a process, in bytes; 0 once it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """Have the peak of a process count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pids_of(here: Deployment, word: str) -> list[int]:
    """Processes of the server with a word on their command line."""
    assert here.serve is not None
    found = []
    for pid in here.serve.descendants():
        with contextlib.suppress(FileNotFoundError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


class States(NamedTuple):
    """How far a run is."""

    run: str
    merge: str
    """State of the merge."""


def states_of(here: Deployment, run_id: str) -> States:
    """Two words: a row of such a run holds megabytes, and whoever reads it often slows it down."""
    with reading(here.engine) as session:
        row = session.execute(
            select(Computation.state, Shard.state)
            .join(Shard, Shard.computation_id == Computation.id)
            .join(Run, Run.computation_id == Computation.id)
            .where(Run.id == run_id, Shard.kind == "merge")
        ).one()
    return States(*row)


def submit_contigs(here: Deployment, fasta: bytes, query: str) -> tuple[str, dict[str, Any]]:
    """Submit, wait for the end, and look at the processes meanwhile.

    Parameters
    ----------
    here : Deployment
        With one worker.
    fasta : bytes
        What is submitted.
    query : str
        Of the address: options of the run.

    Returns
    -------
    run_id : str
    figures : dict
        Seconds of the submission, of the shards and of the merge; shards; peak memory in bytes of
        the web process and of the worker, while it encodes and while it merges.
    """
    link = http.client.HTTPConnection("127.0.0.1", here.settings.port, timeout=SUBMIT_SECONDS)
    start = time.monotonic()
    link.request(
        "POST", f"/v1/runs?{query}", fasta, here.headers | {"Content-Type": "text/x-fasta"}
    )
    answer = link.getresponse()
    body = json.loads(answer.read())
    link.close()
    if answer.status != 202:
        raise AssertionError(f"{answer.status}: {body.get('detail')}")
    run_id = str(body["id"])
    submitting = time.monotonic() - start
    (worker,) = pids_of(here, "--name=")
    encoding = 0
    while (states := states_of(here, run_id)).run not in TERMINAL_STATES:
        if states.merge != "QUEUED" and not encoding:
            encoding = peak_memory(worker)
            forget_peak(worker)
        time.sleep(LOOK_SECONDS)
    shards = here.shards(run_id)
    started = min(shard.started_at for shard in shards[:-1] if shard.started_at)
    encoded = max(shard.finished_at or 0.0 for shard in shards[:-1])
    merged = here.computation(run_id).finished_at or 0.0
    return run_id, {
        "state": here.state(run_id),
        "shards": len(shards) - 1,
        "attempts": sum(shard.attempts for shard in shards),
        "submit_seconds": round(submitting, 2),
        "encode_seconds": round(encoded - started, 2),
        "merge_seconds": round(merged - encoded, 2),
        "web_peak_bytes": max(map(peak_memory, pids_of(here, "gunicorn"))),
        "encode_peak_bytes": encoding,
        "merge_peak_bytes": peak_memory(worker),
    }


def check_contigs(
    here: Deployment, run_id: str, lengths: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64]]:
    """Whether every base of every contig is owned, counted and answered once.

    Parameters
    ----------
    here : Deployment
        Where the run was computed.
    run_id : str
        A complete run.
    lengths : ndarray of int64, shape (contigs,)
        Bases of the contigs that were sent.

    Returns
    -------
    wrong : list of str
        What is not as it has to be.
    active : ndarray of int64, shape (contigs,)
        Active bases of each contig, all features and both strands together.
    """
    wrong = []
    spans = np.concatenate([np.array(shard.spans) for shard in here.shards(run_id)[:-1]])
    whole = np.stack([np.arange(len(lengths)), np.zeros_like(lengths), lengths], axis=1)
    if not np.array_equal(spans, whole):
        wrong.append("the shards do not own every contig once, whole and in order")
    with reading(here.engine) as session:
        run = session.get_one(Run, run_id)
        names, kept = run.contig_names, run.computation.lengths
        features = int(run.computation.parameters["dictionary"]["d_sae"])
        results = manifest_from_json(run.computation.results or {})
    if names != [f"c{n}" for n in range(1, len(lengths) + 1)] or kept != lengths.tolist():
        wrong.append("names or lengths of the contigs are not those that were sent")
    files = StoredPaths(here.storage, results)
    source = catalog.stored_activations(files)
    active = np.zeros(len(lengths), np.int64)
    for feature in range(features):
        table = read_feature(source, feature)
        strand, contig, start = (
            table.column(name).to_numpy() for name in ("strand", "contig", "start")
        )
        size = stretch_sizes(table)
        end = start + size
        same = (contig[1:] == contig[:-1]) & (strand[1:] == strand[:-1])
        if (same & (start[1:] < end[:-1])).any():
            wrong.append(f"a base is active twice for feature {feature}")
        if (end > lengths[contig]).any():
            wrong.append(f"feature {feature} is active after the end of a contig")
        active += np.bincount(contig, size, len(lengths)).astype(np.int64)
    rows = pq.read_table(files["features.parquet"], columns=["active_bases", "scanned_bases"])
    counted = int(pc.sum(rows.column("active_bases")).as_py())
    if counted != active.sum():
        wrong.append(f"features count {counted} active bases, and {active.sum()} are stored")
    scanned = set(rows.column("scanned_bases").to_pylist())
    if scanned != {int(lengths.sum())}:
        wrong.append(f"{scanned} bases were scanned, and {lengths.sum()} were sent")
    return wrong, active
