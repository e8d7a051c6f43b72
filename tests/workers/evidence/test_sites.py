"""Loci, instances and choices, on sequence whose answer is known by construction."""

import numpy as np
import pytest

from annotations.jaspar import load_motifs, resolve_tf
from workers.evidence.choosing import precisions, site_matrix, top_loci
from workers.evidence.data import YeastContig
from workers.evidence.reading import Pooled
from workers.evidence.sites import (
    BLOCK,
    Sites,
    gained,
    instances,
    loci_of,
    motif_signals,
    n_blocks,
    near_hits,
    near_locations,
    site_expectation,
)

REB1 = resolve_tf(load_motifs("fungi"), "REB1").motifs[0]
SITE = REB1.counts.argmax(0).astype(np.uint8)
UNIFORM = np.full(4, 0.25)


def contig(bases, name="chrI", **masks):
    empty = {key: np.zeros(len(bases), bool) for key in ("coding", "repeat", "masked", "unread")}
    return YeastContig(name, bases, **(empty | masks))


def quiet(length, sites, reverse=()):
    """A sequence of A with sites of Reb1 put in."""
    bases = np.zeros(length, np.uint8)
    for at in sites:
        bases[at : at + len(SITE)] = SITE
    for at in reverse:
        bases[at : at + len(SITE)] = 3 - SITE[::-1]
    return bases


def test_loci_leave_out_every_bin_with_a_base_that_does_not_count():
    coding, repeat = np.zeros(60, bool), np.zeros(60, bool)
    coding[3], repeat[25] = True, True
    bases = np.zeros(60, np.uint8)
    bases[44] = 4
    (loci,) = loci_of([contig(bases, coding=coding, repeat=repeat)])
    assert loci.bins.tolist() == [1, 3, 5]
    assert loci.read.all()


def test_places_and_blocks_of_contigs_do_not_meet():
    long = np.zeros(BLOCK + 10, np.uint8)
    first, second = loci_of([contig(long), contig(np.zeros(50, np.uint8), "chrII")])
    assert second.place[0] - first.place[-1] > 100
    assert first.block.tolist()[-2:] == [0, 1]
    assert set(second.block.tolist()) == {2}
    assert n_blocks([first, second]) == 3


def test_a_locus_is_positive_within_twenty_bases_of_its_middle():
    (loci,) = loci_of([contig(np.zeros(100, np.uint8))])
    # the middle of bin 2 is 24.5, of bin 6 64.5: both 20 away; of bins 1 and 7 further
    found = near_locations(loci, {"chrI": {"reb1": np.array([44, 45])}}, "REB1")
    assert np.flatnonzero(found).tolist() == [2, 3, 4, 5, 6]
    assert not near_locations(loci, {}, "REB1").any()


def test_the_matrix_scores_its_site_in_the_bin_of_its_middle_on_either_strand():
    (loci,) = loci_of([contig(quiet(200, [42], [122]))])
    signals = motif_signals(loci, REB1, UNIFORM, None)
    best = signals.pwm.max()
    middle = [(at + REB1.width // 2) // 10 for at in (42, 122)]
    assert np.flatnonzero(signals.pwm > best - 1e-9).tolist() == middle


def test_expectation_is_of_the_letters_that_stand_there_and_the_expected_motif_is_not():
    bases = quiet(200, [42])
    (loci,) = loci_of([contig(bases)])
    log2_p = np.full((200, 4), -2.0, np.float32)
    at = np.arange(42, 42 + len(SITE))
    # the model expects the site there, and once more where there is none
    for first in (42, 142):
        log2_p[first + np.arange(len(SITE))] = -6.0
        log2_p[first + np.arange(len(SITE)), SITE] = np.log2(1 - 3 / 64)
    signals = motif_signals(loci, REB1, UNIFORM, log2_p)
    here, there = (42 + REB1.width // 2) // 10, (142 + REB1.width // 2) // 10
    assert signals.expectation[here] == signals.expectation.max()
    assert signals.expected_motif[here] == pytest.approx(signals.expected_motif[there])
    assert signals.pwm[there] < signals.pwm[here]
    gains = gained(bases, log2_p)
    # letters other than A stand out of the composition, and are expected
    assert gains[at][SITE > 0].min() > 4
    assert gains[0] == pytest.approx(-2 - np.log2(196 / 204), abs=0.05)
    sites = instances([loci], REB1, UNIFORM, {"chrI": {"reb1": np.array([46])}}, "reb1")
    assert site_expectation(sites, REB1, {0: gains})[sites.bound] == pytest.approx(
        signals.expectation[here]
    )


def test_instances_are_bound_where_a_site_is_near():
    (loci,) = loci_of([contig(quiet(400, [42], [242]))])
    found = instances([loci], REB1, UNIFORM, {"chrI": {"reb1": np.array([46])}}, "Reb1")
    assert found.start.tolist() == [42, 242]
    assert found.bound.tolist() == [True, False]
    assert found.strand.tolist() == [1, -1]
    hits = near_hits(loci, [REB1], UNIFORM)
    assert hits[(42 + 4) // 10]
    assert not hits[20]


def pooled(n_features, entries):
    """Pooled activations from (feature, bin, value)."""
    entries = sorted(entries)
    feature = np.array([entry[0] for entry in entries], np.int64)
    return Pooled(
        np.searchsorted(feature, np.arange(n_features + 1)),
        np.array([entry[1] for entry in entries], np.uint32),
        np.array([entry[2] for entry in entries], np.float32),
        np.bincount(feature, minlength=n_features),
        100,
    )


def test_top_loci_are_local_maxima_over_all_contigs():
    contigs = [contig(np.zeros(200, np.uint8)), contig(np.zeros(200, np.uint8), "chrII")]
    first, second = loci_of(contigs)
    parts = [
        (first, pooled(2, [(0, 3, 5.0), (0, 4, 6.0), (0, 9, 1.0), (1, 0, 2.0)])),
        (second, pooled(2, [(0, 7, 3.0)])),
    ]
    found = top_loci(parts, top=2)
    assert found.found.tolist() == [2, 1]
    assert found.place[0].tolist() == [4, second.first_place + 7]
    assert found.place[1].tolist() == [0, -1]
    share = precisions(found, np.array([4, 0]), top=2)
    assert share[0] == 0.5
    assert np.isnan(share[1])


def test_features_at_instances_are_the_best_of_three_bins():
    one = pooled(3, [(0, 4, 1.0), (0, 5, 2.0), (1, 6, 3.0), (2, 7, 4.0)])
    empty = np.zeros(2, np.int64)
    sites = Sites(
        empty, np.array([5, 0]), empty, empty.astype(np.int8), empty * 1.0, empty > 0, empty
    )
    assert site_matrix(sites, {0: one}).toarray().tolist() == [[2, 3, 0], [0, 0, 0]]
