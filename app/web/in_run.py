"""A feature in the sequences of a run: examples from strong to weak, and how its values spread.

activations.parquet --read_feature--> active bases --local maxima, four ranges--> examples
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activations import Activations, from_stretches, read_feature
from annotations.feature_examples import FLANK, ranges_of
from annotations.peaks import local_maxima
from annotations.sequence_files import StoredBases
from annotations.types import STRAND_SIGNS, Strand
from app.catalog import Result

PER_RANGE: Final = 3
"""Examples of each range on a page."""

LEVELS: Final = 9
"""Steps of the colours of activation; the style sheet has h1 to h9."""

BINS: Final = 24
"""Bars of the histogram of activations."""

GENE_LEVELS: Final = {"gene": 1, "intron": 1, "exon": 2, "UTR5": 2, "UTR3": 2, "CDS": 3}
"""Parts of genes that are drawn beneath a sequence; of several the highest counts."""

GENE_CLASSES: Final = ("", "g-intron", "g-exon", "g-cds")
"""Their classes in the style sheet; nothing is drawn between genes."""

SENSES: Final = {1: "sense", -1: "antisense"}
"""How a gene is read, by the product of its strand and the pass's."""

_COMPLEMENT: Final = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")

RANGE_WORDS: Final = ("strongest quarter", "second quarter", "third quarter", "weakest quarter")
"""What the four ranges of a feature's peaks are called."""


class Example(NamedTuple):
    """A place where a feature fires."""

    range: int
    """1 for the quarter of its largest peaks, to 4."""
    rank: int
    """1 is its largest peak."""
    contig: str
    position: int
    """0-based."""
    value: float
    gene: str | None
    parts: list[tuple[str, str]]
    """The sequence as the pass read it: letters, and the classes of their colour."""
    said: str
    """The same in words, for those who do not see colours."""
    beneath: list[tuple[int, str]]
    """What of genes lies under the sequence: bases, and the class of their part; empty where the
    run knows no genes."""
    senses: str
    """Whether the genes are read in the sense of the pass."""


class Bar(NamedTuple):
    """A bar of a histogram."""

    low: float
    high: float
    number: int
    share: float
    """Height from 0 to 1, on a logarithmic scale."""


def level(value: float, largest: float) -> int:
    """Step of the colours for an activation: 0 for a silent base.

    Examples
    --------
    >>> [level(value, 9.0) for value in (0.0, 0.1, 4.5, 9.0)]
    [0, 1, 5, 9]
    """
    if value <= 0 or largest <= 0:
        return 0
    return max(1, min(LEVELS, math.ceil(LEVELS * value / largest)))


def colour_sequence(
    letters: str, values: NDArray[np.float32], largest: float
) -> list[tuple[str, str]]:
    """A sequence cut where the colour changes, with the classes of each part.

    Parameters
    ----------
    letters : str
        Odd length; the peak is in the middle.
    values : ndarray, shape (len(letters),)
        Activations, 0 where silent.
    largest : float
        Activation of the strongest colour.

    Examples
    --------
    >>> colour_sequence("ACG", np.array([0, 9, 9], np.float32), 9.0)
    [('A', ''), ('C', 'h9 peak'), ('G', 'h9')]
    """
    middle = len(letters) // 2

    def classes(at: int) -> str:
        step = level(float(values[at]), largest)
        return " ".join(([f"h{step}"] if step else []) + (["peak"] if at == middle else []))

    return [
        ("".join(letters[at] for at in group), name)
        for name, group in groupby(range(len(letters)), key=classes)
    ]


def active_bases(result: Result, feature: int, strand: Strand) -> Activations:
    """The active bases of a feature row in a run, sorted by contig and position."""
    path = result.activations
    return from_stretches(read_feature(path, feature, STRAND_SIGNS[strand]))


def examples(result: Result, feature: int, strand: Strand, active: Activations) -> list[Example]:
    """Peaks of a feature row from its strongest to its weakest, with their sequences.

    Parameters
    ----------
    result : Result
        Of a run; without its sequences there are no examples.
    feature : int
        Index of the feature.
    strand : {"+", "-"}
        The pass.
    active : Activations
        As from `active_bases`.

    Returns
    -------
    examples : list of Example
        Four ranges of equal number of peaks, `PER_RANGE` of each, as in
        `annotations.feature_examples`.
    """
    if result.sequences is None or not len(active.value):
        return []
    peaks = np.flatnonzero(local_maxima(active))
    peaks = peaks[np.argsort(-active.value[peaks], kind="stable")]
    largest = float(active.value[peaks[0]])
    genes = _genes(result, feature, strand)
    chosen = ranges_of(len(peaks), PER_RANGE)
    loci = [
        (int(active.contig[peaks[rank - 1]]), int(active.position[peaks[rank - 1]]))
        for rank, _ in chosen
    ]
    parts = gene_strips(result, loci, strand)
    found = []
    for (rank, part), (contig, position), strip in zip(chosen, loci, parts, strict=True):
        letters = bases_about(result, [(contig, position)], strand, FLANK)[0]
        values = _values(active, contig, position - FLANK, position + FLANK + 1)
        if strand == "-":
            values = values[::-1]
        value = float(active.value[peaks[rank - 1]])
        fires = int((values > 0).sum())
        found.append(
            Example(
                range=part,
                rank=rank,
                contig=result.names[contig],
                position=position,
                value=value,
                gene=genes.get((contig, position)) or strip.names or None,
                parts=colour_sequence(letters, values, largest),
                said=f"{letters}, active at {fires} of {len(letters)} bases",
                beneath=strip.parts,
                senses=strip.senses,
            )
        )
    return found


