"""Bits per base, with and without repeats, beside Markov models trained on the same bases."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.evidence.binding import motifs_of
from workers.evidence.data import Data, YeastContig
from workers.evidence.reading import BIN, Shelf, expected
from workers.evidence.sites import loci_of
from workers.pipeline import N_CODE
from workers.registry import Encoder
from workers.training.gate import Locations, motif_gate
from workers.training.genomes import load_corpus
from workers.training.markov import MAX_ORDER, MarkovModel, markov_base_bits, train_markov
from workers.training.measures import plain

Bools = NDArray[np.bool_]

FIRST_BUNDLED: Final = {
    "coding": 1.946,
    "noncoding": 1.849,
    "source": "first bundled model `yeast-tree` of 2026-11-21, chrVIII, its model card of that day",
}
"""The model that came with saetrack before this one; its weights are no longer here."""

SETS: Final = (
    "all",
    "without annotated repeats",
    "without annotated repeats and soft-masked bases",
)


def kinds(contig: YeastContig) -> dict[str, dict[str, Bools]]:
    """Bases of each set, coding and non-coding apart."""
    known = contig.bases < N_CODE
    kept = (known, known & ~contig.repeat, known & ~contig.repeat & ~contig.masked)
    return {
        name: {"coding": mask & contig.coding, "noncoding": mask & ~contig.coding}
        for name, mask in zip(SETS, kept, strict=True)
    }


def means(contigs: Sequence[YeastContig], bits: Sequence[NDArray[np.floating]]) -> dict[str, Any]:
    """Mean bits of each set and kind over some contigs; bases that were not scored left out."""
    total: dict[str, dict[str, list[float]]] = {}
    for contig, scored in zip(contigs, bits, strict=True):
        for name, by_kind in kinds(contig).items():
            for kind, mask in by_kind.items():
                values = scored[mask & ~np.isnan(scored)]
                pair = total.setdefault(name, {}).setdefault(kind, [0.0, 0])
                pair[0] += float(values.sum(dtype=np.float64))
                pair[1] += len(values)
    return {
        name: {
            kind: {"bits": round(pair[0] / pair[1], 4) if pair[1] else None, "bases": int(pair[1])}
            for kind, pair in by_kind.items()
        }
        for name, by_kind in total.items()
    }


def model_bits(
    encoder: Encoder, contigs: Sequence[YeastContig], shelf: Shelf
) -> list[NDArray[np.float32]]:
    """Bits the model needs for each base given all the others; NaN where it says nothing."""
    found = []
    for contig in contigs:
        every = np.ones(-(-len(contig.bases) // BIN), bool)
        padded = np.full(len(every) * BIN, N_CODE, np.uint8)
        padded[: len(contig.bases)] = contig.bases
        log2_p = expected(encoder, padded, every, shelf)[: len(contig.bases)]
        bits = -log2_p[np.arange(len(contig.bases)), np.minimum(contig.bases, 3)]
        found.append(np.where(contig.bases == N_CODE, np.nan, bits).astype(np.float32))
    return found


def bits_stage(
    encoder: Encoder,
    data: Data,
    contigs: Sequence[YeastContig],
    shelf: Shelf,
    on_step: Any = lambda text: None,
) -> dict[str, Any]:
    """The model beside interpolated Markov models of every order, on the same bases.

    Parameters
    ----------
    encoder : Encoder
        Opened with its whole model.
    data : Data
        Its genomes are counted by the Markov models: all their bases, and the non-coding alone.
    contigs : sequence of YeastContig
        Held out.
    shelf : Shelf
    """
    rows: list[dict[str, Any]] = [
        {"model": encoder.model.id, "sets": means(contigs, model_bits(encoder, contigs, shelf))}
    ]
    on_step("the model")
    corpus = load_corpus(data.genomes(), window=MAX_ORDER)
    for name, counted in (("all", corpus.bases < N_CODE), ("non-coding", ~corpus.coding)):
        whole = train_markov(corpus.bases, counted, order=MAX_ORDER)
        on_step(f"Markov counts, {name} bases")
        for order in range(MAX_ORDER + 1):
            model = MarkovModel(whole.counts[: order + 1], whole.strength)
            bits = [both_directions(markov_base_bits(model, one.bases)) for one in contigs]
            rows.append({"model": "Markov", "order": order, "counted": name})
            rows[-1]["sets"] = means(contigs, bits)
        on_step(f"Markov models, {name} bases")
    return {
        "contigs": [contig.name for contig in contigs],
        "genomes": [spec.fasta.name for spec in data.genomes()],
        "strength": whole.strength,
        "first_bundled": FIRST_BUNDLED,
        "curve": None,
        "rows": rows,
    }


def both_directions(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the directions that say something; (2, length) to (length,), NaN for none.

    Examples
    --------
    >>> both_directions(np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan]])).tolist()
    [2.0, 2.0, nan]
    """
    said = (~np.isnan(bits)).sum(0)
    total = np.nansum(bits, axis=0)
    mean = np.divide(total, said, out=np.full(bits.shape[1], np.nan), where=said > 0)
    return np.asarray(mean)


def gate_rows(
    encoder: Encoder,
    contigs: Sequence[YeastContig],
    locations: Locations,
    tfs: Sequence[str],
    shelf: Shelf,
) -> dict[str, Any]:
    """Bits at the cores of bound and unbound motif instances (`workers.training.gate`).

    Instances lie in non-coding sequence without annotated repeats and regions left out of peak
    calling.
    """
    found = motifs_of(tfs)
    bits = []
    allowed = []
    for one in loci_of(contigs):
        bases = one.contig.bases
        log2_p = expected(encoder, bases, one.read, shelf)
        bits.append(-log2_p[np.arange(len(bases)), np.minimum(bases, 3)])
        left_out = one.contig.coding | one.contig.repeat | one.contig.unread
        allowed.append(~left_out & ~np.isnan(bits[-1]))
    annotated = [contig.annotated() for contig in contigs]
    rows = [
        motif_gate(bits, annotated, allowed, tf, motif, locations)
        for tf, motifs in found.items()
        for motif in motifs
    ]
    table: list[Mapping[str, Any]] = [plain(asdict(row) | {"known": row.known}) for row in rows]
    return {"contigs": [contig.name for contig in contigs], "tfs": table}
