"""Counts against a slow twin, planted motifs that must be found, and null rows that must not."""

import numpy as np
import pyarrow as pa
import pytest

from annotations import motif_similarity
from annotations.errors import OptionError
from annotations.jaspar import Motif, load_motifs
from annotations.motif_similarity import (
    MIN_BITS,
    SIMILARITY_SCHEMA,
    RowMotifs,
    compare,
    row_motifs,
)
from annotations.repeats import COPY_RADIUS
from annotations.significance import benjamini_hochberg


def codes_of(text: str) -> np.ndarray:
    return np.array(["ACGT".find(base) % 5 for base in text], dtype=np.uint8)


def peaks_of(rows: list[tuple[int, int, int, int, float]]) -> pa.Table:
    names = ("feature", "strand", "contig", "position", "value")
    types = (np.uint32, np.int8, np.uint32, np.int64, np.float32)
    columns = zip(*rows, strict=True) if rows else [[]] * 5
    arrays = [np.array(c, dtype=t) for c, t in zip(columns, types, strict=True)]
    return pa.table(dict(zip(names, arrays, strict=True)))


def slow_counts(peaks, sequences, row: int, radius: int) -> np.ndarray:
    """Base by base, for rows whose loci neither overlap nor copy one another."""
    counts = np.zeros((4, 2 * radius + 1), dtype=int)
    for peak in peaks.to_pylist():
        if 2 * peak["feature"] + (peak["strand"] < 0) != row:
            continue
        codes = sequences[peak["contig"]]
        start, end = peak["position"] - radius, peak["position"] + radius + 1
        if start < 0 or end > len(codes) or (codes[start:end] > 3).any():
            continue
        for column in range(2 * radius + 1):
            offset = column - radius
            base = codes[peak["position"] + peak["strand"] * offset]
            counts[base if peak["strand"] > 0 else 3 - base, column] += 1
    return counts


@pytest.fixture(scope="module")
def genome() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [
        random.choice(4, size, p=[0.31, 0.19, 0.19, 0.31]).astype(np.uint8)
        for size in (200_000, 60_000)
    ]


def planted(
    genome: list[np.ndarray], motifs: list[Motif], *, share: float = 0.9, loci: int = 60
) -> tuple[list[np.ndarray], pa.Table]:
    """Sites of each motif, its own feature, written into a copy of a genome; 7 bases after the
    peak, every second feature read on the other strand."""
    random = np.random.default_rng(2)
    genome = [codes.copy() for codes in genome]
    places = iter(random.permutation(np.arange(100, len(genome[0]) - 100, 60)).tolist())
    rows = []
    for feature, motif in enumerate(motifs):
        strand = 1 - 2 * (feature % 2)
        shares = motif.counts / motif.counts.sum(axis=0)
        for _ in range(loci):
            peak = next(places)
            rows.append((feature, strand, 0, peak, random.random()))
            if random.random() < share:
                for column in range(motif.width):
                    base = random.choice(4, p=shares[:, column])
                    place = peak + strand * (7 + column)
                    genome[0][place] = base if strand > 0 else 3 - base
    return genome, peaks_of(rows)


