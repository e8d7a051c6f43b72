"""Planted motifs are found, random features match nothing, and numbers one can do by hand."""

from math import comb

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from annotations.enrichment import (
    MATCHES_SCHEMA,
    MatchOptions,
    MatchResult,
    background_windows,
    find_matches,
)
from annotations.errors import CoordinateError, OptionError
from annotations.jaspar import Motif, load_motifs
from annotations.matched_background import Silence
from annotations.motif_scan import HITS_SCHEMA, scan
from annotations.motif_windows import Corpus, one_per_locus, running_count
from annotations.significance import benjamini_hochberg, binomial_tail, predictive_tail

LENGTHS = (200_000, 100_000)
REB1 = "MA0363.3"


def isochores(random: np.random.Generator, length: int) -> np.ndarray:
    """Random bases whose GC content drifts between 25 % and 55 % over a few hundred bases."""
    knots = random.uniform(0.25, 0.55, length // 250 + 2)
    gc = np.interp(np.arange(length), np.arange(len(knots)) * 250, knots)
    is_gc, second = random.random(length) < gc, random.random(length) < 0.5
    return np.where(is_gc, np.where(second, 2, 1), np.where(second, 3, 0)).astype(np.uint8)


def peaks_of(rows: list[tuple[int, int, np.ndarray, np.ndarray]]) -> pa.Table:
    """Peaks of (feature, strand, contigs, positions), each list strongest first."""
    parts = []
    for feature, strand, contigs, positions in rows:
        n = len(positions)
        parts.append(
            pa.table(
                {
                    "feature": pa.array([feature] * n, pa.uint32()),
                    "strand": pa.array([strand] * n, pa.int8()),
                    "contig": pa.array(contigs, pa.uint32()),
                    "position": pa.array(positions, pa.int64()),
                    "value": pa.array(np.linspace(9, 1, n), pa.float32()),
                }
            )
        )
    return pa.concat_tables(parts)


def silent(windows: int, features: int) -> sparse.csr_array:
    return sparse.csr_array((windows, 2 * features), dtype=bool)


@pytest.fixture(scope="module")
def fungi() -> tuple[Motif, ...]:
    return load_motifs("fungi").motifs


@pytest.fixture(scope="module")
def planted(fungi):
    """Sequences with Reb1 sites 10 bases before 40 of 100 peaks, on the strand of the pass.

    Feature 0 is read on +, feature 1 on -. The middle of the motif is planted, so the offset is
    known by construction: -10 in the sense of each pass.
    """
    random = np.random.default_rng(17)
    sequences = [isochores(random, length) for length in LENGTHS]
    counts = next(motif for motif in fungi if motif.matrix_id == REB1).counts
    width = counts.shape[1]
    site = counts.argmax(axis=0).astype(np.uint8)
    rows = []
    for feature, strand in ((0, 1), (1, -1)):
        slots = random.choice(np.arange(1, 900), 100, replace=False)
        contigs, positions = (slots % 3 == 0).astype(int), 100 + 110 * slots
        positions = positions + 55 * feature
        for contig, position in zip(contigs[:40], positions[:40], strict=True):
            middle = position - 10 * strand
            # In the sense of the pass the middle is base (width - 1) // 2 of the site.
            before = (width - 1) // 2 if strand == 1 else width - 1 - (width - 1) // 2
            oriented = site if strand == 1 else 3 - site[::-1]
            sequences[contig][middle - before : middle - before + width] = oriented
        order = random.permutation(100)
        rows.append((feature, strand, contigs[order], positions[order]))
    return sequences, rows


@pytest.fixture(scope="module")
def planted_result(planted, fungi) -> MatchResult:
    sequences, rows = planted
    background = background_windows(sequences)
    hits = scan(sequences, fungi)
    activity = silent(len(background.start), 2)
    return find_matches(
        peaks_of(rows), hits, sequences, activity, motifs=fungi, background=background
    )


@pytest.mark.parametrize(("feature", "strand"), [(0, 1), (1, -1)])
def test_a_planted_motif_is_found_with_its_offset_in_the_sense_of_the_pass(
    planted_result, feature, strand
):
    rows = [r for r in planted_result.table.to_pylist() if r["feature"] == feature]
    assert {row["strand"] for row in rows} == {strand}
    reb1 = rows[0]
    assert reb1["matrix_id"] == REB1
    assert reb1["q"] < 1e-6
    assert reb1["offset"] == -10
    assert reb1["offset_share"] > 0.9
    assert reb1["hits"] >= 38
    assert reb1["expected"] < 10
    assert reb1["log2_enrichment"] > 2
    assert 0.3 < reb1["gc"] < 0.5


def test_only_motifs_that_look_like_the_planted_one_match(planted_result, fungi):
    assert planted_result.table.schema == MATCHES_SCHEMA
    assert planted_result.power.tested
    names = {r["motif_name"] for r in planted_result.table.to_pylist() if r["q"] < 0.05}
    # NSI1 is Reb1's paralogue and binds the same word, CGGGTAA; the others hold parts of it.
    assert "REB1" in names
    assert len(names) < len(fungi) / 10
    q = planted_result.table["q"].to_numpy()
    assert (np.diff(q) >= 0).all()


@pytest.fixture(scope="module")
def unmarked(fungi):
    """Sequences in which nothing is planted, and the hits on them."""
    random = np.random.default_rng(23)
    sequences = [isochores(random, length) for length in LENGTHS]
    return sequences, scan(sequences, fungi)


@pytest.mark.parametrize("bias", ["none", "GC", "AT"])
def test_200_random_features_match_nothing(fungi, unmarked, bias):
    random = np.random.default_rng({"none": 1, "GC": 2, "AT": 3}[bias])
    sequences, hits = unmarked
    before = [running_count((codes == 1) | (codes == 2)) for codes in sequences]
    background = background_windows(sequences, seed=1)
    rows = []
    for feature in range(200):
        contigs = random.integers(0, 2, 600)
        positions = (60 + random.random(600) * (np.array(LENGTHS)[contigs] - 120)).astype(int)
        if bias != "none":
            # The 100 richest of 600 places: a feature that reads composition and nothing else.
            gc = np.empty(600)
            for contig in (0, 1):
                there = contigs == contig
                gc[there] = before[contig][positions[there] + 51]
                gc[there] -= before[contig][positions[there] - 50]
            order = np.argsort(gc if bias == "AT" else -gc)
            contigs, positions = contigs[order], positions[order]
        rows.append((feature, 1 - 2 * (feature % 2), contigs[:100], positions[:100]))
    activity = sparse.random_array(
        (len(background.start), 400), density=0.05, rng=random, format="csr"
    ).astype(bool)
    result = find_matches(
        peaks_of(rows),
        hits,
        sequences,
        activity,
        motifs=fungi,
        background=background,
    )
    assert result.tested_pairs > 200 * 150
    assert len(set(result.table["feature"].to_pylist())) == 200
    assert result.table["q"].to_numpy().min() >= 0.05


def toy_corpus(length: int = 40_000) -> tuple[np.ndarray, Motif]:
    """No GC at all, so that every window weighs the same and expectations are plain means."""
    return np.zeros(length, np.uint8), Motif("M.1", "TOY", np.ones((4, 6)), (), (), "fungi", ())


def hits_at(starts: list[int], width: int = 6) -> pa.Table:
    n = len(starts)
    return pa.table(
        {
            "motif": [0] * n,
            "contig": [0] * n,
            "start": starts,
            "end": [start + width for start in starts],
            "strand": [1] * n,
            "score": [9.0] * n,
            "p": [1e-4] * n,
        },
        schema=HITS_SCHEMA,
    )


def test_counts_of_a_toy_can_be_done_by_hand():
    codes, motif = toy_corpus()
    # Every 7th base distinct enough that no two loci are copies of one repeat.
    codes = np.where(np.random.default_rng(0).random(len(codes)) < 0.5, 0, 3).astype(np.uint8)
    background = background_windows([codes], width=101)
    windows = len(background.start)
    assert windows == 40_000 // 101
    # 30 loci, 150 bases apart, 12 of them with the motif 4 bases past the peak.
    positions = 1000 + 150 * np.arange(30)
    starts = [int(p) + 2 for p in positions[:12]]  # middle of 6 bases: base 2, at +4 of the peak
    far = background.start[background.start > 10_000][:20]
    result = find_matches(
        peaks_of([(0, 1, np.zeros(30, int), positions)]),
        hits_at(starts + [int(s) + 50 for s in far]),
        [codes],
        silent(windows, 1),
        motifs=[motif],
        background=background,
        options=MatchOptions(min_background=300),
    )
    (row,) = result.table.to_pylist()
    held = {int(np.searchsorted(background.start, s, side="right")) - 1 for s in starts}
    held = {
        w
        for w in held
        if any(background.start[w] <= s and s + 6 <= background.end[w] for s in starts)
    }
    seen = len(held) + 20
    assert (row["peaks"], row["hits"], result.tested_pairs) == (30, 12, 1)
    assert row["expected"] == pytest.approx(30 * seen / windows)
    p = stats.betabinom.sf(11, 30, seen + 1, windows - seen + 1)
    assert row["p"] == row["q"] == pytest.approx(p, rel=1e-9)
    assert (row["offset"], row["offset_share"], row["gc"]) == (4, 1.0, 0.0)
    assert row["log2_enrichment"] == pytest.approx(np.log2(12.5 / (30 * seen / windows + 0.5)))


def test_windows_where_the_feature_is_active_are_not_background():
    codes = np.where(np.random.default_rng(0).random(40_000) < 0.5, 0, 3).astype(np.uint8)
    _, motif = toy_corpus(1)
    background = background_windows([codes])
    windows = len(background.start)
    positions = 1000 + 150 * np.arange(30)
    with_motif = np.arange(150, 250)
    activity = silent(windows, 1).tolil()
    activity[with_motif[:90], 0] = True  # strand +
    expected = {}
    for strand in (1, -1):
        result = find_matches(
            peaks_of([(0, strand, np.zeros(30, int), positions)]),
            hits_at([*(int(s) + 40 for s in background.start[with_motif]), 1010]),
            [codes],
            activity.tocsr(),
            motifs=[motif],
            background=background,
            options=MatchOptions(min_background=300),
        )
        expected[strand] = result.table["expected"][0].as_py()
    near = int(((background.start <= 1010) & (background.end >= 1016)).sum())
    assert expected[-1] == pytest.approx(30 * (100 + near) / windows)
    assert expected[1] == pytest.approx(30 * (10 + near) / (windows - 90))


def test_expectation_equals_a_slow_twin_over_windows(fungi):
    random = np.random.default_rng(4)
    sequences = [isochores(random, 60_000)]
    motifs = fungi[:30]
    corpus = Corpus.of(sequences, scan(sequences, motifs), len(motifs))
    background = background_windows(sequences)
    windows = len(background.start)
    activity = sparse.random_array((windows, 6), density=0.2, rng=random).astype(bool).tocsr()
    silence = Silence.of(corpus, background, activity, 101)
    rows, local, gc = np.array([1, 4]), np.array([0, 0, 0, 1, 1]), np.array([38, 40, 45, 33, 50])
    expected, effective = silence.expected(rows, local, gc)
    held = corpus.motifs_in(background.start, 101).toarray()
    for i, row in enumerate(rows):
        share = np.zeros(windows)
        for one in gc[local == i]:
            weight = np.exp(-0.5 * ((silence.gc - one) / 101 / 0.01) ** 2)
            weight[activity.toarray()[:, row]] = 0
            share += weight / weight.sum()
        assert np.allclose(expected[i], share @ held)
        assert effective[i] == pytest.approx(share.sum() ** 2 / (share**2).sum())


def test_overlapping_peaks_and_copies_of_a_repeat_count_once():
    random = np.random.default_rng(6)
    codes = random.integers(0, 4, 40_000).astype(np.uint8)
    copies = 20_000 + 200 * np.arange(40)
    for place in copies:
        codes[place - 20 : place + 21] = codes[copies[0] - 20 : copies[0] + 21]
    apart = 1000 + 150 * np.arange(35)
    positions = np.concatenate([apart, apart[:20] + 60, copies, [20, 39_990]])
    background = background_windows([codes])
    motif = toy_corpus(1)[1]
    result = find_matches(
        peaks_of([(0, 1, np.zeros(len(positions), int), positions)]),
        hits_at([1000, 30_000]),
        [codes],
        silent(len(background.start), 1),
        motifs=[motif],
        background=background,
        options=MatchOptions(min_background=300),
    )
    # 35 apart, none of their neighbours, one of the copies, none at the edges.
    assert result.table["peaks"].to_pylist() == [36]


def test_a_short_corpus_is_underpowered(fungi):
    sequences = [isochores(np.random.default_rng(0), 50_000)]
    background = background_windows(sequences)
    positions = np.arange(200, 49_000, 400)
    result = find_matches(
        peaks_of([(0, 1, np.zeros(len(positions), int), positions)]),
        HITS_SCHEMA.empty_table(),
        sequences,
        silent(len(background.start), 1),
        motifs=fungi,
        background=background,
    )
    assert result.table.num_rows == result.tested_pairs == 0
    assert result.table.schema == MATCHES_SCHEMA
    assert (result.power.tested, result.power.loci, result.power.needed) == (False, 495, 2000)
    assert "495 independent windows" in result.power.reason


def test_few_peaks_are_underpowered(fungi):
    sequences = [isochores(np.random.default_rng(0), 300_000)]
    background = background_windows(sequences)
    rows = [(f, 1, np.zeros(n, int), 1000 + 300 * np.arange(n)) for f, n in ((0, 29), (1, 12))]
    for table in (peaks_of(rows), peaks_of(rows[:1]).slice(0, 0)):
        result = find_matches(
            table,
            HITS_SCHEMA.empty_table(),
            sequences,
            silent(len(background.start), 2),
            motifs=fungi,
            background=background,
        )
        assert result.power[:3] == (False, 29 if table.num_rows else 0, 30)
        richest = 29 if table.num_rows else 0
        wanted = f"no feature row has 30 independent loci; the richest has {richest}"
        assert result.power.reason == wanted


def test_rows_with_loci_that_are_hardly_ever_silent_say_so(fungi):
    sequences = [np.random.default_rng(4).integers(0, 4, 400_000).astype(np.uint8)]
    background = background_windows(sequences)
    activity = np.zeros((len(background.start), 2), dtype=bool)
    activity[1000:, 0] = True
    result = find_matches(
        peaks_of([(0, 1, np.zeros(40, int), 1000 + 300 * np.arange(40))]),
        HITS_SCHEMA.empty_table(),
        sequences,
        sparse.csr_array(activity),
        motifs=fungi,
        background=background,
    )
    assert result.power == (
        False,
        1000,
        2000,
        "none of the 1 feature rows with 30 independent loci is silent in 2000 background "
        "windows; the best is in 1000",
    )


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


def test_binomial_tail_by_hand():
    # 4 coins with P(head) = 1/4: P(>= 3) = 4 * (1/4)^3 * 3/4 + (1/4)^4 = 13/256.
    p = binomial_tail(np.array([3.0, 0.0, 4.0]), np.array([4.0]), np.array([1.0]))
    assert p == pytest.approx([13 / 256, 1.0, 1 / 256])
    assert binomial_tail(np.array([1.0]), np.array([4.0]), np.array([0.0])) == pytest.approx(0.0)


def test_predictive_tail_by_hand():
    # Nothing seen in 2 windows, 2 trials: the rate is Beta(1, 3), so that
    # P(X = 2) = B(3, 3) / B(1, 3) = (1/30) / (1/3) = 1/10 and
    # P(X = 1) = 2 * B(2, 4) / B(1, 3) = 2 * (1/20) / (1/3) = 3/10.
    p = predictive_tail(np.array([2.0, 1.0]), np.full(2, 2.0), np.zeros(2), np.full(2, 2.0))
    assert p == pytest.approx([0.1, 0.4])
    many = predictive_tail(np.array([6.0]), np.array([20.0]), np.array([1e8]), np.array([1e9]))
    exact = sum(comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(6, 21))
    assert many == pytest.approx([exact], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.data())
def test_predictive_tail_equals_scipy(n, data):
    hits, windows = data.draw(st.integers(1, n)), data.draw(st.integers(1, 5000))
    seen = data.draw(st.floats(0, windows))
    ours = predictive_tail(*(np.array([float(x)]) for x in (hits, n, seen, windows)))
    theirs = stats.betabinom.sf(hits - 1, n, seen + 1, windows - seen + 1)
    assert ours[0] == pytest.approx(theirs, rel=1e-6, abs=1e-10)


def test_benjamini_hochberg_by_hand():
    # 5 tests of which one, with p = 1, is not listed: p * 5 / rank is .05, .05, .0667, .05,
    # and the step up takes the least of what follows.
    q = benjamini_hochberg(np.array([0.04, 0.01, 0.04, 0.02]), 5)
    assert q == pytest.approx([0.05, 0.05, 0.05, 0.05])
    assert benjamini_hochberg(np.array([0.5]), 10) == pytest.approx([1.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-12, 1), max_size=30), st.integers(0, 20))
