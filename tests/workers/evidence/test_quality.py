"""Densities, partners over seeds, and counts of confirmed matches, on toys."""

import numpy as np
import pyarrow as pa
import pytest

from annotations.jaspar import load_motifs, resolve_tf
from annotations.match_table import MATCHES_SCHEMA
from tests.workers.evidence.test_sites import contig, pooled
from workers.evidence.edits import best_of_atlas
from workers.evidence.motifs import counted
from workers.evidence.quality import best_partners, density, recurring
from workers.evidence.sites import loci_of


def test_density_counts_features_by_the_share_of_bases_they_fire_at():
    # 100 bases read: one feature at 1, one at 10, one never
    entries = [(0, 0, 1.0), *((1, at, 1.0) for at in range(10))]
    found = density(pooled(3, entries))
    assert found["silent"] == 1
    assert sum(found["counts"]) == 2
    low = [edge for edge, n in zip(found["edges"], found["counts"], strict=False) if n]
    assert low == [-2.0, -1.0]
    assert found["median"] == pytest.approx(0.055)


def test_partners_are_the_features_that_fire_together():
    loci = loci_of([contig(np.zeros(80, np.uint8))])
    first = [pooled(3, [(0, 1, 2.0), (0, 5, 1.0), (1, 3, 4.0)])]
    second = [pooled(2, [(0, 3, 1.0), (1, 1, 4.0), (1, 5, 2.0)])]
    r, partner = best_partners(first, second, loci)
    assert r[:2] == pytest.approx([1.0, 1.0])
    assert partner[:2].tolist() == [1, 0]
    assert np.isnan(r[2])


def test_features_recur_from_a_correlation_of_seven_tenths_and_silent_ones_do_not_count():
    best = np.array([0.9, 0.7, 0.6, np.nan])
    expected = {"live": 3, "recurring": 2, "matched": 2, "matched_recurring": 1, "mean_r": 0.7333}
    assert recurring(best, np.array([0, 2, 3])) == expected
    none = {"live": 0, "recurring": 0, "matched": 0, "matched_recurring": 0, "mean_r": None}
    assert recurring(np.array([np.nan]), np.array([], np.int64)) == none


def matches(*rows):
    """Matches from (feature, matrix, cluster, q, background rate, evidence)."""
    empty = dict.fromkeys(MATCHES_SCHEMA.names)
    names = ("feature", "matrix_id", "cluster", "q", "background_rate", "evidence")
    filled = [
        {**empty, "strand": 1, "motif_name": "x", **dict(zip(names, row, strict=True))}
        for row in rows
    ]
    return pa.Table.from_pylist(filled, schema=MATCHES_SCHEMA)


ROWS = (
    (1, "MA0363.3", "REB1 cluster", 1e-9, 0.01, "enriched;predictive"),
    (2, "MA0363.3", "REB1 cluster", 1e-5, 0.01, "enriched;predictive"),
    (1, "MA0281.3", "CBF1 cluster", 1e-4, 0.01, "enriched;predictive"),
    (3, "MA0281.3", "CBF1 cluster", 1e-3, 0.01, "enriched;predictive"),
    (4, "MA0999.1", "AT cluster", 1e-20, 0.5, "enriched;predictive"),
    (5, "MA0999.1", "AT cluster", 1e-20, 0.01, "enriched"),
)


def test_confirmed_matches_are_counted_and_common_motifs_apart():
    motifs = {tf: resolve_tf(load_motifs("fungi"), tf).motifs for tf in ("REB1", "ABF1")}
    found = counted(matches(*ROWS), units=10, least=10, motifs=motifs)
    assert (found["features"], found["specific_features"], found["clusters"]) == (4, 3, 2)
    assert found["by_tf"] == {"REB1": 2, "ABF1": 0}
    assert found["without_explanation"] == 5
    # as many units as there are: no draw leaves any out
    assert found["clusters_same_units"] == 2
    assert counted(matches(*ROWS), units=10, least=3, motifs=motifs)["clusters_same_units"] < 2


def test_the_best_matches_are_one_of_each_cluster_and_feature():
    found = best_of_atlas(matches(*ROWS))
    assert [(row["feature"], row["cluster"]) for row in found] == [
        (1, "REB1 cluster"),
        (3, "CBF1 cluster"),
    ]
    assert len(best_of_atlas(matches(*ROWS), most=1)) == 1