def bases_about(
    result: Result, loci: Sequence[tuple[int, int]], strand: Strand, flank: int
) -> list[str]:
    """Bases about some places as the pass read them, N beyond the ends of a contig.

    Parameters
    ----------
    result : Result
        With its sequences.
    loci : sequence of (contig, position)
    strand : {"+", "-"}
        The pass.
    flank : int
        Bases on each side.
    """
    if result.sequences is None:
        return []
    stored = StoredBases(result.sequences, result.lengths)
    found = []
    for contig, position in loci:
        low, high = position - flank, position + flank + 1
        inside = max(0, low), min(result.lengths[contig], high)
        bases = stored.fetch(contig, *inside).decode("ascii").upper()
        letters = "N" * (inside[0] - low) + bases + "N" * (high - inside[1])
        found.append(letters.translate(_COMPLEMENT)[::-1] if strand == "-" else letters)
    return found


class GeneStrip(NamedTuple):
    """What of genes lies under a sequence."""

    parts: list[tuple[int, str]]
    """Bases, and the class of their part: "" between genes."""
    senses: str
    """In words, whether the genes at the place are read in the sense of the pass; empty without
    any."""
    names: str
    """Of these genes."""


def gene_strips(result: Result, loci: Sequence[tuple[int, int]], strand: Strand) -> list[GeneStrip]:
    """What of genes lies within `FLANK` bases of some places, in the sense of the pass.

    Parameters
    ----------
    result : Result
        Without genes the strips are empty.
    loci : sequence of (contig, position)
    strand : {"+", "-"}
        The pass.
    """
    if result.genes is None or not loci:
        return [GeneStrip([], "", "") for _ in loci]
    near = None
    for contig, position in loci:
        own = (
            (pc.field("contig") == contig)
            & (pc.field("start") <= position + FLANK)
            & (pc.field("end") > position - FLANK)
        )
        near = own if near is None else near | own
    columns = ["contig", "start", "end", "strand", "kind", "name"]
    table = pq.read_table(result.genes, filters=near, columns=columns).to_pylist()
    return [_strip(table, contig, position, strand) for contig, position in loci]


def _strip(
    genes: Sequence[Mapping[str, Any]], contig: int, position: int, strand: Strand
) -> GeneStrip:
    low = position - FLANK
    kinds = np.zeros(2 * FLANK + 1, dtype=np.int64)
    signs: set[int] = set()
    names: dict[str, None] = {}
    for gene in genes:
        level = GENE_LEVELS.get(gene["kind"], 0)
        start, end = max(0, gene["start"] - low), min(len(kinds), gene["end"] - low)
        if gene["contig"] != contig or not level or start >= end:
            continue
        kinds[start:end] = np.maximum(kinds[start:end], level)
        if start <= FLANK < end:
            signs.add(gene["strand"] * STRAND_SIGNS[strand])
            names |= {gene["name"]: None} if gene["name"] else {}
    if strand == "-":
        kinds = kinds[::-1]
    parts = [(len(list(group)), GENE_CLASSES[kind]) for kind, group in groupby(kinds.tolist())]
    words = [SENSES[sign] for sign in (1, -1) if sign in signs]
    return GeneStrip(parts, " and ".join(words), ", ".join(names))


def histogram(active: Activations) -> list[Bar]:
    """How the activations of a feature row spread: bars of equal width from 0 to the largest."""
    if not len(active.value):
        return []
    counts, edges = np.histogram(active.value, bins=BINS, range=(0.0, float(active.value.max())))
    top = math.log1p(int(counts.max()))
    return [
        Bar(float(low), float(high), int(count), math.log1p(int(count)) / top)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _values(active: Activations, contig: int, low: int, high: int) -> NDArray[np.float32]:
    """Activations from `low` to `high`, 0 where silent."""
    values = np.zeros(high - low, dtype=np.float32)
    own = (active.contig == contig) & (active.position >= low) & (active.position < high)
    values[active.position[own] - low] = active.value[own]
    return values


def _genes(result: Result, feature: int, strand: Strand) -> dict[tuple[int, int], str]:
    """Genes at the top peaks of a feature row, where the run knows any."""
    own = (pc.field("feature") == feature) & (pc.field("strand") == STRAND_SIGNS[strand])
    table = result.table("peaks", filters=own, columns=["contig", "position", "gene_name", "genes"])
    return {
        (row["contig"], row["position"]): row["gene_name"] or row["genes"].replace(";", ", ")
        for row in table.to_pylist()
        if row["gene_name"] or row["genes"]
    }
