"""The whole test on features that mean nothing: none of its claims may hold."""

import numpy as np
import pytest
from scipy import sparse

from annotations.enrichment import background_windows, find_matches
from annotations.evidence import with_evidence
from annotations.jaspar import load_motifs
from annotations.motif_scan import scan
from tests.annotations.match_cases import isochores, peaks_of

FEATURES, PEAKS = 150, 100


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0.0, 1.0, -1.0], ids=["random", "GC-rich", "AT-rich"])
def test_features_that_read_composition_have_no_evidence_on_either_half(bias):
    """Peaks and activity follow GC content and noise; half of the contigs are held out."""
    random = np.random.default_rng(11)
    motifs = load_motifs("fungi").motifs
    contigs = [isochores(random, 300_000) for _ in range(4)]
    # A repeat in 60 places: what stands in it must not count 60 times.
    element = contigs[0][5000:5200].copy()
    for codes in contigs:
        for place in random.integers(0, 299_000, 15):
            codes[place : place + 200] = element
    hits = scan(contigs, motifs)
    tested = {}
    for half in ((0, 1), (2, 3)):
        only = [codes if at in half else codes[:0] for at, codes in enumerate(contigs)]
        windows = background_windows(only)
        gc = np.array(
            [
                np.isin(contigs[contig][start:end], (1, 2)).mean()
                for contig, start, end in zip(*windows, strict=True)
            ]
        )
        score = bias * (gc - gc.mean()) / gc.std()
        score = score + random.standard_normal((2 * FEATURES, len(gc)))
        score = np.where(score > np.quantile(score, 0.95, axis=1)[:, None], score + 9, 0)
        rows = []
        for row in range(2 * FEATURES):
            best = np.argsort(-score[row])[:PEAKS]
            rows.append(
                (row // 2, 1 - 2 * (row % 2), windows.contig[best], windows.start[best] + 50)
            )
        found = tested.get(0)
        pairs = None if found is None else found.table.select(["feature", "strand", "matrix_id"])
        tested[half[0]] = find_matches(
            peaks_of(rows),
            hits,
            contigs,
            sparse.csr_array(score.T.astype(np.float32)),
            motifs=motifs,
            background=windows,
            pairs=pairs,
        )
    assert tested[0].tested_pairs > 50_000
    assert tested[2].tested_pairs >= 2 * FEATURES
    for result in tested.values():
        assert (result.table["q"].to_numpy() > 0.05).all()
        assert set(with_evidence(result.table)["evidence"].to_pylist()) == {""}
    # The pairs were chosen for a low p on one half: on the other theirs are those of chance.
    p = tested[2].table["p"].to_numpy()
    assert (p <= 0.05).mean() < 0.1
