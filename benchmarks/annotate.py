"""Where the time of `saetrack annotate` goes, beside what the arithmetic alone would take.

    python benchmarks/annotate.py chrI.fa --dictionary ID --genes sacCer3.gff3.gz --taxon fungi \
        --out benchmarks/results/2026-11-21-cpu.json

Runs the whole command in a fresh process for each number of threads, one after the
other (with --expectation also once with what the model expects), then once more under a
profiler with one thread for the shares of each part. Seconds of CPU do not depend on what
else the machine does; seconds on the clock do.
"""

import argparse
import cProfile
import json
import platform
import pstats
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from annotations.options import names_of
from annotations.provenance import environment, peak_memory_bytes
from workers.annotate import Request, annotate_file
from workers.sae import CHUNK_ROWS

PARTS = {
    "language model": ("paired_tree.py", "activations"),
    "dictionary: product": ("~", "<built-in method torch.addmm>"),
    "dictionary: gate": ("sae.py", "_active"),
    "pack": ("pipeline.py", "_packed"),
    "sort, peaks, statistics": ("packed.py", "describe"),
    "write active bases": ("shard_bases.py", "write_shard_bases"),
    "all of run_shard": ("pipeline.py", "run_shard"),
}
"""Parts of encoding: the file and the function whose cumulative time is taken."""


IDLE_LOAD = 2.5
"""Above this load average before a run its time on the clock is not compared: a run with two
threads leaves about 2 itself."""


