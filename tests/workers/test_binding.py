"""Sites, negatives and scores of the binding benchmark against slow twins."""

import numpy as np
import pytest
import scipy.sparse

from annotations.cards import find_cards
from annotations.evaluation import auroc
from annotations.jaspar import load_motifs, resolve_tf
from annotations.motif_scan import scan
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.registry import open_dictionary
from workers.training.binding import (
    CLEAR,
    FLANK,
    RADIUS,
    Genome,
    Sites,
    block_bootstrap,
    column_auroc,
    gc_scores,
    motif_scores,
    site_activations,
    sites_of,
)
from workers.training.reading import encode_span, log_reading


@pytest.fixture(scope="module")
def genome():
    rng = np.random.default_rng(0)
    bases = tuple(rng.choice(4, 20_000, p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8) for _ in range(2))
    bases[0][5000:5100] = 4
    coding = tuple(np.arange(20_000) % 2000 < 1000 for _ in range(2))
    left_out = tuple(np.arange(20_000) < 300 for _ in range(2))
    return Genome(("a", "b"), bases, coding, left_out)


def test_sites_are_one_per_locus_and_negatives_like_them(genome):
    locations = {
        "a": {"reb1": np.array([100, 1500, 1510, 1540, 5050, 9000]), "abf1": np.array([12_000])},
        "b": {"reb1": np.array([7000])},
    }
    rng = np.random.default_rng(1)
    found = sites_of(genome, [0, 1], locations, ["REB1", "ABF1", "CBF1"], rng, per_site=3)
    reb1 = found["REB1"]
    sites = list(zip(reb1.contig[reb1.bound], reb1.position[reb1.bound], strict=True))
    # 100 is left out, 1510 is near 1500, 5050 is N
    assert sites == [(0, 1500), (0, 1540), (0, 9000), (1, 7000)]
    assert (~reb1.bound).sum() == 12

    def stratum(contig, at):
        around = genome.bases[contig][at - FLANK : at + FLANK + 1]
        assert (around < 4).all()
        return int(np.isin(around, (1, 2)).sum()) // 2, bool(genome.coding[contig][at])

    negatives = list(zip(reb1.contig[~reb1.bound], reb1.position[~reb1.bound], strict=True))
    assert sorted(stratum(*place) for place in negatives) == sorted(
        stratum(*place) for place in sites for _ in range(3)
    )
    for contig, at in negatives:
        known = locations[genome.names[contig]]["reb1"]
        assert np.abs(known - at).min() > CLEAR
        assert not genome.left_out[contig][at]
    assert found["ABF1"].bound.sum() == 1
    assert len(found["CBF1"].position) == 0


def test_windows_give_the_activations_of_the_whole_contig(genome, tmp_path):
    root = make_tiny_models(tmp_path)
    encoder = open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root])
    whole = encode_span(encoder, genome.bases[1])
    rng = np.random.default_rng(2)
    position = rng.integers(0, 20_000, 300)
    position[:2] = 3, 19_995
    found = site_activations(encoder, genome, np.ones(300, np.int64), position).toarray()
    row = 2 * whole.feature.astype(np.int64) + (whole.strand < 0)
    for at, site in enumerate(position):
        near = np.abs(whole.position - site) <= RADIUS
        expected = np.zeros(found.shape[1])
        np.maximum.at(expected, row[near], whole.value[near])
        if RADIUS <= site < 20_000 - RADIUS:  # beyond the ends there are no bases to read
            np.testing.assert_allclose(found[at], expected, rtol=1e-4, atol=1e-5)
    assert found.any()


def test_the_best_score_of_a_motif_is_that_of_its_best_hit(genome):
    (motif, *_) = resolve_tf(load_motifs("fungi"), "REB1").motifs
    uniform = np.full(4, 0.25)
    hits = scan([genome.bases[1]], [motif], background=uniform).to_pylist()
    assert len(hits) > 3
    position = np.array([(hit["start"] + motif.width // 2) for hit in hits])
    keep = (position > FLANK) & (position < 20_000 - FLANK)
    position = position[keep]
    sites = Sites(np.ones(len(position), np.int64), position, np.ones(len(position), bool))
    found = motif_scores(genome, [motif], sites, uniform)[:, 0]
    for at, score in zip(position, found, strict=True):
        near = [
            hit["score"] for hit in hits
            if abs(hit["start"] + motif.width // 2 - at) <= RADIUS
        ]  # fmt: skip
        assert score == pytest.approx(max(near), abs=1e-3)


def test_gc_is_that_of_the_bases_about_a_site(genome):
    sites = Sites(np.array([1]), np.array([500]), np.array([True]))
    expected = np.isin(genome.bases[1][450:551], (1, 2)).mean()
    assert gc_scores(genome, sites).tolist() == [expected]


def test_auroc_of_columns_and_the_bootstrap_equal_auroc():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (60, 5)).astype(np.float64)
    labels = rng.random(60) < 0.4
    expected = [auroc(scores[:, at], labels) for at in range(5)]
    found = column_auroc(scipy.sparse.csr_matrix(scores), labels)
    np.testing.assert_allclose(found, expected)
    blocks = rng.integers(0, 4, 60)
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 0, 0, 4]])
    sample = block_bootstrap(scores[:, 0], labels, blocks, weights)
    for draw, weight in zip(sample, weights, strict=True):
        taken = np.repeat(np.arange(60), weight[blocks])
        assert draw == pytest.approx(auroc(scores[taken, 0], labels[taken]))


def test_every_reading_of_test_contigs_is_a_line(tmp_path):
    root = make_tiny_models(tmp_path)
    card = find_cards([root]).dictionary(DICTIONARY_ID)
    for contigs in ("chrIX", "chrIX,chrXIV"):
        log_reading(tmp_path / "reads.tsv", card, contigs)
    lines = [line.split("\t") for line in (tmp_path / "reads.tsv").read_text().splitlines()]
    assert [line[1:] for line in lines] == [
        [card.id, card.sha256, "chrIX"],
        [card.id, card.sha256, "chrIX,chrXIV"],
    ]
