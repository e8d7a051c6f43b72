"""Planted motifs are found, random features match nothing, and numbers one can do by hand."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse, stats

from annotations.enrichment import (
    MATCHES_SCHEMA,
    MatchOptions,
    MatchResult,
    background_windows,
    find_matches,
)
from annotations.errors import CoordinateError, OptionError, UnknownNameError
from annotations.jaspar import Motif, load_motifs
from annotations.motif_scan import HITS_SCHEMA, scan
from annotations.motif_windows import running_count
from tests.annotations.match_cases import even_gc, hits_at, isochores, peaks_of, silent, toy_motif

LENGTHS = (200_000, 100_000)
REB1 = "MA0363.3"


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


def test_counts_of_a_toy_can_be_done_by_hand():
    codes, motif = even_gc(40_000), toy_motif()
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
    assert (row["offset"], row["offset_share"], row["gc"]) == (4, 1.0, 50 / 101)
    assert row["log2_enrichment"] == pytest.approx(np.log2(12.5 / (30 * seen / windows + 0.5)))


def test_rows_that_cannot_be_tested_do_not_count_for_their_neighbours():
    """Loci of a row with too few of them, or one that is hardly ever silent, are its own."""
    codes, motif = even_gc(40_000), toy_motif()
    background = background_windows([codes])
    places = {name: first + 150 * np.arange(40) for name, first in (("a", 1000), ("b", 8000))}
    noisy = silent(len(background.start), 3).tolil()
    noisy[100:, 2] = True  # feature 1, strand +
    tables = {
        "few": peaks_of([(1, 1, np.zeros(20, int), places["b"][:20])]),
        "noisy": peaks_of([(1, 1, np.zeros(40, int), places["b"])]),
    }
    own = [(0, 1, np.zeros(30, int), places["a"][:30]), (2, 1, np.zeros(30, int), places["a"][:30])]
    hits = hits_at([int(p) + 2 for p in (*places["a"][:6], *places["b"])])
    pairs = pairs_table((0, 1, "M.1"), (1, 1, "M.1"), (2, 1, "M.1"))

    def counts(more: list[pa.Table], pairs: pa.Table | None) -> list[tuple[object, ...]]:
        result = find_matches(
            pa.concat_tables([peaks_of(own), *more]),
            hits,
            [codes],
            noisy.tocsr(),
            motifs=[motif],
            background=background,
            options=MatchOptions(min_background=290, min_pair_loci=30),
            pairs=pairs,
        )
        return [
            (r["feature"], r["peaks"], r["hits"], r["expected"])
            for r in result.table.sort_by("feature").to_pylist()
            if r["feature"] != 1
        ]

    alone = counts([], None)
    assert [row[:3] for row in alone] == [(0, 30, 6), (2, 30, 6)]
    for asked in (None, pairs):
        for more in tables.values():
            assert counts([more], asked) == alone


def test_windows_where_the_feature_is_active_are_not_background():
    codes, motif = even_gc(40_000), toy_motif()
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


def test_overlapping_peaks_and_copies_of_a_repeat_count_once():
    random = np.random.default_rng(6)
    codes = random.integers(0, 4, 40_000).astype(np.uint8)
    copies = 20_000 + 200 * np.arange(40)
    for place in copies:
        codes[place - 20 : place + 21] = codes[copies[0] - 20 : copies[0] + 21]
    apart = 1000 + 150 * np.arange(35)
    positions = np.concatenate([apart, apart[:20] + 60, copies, [20, 39_990]])
    background = background_windows([codes])
    motif = toy_motif()
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
        assert result.power.reason.startswith(wanted)
        assert f"of {richest} peaks" in result.power.reason


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


def test_a_planted_motif_has_all_that_is_measured(planted_result, fungi):
    (reb1,) = [
        r for r in planted_result.table.to_pylist() if (r["feature"], r["matrix_id"]) == (0, REB1)
    ]
    assert reb1["centrality_p"] < 1e-6
    assert reb1["repeat_share"] == 0.0
    assert reb1["information_content"] == pytest.approx(10, abs=4)
    assert 0 < reb1["background_rate"] == reb1["prevalence"] < 0.1
    # A feature that is silent in every background window tells nothing there.
    assert (reb1["auroc"], reb1["auroc_p"]) == (0.5, None)
    assert reb1["auprc"] == pytest.approx(reb1["prevalence"])
    assert 0.5 < reb1["cpg"] < 1.5
    empty = ("similarity_q", "similar_to", "held_out_q", "held_out_peaks", "causal_p", "cluster")
    assert all(reb1[name] is None for name in empty)
    assert reb1["evidence"] == ""


def pairs_table(*pairs: tuple[int, int, str]) -> pa.Table:
    feature, strand, matrix_id = zip(*pairs, strict=True)
    return pa.table(
        {
            "feature": pa.array(feature, pa.uint32()),
            "strand": pa.array(strand, pa.int8()),
            "matrix_id": pa.array(matrix_id),
        }
    )


def test_only_the_pairs_asked_for_are_tested_and_all_are_reported(planted, planted_result, fungi):
    sequences, rows = planted
    background = background_windows(sequences)
    absent = next(m.matrix_id for m in fungi if m.matrix_id == "MA0265.3")
    # 15 loci of feature 0, which 30 would be needed for in discovery, and 9 of feature 1.
    few = [(f, s, c[:n], p[:n]) for (f, s, c, p), n in zip(rows, (15, 9), strict=True)]
    result = find_matches(
        peaks_of(few),
        scan(sequences, fungi),
        sequences,
        silent(len(background.start), 2),
        motifs=fungi,
        background=background,
        pairs=pairs_table((0, 1, REB1), (0, 1, absent), (1, -1, REB1), (1, 1, REB1)),
    )
    assert result.tested_pairs == 2
    assert result.power.tested
    found = {(r["feature"], r["strand"], r["matrix_id"]): r for r in result.table.to_pylist()}
    assert len(found) == 4
    reb1, other = found[0, 1, REB1], found[0, 1, absent]
    assert reb1["peaks"] == 15
    assert reb1["q"] == pytest.approx(min(2 * reb1["p"], other["p"], 1.0))
    assert reb1["q"] < 0.01
    for key, loci in (((1, -1, REB1), 9), ((1, 1, REB1), 0)):
        missing = found[key]
        assert missing["peaks"] == loci
        assert all(missing[name] is None for name in ("hits", "p", "q", "offset", "centrality_p"))
        assert missing["auroc"] == 0.5
    # Untested pairs come last.
    assert [r["p"] is None for r in result.table.to_pylist()] == [False, False, True, True]


def test_pairs_equal_the_same_pairs_of_a_full_test(planted, planted_result, fungi):
    sequences, rows = planted
    background = background_windows(sequences)
    best = planted_result.table.slice(0, 5)
    result = find_matches(
        peaks_of(rows),
        scan(sequences, fungi),
        sequences,
        silent(len(background.start), 2),
        motifs=fungi,
        background=background,
        pairs=best.select(["feature", "strand", "matrix_id"]),
    )
    same = [name for name in MATCHES_SCHEMA.names if name != "q"]
    order = [("feature", "ascending"), ("matrix_id", "ascending")]
    for found, wanted in zip(
        result.table.select(same).sort_by(order).to_pylist(),
        best.select(same).sort_by(order).to_pylist(),
        strict=True,
    ):
        assert found == pytest.approx(wanted)
    assert (result.table["q"].to_numpy() < planted_result.table["q"].to_numpy()[:5]).all()


def test_pairs_on_a_short_corpus_are_reported_untested(fungi):
    sequences = [isochores(np.random.default_rng(0), 50_000)]
    background = background_windows(sequences)
    result = find_matches(
        peaks_of([(0, 1, np.zeros(40, int), 1000 + 300 * np.arange(40))]),
        scan(sequences, fungi),
        sequences,
        silent(len(background.start), 1),
        motifs=fungi,
        background=background,
        pairs=pairs_table((0, 1, REB1)),
    )
    (row,) = result.table.to_pylist()
    assert (row["p"], row["auroc"], row["motif_name"]) == (None, None, "REB1")
    assert (result.power.tested, result.power.loci, result.tested_pairs) == (False, 495, 0)


def test_pairs_that_name_nothing_are_refused(fungi):
    sequences = [isochores(np.random.default_rng(0), 30_000)]
    background = background_windows(sequences)
    peaks = peaks_of([(0, 1, np.zeros(4, int), 500 + 300 * np.arange(4))])
    activity = silent(len(background.start), 1)
    for pair, error, message in (
        ((0, 1, "MA9999.1"), UnknownNameError, "'MA9999.1'"),
        ((3, 1, REB1), CoordinateError, "feature 3, activity has 1"),
    ):
        with pytest.raises(error, match=message):
            find_matches(
                peaks,
                HITS_SCHEMA.empty_table(),
                sequences,
                activity,
                motifs=fungi,
                background=background,
                pairs=pairs_table(pair),
            )
