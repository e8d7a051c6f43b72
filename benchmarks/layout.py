"""The layout of stored activations at scale: parts beside one file, questions to both.

    python -m benchmarks.layout WORK --file RESULT/activations.parquet --scratch SCRATCH \
        --out benchmarks/results/DATE-layout.json

WORK is the folder of `saetrack annotate --work`, RESULT what was made of it before there were
parts. Parts are merged from the shards under --scratch, once. A larger genome is made of copies: a
question to N copies reads the parts N times, footers too, with other contigs each time, and joins
what it read; the bytes come from the page cache. The index is written for 3.1 Gb and opened.
"""

import argparse
import json
import os
import platform
import random
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotations import activation_files, activation_parts
from annotations.activation_merge import merge_parts
from annotations.activation_parts import INDEX_FILE, ActivationParts, PartsIndex, open_parts
from annotations.activations import count_active_bases, read_feature
from annotations.provenance import environment
from annotations.region_activity import in_region, of_rows, summarize
from annotations.shard_bases import SHARD_FILE
from annotations.stretches import ACTIVATIONS_SCHEMA, join_touching
from annotations.tables import column
from annotations.types import Span

HUMAN_MEGABASES = 3_100.0


def main() -> None:
    """Make the parts where they are not there, ask, and write the record."""
    args = arguments()
    load = os.getloadavg()[0]
    request = json.loads((args.work / "request" / "request.json").read_text())
    spans = [Span(at, 0, int(contig[1])) for at, contig in enumerate(request["contigs"])]
    merged = parts_merged(args, spans)
    parts = open_parts(args.scratch / INDEX_FILE)
    megabases = sum(span.length for span in spans) / 1e6
    stored = sum(part.bytes for part in parts.index.parts)
    record = {
        "benchmark": "layout",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(
            ["python", "-m", "benchmarks.layout", *(Path(a).name for a in sys.argv[1:])]
        ),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), **environment()},
        "cores": os.cpu_count(),
        "load_average_before": load,
        "megabases": round(megabases, 3),
        "merge": merged,
        "parts": len(parts.index.parts),
        "cells": sum(len(parts._footer(part).tile) for part in parts.index.parts),
        "features_per_group": parts.index.features_per_group,
        "megabytes_per_megabase": {
            "one_file": round(args.file.stat().st_size / 1e6 / megabases, 2),
            "parts": round(stored / 1e6 / megabases, 2),
            "footers_of_parts": round(
                sum(part.footer_bytes for part in parts.index.parts) / 1e6 / megabases, 3
            ),
        },
        "gigabytes_of_3.1_gb": round(stored / 1e9 / megabases * HUMAN_MEGABASES, 1),
        "encodings_bytes_per_active_base": encodings(args.file),
        "questions": questions(args, spans),
        "copies": copied_questions(args, parts, spans, megabases),
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    args.out.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("work", type=Path, help="Folder of `saetrack annotate --work`.")
    parser.add_argument("--file", type=Path, required=True, help="The same in one file.")
    parser.add_argument("--scratch", type=Path, required=True, help="Where parts are written.")
    parser.add_argument("--copies", type=int, default=25)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def parts_merged(args: argparse.Namespace, spans: Sequence[Span]) -> dict[str, Any] | None:
    """What the merge took; None where the parts are of an earlier call."""
    if (args.scratch / INDEX_FILE).is_file():
        return None
    shards = sorted(args.work.glob(f"shard*/{SHARD_FILE}"))
    start, cpu = time.monotonic(), time.process_time()
    merge_parts(shards, args.scratch, spans=spans, n_features=n_features(args.file))
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def n_features(file: Path) -> int:
    """Features of the dictionary, as far as any is active."""
    return max(last for _, last in activation_files.file_layout(file).ranges) + 1


def encodings(file: Path, groups: int = 40) -> dict[str, float]:
    """Bytes of an active base by how some row groups are encoded, all without loss."""
    with pq.ParquetFile(file) as opened:
        chosen = np.linspace(0, opened.num_row_groups - 1, groups).astype(int).tolist()
        table = opened.read_row_groups(chosen, use_threads=False)
    active = len(table["values"].combine_chunks().values)
    start = {"start": "DELTA_BINARY_PACKED"}
    split = {**start, "values.list.element": "BYTE_STREAM_SPLIT"}
    ways: dict[str, dict[str, Any]] = {
        "zstd 1 (as stored)": {"column_encoding": start},
        "zstd 3": {"column_encoding": start, "compression_level": 3},
        "zstd 9": {"column_encoding": start, "compression_level": 9},
        "zstd 1, byte stream split": {"column_encoding": split},
        "zstd 3, byte stream split": {"column_encoding": split, "compression_level": 3},
        "zstd 1, checksums": {"column_encoding": start, "write_page_checksum": True},
    }
    found = {}
    for name, options in ways.items():
        for rows in (65_536, 16_384):
            sink = pa.BufferOutputStream()
            pq.write_table(
                table,
                sink,
                row_group_size=rows,
                compression="zstd",
                use_dictionary=["feature", "strand", "contig"],
                **options,
            )
            found[f"{name}, row groups of {rows}"] = round(sink.getvalue().size / active, 3)
    return found


