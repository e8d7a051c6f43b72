"""Do the motif test and three naive ones find what was planted, and nothing else?

    python benchmarks/calibration.py GENOME.fa.gz --taxon vertebrates --out results.json

On windows of a real genome: features that mean nothing (random windows, windows rich in GC, windows
rich in AT) tested against every motif, where each pair with q < 0.05 is false; and features of
which a quarter of the windows got a site of one motif, sampled from its matrix, about 15 bases
before the peak, where the motif should be among the ten best of its feature.

    matched background   the project's test: `annotations.enrichment.find_matches`
    hypergeometric       windows with the motif among the feature's against among all windows
    own shuffle          the same against the feature's windows shuffled five times each, with their
                         dinucleotides kept
    analytic             binomial, the chance of a hit being that of equal, independent bases

Motifs that cannot reach p < 1e-4 are scanned at their floor, and are called short here.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse, stats

from annotations.enrichment import MatchOptions, background_windows, find_matches
from annotations.evidence import with_evidence
from annotations.jaspar import Motif, load_motifs
from annotations.motif_scan import MOTIF_P, background_of, motif_thresholds, scan
from annotations.motif_windows import WIDTH, Corpus, Windows
from annotations.provenance import environment
from annotations.sequences import encode_bases, read_sequences
from annotations.significance import SIGNIFICANT_Q, benjamini_hochberg, binomial_tail

PEAKS = 100
"""Windows of each feature."""
BIAS = {"random": 0.0, "GC-rich": 1.0, "AT-rich": -1.0}
"""A null feature's activation is normal noise plus so many times the GC content, both of sd 1."""
ACTIVE = 0.02
"""Share of all windows in which a feature is active."""
PLANTED_SHARE = 0.25
PLANTED_AT, JITTER = -15, 5
"""Where the middle of a planted site lies, and how far it strays."""
SHUFFLES = 5
TOP = 10

Codes = list[NDArray[np.uint8]]
Floats = NDArray[np.float64]


class Feature(NamedTuple):
    """What stands for a feature: places in the list of all windows."""

    peaks: NDArray[np.int64]
    """The strongest first."""
    active: NDArray[np.int64]
    """The peaks among them."""
    planted: int
    """The motif that was planted, or -1."""


