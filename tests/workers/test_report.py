"""The report on TFs, on toy sequence whose answer is known by construction."""

import numpy as np
import pyarrow as pa
import pytest

from annotations.cards import find_cards
from annotations.jaspar import load_motifs, resolve_tf
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.registry import open_dictionary
from workers.training.report import TOP, Region, _dilate, _shares, tf_report


def test_dilated_intervals_are_clipped_and_joined():
    mask = _dilate(10, np.array([-3, 4, 5, 9]), np.array([2, 6, 7, 14]))
    assert np.flatnonzero(mask).tolist() == [0, 1, 4, 5, 6, 9]


def test_shares_count_peaks_in_the_masks_and_leave_rare_features_out():
    position = np.arange(TOP)
    table = pa.table(
        {
            "feature": np.r_[np.full(TOP, 7), [8]].astype(np.uint32),
            "strand": np.r_[np.full(TOP, -1), [1]].astype(np.int8),
            "contig": np.zeros(TOP + 1, np.uint32),
            "position": np.r_[position, [0]],
        }
    )
    mask = np.arange(TOP) < 25
    assert _shares(table, [mask]) == {(7, -1): 0.25}


def test_report_measures_on_other_contigs_than_it_chooses_on(tmp_path):
    root = make_tiny_models(tmp_path)
    encoder = open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root])
    rng = np.random.default_rng(0)
    reb1 = resolve_tf(load_motifs("fungi"), "REB1").motifs
    codes = np.frombuffer(b"\x03\x03\x00\x01\x01\x01\x02", np.uint8)  # TTACCCG

    def region(name, seed_sites):
        bases = rng.integers(0, 4, 8000).astype(np.uint8)
        for site in seed_sites:
            bases[site : site + 7] = codes
        locations = {"REB1": np.array(seed_sites, np.int64)}
        return Region(name, bases, np.ones(8000, bool), locations)

    found = tf_report(
        encoder,
        {"REB1": reb1},
        [region("a", [1000, 3000])],
        {"b": [region("b", [500, 2500, 6000])]},
    )
    (row,) = found["b"]
    assert row.peaks == TOP
    assert 0 <= row.motif_share <= 1
    assert row.discovery_motif_share >= 1 / TOP
    assert 0 <= row.called <= row.peaks
    # Three planted sites of 41 bases each around a location.
    assert row.base_location_share == pytest.approx(3 * 41 / 8000)
    assert row.jaspar_location_share > row.base_location_share
