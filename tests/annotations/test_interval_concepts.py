"""Interval concepts against hand-computed toys and a slow twin on dense arrays."""

import math
from math import comb

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.activations import to_stretches, write_stretches
from annotations.concept_tracks import bed_tracks, gene_tracks
from annotations.errors import CoordinateError, StorageError
from annotations.evaluation import auprc, auroc, f1
from annotations.interval_concepts import CONCEPTS_SCHEMA, evaluate_concepts
from tests.annotations.activation_cases import LENGTH, N_FEATURES, activations, row_lists
from tests.annotations.test_concept_tracks import genes_of, intervals_of

NO_FIGURES = ("precision", "recall", "f1")


def stored(folder, rows):
    path = folder / "activations.parquet"
    write_stretches(to_stretches(activations(rows)), path)
    return path


def peaks_of(*groups):
    """(feature, strand, contig, positions) -> a table of peaks."""
    rows = [(f, s, c, p) for f, s, c, positions in groups for p in positions]
    names = ("feature", "strand", "contig", "position")
    kinds = (pa.uint32(), pa.int8(), pa.uint32(), pa.int64())
    return pa.table(
        {
            name: pa.array(list(values), kind)
            for name, kind, values in zip(names, kinds, zip(*rows, strict=True), strict=True)
        }
    )


def by_key(table):
    return {
        (r["feature"], r["strand"], r["concept"], r["orientation"]): r for r in table.to_pylist()
    }


def test_one_feature_by_hand(tmp_path):
    # concept at 2, 3, 4 (one interval) and 8 (another) of 10 bases; values 4 at 3, 2 at 4 and 6
    rows = [(1, 1, 0, 3, 4.0), (1, 1, 0, 4, 2.0), (1, 1, 0, 6, 2.0)]
    # contig 1, held out: concept at 0, 1; values 3 at 1, 1 at 0, 5 at 4
    rows += [(1, 1, 1, 1, 3.0), (1, 1, 1, 0, 1.0), (1, 1, 1, 4, 5.0)]
    tracks = bed_tracks(intervals_of((0, 2, 5, 0), (0, 8, 9, 0), (1, 0, 2, 0)), [10, 6])
    table = evaluate_concepts(stored(tmp_path, rows), tracks, 3, discovery=[0], held_out=[1])
    assert table.schema == CONCEPTS_SCHEMA
    (found,) = table.to_pylist()
    assert (found["feature"], found["strand"], found["concept"]) == (1, 1, "bed")
    assert found["orientation"] == "either"
    assert (found["positives"], found["prevalence"]) == (4, 0.4)
    # positives 4, 2, 0, 0; negatives 2 and five 0: 6 + 5.5 + 2 x 2.5 of 24
    assert found["auroc"] == pytest.approx(16.5 / 24)
    # 4: one of one; 2: two of three; 0: four of ten
    assert found["auprc"] == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.5 * 4 / 10)
    # F1 at 4: 2 x 1 / (1 + 4) = .4; at 2: 2 x 2 / (3 + 4) = .57
    assert found["threshold"] == 2.0
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 0.5
    assert found["f1"] == pytest.approx(4 / 7)
    # calls 3-5 and 6: one of two runs touches an interval, one of two intervals is touched
    assert found["intervals"] == 2
    assert found["interval_precision"] == found["interval_recall"] == found["interval_f1"] == 0.5
    # held out at 2: base 1 (right) and base 4 (wrong); base 0 has 1 and is not called
    assert found["held_out_positives"] == 2
    assert found["held_out_precision"] == found["held_out_recall"] == found["held_out_f1"] == 0.5
    assert found["held_out_interval_recall"] == 1.0
    assert found["held_out_interval_precision"] == 0.5
    assert found["held_out_intervals"] == 1
    assert found["peaks"] == 0
    assert found["q"] is None


def test_runs_end_where_a_contig_ends(tmp_path):
    rows = [(0, 1, 0, 3, 1.0), (0, 1, 1, 0, 1.0), (0, 1, 1, 1, 1.0)]
    tracks = bed_tracks(intervals_of((0, 3, 4, 0), (1, 2, 3, 0)), [4, 3])
    table = evaluate_concepts(stored(tmp_path, rows), tracks, 1, discovery=[0, 1])
    (found,) = table.to_pylist()
    assert found["interval_precision"] == 0.5  # two runs, not one
    assert found["interval_recall"] == 0.5