def test_benjamini_hochberg_equals_scipy(p, more):
    ours = benjamini_hochberg(np.array(p), len(p) + more)
    theirs = stats.false_discovery_control([*p, *[1.0] * more])[: len(p)] if p else np.empty(0)
    assert np.allclose(ours, theirs)


def test_mismatched_inputs_are_refused(fungi):
    sequences = [isochores(np.random.default_rng(0), 30_000)]
    background = background_windows(sequences)
    peaks = peaks_of([(7, 1, np.zeros(40, int), 500 + 300 * np.arange(40))])
    hits = HITS_SCHEMA.empty_table()
    options = MatchOptions(min_background=100)
    windows = len(background.start)
    with pytest.raises(CoordinateError, match="one row for each"):
        find_matches(peaks, hits, sequences, silent(3, 8), motifs=fungi, background=background)
    with pytest.raises(CoordinateError, match="151 bases wide"):
        find_matches(
            peaks,
            hits,
            sequences,
            silent(windows, 8),
            motifs=fungi,
            background=background,
            options=MatchOptions(width=151),
        )
    with pytest.raises(CoordinateError, match="feature 7, activity has 2 features"):
        find_matches(
            peaks,
            hits,
            sequences,
            silent(windows, 2),
            motifs=fungi,
            background=background,
            options=options,
        )
    with pytest.raises(OptionError, match="odd"):
        MatchOptions(width=100)
    with pytest.raises(OptionError, match="min_loci"):
        MatchOptions(min_loci=0)