def questions(args: argparse.Namespace, spans: Sequence[Span]) -> dict[str, Any]:
    """Milliseconds of questions to one file and to parts, of the same places and features."""
    index = args.scratch / INDEX_FILE
    parts = open_parts(index)
    totals = parts.index.group_active_bases
    step = parts.index.features_per_group
    middle = int(np.argsort(totals)[len(totals) // 2]) * step
    busiest = max(
        range(int(totals.argmax()) * step, int(totals.argmax()) * step + step),
        key=lambda feature: read_feature(parts, feature).num_rows,
    )
    found: dict[str, Any] = {"middle_feature": middle, "densest_feature": busiest}
    for name, source in (("one_file", args.file), ("parts", index)):
        draw = random.Random(0)  # noqa: S311 - draws questions, keeps no secret

        def place(size: int, draw: random.Random = draw) -> Span:
            contig = draw.choices(range(len(spans)), weights=[s.length for s in spans])[0]
            start = draw.randrange(max(1, spans[contig].length - size))
            return Span(contig, start, min(spans[contig].length, start + size))

        def top(source: Path = source, place: Callable[[int], Span] = place) -> None:
            region = place(100_000)
            summarize(in_region(source, region, max_scanned=10**12), region)

        def ten(source: Path = source, place: Callable[[int], Span] = place) -> None:
            of_rows(source, [2 * (middle + at) for at in range(10)], place(100_000))

        asked: dict[str, Callable[[], object]] = {
            "count": partial(count_active_bases, source),
            "middle_feature": partial(read_feature, source, middle),
            "densest_feature": partial(read_feature, source, busiest),
            "ten_rows_of_100_kb": ten,
            "features_of_100_kb": top,
        }
        found[name] = {}
        for what, ask in asked.items():
            # one file is gone through from end to end: seconds each
            slow = name == "one_file" and what == "features_of_100_kb"
            count = 0 if slow else args.questions
            forget()
            first = milliseconds(ask)
            later = [milliseconds(ask) for _ in range(count)]
            found[name][what] = {
                "cold_footers_ms": first,
                "p50_ms": round(float(np.median(later)), 1) if later else None,
                "max_ms": max(later, default=None),
            }
    return found


def copied_questions(
    args: argparse.Namespace, parts: ActivationParts, spans: Sequence[Span], megabases: float
) -> dict[str, Any]:
    """Questions to a genome of as many copies, and opening the index of one of 3.1 Gb."""
    found: dict[str, Any] = {
        "copies": args.copies,
        "megabases": round(megabases * args.copies, 1),
    }
    asked = questions_of(parts)
    for name, feature in asked.items():
        start, cpu = time.monotonic(), time.process_time()
        tables = []
        for copy in range(args.copies):
            forget()
            tiles = 0, len(parts.index.tiles)
            for table in parts._cells(range(feature, feature + 1), tiles):
                contig = column(table, "contig") + np.uint32(copy * len(spans))
                at = table.schema.get_field_index("contig")
                tables.append(table.set_column(at, table.schema.field(at), pa.array(contig)))
        rows = join_touching(pa.concat_tables([ACTIVATIONS_SCHEMA.empty_table(), *tables])).num_rows
        found[name] = {
            "stretches": rows,
            "seconds": round(time.monotonic() - start, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
        }
    times = round(HUMAN_MEGABASES / megabases)
    path = args.scratch / "index-of-3.1-gb" / "index.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(of_copies(parts.index, times, len(spans)).to_json()))
    found["index_of_3.1_gb"] = {
        "parts": times * len(parts.index.parts),
        "bytes": path.stat().st_size,
        "open_ms": milliseconds(partial(open_parts, path)),
        "open_again_ms": milliseconds(partial(open_parts, path)),
    }
    return found


def questions_of(parts: ActivationParts) -> dict[str, int]:
    """A feature of the middle group and one of the densest."""
    order = np.argsort(parts.index.group_active_bases)
    step = parts.index.features_per_group
    return {
        "feature_of_the_middle_group": int(order[len(order) // 2]) * step,
        "feature_of_the_densest_group": int(order[-1]) * step,
    }


def of_copies(index: PartsIndex, copies: int, contigs: int) -> PartsIndex:
    """The index of as many copies of a genome, each with stripes of its own."""
    stripes = max(part.stripe for part in index.parts) + 1
    first = index.tiles.copy()
    return index._replace(
        tiles=np.concatenate([first + np.uint64((copy * contigs) << 32) for copy in range(copies)]),
        tile_active_bases=np.tile(index.tile_active_bases, copies),
        group_active_bases=index.group_active_bases * copies,
        parts=tuple(
            part._replace(stripe=part.stripe + copy * stripes)
            for copy in range(copies)
            for part in index.parts
        ),
    )


def forget() -> None:
    """Drop what is kept of footers."""
    activation_parts._FOOTERS._found.clear()
    activation_files._read_layout.cache_clear()


def milliseconds(ask: Callable[[], object]) -> float:
    """How long a question takes."""
    start = time.perf_counter()
    ask()
    return round((time.perf_counter() - start) * 1e3, 1)


def output(*command: str) -> str:
    """What a command says."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


if __name__ == "__main__":
    main()
