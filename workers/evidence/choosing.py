"""For each TF the feature of a dictionary, chosen on training chromosomes.

Three choices, each by what it is then measured by: the feature whose best loci hold most binding
sites, the one whose best loci hold most motif hits, and the one that tells bound instances of the
motif from unbound ones. Where a dictionary was trained nothing is measured: these figures are the
best of thousands.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from workers.evidence.reading import Pooled, Shelf, pool
from workers.evidence.sites import NEAR_BINS, Loci, Sites
from workers.evidence.statistics import local_maxima
from workers.registry import Encoder
from workers.training.binding import column_auroc

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHOICE_TOP = 650
"""Best loci that a feature is chosen by: the chromosomes that features are chosen on have six and a
half times the sequence of the test chromosomes, of which the best 100 are measured."""


class Targets(NamedTuple):
    """What features are chosen by, for one TF on the training chromosomes."""

    bound: tuple[Bools, ...]
    """Of each contig, whether a site lies at each usable bin."""
    hit: tuple[Bools, ...]
    """The same of motif hits."""
    sites: Sites
    """Instances of its matrix."""


class TopLoci(NamedTuple):
    """The best loci of every feature; rows with fewer are filled with -1."""

    place: Ints
    """Shape (features, top)."""
    found: Ints
    """Loci of each feature, at most top."""


def top_loci(parts: Sequence[tuple[Loci, Pooled]], *, top: int) -> TopLoci:
    """The best loci of every feature over some contigs.

    Parameters
    ----------
    parts : sequence of (Loci, Pooled)
        One for each contig, in order; bins that are not usable are passed over.
    top : int
        Loci kept of each feature.
    """
    feature, place = np.zeros(0, np.int64), np.zeros(0, np.int64)
    value = np.zeros(0, np.float32)
    for loci, pooled in parts:
        usable = loci.usable[pooled.bin]
        own, at = pooled.feature[usable], pooled.bin[usable].astype(np.int64)
        height = pooled.value[usable]
        kept = local_maxima(own, at, height)
        feature = np.concatenate([feature, own[kept]])
        place = np.concatenate([place, at[kept] + loci.first_place])
        value = np.concatenate([value, height[kept]])
        order = np.lexsort((place, -value, feature))
        rank = _rank_within(feature[order])
        order = order[rank < top]
        feature, place, value = feature[order], place[order], value[order]
    n_features = len(parts[0][1].first) - 1
    table = np.full((n_features, top), -1, np.int64)
    table[feature, _rank_within(feature)] = place
    return TopLoci(table, np.bincount(feature, minlength=n_features))


def _rank_within(group: Ints) -> Ints:
    """Number of each row within its group, of sorted groups."""
    first = np.flatnonzero(np.diff(group, prepend=-1) != 0)
    return np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))


def precisions(loci: TopLoci, positive_places: Ints, *, top: int) -> Floats:
    """Share of positives among the best loci of every feature; NaN for one with fewer."""
    inside = np.isin(loci.place, positive_places)
    return np.where(loci.found >= top, inside.sum(1) / top, np.nan)


def site_matrix(sites: Sites, pooled: Mapping[int, Pooled]) -> scipy.sparse.csr_matrix:
    """Largest value of each feature at some instances; float32 (instances, features).

    Parameters
    ----------
    sites : Sites
    pooled : mapping of int to Pooled
        Of each contig that has an instance.
    """
    rows, order = [], []
    n_features = 0
    for index, one in pooled.items():
        n_features = len(one.first) - 1
        here = np.flatnonzero(sites.contig == index)
        if not len(here):
            continue
        last = int(max(one.bin.max(initial=0), sites.bin[here].max())) + NEAR_BINS + 1
        by_bin = scipy.sparse.csc_matrix(
            (one.value, one.bin, one.first), (last, n_features)
        ).tocsr()
        best = by_bin[sites.bin[here]]
        for by in range(1, NEAR_BINS + 1):
            for at in (sites.bin[here] - by, sites.bin[here] + by):
                best = best.maximum(by_bin[np.clip(at, 0, last - 1)])
        rows.append(best)
        order.append(here)
    if not rows:
        return scipy.sparse.csr_matrix((len(sites.bin), n_features), dtype=np.float32)
    back = np.argsort(np.concatenate(order), kind="stable")
    return scipy.sparse.vstack(rows).tocsr()[back]


def choose_features(
    encoder: Encoder, loci: Sequence[Loci], targets: Mapping[str, Targets], shelf: Shelf
) -> dict[str, dict[str, Any]]:
    """The three choices of each TF.

    Returns
    -------
    chosen : dict
        By TF: under "binding", "motif" and "instances" the feature (None where none has loci
        enough, or there is no instance of a kind) and its figure where it was chosen.
    """
    pooled = [pool(encoder, one.contig.bases, one.read, shelf) for one in loci]
    best = top_loci(list(zip(loci, pooled, strict=True)), top=CHOICE_TOP)
    chosen: dict[str, dict[str, Any]] = {}
    for tf, target in targets.items():
        chosen[tf] = {}
        for name, flags in (("binding", target.bound), ("motif", target.hit)):
            places = [one.place[flag] for one, flag in zip(loci, flags, strict=True)]
            share = precisions(best, np.concatenate(places), top=CHOICE_TOP)
            chosen[tf][name] = _best(share)
        bound = target.sites.bound
        if bound.any() and not bound.all():
            matrix = site_matrix(target.sites, dict(enumerate(pooled)))
            chosen[tf]["instances"] = _best(column_auroc(matrix, bound))
        else:
            chosen[tf]["instances"] = {"feature": None, "figure": None}
    return chosen


def _best(figures: Floats) -> dict[str, Any]:
    if np.isnan(figures).all():
        return {"feature": None, "figure": None}
    best = int(np.nanargmax(figures))
    return {"feature": best, "figure": round(float(figures[best]), 4)}
