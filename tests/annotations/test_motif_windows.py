"""Windows of a corpus, and which hits lie in them, against loops over all of both."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.motif_scan import HITS_SCHEMA
from annotations.motif_windows import Corpus, background_windows, one_per_locus


def test_background_windows_do_not_overlap_or_touch_n():
    codes = np.random.default_rng(0).integers(0, 4, 30_000).astype(np.uint8)
    codes[5000:6000] = 4
    sequences = [codes, codes[:50], np.empty(0, np.uint8), codes[:101]]
    windows = background_windows(sequences, seed=3)
    assert set(windows.contig.tolist()) == {0, 3}
    for contig, start, end in zip(*windows, strict=True):
        assert end - start == 101
        assert 0 <= start < end <= len(sequences[contig])
        assert (sequences[contig][start:end] < 4).all()
    first = windows.start[windows.contig == 0]
    assert (np.diff(first) >= 101).all()
    again = background_windows(sequences, seed=3)
    assert np.array_equal(again.start, windows.start)
    assert len(background_windows(sequences, n=50).start) == 50


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300)), max_size=25, unique=True))
def test_one_per_locus_equals_the_greedy_twin(places):
    group, position = np.array(places, dtype=int).reshape(-1, 2).T
    kept: list[int] = []
    for i in range(len(places)):  # the order of the list is the rank
        if all(group[i] != group[j] or abs(position[i] - position[j]) >= 50 for j in kept):
            kept.append(i)
    chosen = one_per_locus(group, position, np.arange(len(places)), distance=50)
    assert np.flatnonzero(chosen).tolist() == kept


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 90)), max_size=30),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_hits_in_windows_equal_a_loop_over_both(found, starts):
    widths = (5, 8, 12)
    found = sorted(found, key=lambda hit: hit[1:])
    hits = pa.table(
        {
            "motif": [motif for motif, _, _ in found],
            "contig": [contig for _, contig, _ in found],
            "start": [start for _, _, start in found],
            "end": [start + widths[motif] for motif, _, start in found],
            "strand": [1] * len(found),
            "score": [1.0] * len(found),
            "p": [1e-4] * len(found),
        },
        schema=HITS_SCHEMA,
    )
    corpus = Corpus.of([np.zeros(110, np.uint8)] * 2, hits, 3)
    windows = np.array([*starts, *(111 + start for start in starts)], dtype=np.int64)
    expected = []
    for i, window in enumerate(windows.tolist()):
        for motif, contig, start in found:
            place = 111 * contig + start
            if window <= place and place + widths[motif] <= window + 30:
                expected.append((i, motif, place))
    window, hit = corpus.hits_in(windows, 30)
    pairs = zip(
        window.tolist(), corpus.motif[hit].tolist(), corpus.start[hit].tolist(), strict=True
    )
    assert sorted(pairs) == sorted(expected)
    window, hit = corpus.first_hits_in(windows, 30)
    once = list(zip(window.tolist(), corpus.motif[hit].tolist(), strict=True))
    assert sorted(once) == sorted({(i, motif) for i, motif, _ in expected})
    held = corpus.motifs_in(windows, 30)
    assert held.sum() == len(once)
    assert (held.data == 1).all()
