"""Where a motif stands about the peaks: by hand, and under chance."""

import numpy as np
import pytest
from scipy import stats

from annotations.foreground import Loci
from annotations.motif_position import HALF_WIDTHS, centrality, positions
from annotations.motif_windows import Corpus
from tests.annotations.match_cases import hits_at


def placed(offsets: list[int], strand: int, width: int = 7) -> tuple[Loci, Corpus]:
    """One locus per offset, with a motif whose middle base lies there in the sense of the pass."""
    peak = 200 + 200 * np.arange(len(offsets))
    starts = (peak + strand * np.array(offsets) - width // 2).tolist()
    codes = np.zeros(200 * len(offsets) + 400, np.uint8)
    row = np.full(len(peak), int(strand < 0))
    zero = np.zeros(len(peak), int)
    return Loci(row, peak, peak - 50, zero), Corpus.of([codes], hits_at(starts, width), 1)


@pytest.mark.parametrize("strand", [1, -1])
def test_offsets_and_share_by_hand(strand):
    loci, corpus = placed([-12, -12, -12, -10, 3, 30], strand)
    row, motif = np.array([int(strand < 0)]), np.array([0])
    found = positions(row, motif, loci, corpus, 101)
    assert found.offset.tolist() == [-12]
    assert found.share == pytest.approx([4 / 6])
    # Of 95 places, bins of 3, 9 and 21: the first two hold the four before, the last one more.
    bins = sum(95 - 2 * half for half in HALF_WIDTHS)
    p = min(
        stats.binom.sf(3, 6, 3 / 95), stats.binom.sf(3, 6, 9 / 95), stats.binom.sf(4, 6, 21 / 95)
    )
    assert found.centrality_p == pytest.approx([bins * p])


def test_a_pair_without_a_hit_has_no_position():
    loci, corpus = placed([0, 0], 1)
    found = positions(np.array([0, 1]), np.array([0, 0]), loci, corpus, 101)
    assert np.isnan(found.share).tolist() == [False, True]
    assert np.isnan(found.centrality_p).tolist() == [False, True]


def test_only_the_best_hit_of_a_locus_is_placed():
    peak = 200 + 200 * np.arange(10)
    both = np.sort(np.concatenate([peak - 30, peak + 10 + np.arange(10)]))
    hits = hits_at(both.tolist(), 7)
    score = np.where(np.isin(both, peak - 30), 12.0, 9.0).astype(np.float32)
    hits = hits.set_column(5, hits.schema.field(5), [score])
    loci = Loci(np.zeros(10, int), peak, peak - 50, np.zeros(10, int))
    corpus = Corpus.of([np.zeros(3000, np.uint8)], hits, 1)
    found = positions(np.array([0]), np.array([0]), loci, corpus, 101)
    bins = sum(95 - 2 * half for half in HALF_WIDTHS)
    assert found.centrality_p == pytest.approx([bins * (3 / 95) ** 10])


def test_motifs_as_wide_as_the_window_are_never_centred():
    assert centrality(np.array([[9, 0, 0]]), np.array([1])).tolist() == [1.0]


def test_motifs_placed_by_chance_are_hardly_ever_centred():
    random = np.random.default_rng(0)
    for hits in (5, 30, 100):
        places = random.integers(0, 92, (2000, hits))
        counts = np.stack([np.bincount(row, minlength=101) for row in places])
        p = centrality(counts, np.full(2000, 92))
        # At most 5 % may fall below 0.05; the bound is loose, because the bins overlap.
        assert (p <= 0.05).mean() < 0.05
        assert (p <= 0.001).mean() < 0.003