def test_orientations_and_strands_stay_apart(tmp_path):
    genes = genes_of((0, 2, 4, 1, "intron"), (0, 6, 8, -1, "intron"))
    rows = [(0, 1, 0, 2, 1.0), (0, -1, 0, 3, 1.0), (0, -1, 0, 2, 1.0)]
    table = evaluate_concepts(stored(tmp_path, rows), gene_tracks(genes, [10]), 1, discovery=[0])
    found = by_key(table)
    assert found[0, 1, "intron", "same"]["recall"] == 0.5
    assert found[0, -1, "intron", "opposite"]["recall"] == 1.0
    assert found[0, -1, "intron", "opposite"]["auroc"] == 1.0
    assert (0, 1, "intron", "opposite") not in found  # below chance: not kept
    assert found[0, -1, "intron", "either"]["recall"] == 0.5
    without = ("held_out_auroc", "held_out_positives", "held_out_interval_f1")
    assert all(row[name] is None for row in found.values() for name in without)


def slow_intervals(called, inside):
    """Runs that touch, runs, intervals touched, intervals; over lists of contigs."""
    counts = np.zeros(4, int)
    for calls, has in zip(called, inside, strict=True):
        edges = [np.flatnonzero(np.diff(np.concatenate([[0], x.astype(int), [0]])))
                 for x in (calls, has)]  # fmt: skip
        runs, parts = (list(zip(e[::2], e[1::2], strict=True)) for e in edges)
        counts += [
            sum(has[a:b].any() for a, b in runs),
            len(runs),
            sum(calls[a:b].any() for a, b in parts),
            len(parts),
        ]
    return counts


def ratio(part, whole):
    return part / whole if whole else math.nan


