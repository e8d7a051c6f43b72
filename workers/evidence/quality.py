"""How good the dictionary is: fidelity, how often features fire, and which recur over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from annotations.atlas import load_atlas
from workers.evidence.binding import TOP, Ground
from workers.evidence.data import YeastContig
from workers.evidence.dictionaries import RANDOM, TRAINED, Compared
from workers.evidence.motifs import specific_matches
from workers.evidence.reading import Pooled, Shelf, pool
from workers.evidence.sites import Loci, loci_of, near_locations
from workers.evidence.statistics import local_maxima, precision_of_top
from workers.registry import open_dictionary
from workers.training.fidelity import measure_fidelity, random_windows

Floats = NDArray[np.float64]

SHRINK: Final = 0.003
"""Shrinkage of the whitening in which variance unexplained is also measured; that of training."""
RECURS: Final = 0.7
"""Correlation from which two features are taken for the same, as in an atlas's groups."""
DECADES: Final = tuple(round(-6 + 0.25 * step, 2) for step in range(25))
"""Edges of the histogram of densities, log10 of the share of bases at which a feature fires."""


def quality_stage(
    compared: Compared, contigs: Sequence[YeastContig], shelf: Shelf
) -> dict[str, Any]:
    """Fidelity at non-coding bases of held-out chromosomes, and the densities of the features."""
    (contig,) = contigs
    # the inner two thirds count: a sixth on either side is the context
    window = max(192, 6 * compared.trained.context)
    sample = random_windows(contig.bases, ~contig.coding, window=window)
    (loci,) = loci_of(contigs)
    rows = {}
    for role in (TRAINED, RANDOM):
        if role not in compared.by_role:
            continue
        encoder = compared.open(role, whole=True)
        (fidelity,) = measure_fidelity(encoder, sample, batch=64, shrink=SHRINK)
        pooled = pool(encoder, contig.bases, loci.read, shelf)
        rows[role] = {
            "features": encoder.coder.n_features,
            "fidelity": {
                name: round(value, 5) if isinstance(value, float) else value
                for name, value in asdict(fidelity).items()
            },
            "density": density(pooled),
        }
    return {"contig": contig.name, "shrink": SHRINK, "roles": rows}


def density(pooled: Pooled) -> dict[str, Any]:
    """How often features fire: a histogram of the share of bases, and those that never do."""
    share = pooled.active / max(1, pooled.read)
    alive = share > 0
    counts, _ = np.histogram(np.log10(share[alive]), np.array([*DECADES]))
    return {
        "bases": pooled.read,
        "silent": int((~alive).sum()),
        "edges": list(DECADES),
        "counts": counts.tolist(),
        "median": float(f"{np.median(share[alive]):.3g}") if alive.any() else None,
    }


def seeds_stage(
    compared: Compared,
    contigs: Sequence[YeastContig],
    ground: Ground,
    choice: Mapping[str, Any],
    shelf: Shelf,
) -> dict[str, Any]:
    """How many features have a counterpart in dictionaries of other seeds, and whether it binds."""
    trained = _pooled(compared, compared.trained.id, contigs, shelf)
    matched = matched_features(compared)
    rows = []
    for card in compared.seeds:
        other = _pooled(compared, card.id, contigs, shelf)
        best, partner = best_partners(trained, other, ground.loci)
        live = ~np.isnan(best)
        tfs: dict[str, Any] = {}
        for tf, chosen in choice["tfs"].items():
            feature = chosen["features"][TRAINED]["binding"]["feature"]
            if feature is None or not live[feature]:
                tfs[tf] = None
                continue
            tfs[tf] = {
                "feature": feature,
                "partner": int(partner[feature]),
                "r": round(float(best[feature]), 4),
                "precision": _precision(ground, trained, feature, tf),
                "partner_precision": _precision(ground, other, int(partner[feature]), tf),
            }
        rows.append(
            {
                "id": card.id,
                "seed": (card.training or {}).get("seed"),
                **recurring(best, matched),
                "tfs": tfs,
            }
        )
    return {"threshold": RECURS, "contigs": [one.name for one in contigs], "rows": rows}


