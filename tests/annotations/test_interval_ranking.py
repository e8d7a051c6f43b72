"""Ranking features for intervals against hand-computed toys, scipy and a slow twin."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, mannwhitneyu

from annotations import interval_ranking
from annotations.activations import to_stretches, write_stretches
from annotations.errors import CoordinateError, LimitError, OptionError
from annotations.evaluation import auprc, auroc
from annotations.interval_ranking import (
    RANKING_SCHEMA,
    check_room,
    matched_places,
    rank_features_for_intervals,
    too_few,
)
from tests.annotations.activation_cases import LENGTH, N_FEATURES, activations, row_lists
from tests.annotations.test_concept_tracks import intervals_of


def stored(folder, rows):
    path = folder / "activations.parquet"
    write_stretches(to_stretches(activations(rows)), path)
    return path


def test_by_hand(tmp_path):
    # feature 1 on +: 3 in the first interval, 1 in the first background; feature 0 on -: nowhere
    rows = [(1, 1, 0, 2, 3.0), (1, 1, 0, 3, 2.0), (1, 1, 1, 4, 1.0), (0, -1, 0, 9, 5.0)]
    inside = intervals_of((0, 2, 4, 1), (1, 0, 3, -1))
    outside = intervals_of((1, 3, 6, 0), (0, 5, 8, 0))
    table = rank_features_for_intervals(stored(tmp_path, rows), inside, outside, [10, 6], 2)
    assert table.schema == RANKING_SCHEMA
    best, other = table.to_pylist()
    assert (best["feature"], best["strand"]) == (1, 1)
    assert (best["intervals"], best["background_intervals"]) == (2, 2)
    assert (best["active_share"], best["background_active_share"]) == (0.5, 0.5)
    # 3 above 1 and 0; 0 below 1 and level with 0: 2.5 of 4
    assert best["auroc"] == 2.5 / 4
    assert best["prevalence"] == 0.5
    assert (other["feature"], other["strand"]) == (0, -1)
    assert (other["auroc"], other["p"], other["q"]) == (0.5, 1.0, 1.0)


intervals = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, LENGTH - 20), st.integers(1, 20)),
    min_size=2,
    max_size=9,
)


@settings(max_examples=40, deadline=None)
@given(row_lists(), intervals, intervals)
def test_figures_equal_the_slow_twin(tmp_path_factory, rows, inside, outside):
    assume(set(inside) != set(outside))
    path = stored(tmp_path_factory.mktemp("twin"), rows)
    tables = [intervals_of(*((c, s, s + n, 0) for c, s, n in part)) for part in (inside, outside)]
    table = rank_features_for_intervals(path, *tables, [LENGTH, LENGTH], N_FEATURES)
    dense = np.zeros((N_FEATURES, 3, 2, LENGTH))
    for feature, strand, contig, position, value in rows:
        dense[feature, strand, contig, position] = np.float16(max(value, 2.0**-24))
    label = np.arange(len(inside) + len(outside)) < len(inside)
    p = np.ones(2 * N_FEATURES)
    for row in table.to_pylist():
        values = dense[row["feature"], row["strand"]]
        score = np.array([values[c, s : s + n].max() for c, s, n in [*inside, *outside]])
        assert row["auroc"] == pytest.approx(auroc(score, label))
        assert row["auprc"] == pytest.approx(auprc(score, label).auprc)
        assert row["active_share"] == (score[label] > 0).mean()
        if np.ptp(score) > 0:
            found = mannwhitneyu(
                score[label], score[~label], alternative="greater", method="asymptotic"
            )
            assert row["p"] == pytest.approx(found.pvalue)
        p[2 * row["feature"] + (row["strand"] < 0)] = row["p"]
    q = false_discovery_control(p)
    for row in table.to_pylist():
        assert row["q"] == pytest.approx(q[2 * row["feature"] + (row["strand"] < 0)])
    order = [(row["q"], -row["auroc"]) for row in table.to_pylist()]
    assert order == sorted(order)
    assert table.num_rows == len({(row[0], row[1]) for row in rows})


def test_matched_places_have_the_length_and_gc_of_their_interval_and_touch_none():
    rng = np.random.default_rng(1)
    # a first half poor and a second half rich in GC, with a stretch of N
    poor = rng.choice(4, 6000, p=[0.4, 0.1, 0.1, 0.4])
    rich = rng.choice(4, 6000, p=[0.1, 0.4, 0.4, 0.1])
    codes = [np.concatenate([poor, rich]).astype(np.uint8), rich[:3000].astype(np.uint8)]
    codes[0][7000:7200] = 4
    given_ = intervals_of((0, 500, 560, 1), (0, 8000, 8060, 0), (1, 100, 140, 0))
    found = matched_places(given_, codes, per_interval=4, seed=3)
    assert found.num_rows == 12
    taken = [np.zeros(len(one), bool) for one in codes]
    for row in given_.to_pylist():
        taken[row["contig"]][row["start"] : row["end"]] = True
    gc = [np.isin(one, (1, 2)) for one in codes]
    wanted = [gc[row["contig"]][row["start"] : row["end"]].mean() for row in given_.to_pylist()]
    for at, row in enumerate(found.to_pylist()):
        span = slice(row["start"], row["end"])
        assert row["end"] - row["start"] == [60, 60, 40][at // 4]
        assert not taken[row["contig"]][span].any()
        assert (codes[row["contig"]][span] < 4).all()
        assert abs(gc[row["contig"]][span].mean() - wanted[at // 4]) < 0.1
    assert found.equals(matched_places(given_, codes, per_interval=4, seed=3))


def test_without_a_background_one_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 5000).astype(np.uint8)
    sites = [500, 1500, 2500, 3500]
    rows = [(2, 1, 0, site + 3, 2.0) for site in sites] + [(1, 1, 0, 20, 1.0)]
    inside = intervals_of(*((0, site, site + 10, 0) for site in sites))
    path = stored(tmp_path, rows)
    table = rank_features_for_intervals(path, inside, None, [5000], 3, sequences=[codes])
    best = table.to_pylist()[0]
    assert (best["feature"], best["auroc"]) == (2, 1.0)
    assert best["background_intervals"] == 4 * interval_ranking.BACKGROUND_PER_INTERVAL
    with pytest.raises(OptionError, match="needs the sequences"):
        rank_features_for_intervals(path, inside, None, [5000], 3)
    with pytest.raises(OptionError, match="no room"):
        matched_places(intervals_of((0, 0, 5000, 0)), [codes])


def test_questions_that_cannot_be_answered_are_refused(tmp_path, monkeypatch):
    path = stored(tmp_path, [(0, 1, 0, 1, 1.0)])
    one = intervals_of((0, 0, 2, 0))
    with pytest.raises(OptionError, match="at least one"):
        rank_features_for_intervals(path, intervals_of(), one, [5], 1)
    with pytest.raises(CoordinateError, match="outside"):
        rank_features_for_intervals(path, intervals_of((0, 3, 9, 0)), one, [5], 1)
    with pytest.raises(CoordinateError, match="contig 1"):
        rank_features_for_intervals(path, intervals_of((1, 0, 1, 0)), one, [5], 1)
    monkeypatch.setattr(interval_ranking, "MAX_INTERVALS", 1)
    with pytest.raises(LimitError, match="1 intervals and 1"):
        rank_features_for_intervals(path, one, intervals_of((0, 2, 4, 0)), [5], 1)


def test_a_background_that_is_the_intervals_is_refused(tmp_path):
    path = stored(tmp_path, [(0, 1, 0, 1, 1.0)])
    inside = intervals_of((0, 0, 2, 1), (0, 3, 4, 0))
    with pytest.raises(OptionError, match="the same intervals"):
        rank_features_for_intervals(path, inside, intervals_of((0, 3, 4, 0), (0, 0, 2, -1)), [5], 1)


def test_room_for_a_background_is_seen_from_lengths_alone():
    check_room(intervals_of((0, 2, 4, 0), (0, 3, 8, 0)), [10])  # 0 to 2 is as long as the shortest
    check_room(intervals_of((0, 0, 10, 0)), [10, 10])
    for intervals, lengths in (
        (intervals_of((0, 1, 9, 0), (0, 2, 6, 0)), [10]),
        (intervals_of((0, 0, 10, 0), (1, 0, 6, 0)), [10, 11]),
        (intervals_of((0, 1, 10, 0), (1, 1, 10, 0)), [10, 10]),  # no gap runs over two contigs
    ):
        with pytest.raises(OptionError, match="no room"):
            check_room(intervals, lengths)


def test_too_few_intervals_are_called_so():
    assert too_few(10, 10) == ""
    assert "1 interval against 30" in too_few(1, 30)
    assert "10 intervals against 9" in too_few(10, 9)
