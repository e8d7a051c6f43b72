"""What a run costs beside its model: scaling, overhead, memory of the merge, bytes of the storage.

    python -m benchmarks.service scaling FASTA --out benchmarks/results/DATE-service.json
    python -m benchmarks.service overhead FASTA --genes GFF3 --taxon fungi --out ...
    python -m benchmarks.service memory SMALL_WORK LARGE_WORK --out ...
    python -m benchmarks.service storage RESULT --out ...
    python -m benchmarks.service contigs --count 20000 --length 300 --out ...

Each part adds itself to the file. The model is the bundled one, on CPUs, one thread for each
process. A ratio is of times taken in one run of this program, in turns where that helps; look at
`load_average_before` first, for other programs count as overhead of whoever runs beside them.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from annotations.activation_parts import ONE_FILE, folder_activations
from annotations.activations import count_active_bases, read_feature
from annotations.cards import find_cards
from annotations.provenance import environment, read_provenance
from annotations.region_activity import of_rows
from annotations.sequences import encode_bases, read_sequences, write_fasta
from annotations.types import Span
from app.config import BUNDLED_MODELS
from app.database import reading
from app.models import Run
from tests.load.contigs import as_fasta, check_contigs, make_contigs, submit_contigs
from tests.load.installations import installed
from workers.pipeline import encode_windows, windows_of
from workers.registry import open_dictionary

DICTIONARY = "yeast-tree-l2"

BATCH = 8
"""Windows encoded at once, as the service does."""

HUMAN_MEGABASES = 3_100.0

WARM_UP_BASES = 60_000
"""Of a first run, so that every worker has loaded its model."""

FASTA_TYPE = "text/x-fasta"


def main() -> None:
    """Run one part and add its record to the file."""
    # so that a benchmark that is stopped stops its server
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args = arguments()
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "scaling": scaling, "overhead": overhead, "memory": memory, "storage": storage,
        "merge-alone": merge_alone, "contigs": contigs,
    }  # fmt: skip
    load = load_average()
    found = parts[args.part](args)
    if args.part == "merge-alone":
        sys.stdout.write(json.dumps(found))
        return
    record = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(
            ["python", "-m", "benchmarks.service", *(Path(a).name for a in sys.argv[1:])]
        ),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), **environment()},
        "cores": os.cpu_count(),
        "load_average_before": load,
        **found,
    }
    if args.out is None:
        sys.stdout.write(json.dumps(record, indent=2, sort_keys=True) + "\n")
        return
    whole: dict[str, Any] = {"benchmark": "service"}
    if args.out.is_file():
        whole = json.loads(args.out.read_text(encoding="utf-8"))
    whole[args.part] = record
    args.out.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("scaling", "overhead"):
        part = parts.add_parser(name)
        part.add_argument("fasta", type=Path)
        part.add_argument("--bases", type=int, help="Only the first so many of the first record.")
        part.add_argument("--shard-bases", type=int, default=200_000)
        if name == "overhead":
            part.add_argument("--genes", type=Path)
            part.add_argument("--taxon", default="fungi")
    part = parts.add_parser("memory")
    part.add_argument("small", type=Path, help="Folder of `saetrack annotate --work`.")
    part.add_argument("large", type=Path)
    part = parts.add_parser("merge-alone")
    part.add_argument("work", type=Path)
    part = parts.add_parser("storage")
    part.add_argument("result", type=Path, help="Folder of `saetrack annotate`.")
    part.add_argument("--questions", type=int, default=50)
    part = parts.add_parser("contigs")
    part.add_argument("--count", type=int, default=20_000)
    part.add_argument("--length", type=int, default=300)
    part.add_argument("--shard-bases", type=int, default=200_000)
    for part in parts.choices.values():
        part.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.part == "overhead" and args.genes is not None and args.bases:
        parser.error("--genes are of the whole record: leave --bases out")
    return args


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """Two workers against one on a sharded run, beside two bare processes against one."""
    with tempfile.TemporaryDirectory() as folder:
        fasta, bases = first_record(args, Path(folder))
        one = bare(fasta, processes=1)
        two = bare(fasta, processes=2)
        served = {
            n: serve(Path(folder) / f"{n}", fasta, n_workers=n, shard_bases=args.shard_bases)
            for n in (1, 2)
        }
    # two bare processes each compute all of it: twice the work
    bare_speedup = 2 * one["seconds"] / two["seconds"]
    encode = served[1]["encode_seconds"] / served[2]["encode_seconds"]
    whole = served[1]["seconds"] / served[2]["seconds"]
    return {
        "bases": bases,
        "shard_bases": args.shard_bases,
        "bare": {"1": one, "2": two, "speedup": round(bare_speedup, 3)},
        "served": {str(n): found for n, found in served.items()},
        "encode_speedup": round(encode, 3),
        "whole_speedup": round(whole, 3),
        "encode_efficiency_of_bare": round(encode / bare_speedup, 3),
        "whole_efficiency_of_bare": round(whole / bare_speedup, 3),
    }


def overhead(args: argparse.Namespace) -> dict[str, Any]:
    """A run of one worker beside the loop of model and dictionary over the same windows."""
    with tempfile.TemporaryDirectory() as folder:
        fasta, bases = first_record(args, Path(folder))
        before = bare(fasta, processes=1)
        plain = serve(Path(folder) / "plain", fasta, n_workers=1, shard_bases=args.shard_bases)
        after = bare(fasta, processes=1)
        described = serve(
            Path(folder) / "described", fasta, n_workers=1, shard_bases=args.shard_bases,
            genes=args.genes, taxon=args.taxon,
        )  # fmt: skip
    seconds = (before["seconds"] + after["seconds"]) / 2
    cpu = (before["cpu_seconds"] + after["cpu_seconds"]) / 2
    return {
        "bases": bases,
        "shard_bases": args.shard_bases,
        "counted": "bare: windows of both strands through model and dictionary, results dropped. "
        "encode: the run until its last shard is stored (adds claims, halos, peaks, statistics, "
        "Parquet, checksums). run: until it is complete, without motifs and genes (adds the join). "
        "described: with motifs and genes, which is analysis.",
        "bare": [before, after],
        "run": plain,
        "described": described,
        "encode_overhead": round(plain["encode_seconds"] / seconds - 1, 4),
        "run_overhead": round(plain["seconds"] / seconds - 1, 4),
        "described_overhead": round(described["seconds"] / seconds - 1, 4),
        "run_cpu_overhead": round(plain["cpu_seconds"] / cpu - 1, 4),
    }


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of a merge in a process of its own, of a small and a large run."""
    found = {}
    for name, work in (("small", args.small), ("large", args.large)):
        command = [sys.executable, "-m", "benchmarks.service", "merge-alone", str(work)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found[name] = json.loads(run.stdout.splitlines()[-1])
    ratio = found["large"]["peak_memory_bytes"] / found["small"]["peak_memory_bytes"]
    return {**found, "ratio": round(ratio, 3)}


def merge_alone(args: argparse.Namespace) -> dict[str, Any]:
    """Merge the shards of a folder in this process; what it took, and how much before each step."""
    from workers.batch import merge_folder

    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=args.work.resolve().parent) as folder:
        done = merge_folder(
            args.work,
            Path(folder) / "result",
            on_progress=lambda what, _done, _total: peaks.__setitem__(what, peak_bytes()),
        )
    return {
        "bases": sum(contig.length for contig in done.contigs),
        "seconds": done.seconds,
        "peak_memory_bytes": peak_bytes(),
        "peak_before": peaks,
    }