def main() -> None:
    """Run the benchmark, print its table and write its record."""
    args = arguments()
    random = np.random.default_rng(args.seed)
    motifs = load_motifs(args.taxon, args.release).motifs
    sequences = [encode_bases(r.sequence) for r in read_sequences(args.genome).records]
    windows = background_windows(sequences, n=sum(map(len, sequences)))
    reachable = motif_thresholds(motifs, background_of(sequences)).p
    groups = null_features(random, sequences, windows, args.features)
    groups["planted"] = plant(random, sequences, windows, motifs, reachable)
    started = time.process_time()
    hits = scan(sequences, motifs)
    corpus = Corpus.of(sequences, hits, len(motifs))
    place = corpus.codes.places(windows.contig, windows.start)
    held = corpus.motifs_in(place, WIDTH)
    uniform = np.full(4, 0.25)
    analytic_hits = Corpus.of(sequences, scan(sequences, motifs, background=uniform), len(motifs))
    analytic_held = analytic_hits.motifs_in(place, WIDTH)
    chance = chance_in_window(motifs, motif_thresholds(motifs, uniform).p)
    every = np.asarray(held.sum(axis=0)).ravel()

    def ours(features: list[Feature]) -> Floats:
        return matched(features, sequences, windows, motifs, hits).p

    def hypergeometric(features: list[Feature]) -> Floats:
        return stats.hypergeom.sf(counts(features, held) - 1, held.shape[0], every, PEAKS)

    def own_shuffle(features: list[Feature]) -> Floats:
        found, control = (
            counts(features, held),
            shuffled_counts(features, sequences, windows, motifs),
        )
        drawn = PEAKS * SHUFFLES
        return stats.hypergeom.sf(found - 1, PEAKS + drawn, found + control, PEAKS)

    def analytic(features: list[Feature]) -> Floats:
        found = counts(features, analytic_held)
        return binomial_tail(found, np.full(len(motifs), float(PEAKS)), PEAKS * chance)

    methods: dict[str, Callable[[list[Feature]], Floats]] = {
        "matched background": ours,
        "hypergeometric": hypergeometric,
        "own shuffle": own_shuffle,
        "analytic": analytic,
    }
    table = [
        row_of(name, {group: test(found) for group, found in groups.items()}, groups, reachable)
        for name, test in methods.items()
    ]
    record = {
        "benchmark": "calibration",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        # files by their names: where they lie says nothing
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "environment": environment(),
        "genome": {"file": args.genome.name, "bases": sum(map(len, sequences))},
        "windows": len(windows.start),
        "catalogue": f"{args.release} CORE {args.taxon}",
        "motifs": len(motifs),
        "null_features_per_group": args.features,
        "null_pairs_per_group": args.features * int((every > 0).sum()),
        "planted": {
            "attainable": sum(bool(reachable[f.planted] <= MOTIF_P) for f in groups["planted"]),
            "short": sum(bool(reachable[f.planted] > MOTIF_P) for f in groups["planted"]),
            "share_of_windows": PLANTED_SHARE,
        },
        "evidence_of_ours": evidence_of(groups["planted"], sequences, windows, motifs, hits),
        "methods": table,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    sys.stdout.write(printed(record))
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("genome", type=Path)
    parser.add_argument("--taxon", default="vertebrates")
    parser.add_argument("--release", default="JASPAR2026")
    parser.add_argument("--features", type=int, default=200, help="null features of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def null_features(
    random: np.random.Generator, sequences: Codes, windows: Windows, number: int
) -> dict[str, list[Feature]]:
    """Features that read the GC content of a window, more or less, and nothing else."""
    gc = np.array([((c == 1) | (c == 2)).mean() for c in bases_of(sequences, windows)])
    z = (gc - gc.mean()) / gc.std()
    active = round(ACTIVE * len(gc))
    groups = {}
    for name, bias in BIAS.items():
        features = []
        for _ in range(number):
            value = bias * z + random.standard_normal(len(z))
            order = np.argsort(-value)[:active]
            features.append(Feature(order[:PEAKS], order, -1))
        groups[name] = features
    return groups


def plant(
    random: np.random.Generator,
    sequences: Codes,
    windows: Windows,
    motifs: tuple[Motif, ...],
    reachable: Floats,
) -> list[Feature]:
    """Features with a motif in a quarter of their windows; the sequences are changed."""
    attainable = np.flatnonzero(reachable <= MOTIF_P)
    short = np.flatnonzero(reachable > MOTIF_P)
    chosen = [
        *random.choice(attainable, min(60, len(attainable)), replace=False).tolist(),
        *random.choice(short, min(40, len(short)), replace=False).tolist(),
    ]
    places = random.permutation(len(windows.start))
    features = []
    for at, motif in enumerate(chosen):
        peaks = places[at * PEAKS : (at + 1) * PEAKS]
        share = motifs[motif].counts / motifs[motif].counts.sum(axis=0)
        width = share.shape[1]
        for window in peaks[: round(PLANTED_SHARE * PEAKS)]:
            site = np.array([random.choice(4, p=column) for column in share.T], dtype=np.uint8)
            if random.random() < 0.5:
                site = 3 - site[::-1]
            middle = WIDTH // 2 + PLANTED_AT + random.integers(-JITTER, JITTER + 1)
            first = windows.start[window] + max(0, middle - width // 2)
            sequences[windows.contig[window]][first : first + width] = site
        others = random.choice(len(windows.start), round(ACTIVE * len(windows.start)), False)
        features.append(
            Feature(random.permutation(peaks), np.unique(np.concatenate([peaks, others])), motif)
        )
    return features


class Matched(NamedTuple):
    """The project's test of some features."""

    p: Floats
    """Shape (features, motifs); 1 where a motif is in no window."""
    table: pa.Table
    """All pairs with a hit."""


def matched(
    features: list[Feature],
    sequences: Codes,
    windows: Windows,
    motifs: tuple[Motif, ...],
    hits: pa.Table,
) -> Matched:
    """`find_matches`, told to report every pair."""
    background = background_windows(sequences)
    known = windows.contig.astype(np.int64) * 2**32 + windows.start
    place = np.searchsorted(known, background.contig.astype(np.int64) * 2**32 + background.start)
    active = np.zeros((len(features), len(known)), dtype=np.float32)
    for number, feature in enumerate(features):
        active[number, feature.active] = 1
    # The features are read on strand +; the rows of strand - stay empty.
    dense = np.zeros((len(place), 2 * len(features)), dtype=np.float32)
    dense[:, ::2] = active[:, place].T
    activity = sparse.csr_array(dense)
    chosen = np.concatenate([feature.peaks for feature in features])
    peaks = pa.table(
        {
            "feature": pa.array(np.repeat(np.arange(len(features)), PEAKS).astype(np.uint32)),
            "strand": pa.array(np.ones(len(chosen), dtype=np.int8)),
            "contig": pa.array(windows.contig[chosen]),
            "position": pa.array(windows.start[chosen] + WIDTH // 2),
            "value": pa.array(np.tile(np.arange(PEAKS, 0, -1), len(features)).astype(np.float32)),
        }
    )
    result = find_matches(
        peaks,
        hits,
        sequences,
        activity,
        motifs=motifs,
        background=background,
        options=MatchOptions(reported_q=1.0),
    )
    number = {motif.matrix_id: at for at, motif in enumerate(motifs)}
    p = np.ones((len(features), len(motifs)))
    motif = [number[i] for i in result.table["matrix_id"].to_pylist()]
    p[result.table["feature"].to_numpy(), motif] = result.table["p"].to_numpy()
    return Matched(p, result.table)


def evidence_of(
    features: list[Feature],
    sequences: Codes,
    windows: Windows,
    motifs: tuple[Motif, ...],
    hits: pa.Table,
) -> dict[str, float]:
    """Shares of the planted pairs that are enriched, and centred, by `annotations.evidence`."""
    table = with_evidence(matched(features, sequences, windows, motifs, hits).table)
    wanted = {(at, motifs[feature.planted].matrix_id) for at, feature in enumerate(features)}
    evidence = [
        row["evidence"].split(";")
        for row in table.select(["feature", "matrix_id", "evidence"]).to_pylist()
        if (row["feature"], row["matrix_id"]) in wanted
    ]
    return {
        kind: round(sum(kind in found for found in evidence) / len(wanted), 3)
        for kind in ("enriched", "centred")
    }


def counts(features: list[Feature], held: sparse.csr_array) -> Floats:
    """Windows with each motif among those of each feature, shape (features, motifs)."""
    found: Floats = np.stack([np.asarray(held[f.peaks].sum(axis=0)).ravel() for f in features])
    return found


def shuffled_counts(
    features: list[Feature], sequences: Codes, windows: Windows, motifs: tuple[Motif, ...]
) -> Floats:
    """The same of the feature's windows shuffled, `SHUFFLES` times as many."""
    chosen = np.concatenate([feature.peaks for feature in features])
    bases = bases_of(sequences, Windows(*(column[chosen] for column in windows)))
    shuffled = dinucleotide_shuffles(bases, SHUFFLES, 0)
    # One N after each window: no hit crosses it.
    laid = np.full((len(shuffled), WIDTH + 1), 4, dtype=np.uint8)
    laid[:, :WIDTH] = shuffled
    hits = scan([laid.ravel()], motifs, background=background_of(sequences))
    window = hits["start"].to_numpy() // (WIDTH + 1)
    held = sparse.csr_array(
        (np.ones(len(window)), (window, hits["motif"].to_numpy())),
        shape=(len(laid), len(motifs)),
    )
    held.sum_duplicates()
    held.data[:] = 1
    feature = np.repeat(np.arange(len(features)), PEAKS * SHUFFLES)
    member = sparse.csr_array((np.ones(len(feature)), (feature, np.arange(len(feature)))))
    found: Floats = (member @ held).toarray()
    return found


@numba.njit(cache=True)
def dinucleotide_shuffles(windows: Any, copies: int, seed: int) -> Any:  # noqa: D103
    # Altschul and Erickson 1985: random last exits that lead to the last base, then a walk.
    np.random.seed(seed)
    n, length = windows.shape
    out = np.empty((n * copies, length), dtype=np.uint8)
    for i in range(n):
        exits = np.empty((4, length), dtype=np.uint8)
        count = np.zeros(4, dtype=np.int64)
        for step in range(length - 1):
            base = windows[i, step]
            exits[base, count[base]] = windows[i, step + 1]
            count[base] += 1
        last = windows[i, length - 1]
        for copy in range(copies):
            pick = np.zeros(4, dtype=np.int64)
            leads = False
            while not leads:
                leads = True
                for base in range(4):
                    if count[base] > 0:
                        pick[base] = np.random.randint(count[base])
                for base in range(4):
                    at = base
                    for _ in range(4):
                        if at != last and count[base] > 0:
                            at = exits[at, pick[at]]
                    if count[base] > 0 and at != last:
                        leads = False
            order = exits.copy()
            for base in range(4):
                left = count[base]
                if base != last and left > 0:
                    left -= 1
                    order[base, pick[base]] = exits[base, left]
                    order[base, left] = exits[base, pick[base]]
                for k in range(left - 1, 0, -1):
                    j = np.random.randint(k + 1)
                    order[base, k], order[base, j] = order[base, j], order[base, k]
            used = np.zeros(4, dtype=np.int64)
            at = windows[i, 0]
            for step in range(length):
                out[i * copies + copy, step] = at
                if step < length - 1:
                    used[at] += 1
                    at = order[at, used[at] - 1]
    return out


def bases_of(sequences: Codes, windows: Windows) -> NDArray[np.uint8]:
    """Base codes of windows, shape (windows, WIDTH)."""
    found = np.empty((len(windows.start), WIDTH), dtype=np.uint8)
    for contig, codes in enumerate(sequences):
        there = np.flatnonzero(windows.contig == contig)
        found[there] = codes[windows.start[there][:, None] + np.arange(WIDTH)]
    return found


def chance_in_window(motifs: tuple[Motif, ...], p: Floats) -> Floats:
    """Chance that a window holds a motif, were its places and strands independent."""
    places = 2 * (WIDTH - np.array([motif.width for motif in motifs]) + 1)
    chance: Floats = 1 - (1 - np.nan_to_num(p)) ** places
    return chance


def row_of(
    name: str, p: dict[str, Floats], groups: dict[str, list[Feature]], reachable: Floats
) -> dict[str, Any]:
    """False pairs of each null group, and the share of the planted motifs that were found."""
    row: dict[str, Any] = {"method": name}
    for group in BIAS:
        q = benjamini_hochberg(p[group].ravel(), p[group].size)
        row[f"false {group}"] = int((q < SIGNIFICANT_Q).sum())
    planted = np.array([feature.planted for feature in groups["planted"]])
    own = p["planted"][np.arange(len(planted)), planted]
    found = (p["planted"] < own[:, None]).sum(axis=1) < TOP
    easy = reachable[planted] <= MOTIF_P
    row["top 10 attainable"] = round(float(found[easy].mean()), 3)
    row["top 10 short"] = round(float(found[~easy].mean()), 3) if (~easy).any() else None
    return row


def printed(record: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = list(record["methods"][0])
    lines = [
        f"{record['genome']['file']}, {record['catalogue']}: {record['null_pairs_per_group']:,} "
        f"null pairs in each group, {record['windows']:,} windows",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for row in record["methods"]:
        lines.append("| " + " | ".join(str(row[column]) for column in head) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
