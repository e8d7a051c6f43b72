"""Gene structure: which feature tells exons, introns, splice sites, codons and the codon's frame.

A concept is asked of a base in the sense of the pass: a feature that is read on either strand is
one unit, and a base counts once for each pass. The feature of each concept is chosen by AUPRC in
pieces of training chromosomes, about every intron and elsewhere, and measured whole chromosomes
at a time; its strand does not matter, both passes are of the same network.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.concept_tracks import gene_tracks
from annotations.evaluation import auprc, auroc
from annotations.tables import column
from workers.evidence.dictionaries import Compared
from workers.evidence.reading import BIN, FewFeatures, Shelf, pooled_bases
from workers.pipeline import N_CODE
from workers.registry import Encoder

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

CONCEPTS: Final = (
    "exon",
    "intron",
    "splice_donor",
    "splice_acceptor",
    "start_codon",
    "stop_codon",
)
FRAMES: Final = ("codon base 1", "codon base 2", "codon base 3")
"""First, second and third base of a codon, in the sense of the pass."""
PIECE: Final = 1000
"""Bases of a piece that features are chosen in."""
RANDOM_PIECES: Final = 150
LEAST: Final = 50
"""Active places below which a feature is not looked at."""


def concept_masks(genes: pa.Table, lengths: Sequence[int]) -> dict[str, list[Bools]]:
    """Where each concept is, for both passes: of each contig bool (2, length), + first.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
    lengths : sequence of int
        Bases of each contig.
    """
    tracks = gene_tracks(genes, lengths)
    of_base = tracks.class_of_bases()
    masks: dict[str, list[Bools]] = {}
    for at, label in enumerate(tracks.labels):
        if label.concept in CONCEPTS and label.orientation == "same":
            both = np.stack([tracks.members[row, of_base, at] for row in (0, 1)])
            masks[label.concept] = [
                both[:, tracks.offsets[contig] : tracks.offsets[contig + 1]]
                for contig in range(len(lengths))
            ]
    frames = codon_bases(genes, lengths)
    for number, name in enumerate(FRAMES):
        masks[name] = [frame == number for frame in frames]
    ordered = [name for name in (*CONCEPTS, *FRAMES) if name in masks]
    return {name: masks[name] for name in ordered}


def codon_bases(genes: pa.Table, lengths: Sequence[int]) -> list[NDArray[np.int8]]:
    """Which base of its codon each coding base is, 0 to 2, counted from the start codon.

    Bases that two transcripts of one strand count differently, and bases of transcripts whose
    coding length is not a multiple of three, are -1, like bases that are not coding.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
    lengths : sequence of int

    Returns
    -------
    frames : list of int8 array, shape (2, length)
        Of each contig, for genes on strand + and on strand -.
    """
    frames = [np.full((2, length), -1, np.int8) for length in lengths]
    clash = [np.zeros((2, length), bool) for length in lengths]
    coding = genes.filter(pc.and_(pc.equal(genes["kind"], "CDS"), pc.not_equal(genes["strand"], 0)))
    pieces: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    names = ("contig", "strand", "name", "transcript", "start", "end")
    for *transcript, start, end in zip(*(coding[name].to_pylist() for name in names), strict=True):
        pieces.setdefault(tuple(transcript), []).append((start, end))
    for (contig, strand, *_), spans in pieces.items():
        if sum(end - start for start, end in spans) % 3:
            continue
        places = np.concatenate([np.arange(start, end) for start, end in sorted(spans)])
        row = 0 if strand > 0 else 1
        order = places if strand > 0 else places[::-1]
        number = (np.arange(len(order)) % 3).astype(np.int8)
        known = frames[contig][row, order]
        clash[contig][row, order] |= (known >= 0) & (known != number)
        frames[contig][row, order] = number
    for frame, twice in zip(frames, clash, strict=True):
        frame[twice] = -1
    return frames


def pieces_of(genes: pa.Table, lengths: Sequence[int], *, seed: int = 0) -> list[Bools]:
    """Bins of the pieces that features are chosen in: about every intron, and at random.

    Returns
    -------
    bins : list of bool array, shape (length // BIN,)
    """
    introns = genes.filter(pc.equal(genes["kind"], "intron"))
    centres = (column(introns, "start") + column(introns, "end")) // 2
    contigs = column(introns, "contig").astype(np.int64)
    rng = np.random.default_rng(seed)
    share = np.array(lengths) / sum(lengths)
    drawn = rng.choice(len(lengths), RANDOM_PIECES, p=share)
    contigs = np.concatenate([contigs, drawn])
    centres = np.concatenate([centres, rng.integers(0, np.array(lengths)[drawn])])
    bins = [np.zeros(length // BIN, bool) for length in lengths]
    for contig, centre in zip(contigs.tolist(), centres.tolist(), strict=True):
        low = max(0, centre - PIECE // 2) // BIN
        bins[contig][low : low + PIECE // BIN] = True
    return bins


def choose_structure(
    compared: Compared,
    bases: Sequence[Codes],
    genes: pa.Table,
    shelf: Shelf,
    on_step: Any = lambda text: None,
) -> dict[str, Any]:
    """The feature of each concept for each role, by AUPRC in pieces of training chromosomes."""
    lengths = [len(codes) for codes in bases]
    masks = concept_masks(genes, lengths)
    bins = pieces_of(genes, lengths)
    chosen: dict[str, Any] = {name: {} for name in masks}
    for role in compared.by_role:
        found = best_features(compared.open(role), bases, bins, masks, shelf)
        for name, row in found.items():
            chosen[name][role] = row
        on_step(f"gene structure, {role}")
    return {"bases": int(sum(part.sum() for part in bins)) * BIN, "concepts": chosen}


def best_features(
    encoder: Encoder,
    bases: Sequence[Codes],
    bins: Sequence[Bools],
    masks: Mapping[str, Sequence[Bools]],
    shelf: Shelf,
) -> dict[str, dict[str, Any]]:
    """The feature with the largest AUPRC for each concept, in some bins of both passes."""
    names = list(masks)
    features, labels, values = [], [], []
    positives, total = np.zeros(len(names)), 0
    for index, codes in enumerate(bases):
        inside = np.repeat(bins[index], BIN)
        both = np.stack([masks[name][index][:, : len(inside)] for name in names])
        positives += both[:, :, inside].sum((1, 2))
        total += 2 * int(inside.sum())
        feature, reverse, position, value = pooled_bases(encoder, codes, bins[index], shelf)
        features.append(feature)
        values.append(value)
        labels.append(both[:, reverse.astype(np.int64), position].T)
    feature, value = np.concatenate(features), np.concatenate(values)
    label = np.concatenate(labels)
    order = np.lexsort((-value, feature))
    feature, value, label = feature[order], value[order], label[order]
    edges = np.searchsorted(feature, np.arange(encoder.coder.n_features + 1))
    areas = np.full((encoder.coder.n_features, len(names)), np.nan)
    for one in range(encoder.coder.n_features):
        own = slice(edges[one], edges[one + 1])
        if edges[one + 1] - edges[one] >= LEAST:
            areas[one] = sparse_auprc(label[own], positives, total)
    found = {}
    for at, name in enumerate(names):
        known = not np.isnan(areas[:, at]).all()
        best = int(np.nanargmax(areas[:, at])) if known else None
        found[name] = {
            "feature": best,
            "auprc": None if best is None else round(float(areas[best, at]), 5),
            "prevalence": round(float(positives[at] / total), 7),
        }
    return found


def sparse_auprc(label: Bools, positives: Floats, total: int) -> Floats:
    """Average precision of a feature for several concepts, silent places taken as one last step.

    Parameters
    ----------
    label : bool array, shape (active, concepts)
        At its active places, the highest value first; no two values are taken as equal.
    positives : float64 array, shape (concepts,)
        Of all places.
    total : int
        All places.

    Returns
    -------
    area : float64 array, shape (concepts,)
        NaN for a concept without a positive.
    """
    right = np.cumsum(label, axis=0, dtype=np.float64)
    precision = right / np.arange(1, len(label) + 1)[:, None]
    gained = (precision * label).sum(0)
    silent = (positives - right[-1]) * positives / total if len(label) else positives**2 / total
    return np.asarray(
        np.divide(
            gained + silent, positives, out=np.full(len(positives), np.nan), where=positives > 0
        )
    )


def measure_structure(
    compared: Compared,
    bases: Sequence[Codes],
    genes: pa.Table,
    choice: Mapping[str, Any],
    shelf: Shelf,
) -> dict[str, Any]:
    """AUROC and AUPRC per base of the chosen features on whole contigs, by concept and role."""
    lengths = [len(codes) for codes in bases]
    masks = concept_masks(genes, lengths)
    figures: dict[str, Any] = {name: {} for name in choice["concepts"] if name in masks}
    known = np.concatenate([np.tile(codes < N_CODE, 2) for codes in bases])
    labels = {
        name: np.concatenate([both.ravel() for both in masks[name]])[known] for name in figures
    }
    for role in compared.by_role:
        wanted = {name: choice["concepts"][name][role]["feature"] for name in figures}
        asked = [feature for feature in wanted.values() if feature is not None]
        if not asked:
            continue
        few = FewFeatures(compared.open(role), asked)
        tracks: dict[int, list[NDArray[np.float32]]] = {feature: [] for feature in asked}
        for codes in bases:
            every = np.ones(len(codes) // BIN, bool)
            found = pooled_bases(few, codes, every, shelf)
            for feature in tracks:
                own = found[0] == feature
                dense = np.zeros((2, len(codes)), np.float32)
                dense[found[1][own].astype(np.int64), found[2][own]] = found[3][own]
                tracks[feature].append(dense.ravel())
        for name, feature in wanted.items():
            if feature is None:
                figures[name][role] = None
                continue
            score = np.concatenate(tracks[feature])[known]
            area = auprc(score, labels[name])
            figures[name][role] = {
                "feature": feature,
                "auroc": _rounded(auroc(score, labels[name])),
                "auprc": _rounded(area.auprc),
                "prevalence": _rounded(area.prevalence),
                "positives": int(labels[name].sum()),
            }
    return figures


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 7)
