"""Does the best feature of a TF tell where it is bound, better than its motif and baselines?

    python benchmarks/binding.py --fasta sacCer3.fa.gz --annotation sacCer3.gff3.gz \
        --locations locations.bed.gz --models MODELS --dictionary yeast-tree-l2 \
        --dictionary yeast-tree-l2-neurons --dictionary yeast-tree-random-l2 \
        --test chrIX,chrXIV --never chrVIII,chrIX,chrXIV,chrM --log reads.tsv --out binding.json

For each TF, sites are its binding locations, one per locus; negatives are random positions of the
same contigs with no location of the TF near, of the same GC content (101 bases about them) and,
with an annotation, the same share of coding ones. The score of a feature at a site is its
largest activation within `RADIUS` bases, on one strand ("row") or on either ("feature"). Which
feature, and which matrix of the TF, is chosen by AUROC on contigs that are neither tested nor named
by --never; then it is measured once on the test contigs. Intervals are percentiles of a bootstrap
over blocks of 50 kb; differences resample the same blocks on both sides.

Only windows about the sites are read, each with the dictionary's context, which gives the same
activations as reading whole contigs where the context covers what the model sees.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from annotations.cards import find_cards
from annotations.errors import OptionError
from annotations.evaluation import auroc
from annotations.jaspar import load_motifs, resolve_tf
from annotations.motif_scan import background_of
from annotations.provenance import environment
from workers.registry import Encoder, open_dictionary
from workers.training.binding import (
    BLOCK,
    CLEAR,
    RADIUS,
    Floats,
    Genome,
    Ints,
    Sites,
    block_bootstrap,
    column_auroc,
    gc_scores,
    load_genome,
    motif_scores,
    site_activations,
    sites_of,
)
from workers.training.gate import read_locations
from workers.training.measures import EVALUABLE_TFS
from workers.training.reading import log_reading

CHOICE_NEGATIVES, TEST_NEGATIVES = 4, 20
"""Negatives for each site."""
RESAMPLES = 1000
"""Draws of the bootstrap."""
Scores = tuple[Floats, Floats, list[str]]
"""Scores where a unit is chosen and where it is tested, shape (sites, units), and the units."""


class Measured(NamedTuple):
    """What one way of scoring gives for one TF."""

    scorer: str
    """Dictionary, "motif" or "GC"."""
    unit: str
    """The feature, row or matrix that was chosen."""
    choice_auroc: float
    """Where it was chosen: optimistic."""
    auroc: float
    """On the test contigs; NaN for a TF without a site there."""
    sample: Floats
    """The same in each draw of the bootstrap."""


def main() -> None:
    """Run the benchmark, write its record and print the table."""
    args = arguments()
    torch.set_num_threads(1)
    never, test = _names(args.never), _names(args.test)
    genome = load_genome(args.fasta, args.annotation, args.exclude)
    unknown = {*never, *test} - {*genome.names}
    if unknown:
        raise OptionError(f"{args.fasta.name} has no contig {', '.join(sorted(unknown))}")
    choice = [name for name in genome.names if name not in {*never, *test}]
    locations = read_locations(args.locations)
    catalogue = load_motifs(args.taxon)
    rng = np.random.default_rng(args.seed)
    motifs = {tf: resolve_tf(catalogue, tf).motifs for tf in _names(args.tfs)}
    chosen_on, tested_on = (
        sites_of(
            genome,
            [genome.names.index(name) for name in names],
            locations,
            [*motifs],
            rng,
            per_site=per_site,
        )
        for names, per_site in ((choice, CHOICE_NEGATIVES), (test, TEST_NEGATIVES))
    )
    scores: dict[str, dict[str, Scores]] = {tf: {} for tf in motifs}
    cards = find_cards(args.models)
    dictionaries = [cards.dictionary(name) for name in args.dictionary]
    for card in dictionaries:
        if args.log is not None:
            log_reading(args.log, card, args.test)
        encoder = open_dictionary(card, args.models)
        for tf, found in dictionary_scores(encoder, genome, chosen_on, tested_on).items():
            scores[tf] |= {
                card.id if kind == "feature" else f"{card.id} row": found[kind]
                for kind in ("feature", "row")
            }
    background = background_of(genome.bases)
    for tf in motifs:
        sets = chosen_on[tf], tested_on[tf]
        first, second = (motif_scores(genome, motifs[tf], sites, background) for sites in sets)
        scores[tf]["motif"] = first, second, [motif.matrix_id for motif in motifs[tf]]
        first, second = (gc_scores(genome, sites)[:, None] * [1, -1] for sites in sets)
        scores[tf]["GC"] = first, second, ["more GC", "less GC"]
    blocks = np.unique(np.concatenate([sites.block() for sites in tested_on.values()]))
    weights = np.random.default_rng(args.seed).multinomial(
        len(blocks), np.full(len(blocks), 1 / len(blocks)), RESAMPLES
    )
    measured = {
        tf: [
            best_unit(name, scores[tf][name], chosen_on[tf], tested_on[tf], blocks, weights)
            for name in scores[tf]
        ]
        for tf in motifs
    }
    record: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": shlex.join(
            ["python", "benchmarks/binding.py", *(Path(word).name for word in sys.argv[1:])]
        ),
        "environment": environment(),
        "dictionaries": {card.id: card.sha256 for card in dictionaries},
        "choice_contigs": choice,
        "test_contigs": test,
        "negatives_matched_on": ["GC", "coding"] if args.annotation else ["GC"],
        "radius": RADIUS,
        "clear": CLEAR,
        "block": BLOCK,
        "resamples": RESAMPLES,
        "jaspar_release": catalogue.release,
        "tfs": {
            tf: {
                "choice_sites": int(chosen_on[tf].bound.sum()),
                "choice_negatives": int((~chosen_on[tf].bound).sum()),
                "sites": int(tested_on[tf].bound.sum()),
                "negatives": int((~tested_on[tf].bound).sum()),
                "scores": [described(score, measured[tf][0]) for score in measured[tf]],
            }
            for tf in motifs
        },
        "mean": mean_of([row for tf, row in measured.items() if tested_on[tf].bound.any()]),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(markdown(record))


def dictionary_scores(
    encoder: Encoder,
    genome: Genome,
    chosen_on: Mapping[str, Sites],
    tested_on: Mapping[str, Sites],
) -> dict[str, dict[str, Scores]]:
    """Each TF's best feature (either strand) and best row: scores where chosen and where tested."""
    keys = np.unique(np.concatenate([s.key() for m in (chosen_on, tested_on) for s in m.values()]))
    activity = site_activations(encoder, genome, keys >> 32, keys & (2**32 - 1))
    views = {"row": activity, "feature": activity[:, ::2].maximum(activity[:, 1::2]).tocsr()}
    found: dict[str, dict[str, Scores]] = {}
    for tf in chosen_on:
        first, second = (np.searchsorted(keys, sites[tf].key()) for sites in (chosen_on, tested_on))
        found[tf] = {}
        for kind, view in views.items():
            best = int(np.nanargmax(column_auroc(view[first], chosen_on[tf].bound)))
            name = f"{best // 2}{'+-'[best % 2]}" if kind == "row" else str(best)
            one = [view[rows][:, [best]].toarray().astype(np.float64) for rows in (first, second)]
            found[tf][kind] = (one[0], one[1], [name])
    return found