def main() -> None:
    """Run the benchmark and write its record."""
    args = arguments()
    if args.keep is not None and not args.child and args.keep.exists():
        raise SystemExit(f"{args.keep} is there already; name another folder with --keep")
    if args.child:
        found = child(args, threads=args.threads[0], profiled=args.profiled)
        sys.stdout.write(json.dumps(found))
        return
    last = len(args.threads) - 1
    runs = [
        spawn(args, threads=threads, profiled=False, keep=args.keep if at == last else None)
        for at, threads in enumerate(args.threads)
    ]
    record = {
        "benchmark": "annotate",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        # files by their names: where they lie says nothing
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": cpu_name(), **environment()},
        "sequence": {"file": args.fasta.name, "bases": runs[0]["bases"]},
        "runs": runs,
        "speedup_of_threads": speedup(runs),
        "note": args.note,
        "expectation": expectation(args, runs[-1]) if args.expectation else None,
        **({} if args.no_profile else shares(spawn(args, threads=1, profiled=True))),
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def expectation(args: argparse.Namespace, plain: dict[str, Any]) -> dict[str, Any]:
    """The last run once more with `--expectation`: how many times as much CPU encoding takes."""
    run = spawn(args, threads=plain["threads"], profiled=False, expectation=True)
    seconds = [one["stages"]["encoding"]["cpu_seconds"] for one in (run, plain)]
    return {"run": run, "encoding_takes": round(seconds[0] / seconds[1], 2)}


def shares(profile: dict[str, Any]) -> dict[str, Any]:
    """What a profiled run took for each part, beside the arithmetic alone."""
    limits = products(profile["d_in"], profile["d_sae"])
    flops = 2.0 * profile["d_in"] * profile["d_sae"] * 2 * profile["bases"]
    return {
        "encode_cpu_seconds": profile["parts"],
        "encode_shares": {
            name: round(seconds / profile["parts"]["all of run_shard"], 3)
            for name, seconds in profile["parts"].items()
        },
        "limit": {
            "gigaflops_per_second": limits,
            "dictionary_gigaflop": round(flops / 1e9, 1),
            "dictionary_seconds_at_that_rate": round(flops / 1e9 / limits["product"], 2),
        },
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--dictionary", required=True)
    parser.add_argument("--genes", type=Path)
    parser.add_argument("--taxon", default="none")
    parser.add_argument("--held-out", default="", help="Contigs kept out of discovery; commas.")
    parser.add_argument("--keep", type=Path, help="Folder for the result of the last run.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--expectation", action="store_true", help="Also one that keeps it.")
    parser.add_argument("--no-profile", action="store_true", help="Without shares of parts.")
    parser.add_argument("--note", help="What else the machine did, kept in the record.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--profiled", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.fasta.is_file():
        parser.error(f"there is no file {args.fasta}; name a FASTA file")
    return args


def spawn(
    args: argparse.Namespace,
    *,
    threads: int,
    profiled: bool,
    keep: Path | None = None,
    expectation: bool = False,
) -> dict[str, Any]:
    """Measure in a process of its own, so that memory and caches are its own."""
    command = [
        sys.executable,
        __file__,
        str(args.fasta),
        "--dictionary",
        args.dictionary,
        "--child",
    ]
    command += ["--taxon", args.taxon, "--threads", str(threads)]
    command += [] if args.genes is None else ["--genes", str(args.genes)]
    command += ["--held-out", args.held_out] if args.held_out else []
    command += [] if keep is None else ["--keep", str(keep)]
    command += ["--profiled"] if profiled else []
    command += ["--expectation"] if expectation else []
    found: dict[str, Any] = json.loads(output(*command))
    return found


def child(args: argparse.Namespace, *, threads: int, profiled: bool) -> dict[str, Any]:
    """One run of the command: times of its stages, and of its parts where profiled."""
    marks: list[tuple[str, float, float]] = []
    load = load_average()

    def mark(what: str, done: int = 0, total: int = 0) -> None:
        if not marks or marks[-1][0] != what:
            marks.append((what, time.monotonic(), time.process_time()))

    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as scratch:
        request = Request(
            sequences=args.fasta,
            out=args.keep or Path(scratch) / "out",
            genes=args.genes,
            taxon=args.taxon,
            held_out=tuple(names_of(args.held_out)),
            dictionary=args.dictionary,
            threads=threads,
            expectation=args.expectation,
        )
        if profiled:
            profile.enable()
        summary = annotate_file(request, on_progress=mark)
        profile.disable()
        mark("end")
        size = sum(p.stat().st_size for p in request.out.rglob("*") if p.is_file())
    stages = {
        name: {"seconds": round(later[1] - start, 2), "cpu_seconds": round(later[2] - cpu, 2)}
        for (name, start, cpu), later in pairwise(marks)
    }
    bases = sum(contig.length for contig in summary.contigs)
    encode = stages["encoding"]["seconds"]
    return {
        "threads": threads,
        "load_average_before": load,
        "bases": bases,
        "d_in": summary.dictionary.d_in,
        "d_sae": summary.dictionary.d_sae,
        "stages": stages,
        "seconds": round(marks[-1][1] - marks[0][1], 2),
        "cpu_seconds": round(marks[-1][2] - marks[0][2], 2),
        "encode_seconds": encode,
        "bases_per_second": round(bases / encode, 0),
        "peak_memory_bytes": peak_memory_bytes(),
        "result_bytes": size,
        "parts": parts_of(profile) if profiled else None,
    }


def speedup(runs: list[dict[str, Any]]) -> dict[str, float] | None:
    """Encoding on the clock against the first run; None where the machine was not idle."""
    if any(run["load_average_before"] > IDLE_LOAD for run in runs):
        return None
    first = runs[0]["encode_seconds"]
    return {str(run["threads"]): round(first / run["encode_seconds"], 2) for run in runs}


def parts_of(profile: cProfile.Profile) -> dict[str, float]:
    """Cumulative CPU seconds of each of `PARTS`; a file is known by its name."""
    found = dict.fromkeys(PARTS, 0.0)
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, function), numbers in stats.items():
        for name, wanted in PARTS.items():
            if (Path(file).name, function) == wanted or (file, function) == wanted:
                found[name] += numbers[3]
    return {name: round(seconds, 2) for name, seconds in found.items()}


def products(d_in: int, d_sae: int) -> dict[str, float]:
    """Rate of matrix products on one thread: the dictionary's, and a large square one."""
    torch.set_num_threads(1)
    rows = CHUNK_ROWS["cpu"]
    x, w, b = torch.randn(rows, d_in), torch.randn(d_in, d_sae), torch.randn(d_sae)
    out, square = torch.empty(rows, d_sae), torch.randn(2048, 2048)
    taken = fastest(lambda: torch.addmm(b, x, w, out=out))
    whole = fastest(lambda: square @ square)
    return {
        "product": round(2 * rows * d_in * d_sae / taken / 1e9, 1),
        "square 2048": round(2 * 2048**3 / whole / 1e9, 1),
    }


def fastest(work: Callable[[], object], repeats: int = 20) -> float:
    """CPU seconds of the fastest of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def output(*command: str) -> str:
    """What a command prints; what it says on stderr is seen."""
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return run.stdout.strip()


def load_average() -> float:
    """Processes that wanted to run in the last minute; times on the clock depend on them."""
    return float(Path("/proc/loadavg").read_text().split()[0])


def cpu_name() -> str:
    """Name of the processor and number of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0] if names else platform.processor()}"


if __name__ == "__main__":
    main()
