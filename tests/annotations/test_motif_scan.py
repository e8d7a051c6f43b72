"""Thresholds and hits against enumeration and a brute-force scan that share no code with them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import motif_scan
from annotations.errors import OptionError
from annotations.jaspar import Motif, load_motifs
from annotations.motif_scan import (
    HITS_SCHEMA,
    background_of,
    log_odds,
    motif_thresholds,
    scan,
)

UNIFORM = np.full(4, 0.25)
AT_RICH = np.array([0.32, 0.18, 0.18, 0.32])


def motif_of(counts: np.ndarray, name: str = "toy") -> Motif:
    return Motif(name, name, np.asarray(counts, dtype=float), (), (), "fungi", ())


def perfect(word: str) -> Motif:
    """A motif with 1000 counts of one word."""
    counts = np.zeros((4, len(word)))
    counts[["ACGT".index(base) for base in word], range(len(word))] = 1000
    return motif_of(counts, word)


def codes_of(text: str) -> np.ndarray:
    return np.array(["ACGT".find(base) % 5 for base in text], dtype=np.uint8)


def enumerated(motif: Motif, background: np.ndarray, p: float) -> tuple[float, float]:
    """Lowest score with probability at most p, and that probability, over all 4**w words."""
    matrix = log_odds(motif.counts, background)
    scores, chances = np.zeros(1, dtype=int), np.ones(1)
    for column in matrix.T:
        scores = (scores[:, None] + column).ravel()
        chances = (chances[:, None] * background).ravel()
    order = np.argsort(-scores)
    scores, chances = scores[order], np.cumsum(chances[order])
    last_of_score = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    reached = last_of_score[chances[last_of_score] <= p]
    if not reached.size:
        return np.inf, np.nan
    return scores[reached[-1]] / 1000, chances[reached[-1]]


def brute_force(sequences, motifs, background, thresholds) -> set[tuple]:
    """Every window of every strand scored base by base, by the definition."""
    hits = set()
    for number, motif in enumerate(motifs):
        matrix = log_odds(motif.counts, background)
        for strand, oriented in ((1, matrix), (-1, matrix[::-1, ::-1])):
            padded = np.vstack([oriented, np.full(motif.width, -(10**9))])
            for contig, codes in enumerate(sequences):
                if len(codes) < motif.width:
                    continue
                windows = np.lib.stride_tricks.sliding_window_view(codes, motif.width)
                scores = padded[windows, np.arange(motif.width)].sum(axis=1)
                for start in np.flatnonzero(scores / 1000 >= thresholds.score[number]).tolist():
                    place = (contig, start, start + motif.width, strand)
                    hits.add((number, *place, int(scores[start])))
    return hits


def as_set(table: pa.Table) -> set[tuple]:
    return {
        (r["motif"], r["contig"], r["start"], r["end"], r["strand"], round(r["score"] * 1000))
        for r in table.to_pylist()
    }


@pytest.fixture(scope="module")
def fungi() -> tuple[Motif, ...]:
    return load_motifs("fungi").motifs


@pytest.mark.parametrize("background", [UNIFORM, AT_RICH], ids=["uniform", "AT-rich"])
@pytest.mark.parametrize("p", [1e-4, 1e-3])
def test_thresholds_equal_full_enumeration(fungi, background, p):
    motifs = [motif for motif in fungi if motif.width <= 8]
    assert len(motifs) > 40
    thresholds = motif_thresholds(motifs, background, p=p, floor=p)
    expected = np.array([enumerated(motif, background, p) for motif in motifs])
    assert np.array_equal(thresholds.score, expected[:, 0])
    assert np.allclose(thresholds.p, expected[:, 1], rtol=1e-9, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=7))
def test_thresholds_of_any_counts_equal_enumeration(columns):
    motif = motif_of(np.array(columns, dtype=float).T)
    for p in (1e-3, 0.05):
        thresholds = motif_thresholds([motif], AT_RICH, p=p, floor=p)
        score, attained = enumerated(motif, AT_RICH, p)
        assert thresholds.score[0] == score
        assert thresholds.p[0] == pytest.approx(attained, rel=1e-9, nan_ok=True)


def test_wide_motifs_attain_what_simulation_finds():
    # Enumeration is out of reach at 14 bases; a sample of words from the background is not.
    random = np.random.default_rng(5)
    motif = motif_of(random.integers(0, 40, (4, 14)))
    matrix = log_odds(motif.counts, AT_RICH)
    thresholds = motif_thresholds([motif], AT_RICH, p=1e-2, floor=1e-2)
    words = random.choice(4, size=(400_000, 14), p=AT_RICH)
    scores = matrix[words, np.arange(14)].sum(axis=1)
    share = (scores >= thresholds.score[0] * 1000).mean()
    assert thresholds.p[0] <= 1e-2
    assert share == pytest.approx(thresholds.p[0], abs=5 * np.sqrt(1e-2 / 400_000))


def test_short_motifs_get_the_floor_and_hopeless_ones_nothing():
    six, five, four = perfect("GATAAG"), perfect("GATAA"), perfect("GATA")
    thresholds = motif_thresholds([six, five, four], UNIFORM)
    assert thresholds.p[0] == pytest.approx(4.0**-6)  # 2.4e-4: above 1e-4, below the floor
    assert thresholds.p[1] == pytest.approx(4.0**-5)
    assert np.isnan(thresholds.p[2])  # 3.9e-3 is above the floor
    assert thresholds.score[2] == np.inf
    sequence = codes_of("CCGATACCGATAAGCC" * 20)
    hits = scan([sequence], [six, five, four], background=UNIFORM)
    assert set(hits["motif"].to_pylist()) == {0, 1}


@pytest.mark.parametrize("background", [None, AT_RICH], ids=["own", "AT-rich"])
def test_hits_equal_brute_force(fungi, background):
    random = np.random.default_rng(11)
    first = random.choice(4, 1500, p=[0.31, 0.19, 0.19, 0.31]).astype(np.uint8)
    first[200:260] = 4
    first[700] = 4
    second = random.choice(4, 700).astype(np.uint8)
    second[-3:] = 4
    tiny = random.choice(4, 5).astype(np.uint8)
    sequences = [first, np.empty(0, np.uint8), tiny, second, np.full(50, 4, np.uint8)]
    motifs = fungi[::4]
    # The best words at both very ends of a contig, on each strand: no offset may be lost.
    best = motifs[0].counts.argmax(axis=0).astype(np.uint8)
    first[: len(best)], first[-len(best) :] = best, 3 - best[::-1]
    used = background_of(sequences) if background is None else background
    thresholds = motif_thresholds(motifs, used)
    hits = scan(sequences, motifs, background=background)
    expected = brute_force(sequences, motifs, used, thresholds)
    assert hits.schema == HITS_SCHEMA
    assert hits.num_rows == len(expected) > 50
    assert as_set(hits) == expected
    assert (0, 0, 0, len(best), 1) in {hit[:5] for hit in expected}
    assert (0, 0, 1500 - len(best), 1500, -1) in {hit[:5] for hit in expected}
    assert np.array_equal(hits["p"].to_numpy(), thresholds.p[hits["motif"].to_numpy()])


def test_hits_of_vague_motifs_equal_brute_force():
    # Low information: thresholds far below the best score, many rounded columns.
    random = np.random.default_rng(3)
    motifs = [motif_of(random.integers(5, 40, (4, width)), str(width)) for width in (8, 12, 19)]
    sequence = random.choice(4, 20_000, p=AT_RICH).astype(np.uint8)
    thresholds = motif_thresholds(motifs, AT_RICH)
    hits = scan([sequence], motifs, background=AT_RICH)
    assert as_set(hits) == brute_force([sequence], motifs, AT_RICH, thresholds)
    assert hits.num_rows > 5


def test_chunks_lose_and_double_nothing(fungi, monkeypatch):
    random = np.random.default_rng(2)
    sequences = [random.choice(4, size).astype(np.uint8) for size in (1500, 400, 3)]
    motifs = fungi[:20]
    whole = scan(sequences, motifs)
    assert whole.num_rows > 10
    monkeypatch.setattr(motif_scan, "_CHUNK", 150)
    monkeypatch.setattr(motif_scan, "_CANDIDATES", 0.5)
    assert scan(sequences, motifs).equals(whole)


def test_the_other_strand_gives_the_mirrored_hits(fungi):
    random = np.random.default_rng(8)
    sequence = random.choice(4, 5000, p=AT_RICH).astype(np.uint8)
    motifs = fungi[50:80]
    forward = as_set(scan([sequence], motifs))
    mirrored = as_set(scan([3 - sequence[::-1]], motifs))
    assert len(forward) > 20
    assert {(m, c, 5000 - e, 5000 - s, -d, x) for m, c, s, e, d, x in mirrored} == forward


def test_nothing_to_scan_gives_an_empty_table(fungi):
    for sequences in ([], [np.empty(0, np.uint8)], [np.full(300, 4, np.uint8)]):
        hits = scan(sequences, fungi[:5])
        assert hits.num_rows == 0
        assert hits.schema == HITS_SCHEMA
    assert scan([np.zeros(300, np.uint8)], []).num_rows == 0


def test_background_counts_both_strands_and_no_n():
    assert np.allclose(background_of([codes_of("AAAC"), codes_of("NNNA")]), [0.4, 0.1, 0.1, 0.4])
    assert np.allclose(background_of([codes_of("NN")]), 0.25)
    assert np.allclose(background_of([codes_of("AAAA")]), [0.49, 0.01, 0.01, 0.49])


@pytest.mark.parametrize(
    ("p", "floor", "background"),
    [
        (0.0, 1e-3, UNIFORM),
        (1e-2, 1e-3, UNIFORM),
        (1e-4, 0.5, UNIFORM),
        (1e-4, 1e-3, np.array([0.4, 0.1, 0.2, 0.3])),
        (1e-4, 1e-3, np.array([0.5, 0.5])),
        (1e-4, 1e-3, np.array([0.5, 0.0, 0.0, 0.5])),
    ],
)
def test_impossible_options_are_refused(p, floor, background):
    with pytest.raises(OptionError, match="got"):
        scan([np.zeros(10, np.uint8)], [perfect("GATAAG")], p=p, floor=floor, background=background)