def best_unit(
    scorer: str,
    scores: Scores,
    chosen_on: Sites,
    tested_on: Sites,
    blocks: Ints,
    weights: Ints,
) -> Measured:
    """The best unit of one way of scoring, chosen on some sites and measured on others."""
    choice, test, units = scores
    by_unit = [auroc(choice[:, unit], chosen_on.bound) for unit in range(len(units))]
    best = int(np.argmax(by_unit))
    block = np.searchsorted(blocks, tested_on.block())
    sample = block_bootstrap(test[:, best], tested_on.bound, block, weights)
    value = auroc(test[:, best], tested_on.bound)
    return Measured(scorer, units[best], by_unit[best], value, sample)


def described(score: Measured, first: Measured) -> dict[str, Any]:
    """A score with its interval, and how far the first one is above it; null for NaN."""
    low, high = _interval(score.sample)
    gain_low, gain_high = _interval(first.sample - score.sample)
    figures = {
        "choice_auroc": score.choice_auroc,
        "auroc": score.auroc,
        "low": low,
        "high": high,
        "gain": first.auroc - score.auroc,
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
    rounded = {name: None if np.isnan(x) else round(float(x), 4) for name, x in figures.items()}
    return {"scorer": score.scorer, "unit": score.unit, **rounded}


def mean_of(by_tf: Sequence[Sequence[Measured]]) -> list[dict[str, Any]]:
    """The mean over TFs of each way of scoring; draws without a site of a TF leave it out."""
    means = [
        Measured(
            same[0].scorer,
            f"{len(same)} TFs",
            float(np.mean([score.choice_auroc for score in same])),
            float(np.mean([score.auroc for score in same])),
            np.nanmean([score.sample for score in same], axis=0),
        )
        for same in zip(*by_tf, strict=True)
    ]
    return [described(score, means[0]) for score in means]


def _interval(sample: Floats) -> tuple[float, float]:
    """The middle 95 % of a sample, NaN left out."""
    known = sample[~np.isnan(sample)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def markdown(record: Mapping[str, Any]) -> str:
    """The record as one table: AUROC with its interval, TFs down, ways of scoring across."""
    first, *rest = [score["scorer"] for score in record["mean"]]
    shown = [first, rest[0], *(name for name in rest[1:] if not name.endswith(" row"))]
    lines = [
        f"AUROC on {', '.join(record['test_contigs'])}; [95 % of a block bootstrap] (unit)",
        "",
        "| TF | sites | " + " | ".join(shown) + " |",
        "|---|---|" + "---|" * len(shown),
    ]
    tested = [(tf, str(row["sites"]), row["scores"]) for tf, row in record["tfs"].items()]
    for tf, sites, scores in [*tested, ("mean", "", record["mean"])]:
        cells = [
            "-"
            if s["auroc"] is None
            else f"{s['auroc']:.2f} [{s['low']:.2f}, {s['high']:.2f}] ({s['unit']})"
            for s in scores
            if s["scorer"] in shown
        ]
        lines.append(f"| {tf} | {sites} | " + " | ".join(cells) + " |")
    lines += ["", f"{first} less each, mean over TFs:"]
    lines += [
        f"- {s['scorer']}: {s['gain']:+.3f} [{s['gain_low']:+.3f}, {s['gain_high']:+.3f}]"
        for s in record["mean"][1:]
    ]
    return "\n".join(lines) + "\n"


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fasta", type=Path, required=True)
    parser.add_argument("--locations", type=Path, required=True, help="BED, the TF as name")
    parser.add_argument("--annotation", type=Path, help="GFF3; negatives then match coding too")
    parser.add_argument("--exclude", type=Path, help="BED of regions left out")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--dictionary", action="append", required=True, help="may be repeated")
    parser.add_argument("--test", required=True, help="contigs measured on, comma-separated")
    parser.add_argument("--never", default="", help="further contigs nothing is chosen on")
    parser.add_argument("--tfs", default=EVALUABLE_TFS)
    parser.add_argument("--taxon", default="fungi")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file in which each reading is noted")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