def recurring(best: Floats, matched: NDArray[np.int64]) -> dict[str, Any]:
    """How many features have a partner in another dictionary.

    Parameters
    ----------
    best : float64 array, shape (features,)
        Correlation with the best partner; NaN for a feature that is silent.
    matched : int64 array
        Features with a confirmed match, which are counted by themselves as well.
    """
    live = ~np.isnan(best)
    own = best[matched][live[matched]]
    return {
        "live": int(live.sum()),
        "recurring": int((best[live] >= RECURS).sum()),
        "matched": len(own),
        "matched_recurring": int((own >= RECURS).sum()),
        "mean_r": round(float(best[live].mean()), 4) if live.any() else None,
    }


def matched_features(compared: Compared) -> NDArray[np.int64]:
    """Features with a confirmed specific motif in the atlas; none where there is no atlas."""
    folder = compared.cards.atlas(compared.trained)
    if folder is None:
        return np.zeros(0, np.int64)
    found = specific_matches(load_atlas(folder, compared.trained.sha256).matches)
    return np.unique(found["feature"].to_numpy()).astype(np.int64)


def _pooled(
    compared: Compared, identifier: str, contigs: Sequence[YeastContig], shelf: Shelf
) -> list[Pooled]:
    encoder = open_dictionary(compared.cards.dictionary(identifier), compared.roots)
    return [pool(encoder, one.contig.bases, one.read, shelf) for one in loci_of(contigs)]


def best_partners(
    first: Sequence[Pooled], second: Sequence[Pooled], loci: Sequence[Loci]
) -> tuple[Floats, NDArray[np.int64]]:
    """Largest correlation of each feature with one of another dictionary, over the read bins.

    Returns
    -------
    r : float64 array, shape (features,)
        NaN for a feature that is never active.
    partner : int64 array, shape (features,)
    """
    a, b = (_matrix(pooled, loci) for pooled in (first, second))
    n = a.shape[0]
    mean_a, sd_a = _moments(a)
    mean_b, sd_b = _moments(b)
    r = np.full(a.shape[1], np.nan)
    partner = np.zeros(a.shape[1], np.int64)
    for low in range(0, a.shape[1], 512):
        part = slice(low, low + 512)
        both = (a[:, part].T @ b).toarray() / n - np.outer(mean_a[part], mean_b)
        scale = np.outer(sd_a[part], sd_b)
        corr = np.divide(both, scale, out=np.full_like(both, -2.0), where=scale > 0)
        partner[part] = corr.argmax(1)
        r[part] = np.where(sd_a[part] > 0, corr.max(1), np.nan)
    r[r < -1] = np.nan
    return r, partner


def _matrix(pooled: Sequence[Pooled], loci: Sequence[Loci]) -> scipy.sparse.csc_matrix:
    """Bins that were read by features."""
    parts = [
        scipy.sparse.csc_matrix(
            (one.value.astype(np.float64), one.bin, one.first),
            (len(where.read), len(one.first) - 1),
        ).tocsr()[where.read]
        for one, where in zip(pooled, loci, strict=True)
    ]
    return scipy.sparse.vstack(parts).tocsc()


def _moments(matrix: scipy.sparse.csc_matrix) -> tuple[Floats, Floats]:
    mean = np.asarray(matrix.mean(0)).ravel()
    square = np.asarray(matrix.multiply(matrix).mean(0)).ravel()
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def _precision(ground: Ground, pooled: Sequence[Pooled], feature: int, tf: str) -> float:
    """Precision of the best loci of one feature."""
    score = np.concatenate(
        [
            one.of(feature, len(where.usable))[where.usable]
            for one, where in zip(pooled, ground.loci, strict=True)
        ]
    )
    positive = np.concatenate([near_locations(one, ground.locations, tf) for one in ground.loci])
    place = np.concatenate([one.place for one in ground.loci])
    kept = np.flatnonzero(score)
    kept = kept[local_maxima(np.zeros(len(kept), np.int64), place[kept], score[kept])]
    found = precision_of_top(
        score[kept],
        positive[kept],
        np.zeros(len(kept), np.int64),
        np.ones((1, 1), np.int64),
        top=TOP,
        prevalence=np.array([positive.mean()]),
    )
    return round(float(found[0]), 4)
