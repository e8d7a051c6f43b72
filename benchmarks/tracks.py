"""Time and size of the tracks of a result: bigWig of a feature, bigBed of a million peaks.

    python benchmarks/tracks.py RESULT --out benchmarks/results/2026-11-21-tracks.json

RESULT is a folder that `saetrack annotate --out` wrote, of a whole genome. Written are the signal
of the features with the most active bases, of the middle one and of a silent one; the peaks of
the first; a million peaks; and a signal over 100,000 contigs, which is made up. Each file is read
back by pyBigWig, which none of our code wrote.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyBigWig

from annotations.activation_parts import folder_activations
from annotations.activations import Activations, read_feature, to_stretches
from annotations.peak_track import write_peaks_bigbed
from annotations.provenance import environment
from annotations.tables import column
from annotations.tracks import write_bigwig, write_peaks_bigwig

PEAKS = 1_000_000
CONTIGS = 100_000


def main() -> None:
    """Run the benchmark and write its record."""
    args = arguments()
    contigs = pq.read_table(args.result / "contigs.parquet")
    names, lengths = contigs["name"].to_pylist(), contigs["length"].to_pylist()
    features = pq.read_table(args.result / "features.parquet")
    load = float(Path("/proc/loadavg").read_text().split()[0])
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        found = measure(args.result, features, names, lengths, Path(scratch) / "track")
    record = {
        "benchmark": "tracks",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        **environment(),
        "load_average_before": load,
        "bases": sum(lengths),
        "contigs": len(names),
        "tracks": found,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("result", type=Path, help="Folder of a result.")
    parser.add_argument("--scratch", type=Path, help="Where 200 MB may be written.")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(
    result: Path, features: pa.Table, names: Sequence[str], lengths: Sequence[int], path: Path
) -> dict[str, Any]:
    """Seconds and bytes of each track."""
    found: dict[str, Any] = {}
    totals = features.group_by("feature").aggregate([("active_bases", "sum")])
    totals = totals.sort_by([("active_bases_sum", "descending")])
    active = int(pc.sum(pc.greater(totals["active_bases_sum"], 0)).as_py())
    places = {"most active": 0, "middle of the active": active // 2}
    if active < totals.num_rows:
        places["silent"] = totals.num_rows - 1
    peaks = pq.read_table(result / "peaks.parquet")
    for word, place in places.items():
        feature, bases = (values[place].as_py() for values in totals.columns)
        write = signal_writer(result, feature, path, names, lengths)
        found[f"bigWig of a feature, {word}"] = timed(write, path) | {
            "feature": feature,
            "active_bases": bases,
        }
        check_signal(path, lengths)
    own = peaks.filter(pc.equal(peaks["feature"], totals["feature"][0]))
    found["bigWig of the peaks of a feature"] = timed(
        lambda: write_peaks_bigwig(path, own, names, lengths), path
    ) | {"peaks": own.num_rows}
    some = peaks.slice(0, PEAKS)
    found["bigBed of peaks"] = timed(
        lambda: write_peaks_bigbed(some, features, names, lengths, path), path
    ) | {"peaks": some.num_rows}
    check_peaks(path, names, lengths, some.num_rows)
    found[f"bigWig over {CONTIGS} contigs"] = many_contigs(path)
    return found


def signal_writer(
    result: Path, feature: int, path: Path, names: Sequence[str], lengths: Sequence[int]
) -> Callable[[], None]:
    """Reads a feature and writes its signal, as the server does when it is first asked for."""

    def write() -> None:
        stretches = read_feature(folder_activations(result), feature)
        write_bigwig(path, stretches, names, lengths)

    return write


def timed(write: Callable[[], None], path: Path) -> dict[str, Any]:
    """The quickest of three times, by the clock and of the processor, and the size."""
    seconds, cpu = [], []
    for _ in range(3):
        start, spent = time.perf_counter(), time.process_time()
        write()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return {
        "seconds": round(min(seconds), 3),
        "cpu_seconds": round(min(cpu), 3),
        "bytes": path.stat().st_size,
    }


def check_signal(path: Path, lengths: Sequence[int]) -> None:
    """Every base has a value."""
    with pyBigWig.open(str(path)) as file:
        if file.header()["nBasesCovered"] != sum(lengths):
            raise SystemExit("the bigWig does not hold every base")


def check_peaks(path: Path, names: Sequence[str], lengths: Sequence[int], count: int) -> None:
    """Every peak is read back."""
    with pyBigWig.open(str(path)) as file:
        read = sum(
            len(file.entries(name, 0, length, withString=False) or ())
            for name, length in zip(names, lengths, strict=True)
        )
    if read != count:
        raise SystemExit(f"the bigBed holds {read} peaks of {count}")


def many_contigs(path: Path) -> dict[str, Any]:
    """A signal over contigs of 200 to 3,000 bases, half of them with one active base."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(200, 3000, CONTIGS)
    contig = np.sort(rng.choice(CONTIGS, CONTIGS // 2, replace=False))
    active = Activations(
        feature=np.zeros(len(contig), np.uint32),
        strand=np.ones(len(contig), np.int8),
        contig=contig.astype(np.uint32),
        position=(rng.random(len(contig)) * lengths[contig]).astype(np.int64),
        value=np.ones(len(contig), np.float32),
    )
    stretches, names = to_stretches(active), [f"contig_{at}" for at in range(CONTIGS)]
    sizes = lengths.tolist()
    found = timed(lambda: write_bigwig(path, stretches, names, sizes), path)
    check_signal(path, sizes)
    start = time.perf_counter()
    with pyBigWig.open(str(path)) as file:
        for at in column(stretches, "contig")[:100].tolist():
            file.values(names[at], 0, sizes[at])
    return found | {"open_and_read_100_contigs_seconds": round(time.perf_counter() - start, 3)}


def output(*command: str) -> str:
    """What a command prints."""
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


if __name__ == "__main__":
    main()
