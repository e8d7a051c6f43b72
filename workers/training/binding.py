"""Where TFs are bound and where they are not, and how any score tells the two apart.

For each TF: its binding locations, one per locus, and negatives: random positions with no location
of the TF near, matched on GC content and, with an annotation, on whether the base is coding.
Each dictionary reads only windows about them, with its context, which gives the activations
of reading whole contigs where the context covers what the model sees.

Coordinates are 0-based.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from annotations.evaluation import Counts
from annotations.jaspar import Motif
from annotations.motif_scan import log_odds
from annotations.sequences import reverse_complement
from workers.language_models.paired_tree import N_CODE
from workers.registry import Encoder
from workers.training.genomes import GenomeSpec, mask_of, read_bed, read_genome

RADIUS = 15
"""A site is scored by the best of the bases at most this far from it."""
FLANK = 50
"""GC content is that of the bases at most this far from a site."""
CLEAR = 200
"""A negative has no location of the TF within this many bases."""
CANDIDATES = 400_000
"""Random positions that negatives are taken from."""
BLOCK = 50_000
"""Bases of a block of the bootstrap."""
BATCH = 256


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Genome(NamedTuple):
    """What is known of the contigs that are used."""

    names: tuple[str, ...]
    bases: tuple[NDArray[np.uint8], ...]
    coding: tuple[Bools, ...]
    """All False without an annotation."""
    left_out: tuple[Bools, ...]
    """Regions in which there are neither sites nor negatives."""


class Sites(NamedTuple):
    """Sites and negatives of one TF."""

    contig: Ints
    """Index of the contig in the genome."""
    position: Ints
    bound: Bools

    def key(self) -> Ints:
        """A number for each place, the same for all TFs."""
        return self.contig << 32 | self.position

    def block(self) -> Ints:
        """A number for the block of the bootstrap each lies in, the same for all TFs."""
        return self.contig << 32 | self.position // BLOCK


def load_genome(fasta: Path, annotation: Path | None, exclude: Path | None) -> Genome:
    """Contigs of a FASTA file with their coding bases and the regions left out."""
    contigs = read_genome(GenomeSpec(fasta, 0, annotation=annotation))
    spans = read_bed(exclude) if exclude else {}
    return Genome(
        tuple(contig.name for contig in contigs),
        tuple(contig.bases for contig in contigs),
        tuple(
            contig.coding if annotation else np.zeros(len(contig.bases), bool) for contig in contigs
        ),
        tuple(
            mask_of(spans.get(contig.name, []), len(contig.bases), contig.name)
            for contig in contigs
        ),
    )


def sites_of(
    genome: Genome,
    contigs: Sequence[int],
    locations: Mapping[str, Mapping[str, Ints]],
    tfs: Sequence[str],
    rng: np.random.Generator,
    *,
    per_site: int,
) -> dict[str, Sites]:
    """Sites of each TF, one per locus, and its negatives, which TFs share where they can.

    Parameters
    ----------
    genome : Genome
    contigs : sequence of int
        Where to look.
    locations : mapping
        As `workers.training.gate.read_locations` returns them.
    tfs : sequence of str
        Names of proteins, in any case.
    rng : Generator
        Draws the negatives.
    per_site : int
        Negatives for each site, as far as there are any of its GC content.

    Returns
    -------
    sites : dict of Sites
        Of each TF; empty for one without a location there.
    """
    size = np.array([len(genome.bases[contig]) for contig in contigs])
    drawn = rng.choice(len(contigs), CANDIDATES, p=size / size.sum())
    position = rng.integers(0, size[drawn])
    contig = np.array(contigs)[drawn]
    contig, position = _usable(genome, contig, position)
    stratum = _strata(genome, contig, position)
    found = {}
    for tf in tfs:
        none = np.empty(0, np.int64)
        places = [(c, locations.get(genome.names[c], {}).get(tf.lower(), none)) for c in contigs]
        kept = [(c, _one_per_locus(known)) for c, known in places]
        at = np.concatenate([known for _, known in kept])
        at_contig = np.concatenate([np.full(len(known), c) for c, known in kept])
        at_contig, at = _usable(genome, at_contig, at)
        clear = np.ones(len(position), bool)
        for c, known in places:
            here = contig == c
            clear[here] = _distance(position[here], known) > CLEAR
        wanted = dict(
            zip(*np.unique(_strata(genome, at_contig, at), return_counts=True), strict=True)
        )
        rows = [
            np.flatnonzero(clear & (stratum == one))[: per_site * n] for one, n in wanted.items()
        ]
        taken = np.concatenate([none, *rows])
        found[tf] = Sites(
            np.concatenate([at_contig, contig[taken]]),
            np.concatenate([at, position[taken]]),
            np.arange(len(at) + len(taken)) < len(at),
        )
    return found


def _usable(genome: Genome, contig: Ints, position: Ints) -> tuple[Ints, Ints]:
    """Places far enough from both ends, not left out, and with known bases all about."""
    keep = np.zeros(len(contig), bool)
    for c in np.unique(contig):
        here = np.flatnonzero(contig == c)
        unknown = np.cumsum(np.append(0, genome.bases[c] == N_CODE))
        inside = (position[here] >= 2 * FLANK) & (position[here] < len(unknown) - 1 - 2 * FLANK)
        here = here[inside]
        at = position[here]
        keep[here] = (unknown[at + FLANK + 1] == unknown[at - FLANK]) & ~genome.left_out[c][at]
    return contig[keep], position[keep]


def _strata(genome: Genome, contig: Ints, position: Ints) -> Ints:
    """GC content in steps of two of the 101 bases, and coding or not, as one number."""
    stratum = np.zeros(len(contig), np.int64)
    for c in np.unique(contig):
        here = contig == c
        strong = np.cumsum(np.append(0, (genome.bases[c] == 1) | (genome.bases[c] == 2)))
        gc = strong[position[here] + FLANK + 1] - strong[position[here] - FLANK]
        stratum[here] = gc // 2 * 2 + genome.coding[c][position[here]]
    return stratum


def _one_per_locus(at: Ints) -> Ints:
    """Sorted positions, those closer than a window to the one kept before left out."""
    kept: list[int] = []
    for place in np.unique(at).tolist():
        if not kept or place - kept[-1] > 2 * RADIUS:
            kept.append(place)
    return np.array(kept, np.int64)


def _distance(position: Ints, known: Ints) -> Ints:
    """Bases from each position to the nearest known one; large without any."""
    if not len(known):
        return np.full(len(position), np.iinfo(np.int64).max)
    after = np.searchsorted(known, position).clip(max=len(known) - 1)
    nearest = np.minimum(
        np.abs(known[after] - position), np.abs(known[(after - 1).clip(min=0)] - position)
    )
    return np.asarray(nearest)


@torch.inference_mode()
def site_activations(
    encoder: Encoder, genome: Genome, contig: Ints, position: Ints
) -> scipy.sparse.csr_matrix:
    """Largest activation of each feature row about each site, float32 (sites, 2 * features)."""
    card, width = encoder.dictionary, 2 * RADIUS + 1
    context, ahead = card.context, card.ahead
    rows = 2 * encoder.coder.n_features
    parts = []
    for begin in range(0, len(contig), BATCH):
        windows = []
        for c, at in zip(
            contig[begin : begin + BATCH].tolist(),
            position[begin : begin + BATCH].tolist(),
            strict=True,
        ):
            windows.append(_read(genome.bases[c], at - RADIUS - context, at + RADIUS + 1 + ahead))
            other = _read(genome.bases[c], at - RADIUS - ahead, at + RADIUS + 1 + context)
            windows.append(reverse_complement(other))
        ids = torch.from_numpy(np.stack(windows)).to(encoder.device)
        h = encoder.language_model.activations(ids, card.layer)[:, context : context + width]
        found = encoder.coder.encode_sparse(h.flatten(0, 1))
        window = found.row.cpu().numpy() // width
        cell = (begin + window // 2) * rows + 2 * found.feature.cpu().numpy() + window % 2
        value = found.value.cpu().numpy()
        order = np.lexsort((-value, cell))
        first = np.diff(cell[order], prepend=-1) != 0
        parts.append((cell[order][first], value[order][first]))
    cell = np.concatenate([part[0] for part in parts])
    value = np.concatenate([part[1] for part in parts])
    return scipy.sparse.csr_matrix((value, (cell // rows, cell % rows)), (len(contig), rows))


def _read(bases: NDArray[np.uint8], start: int, end: int) -> NDArray[np.uint8]:
    """Codes of a range that may run past the ends of its contig, where it is N."""
    codes = np.full(end - start, N_CODE, np.uint8)
    low, high = max(start, 0), min(end, len(bases))
    codes[low - start : high - start] = bases[low:high]
    return codes


def column_auroc(scores: scipy.sparse.csr_matrix, labels: Bools) -> Floats:
    """AUROC of every column, by ranks (Mann-Whitney), ties counting one half."""
    n = int(labels.sum())
    pairs = n * (len(labels) - n)
    columns = scores.tocsc()
    out = []
    for begin in range(0, columns.shape[1], 512):
        ranks = rankdata(columns[:, begin : begin + 512].toarray(), axis=0)
        out.append((ranks[labels].sum(0) - n * (n + 1) / 2) / pairs)
    return np.concatenate(out)


def motif_scores(
    genome: Genome, motifs: Sequence[Motif], sites: Sites, background: Floats
) -> Floats:
    """Best log-odds of each matrix, either strand, its middle within `RADIUS`; (sites, motifs)."""
    out = np.zeros((len(sites.position), len(motifs)))
    for column, motif in enumerate(motifs):
        matrix = np.vstack([log_odds(motif.counts, background), np.zeros((1, motif.width))])
        reverse = np.vstack([matrix[3::-1, ::-1], np.zeros((1, motif.width))])
        starts = np.arange(-RADIUS - motif.width // 2, RADIUS - motif.width // 2 + 1)
        index = starts[:, None] + np.arange(motif.width)
        for row, (c, at) in enumerate(
            zip(sites.contig.tolist(), sites.position.tolist(), strict=True)
        ):
            codes = genome.bases[c][at + index]
            place = np.arange(motif.width)
            out[row, column] = max(
                matrix[codes, place].sum(1).max(), reverse[codes, place].sum(1).max()
            )
    return out / 1000


def gc_scores(genome: Genome, sites: Sites) -> Floats:
    """Share of G and C in the bases about each site."""
    around = np.arange(-FLANK, FLANK + 1)
    return np.array(
        [
            np.isin(genome.bases[c][at + around], (1, 2)).mean()
            for c, at in zip(sites.contig.tolist(), sites.position.tolist(), strict=True)
        ]
    )


def block_bootstrap(scores: Floats, bound: Bools, blocks: Ints, weights: Ints) -> Floats:
    """AUROC with each block taken as often as each row of `weights` says; NaN without a side."""
    values, group = np.unique(-scores, return_inverse=True)
    shape = (len(values), weights.shape[1])
    cell = group * shape[1] + blocks
    total = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    positives = np.bincount(cell[bound], minlength=shape[0] * shape[1]).reshape(shape)
    return np.array(
        [
            Counts((positives @ one)[None].astype(np.float64), (total @ one) * 1.0).auroc[0]
            for one in weights
        ]
    )
