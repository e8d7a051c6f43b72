"""The order of features: matches, then labels, then contrast, then the silent ones."""

import pyarrow as pa

from annotations.ranking import active_features, telling_order

NAMES = ["low", "silent", "high", "intron", "atlas", "weak", "sure", "tie -", "tie +"]


def table() -> pa.Table:
    return pa.table(
        {
            "name": NAMES,
            "feature": pa.array([0, 1, 2, 3, 4, 5, 6, 7, 7], pa.uint32()),
            "strand": pa.array([1, 1, 1, 1, 1, 1, 1, -1, 1], pa.int8()),
            "active_bases": [1, 0, 1, 1, 1, 1, 1, 1, 1],
            "max": pa.array([2.0, None, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], pa.float32()),
            "q50": pa.array([1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], pa.float32()),
            "match_q": [None, None, None, None, None, 0.04, 1e-6, None, None],
            "label_motif_q": [None, None, None, None, 1e-9, None, None, None, None],
            "label": [None, None, None, "intron", "REB1", None, None, None, None],
        }
    )


def test_matches_of_the_run_come_before_labels_before_contrast() -> None:
    wanted = ["sure", "weak", "atlas", "intron", "high", "low", "tie +", "tie -"]
    assert [NAMES[row] for row in telling_order(table())] == [*wanted, "silent"]
    assert active_features(table()).column("name").to_pylist() == wanted


def test_a_label_of_a_silent_feature_does_not_lift_it() -> None:
    rows = table()
    labelled = rows.set_column(6, "match_q", pa.array([None, 1e-9] + [None] * 7, pa.float64()))
    assert NAMES[telling_order(labelled)[-1]] == "silent"


def test_no_rows() -> None:
    assert active_features(table().slice(0, 0)).num_rows == 0
