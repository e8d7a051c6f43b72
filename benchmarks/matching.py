"""What it costs to match every feature with every motif, and to scan beside memelite as shipped.

    python benchmarks/matching.py --out benchmarks/results/2026-11-21-matching.json

scale: 32,768 features on both strands, 100 peaks each, against JASPAR 2026 CORE vertebrates, with
       200,000 windows of 101 bases: motif thresholds, scan and statistics
scan:  1 Mb against JASPAR 2024 CORE vertebrates on one thread, our scan (exact thresholds, short
       motifs too) and memelite's in turn

Sequence is random with a fixed seed, or real with --fasta; activations and peaks are random, but
that a quarter of the features prefers windows with some motif. Each part runs in a process of its
own. Seconds of CPU do not depend on what else the machine does; seconds on the clock do.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from annotations.enrichment import background_windows, find_matches
from annotations.jaspar import load_motifs
from annotations.motif_scan import background_of, motif_thresholds, scan
from annotations.motif_windows import WIDTH
from annotations.provenance import environment, peak_memory_bytes
from annotations.sequences import encode_bases, open_fasta
from annotations.significance import SIGNIFICANT_Q

DENSITY = 0.02
"""Share of the background windows in which a feature row is active."""
PLANTED = 0.25
"""Share of the feature rows that prefer windows with some motif."""
PREFERENCE = 0.3
"""Share of such a row's peaks that lie in windows with the motif."""
REPEATS = 5
"""Scans of each kind, in turn; the median counts."""

Codes = list[NDArray[np.uint8]]


def main() -> None:
    """Run the parts and write the record."""
    args = arguments()
    if args.child:
        found = scale(args) if args.child == "scale" else side_by_side(args)
        sys.stdout.write(json.dumps(found))
        return
    record = {
        "benchmark": "matching",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        # files by their names: where they lie says nothing
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), **environment()},
        **{part: spawn(part, args) for part in args.parts},
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=["scale", "scan"], default=["scale", "scan"])
    parser.add_argument("--fasta", type=Path, help="real sequence; its first bases are used")
    parser.add_argument("--features", type=int, default=32_768)
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--peaks", type=int, default=100, help="of each feature and strand")
    parser.add_argument("--threads", type=int, default=2, help="of the scan in part scale")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=["scale", "scan"], help=argparse.SUPPRESS)
    return parser.parse_args()