def storage(args: argparse.Namespace) -> dict[str, Any]:
    """Bytes per megabase of the one layout, and how long questions to it take."""
    record = read_provenance(args.result / "provenance.json")
    counts: Any = record["counts"]
    megabases = counts["bases"] / 1e6
    path = folder_activations(args.result)
    files = [path] if path.name == ONE_FILE else sorted(path.parent.glob("*.parquet"))
    opened = [pq.read_metadata(file) for file in files]
    columns: dict[str, int] = {}
    for metadata in opened:
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(at)
                columns[chunk.path_in_schema] = (
                    columns.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
                )
    size = sum(file.stat().st_size for file in files)
    active = count_active_bases(path)
    tables = {each.name: each.stat().st_size for each in sorted(args.result.glob("*.parquet"))}
    return {
        "dictionary": record["dictionary"],
        "megabases": round(megabases, 3),
        "activations_bytes": size,
        "files": len(files),
        "row_groups": sum(metadata.num_row_groups for metadata in opened),
        "stretches": sum(metadata.num_rows for metadata in opened),
        "active_bases": active,
        "active_per_base_and_strand": round(active / counts["bases"] / 2, 2),
        "bytes_per_active_base": round(size / active, 3),
        "bytes_per_column": columns,
        "megabytes_per_megabase": round(size / 1e6 / megabases, 2),
        "gigabytes_of_3.1_gb": round(size / 1e9 / megabases * HUMAN_MEGABASES, 1),
        "tables_bytes": tables,
        "questions_ms": questions(args.result, args.questions, counts["bases"]),
    }


