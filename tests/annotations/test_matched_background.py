"""Expectations against a loop over background windows."""

import numpy as np
import pytest
from scipy import sparse

from annotations.enrichment import background_windows
from annotations.jaspar import load_motifs
from annotations.matched_background import Silence
from annotations.motif_scan import scan
from annotations.motif_windows import Corpus
from annotations.window_activity import WindowActivity
from tests.annotations.match_cases import isochores


@pytest.mark.parametrize("entries", [1, 300, 10**6])
def test_expectation_equals_a_slow_twin_over_windows(monkeypatch, entries):
    monkeypatch.setattr("annotations.window_activity.ENTRIES", entries)
    random = np.random.default_rng(4)
    sequences = [isochores(random, 60_000)]
    motifs = load_motifs("fungi").motifs[:30]
    corpus = Corpus.of(sequences, scan(sequences, motifs), len(motifs))
    background = background_windows(sequences)
    windows = len(background.start)
    activity = sparse.random_array((windows, 6), density=0.2, rng=random).astype(bool).tocsr()
    silence = Silence.of(corpus, background, WindowActivity.of(activity), 101)
    rows, local, gc = np.array([1, 4]), np.array([0, 0, 0, 1, 1]), np.array([38, 40, 45, 33, 50])
    expected, effective = silence.expected(rows, local, gc)
    held = corpus.motifs_in(background.start, 101).toarray()
    assert silence.windows.tolist() == (windows - activity.sum(axis=0)).tolist()
    for i, row in enumerate(rows):
        share = np.zeros(windows)
        for one in gc[local == i]:
            weight = np.exp(-0.5 * ((silence.gc - one) / 101 / 0.01) ** 2)
            weight[activity.toarray()[:, row]] = 0
            share += weight / weight.sum()
        assert np.allclose(expected[i], share @ held)
        assert effective[i] == pytest.approx(share.sum() ** 2 / (share**2).sum())