def test_counts_by_hand():
    # One locus read on + and the same on -: the middle is the peak in the sense of each pass.
    about = "GGATCCTTGCCATAAGTCCTAGGCATACGTATTGACCAGTCCAATGCTTAA"
    sequence = codes_of("ACGTT" + about + "GATTACA")
    peaks = peaks_of([(3, 1, 0, 30, 1.0), (4, -1, 0, 30, 1.0)])
    motifs = row_motifs(peaks, [sequence], radius=25, min_loci=1)
    assert motifs.rows.tolist() == [6, 9]
    assert motifs.loci.tolist() == [1, 1]
    forward, reverse = (
        "".join("ACGT"[base] for base in motifs.counts[place].argmax(axis=0)) for place in range(2)
    )
    assert forward == about
    assert reverse == about[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_counts_equal_the_slow_twin(genome, monkeypatch):
    random = np.random.default_rng(3)
    genome = [codes.copy() for codes in genome]
    genome[1][500:600] = 4
    rows = []
    for feature in range(6):
        for contig, codes in enumerate(genome):
            positions = random.choice(len(codes) // 101, 40, replace=False) * 101 + 30
            rows += [
                (feature, (1, -1)[feature % 2], contig, int(p), random.random()) for p in positions
            ]
    rows += [(2, 1, 0, 3, 9.0), (2, 1, 1, len(genome[1]) - 2, 9.0), (2, 1, 1, 595, 9.0)]
    peaks = peaks_of(rows)
    whole = row_motifs(peaks, genome)
    assert whole.rows.tolist() == [0, 3, 4, 7, 8, 11]
    for place, row in enumerate(whole.rows.tolist()):
        assert np.array_equal(whole.counts[place], slow_counts(peaks, genome, row, 25))
        assert (whole.counts[place].sum(axis=0) == whole.loci[place]).all()
    monkeypatch.setattr(motif_similarity, "_LOCI_PER_BLOCK", 100)
    assert np.array_equal(row_motifs(peaks, genome).counts, whole.counts)
    some = row_motifs(peaks, genome, np.array([3, 8, 99]))
    assert some.rows.tolist() == [3, 8]
    assert np.array_equal(some.counts, whole.counts[[1, 4]])


def test_overlapping_loci_and_copies_count_once(genome):
    codes = genome[0].copy()
    for copy in range(1, 11):
        codes[1000 * copy - 60 : 1000 * copy + 60] = codes[940:1060]
    repeated = [(0, 1, 0, 1000 * copy, float(copy)) for copy in range(1, 11)]
    crowded = [(1, 1, 0, 50_000 + step, float(step)) for step in range(0, 50, 5)]
    lone = [(1, 1, 0, 60_000 + 100 * step, 0.5) for step in range(4)]
    motifs = row_motifs(peaks_of(repeated + crowded + lone), [codes], min_loci=1)
    assert dict(zip(motifs.rows.tolist(), motifs.loci.tolist(), strict=True)) == {0: 1, 2: 5}
    assert row_motifs(peaks_of(repeated), [codes]).rows.size == 0  # too few loci


def test_the_motif_is_the_stretch_that_stands_out(genome):
    motif = load_motifs("fungi").motifs[load_motifs("fungi").index("MA0363.3")]
    sequences, peaks = planted(genome, [motif, motif])
    motifs = row_motifs(peaks, sequences)
    assert motifs.rows.tolist() == [0, 3]
    for place in range(2):
        start, end = motifs.start[place], motifs.end[place]
        assert abs(start - 32) <= 2  # 25 bases before the peak and 7 after it
        assert abs(end - (32 + motif.width)) <= 2
        consensus = motif.counts.argmax(axis=0)
        inside = motifs.counts[place, :, 32 : 32 + motif.width].argmax(axis=0)
        clear = motif.counts.max(axis=0) / motif.counts.sum(axis=0) > 0.7
        assert np.array_equal(inside[clear], consensus[clear])
        assert np.array_equal(motifs.motif(place), motifs.counts[place, :, start:end])
    assert motifs.comparable.all()


def test_bits_by_hand():
    # 100 loci of one base where the background has a quarter: log2(share / 0.25), less the bias.
    counts = np.full((1, 4, 31), 25, dtype=np.int32)
    counts[0, :, 10:18] = np.array([100, 0, 0, 0])[:, None]
    start, end, bits = motif_similarity._stretches(counts, np.array([100]), np.full(4, 0.25))
    assert (start[0], end[0]) == (10, 18)
    a, rest = 100.25 / 101, 0.25 / 101
    column = a * np.log2(4 * a) + 3 * rest * np.log2(4 * rest) - 3 / (200 * np.log(2))
    assert bits[0] == pytest.approx(8 * column)


@pytest.mark.parametrize("kind", ["anywhere", "AT-rich", "GC-rich"])
def test_rows_of_random_peaks_have_no_motif(genome, kind):
    random = np.random.default_rng(4)
    codes = genome[0]
    gc = np.convolve((codes == 1) | (codes == 2), np.ones(101), "same")
    order = np.argsort(gc)
    places = {"anywhere": order, "AT-rich": order[:20_000], "GC-rich": order[-20_000:]}[kind]
    rows = [
        (feature, 1, 0, int(place), random.random())
        for feature in range(100)
        for place in random.choice(places, 100)
    ]
    motifs = row_motifs(peaks_of(rows), genome)
    assert len(motifs.rows) > 50
    assert motifs.bits.max() < MIN_BITS / 2
    assert compare(motifs, load_motifs("fungi").motifs).num_rows == 0


def test_planted_motifs_are_found_and_others_are_not(genome):
    fungi = load_motifs("fungi").motifs
    clear = [m for m in fungi if 8 <= m.width <= 14 and m.name in {"REB1", "ABF1", "RAP1", "GCN4"}]
    assert len(clear) >= 3
    sequences, peaks = planted(genome, clear)
    motifs = row_motifs(peaks, sequences)
    wanted = pa.table(
        {
            "feature": np.array([0, 0, 77], dtype=np.uint32),
            "strand": np.array([1, 1, 1], dtype=np.int8),
            "matrix_id": [fungi[0].matrix_id, "unknown", fungi[0].matrix_id],
        }
    )
    table = compare(motifs, fungi, wanted)
    assert table.schema == SIMILARITY_SCHEMA
    rows = table.to_pylist()
    best = {row["feature"]: row for row in rows if row["best"]}
    for feature, motif in enumerate(clear):
        assert best[feature]["matrix_id"] == motif.matrix_id
        assert best[feature]["strand"] == 1 - 2 * (feature % 2)
        assert best[feature]["similarity_q"] <= 0.05
    assert (0, fungi[0].matrix_id) in {(row["feature"], row["matrix_id"]) for row in rows}
    assert {row["feature"] for row in rows} == set(range(len(clear)))
    order = [
        (row["feature"], -row["strand"], row["similarity_p"], row["matrix_id"]) for row in rows
    ]
    assert order == sorted(order)


def test_q_is_over_the_matrices_of_each_row(genome):
    # The slow twin: every pair asked for, q by the project's own procedure row by row.
    fungi = load_motifs("fungi").motifs[:40]
    sequences, peaks = planted(genome, list(fungi[10:16]), share=1.0)
    motifs = row_motifs(peaks, sequences)
    compared = motifs.rows[motifs.comparable]
    every = [(row, m.matrix_id) for row in compared.tolist() for m in fungi]
    wanted = pa.table(
        {
            "feature": np.array([row // 2 for row, _ in every], dtype=np.uint32),
            "strand": np.array([1 - 2 * (row % 2) for row, _ in every], dtype=np.int8),
            "matrix_id": [matrix for _, matrix in every],
        }
    )
    table = compare(motifs, fungi, wanted)
    assert table.num_rows == len(compared) * len(fungi) > 100
    p, q = table["similarity_p"].to_numpy(), table["similarity_q"].to_numpy()
    row = 2 * table["feature"].to_numpy().astype(int) + (table["strand"].to_numpy() < 0)
    for one in compared.tolist():
        own = row == one
        assert own.sum() == len(fungi)
        assert np.allclose(q[own], benjamini_hochberg(p[own], len(fungi)), rtol=1e-5)
    few = compare(motifs, fungi)
    kept = {(r["feature"], r["matrix_id"]): r for r in table.to_pylist()}
    for row in few.to_pylist():
        assert row["similarity_q"] <= 0.1 or row["best"]
        assert kept[row["feature"], row["matrix_id"]] == row
    assert few.num_rows >= (q <= 0.1).sum()


def test_the_correlation_is_that_of_the_aligned_columns(genome):
    # Against numpy's own correlation of the columns that Tomtom says it aligned.
    from memelite import tomtom

    fungi = load_motifs("fungi").motifs[:40]
    targets = [m.counts / m.counts.sum(axis=0) for m in fungi]
    flank = np.full((4, 3), 0.25)
    queries = [
        targets[7],
        targets[7][::-1, ::-1],
        np.concatenate([flank, targets[8][:, :-2]], axis=1),
        np.concatenate([targets[9][::-1, ::-1][:, 2:], flank], axis=1),
    ]
    _, _, offset, _, strand = tomtom(queries, targets)
    query, target = (place.ravel() for place in np.indices(offset.shape))
    offset, strand = offset.ravel().astype(int), strand.ravel().astype(int)
    found = motif_similarity._correlations(queries, targets, (query, target, offset, strand))
    for at, (i, j) in enumerate(zip(query, target, strict=True)):
        left, right = queries[i], targets[j][::-1, ::-1] if strand[at] else targets[j]
        columns = [
            (c, c + offset[at])
            for c in range(left.shape[1])
            if 0 <= c + offset[at] < right.shape[1]
        ]
        a = left[:, [c for c, _ in columns]].ravel()
        b = right[:, [c for _, c in columns]].ravel()
        expected = np.corrcoef(a, b)[0, 1] if a.std() > 1e-9 else 0.0
        assert found[at] == pytest.approx(expected, abs=1e-9)
    own = found.reshape(4, -1)
    assert own[0, 7] == pytest.approx(1)
    assert own[1, 7] == pytest.approx(1)
    assert own[2, 8] > 0.9
    assert own[3, 9] > 0.9


def test_what_does_not_correlate_is_not_similar(genome, monkeypatch):
    fungi = load_motifs("fungi").motifs
    sequences, peaks = planted(genome, list(fungi[10:13]), share=1.0)
    motifs = row_motifs(peaks, sequences)
    assert (compare(motifs, fungi)["similarity_q"].to_numpy() <= 0.05).any()
    monkeypatch.setattr(motif_similarity, "MIN_CORRELATION", 1.1)
    assert not (compare(motifs, fungi)["similarity_q"].to_numpy() <= 0.05).any()


def test_too_few_matrices_or_no_motif_give_nothing(genome):
    fungi = load_motifs("fungi").motifs
    sequences, peaks = planted(genome, list(fungi[10:13]), share=1.0)
    motifs = row_motifs(peaks, sequences)
    assert compare(motifs, fungi[:24]).num_rows == 0
    empty = row_motifs(peaks_of([]), genome)
    assert isinstance(empty, RowMotifs)
    assert empty.counts.shape == (0, 4, 51)
    assert compare(empty, fungi).equals(SIMILARITY_SCHEMA.empty_table())


def test_a_radius_too_small_for_copies_is_refused(genome):
    with pytest.raises(OptionError, match=f"at least {COPY_RADIUS}, got 5"):
        row_motifs(peaks_of([]), genome, radius=5)