def spawn(part: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a part in a process of its own, so that memory and threads are its own."""
    threads = args.threads if part == "scale" else 1
    command = [sys.executable, __file__, "--child", part]
    for name in ("features", "windows", "peaks"):
        command += [f"--{name}", str(getattr(args, name))]
    command += ["--fasta", str(args.fasta)] if args.fasta else []
    found: dict[str, Any] = json.loads(
        output(*command, NUMBA_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    )
    return found | {"threads": threads}


def scale(args: argparse.Namespace) -> dict[str, Any]:
    """All features against all motifs: seconds of each step, and the peak of memory."""
    random = np.random.default_rng(0)
    motifs = load_motifs("vertebrates", "JASPAR2026").motifs
    sequences = sequence_of(args.fasta, args.windows * WIDTH)
    times = Times()
    with times.step("motif thresholds"):
        motif_thresholds(motifs, background_of(sequences))
    with times.step("scan"):
        hits = scan(sequences, motifs)
    windows = background_windows(sequences, n=args.windows)
    background = background_windows(sequences)
    rows = 2 * args.features
    peaks = random_peaks(random, windows, hits, len(motifs), rows, args.peaks)
    activity = random_activity(random, len(background.start), rows)
    with times.step("statistics"):
        result = find_matches(
            peaks, hits, sequences, activity, motifs=motifs, background=background
        )
    q = result.table["q"].to_numpy()
    return {
        "sequence": sequence_record(args.fasta, sequences),
        "features": args.features,
        "feature_rows": rows,
        "motifs": len(motifs),
        "windows": len(windows.start),
        "background_windows": len(background.start),
        "peaks": peaks.num_rows,
        "motif_hits": hits.num_rows,
        "tested_pairs": result.tested_pairs,
        "reported_pairs": result.table.num_rows,
        "significant_pairs": int((q <= SIGNIFICANT_Q).sum()),
        "cpu_seconds": times.cpu | {"all": round(sum(times.cpu.values()), 2)},
        "seconds": times.clock | {"all": round(sum(times.clock.values()), 2)},
        "peak_memory_gb": round(peak_memory_bytes() / 1e9, 2),
        "goal": {"seconds": 120, "memory_gb": 4},
    }


def side_by_side(args: argparse.Namespace) -> dict[str, Any]:
    """Our scan and memelite's of the same megabase, in turn, and how their hits agree."""
    from memelite import fimo

    motifs = load_motifs("vertebrates", "JASPAR2024").motifs
    sequences = sequence_of(args.fasta, 1_000_000)
    codes = np.concatenate(sequences)
    one_hot = (codes == np.arange(4, dtype=np.uint8)[:, None]).astype(np.int8)[None]
    given = {
        str(place): (motif.counts + 0.25) / (motif.counts.sum(axis=0) + 1)
        for place, motif in enumerate(motifs)
    }
    uniform = np.full(4, 0.25)
    # Compiled code is loaded and thresholds are known before anything is timed.
    thresholds = motif_thresholds(motifs, uniform)
    scan([codes[:5000]], motifs, background=uniform)
    fimo(given, one_hot[:, :, :5000], threshold=1e-4)
    ours, theirs, ratios = [], [], []
    for _ in range(REPEATS):
        start = time.process_time()
        frames = fimo(given, one_hot, threshold=1e-4)
        middle = time.process_time()
        hits = scan([codes], motifs, background=uniform)
        theirs.append(middle - start)
        ours.append(time.process_time() - middle)
        ratios.append(ours[-1] / theirs[-1])
    customary = hits.filter(pa.array(hits["p"].to_numpy() <= 1e-4))
    exact = set(
        zip(
            customary["motif"].to_pylist(),
            customary["start"].to_pylist(),
            customary["strand"].to_pylist(),
            strict=True,
        )
    )
    shipped = {
        (place, start, 1 if strand == "+" else -1)
        for place, frame in enumerate(frames)
        for start, strand in zip(frame["start"].tolist(), frame["strand"].tolist(), strict=True)
    }
    return {
        "sequence": sequence_record(args.fasta, [codes]),
        "motifs": len(motifs),
        "motifs_below_1e-4_out_of_reach": int((thresholds.p > 1e-4).sum()),
        "ours_cpu_seconds": round(statistics.median(ours), 3),
        "memelite_cpu_seconds": round(statistics.median(theirs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "our_hits": hits.num_rows,
        "our_hits_below_1e-4": len(exact),
        "memelite_hits": len(shipped),
        "memelite_jaccard_with_exact": round(len(exact & shipped) / len(exact | shipped), 4),
        "goal": {"ratio": 1.5},
    }


class Times:
    """Seconds of named steps."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.clock: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        cpu, clock = time.process_time(), time.monotonic()
        yield
        self.cpu[name] = round(time.process_time() - cpu, 2)
        self.clock[name] = round(time.monotonic() - clock, 2)


def sequence_of(fasta: Path | None, bases: int) -> Codes:
    """So many bases: of a file, or random with a GC content that drifts between 30 and 50 %."""
    if fasta is not None:
        codes: Codes = []
        with open_fasta(fasta) as source:
            for name in source.names:
                left = bases - sum(len(part) for part in codes)
                codes.append(encode_bases(source.fetch(name, 0, min(left, source.length(name)))))
        return codes
    random = np.random.default_rng(1)
    knots = random.uniform(0.3, 0.5, bases // 1000 + 2)
    gc = np.interp(np.arange(bases), np.arange(len(knots)) * 1000, knots)
    is_gc, second = random.random(bases) < gc, random.random(bases) < 0.5
    whole = np.where(is_gc, np.where(second, 2, 1), np.where(second, 3, 0)).astype(np.uint8)
    return list(np.array_split(whole, 8)) if bases > 8_000_000 else [whole]


def sequence_record(fasta: Path | None, sequences: Codes) -> dict[str, Any]:
    """What was scanned."""
    return {
        "file": "random, seed 1" if fasta is None else fasta.name,
        "bases": sum(len(codes) for codes in sequences),
    }


def random_peaks(
    random: np.random.Generator, windows: Any, hits: pa.Table, motifs: int, rows: int, each: int
) -> pa.Table:
    """Peaks in the middle of random windows; some rows prefer those with a motif of their own."""
    chosen = random.integers(0, len(windows.start), (rows, each))
    place = np.searchsorted(
        windows.contig.astype(np.int64) * 2**32 + windows.start,
        hits["contig"].to_numpy().astype(np.int64) * 2**32 + hits["start"].to_numpy(),
        side="right",
    )
    order = np.argsort(hits["motif"].to_numpy(), kind="stable")
    bounds = np.searchsorted(hits["motif"].to_numpy()[order], np.arange(motifs + 1))
    for row in np.flatnonzero(random.random(rows) < PLANTED):
        motif = int(random.integers(0, motifs))
        with_motif = order[bounds[motif] : bounds[motif + 1]]
        if len(with_motif):
            some = int(PREFERENCE * each)
            chosen[row, :some] = np.maximum(place[random.choice(with_motif, some)] - 1, 0)
    chosen = chosen.ravel()
    row = np.repeat(np.arange(rows), each)
    return pa.table(
        {
            "feature": pa.array((row // 2).astype(np.uint32)),
            "strand": pa.array((1 - 2 * (row % 2)).astype(np.int8)),
            "contig": pa.array(windows.contig[chosen].astype(np.uint32)),
            "position": pa.array(windows.start[chosen] + WIDTH // 2),
            "value": pa.array(random.random(len(chosen), dtype=np.float32)),
        }
    )


def random_activity(random: np.random.Generator, windows: int, rows: int) -> sparse.csr_array:
    """Every window has the same number of active rows, chosen at random."""
    active = int(DENSITY * rows)
    columns = np.sort(random.integers(0, rows, (windows, active), dtype=np.int32), axis=1)
    values = 1 + random.random(columns.size, dtype=np.float32)
    bounds = np.arange(windows + 1, dtype=np.int32) * active
    found = sparse.csr_array((values, columns.ravel(), bounds), shape=(windows, rows))
    found.sum_duplicates()
    return found


def cpu_name() -> str:
    """What the processor calls itself, where the system says so."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def output(*command: str, **variables: str) -> str:
    """What a command prints; its errors go where ours go."""
    done = subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | variables
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