def contigs(args: argparse.Namespace) -> dict[str, Any]:
    """Many short contigs through the embedded server with one worker: times, and peak memory."""
    drawn = make_contigs(args.count, args.length, args.length)
    with tempfile.TemporaryDirectory() as folder, installed(
        "embedded", Path(folder) / "here", BUNDLED_MODELS, n_workers=1, auth="none",
        shard_bases=args.shard_bases,
    ) as here:  # fmt: skip
        before = cpu_of(here)
        run_id, figures = submit_contigs(here, as_fasta(drawn), f"dictionary={DICTIONARY}")
        if figures["state"] != "COMPLETE":
            raise SystemExit(f"the run failed: {here.computation(run_id).error_message}")
        lengths = np.full(args.count, args.length, np.int64)
        wrong, active = check_contigs(here, run_id, lengths)
        return {
            "contigs": args.count,
            "bases": int(lengths.sum()),
            "shard_bases": args.shard_bases,
            **figures,
            "cpu_seconds": round(cpu_of(here) - before, 1),
            "bases_per_second": round(int(lengths.sum()) / figures["encode_seconds"]),
            "active_bases": int(active.sum()),
            "wrong": wrong,
        }


def questions(result: Path, count: int, bases: int) -> dict[str, Any]:
    """Times of questions, each on places and features drawn at random; files in the page cache."""
    path = folder_activations(result)
    draw = random.Random(0)  # noqa: S311 - draws questions, keeps no secret
    features = pq.read_table(result / "features.parquet", columns=["feature", "active_bases"])
    busiest = np.argsort(features["active_bases"].to_numpy())
    numbers = features["feature"].to_numpy()[busiest]
    contigs: Any = read_provenance(result / "provenance.json")["contigs"]
    lengths = [int(contig["length"]) for contig in contigs]

    def place(size: int) -> Span:
        contig = draw.choices(range(len(lengths)), weights=lengths)[0]
        start = draw.randrange(max(1, lengths[contig] - size))
        return Span(contig, start, min(lengths[contig], start + size))

    middle = numbers[len(numbers) // 4 : -len(numbers) // 4].tolist()
    asked: dict[str, Callable[[], object]] = {
        "median_feature_everywhere": lambda: read_feature(path, draw.choice(middle)),
        "commonest_feature_everywhere": lambda: read_feature(path, int(numbers[-1])),
        "ten_rows_of_100_kb": lambda: of_rows(
            path, [2 * feature for feature in draw.sample(middle, 10)], place(100_000)
        ),
        "one_row_of_1_kb": lambda: of_rows(path, [2 * draw.choice(middle)], place(1_000)),
    }
    found = {}
    for name, ask in asked.items():
        ask()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            ask()
            times.append((time.perf_counter() - start) * 1e3)
        at = np.percentile(times, [50, 95, 100]).round(1).tolist()
        found[name] = dict(zip(("p50", "p95", "max"), at, strict=True))
    return found


def first_record(args: argparse.Namespace, folder: Path) -> tuple[Path, int]:
    """The first record of the file as normalised FASTA, cut where that is asked for."""
    records, _ = read_sequences(args.fasta)
    record = records[0]
    sequence = record.sequence[: args.bases] if args.bases else record.sequence
    path = folder / "sequences.fa"
    write_fasta([record._replace(sequence=sequence)], path, names=[record.name])
    return path, len(sequence)


def bare(fasta: Path, *, processes: int) -> dict[str, float]:
    """Seconds that the slowest of some processes takes, each over the whole file."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=bare_loop, args=(str(fasta), barrier, answers))
        for _ in range(processes)
    ]
    for child in children:
        child.start()
    found = [answers.get(timeout=7_200) for _ in children]
    for child in children:
        child.join()
    return {
        "seconds": round(max(seconds for seconds, _ in found), 3),
        "cpu_seconds": round(sum(cpu for _, cpu in found) / processes, 3),
    }


def bare_loop(fasta: str, barrier: Barrier, answers: Any) -> None:
    """Model and dictionary over every window of both strands; the results are dropped."""
    import torch

    torch.set_num_threads(1)
    cards = find_cards([BUNDLED_MODELS])
    card = cards.dictionary(DICTIONARY)
    encoder = open_dictionary(card, [BUNDLED_MODELS])
    records, _ = read_sequences(Path(fasta))
    codes = encode_bases(records[0].sequence)
    whole = Span(0, 0, len(codes))
    windows = windows_of(
        [whole],
        {0: len(codes)},
        stride=card.stride,
        context=card.context,
        ahead=card.ahead,
        strands="both",
    )
    barrier.wait()
    start, cpu = time.perf_counter(), time.process_time()
    for _ in encode_windows(
        windows, lambda window: codes[slice(*window.read)], encoder,
        width=card.window, batch=BATCH,
    ):  # fmt: skip
        pass
    answers.put((time.perf_counter() - start, time.process_time() - cpu))


def serve(
    folder: Path,
    fasta: Path,
    *,
    n_workers: int,
    shard_bases: int,
    genes: Path | None = None,
    taxon: str | None = None,
) -> dict[str, Any]:
    """A run through the embedded server with some workers; its times by the database's clock."""
    with installed(
        "embedded", folder, BUNDLED_MODELS, n_workers=n_workers, auth="none",
        shard_bases=shard_bases,
    ) as here:  # fmt: skip
        here.finish(submit(here, warm_up(shard_bases=shard_bases, workers=n_workers)), 1_200)
        before = cpu_of(here)
        run_id = submit(here, fasta.read_bytes(), genes=genes, taxon=taxon)
        if here.finish(run_id, 7_200) != "COMPLETE":
            raise SystemExit(f"the run ended as {here.state(run_id)}: {here.folder / 'log'}")
        cpu = cpu_of(here) - before
        with reading(here.engine) as session:
            run = session.get_one(Run, run_id)
            submitted, done = run.created_at, run.computation.finished_at
        shards = here.shards(run_id)
        encoded = [shard for shard in shards if shard.kind == "encode"]
        last = max(shard.finished_at for shard in encoded)
        return {
            "seconds": round(done - submitted, 3),
            "encode_seconds": round(last - submitted, 3),
            "merge_seconds": round(done - last, 3),
            "cpu_seconds": round(cpu, 3),
            "shards": len(encoded),
            "attempts": sum(shard.attempts for shard in shards),
        }


def warm_up(*, shard_bases: int, workers: int) -> bytes:
    """Two shards for each worker, of other bases than are measured."""
    draw = np.random.default_rng(0)
    length = min(WARM_UP_BASES, shard_bases)
    return b"".join(
        b">warm%d\n%s\n" % (n, np.frombuffer(b"ACGT", np.uint8)[draw.integers(0, 4, length)].data)
        for n in range(2 * workers)
    )


def submit(here: Any, fasta: bytes, *, genes: Path | None = None, taxon: str | None = None) -> str:
    """Submit sequences, with genes as a form; the id of the run."""
    address = f"http://127.0.0.1:{here.settings.port}/v1/runs?dictionary={DICTIONARY}"
    if taxon is not None:
        address += f"&taxon={taxon}"
    body, kind = fasta, FASTA_TYPE
    if genes is not None:
        word = "benchmark-of-the-service"
        parts = [("file", "sequences.fa", fasta), ("genes", genes.name, genes.read_bytes())]
        body = b"".join(
            f'--{word}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
            .encode() + content + b"\r\n"
            for field, name, content in parts
        ) + f"--{word}--\r\n".encode()  # fmt: skip
        kind = f"multipart/form-data; boundary={word}"
    request = urllib.request.Request(address, data=body, headers={"Content-Type": kind})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - our own server
            return str(json.loads(answer.read())["id"])
    except urllib.error.HTTPError as error:
        raise SystemExit(f"the submission was refused: {error.read().decode()[:500]}") from error


def cpu_of(here: Any) -> float:
    """CPU time so far of all processes of an installation."""
    pids = []
    for process in [here.serve, *here.workers, *here.others]:
        pids += [process.process.pid, *process.descendants()]
    ticks = 0
    for pid in pids:
        # the name of a program, in brackets, may hold blanks; of children that ended, too
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes() -> int:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def load_average() -> float:
    """Processes that wanted to run in the last minute; times on the clock depend on them."""
    return float(Path("/proc/loadavg").read_text().split()[0])


def output(*command: str) -> str:
    """What a command prints."""
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


if __name__ == "__main__":
    main()