def same(found, expected):
    if found is None or math.isnan(expected):
        return found is None and math.isnan(expected)
    return found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    row_lists(),
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, LENGTH - 30),
            st.integers(1, 30),
            st.sampled_from([1, -1]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_figures_equal_the_slow_twin_on_dense_arrays(tmp_path_factory, rows, parts):
    folder = tmp_path_factory.mktemp("twin")
    exons = genes_of(*((c, s, s + n, strand, "intron") for c, s, n, strand in parts))
    tracks = gene_tracks(exons, [LENGTH, LENGTH])
    table = evaluate_concepts(stored(folder, rows), tracks, N_FEATURES, discovery=[0], held_out=[1])
    dense = np.zeros((N_FEATURES, 3, 2, LENGTH))
    for feature, strand, contig, position, value in rows:
        dense[feature, strand, contig, position] = np.float16(max(value, 2.0**-24))
    inside = np.zeros((3, 2, LENGTH), bool)
    for contig, start, size, strand in parts:
        inside[strand, contig, start : start + size] = True
    for found in table.to_pylist():
        values = dense[found["feature"], found["strand"]]
        strand = found["strand"]
        labels = {
            "same": inside[strand],
            "opposite": inside[-strand],
            "either": inside[1] | inside[-1],
        }[found["orientation"]]
        if found["concept"] == "intergenic":
            labels = ~labels
        curve = [
            (f1(values[0], labels[0], threshold=t).f1, t) for t in np.unique(values[0]) if t > 0
        ]
        best = max(curve, default=(0.0, 0.0))
        threshold = best[1] if best[0] > 0 else math.nan
        assert same(found["threshold"], threshold)
        for contig, prefix in ((0, ""), (1, "held_out_")):
            score, label = values[contig], labels[contig]
            area = auprc(score, label)
            calls = f1(score, label, threshold=threshold)
            expected = {
                "positives": float(label.sum()),
                "auroc": auroc(score, label),
                "auprc": area.auprc,
                "prevalence": area.prevalence,
                "precision": calls.precision,
                "recall": calls.recall,
                "f1": calls.f1,
            }
            if math.isnan(threshold):
                expected |= dict.fromkeys(NO_FIGURES, math.nan)
            else:
                right, runs, hit, n = slow_intervals([score >= threshold], [label])
                precision, recall = ratio(right, runs), ratio(hit, n)
                expected["interval_precision"], expected["interval_recall"] = precision, recall
                expected["intervals"] = float(n)
                expected["interval_f1"] = (
                    2 * precision * recall / (precision + recall)
                    if right
                    else 0 * (precision + recall)
                )
            for name, value in expected.items():
                assert same(found[prefix + name], value), (prefix + name, found, value)


def test_the_best_rows_of_a_label_are_kept_and_ties_go_to_the_first(tmp_path):
    rows = [(feature, 1, 0, 5, 1.0) for feature in (4, 2, 3)] + [(1, 1, 0, 5, 2.0)]
    rows += [(1, 1, 0, 6, 1.0), (0, 1, 0, 9, 1.0)]
    tracks = bed_tracks(intervals_of((0, 5, 7, 0)), [12])
    table = evaluate_concepts(stored(tmp_path, rows), tracks, 5, discovery=[0], rows_per_label=2)
    assert table["feature"].to_pylist() == [1, 2]
    none = evaluate_concepts(stored(tmp_path, rows), tracks, 5, discovery=[0], rows_per_label=0)
    assert none.num_rows == 0


def test_top_peaks_are_tested_and_keep_a_row(tmp_path):
    rows = [(0, 1, 0, at, 1.0) for at in range(100)] + [(1, -1, 0, at, 1.0) for at in range(100)]
    tracks = gene_tracks(genes_of((0, 0, 25, 1, "intron")), [100, 100])
    # 30 peaks of which 20 in the quarter that is intron; ten more on a contig that is held out
    positions = [*range(20), *range(50, 60)]
    peaks = peaks_of((0, 1, 0, positions), (0, 1, 1, range(10)), (1, -1, 0, range(50, 79)))
    found = by_key(
        evaluate_concepts(
            stored(tmp_path, rows),
            tracks,
            2,
            discovery=[0],
            held_out=[1],
            peaks=peaks,
            rows_per_label=0,
        )
    )
    # labels: intron same (on + only), opposite, either; intergenic. One row tested: 4 tests
    assert set(found) == {(0, 1, "intron", "same"), (0, 1, "intron", "either")}
    row = found[0, 1, "intron", "same"]
    assert row["peaks"] == 30
    assert row["share"] == pytest.approx(2 / 3)
    assert row["log2_enrichment"] == pytest.approx(math.log2(20.5 / 8))
    p = sum(comb(30, i) * 0.25**i * 0.75 ** (30 - i) for i in range(20, 31))
    assert row["p"] == pytest.approx(p)
    assert row["q"] == pytest.approx(p * 4 / 2)


def test_figures_do_not_depend_on_row_groups(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        (int(f), int(s), 0, int(at), float(v))
        for (f, s, at), v in zip(
            {(int(rng.integers(3)), int(rng.choice([1, -1])), int(rng.integers(200)))
             for _ in range(300)},
            rng.integers(1, 5, 300), strict=False,
        )
    ]  # fmt: skip
    tracks = bed_tracks(intervals_of((0, 20, 60, 1), (0, 100, 130, -1)), [200])
    whole = evaluate_concepts(stored(tmp_path, rows), tracks, 3, discovery=[0])
    monkeypatch.setattr("annotations.activations.GROUP_ROWS", 7)
    pieces = evaluate_concepts(stored(tmp_path, rows), tracks, 3, discovery=[0])
    assert whole.num_rows
    assert pieces.equals(whole)


def test_files_of_other_sequences_or_dictionaries_are_refused(tmp_path):
    tracks = bed_tracks(intervals_of((0, 0, 2, 0)), [10])
    path = stored(tmp_path, [(3, 1, 0, 8, 1.0), (3, 1, 0, 9, 1.0)])
    with pytest.raises(StorageError, match="feature 3"):
        evaluate_concepts(path, tracks, 3, discovery=[0])
    short = bed_tracks(intervals_of((0, 0, 2, 0)), [9])
    with pytest.raises(StorageError, match="beyond the end"):
        evaluate_concepts(path, short, 4, discovery=[0])
    with pytest.raises(CoordinateError, match="another dictionary"):
        evaluate_concepts(path, tracks, 4, discovery=[0], peaks=peaks_of((9, 1, 0, [1])))
