"""Ncor against a slow twin written from its definition; clusters of JASPAR by their counts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.jaspar import Motif, load_motifs
from annotations.motif_clusters import MIN_OVERLAP, cluster_motifs, motif_correlations


def motif_of(counts: np.ndarray, name: str) -> Motif:
    return Motif(name, name, np.asarray(counts, dtype=float), (), (), "fungi", ())


def word(text: str, name: str | None = None) -> Motif:
    counts = np.zeros((4, len(text)))
    counts[["ACGT".index(base) for base in text], range(len(text))] = 50
    return motif_of(counts, name or text)


def slow_ncor(left: Motif, right: Motif) -> float:
    """Every strand and offset, Pearson by numpy's own function."""
    first = left.counts / left.counts.sum(axis=0)
    best = 0.0
    for second in (right.counts, right.counts[::-1, ::-1]):
        second = second / second.sum(axis=0)
        w1, w2 = first.shape[1], second.shape[1]
        for offset in range(-w1, w2 + 1):
            columns = [(i, i + offset) for i in range(w1) if 0 <= i + offset < w2]
            if len(columns) < min(MIN_OVERLAP, w1, w2):
                continue
            a = first[:, [i for i, _ in columns]].ravel()
            b = second[:, [j for _, j in columns]].ravel()
            if a.std() < 1e-9 or b.std() < 1e-9:
                continue
            correlation = np.corrcoef(a, b)[0, 1]
            best = max(best, correlation * len(columns) / (w1 + w2 - len(columns)))
    return best


def assert_equals_twin(motifs: list[Motif]) -> None:
    ncor = motif_correlations(motifs)
    assert np.array_equal(ncor, ncor.T)
    for i, left in enumerate(motifs):
        assert ncor[i, i] == 1
        for j, right in enumerate(motifs):
            if i != j:
                assert ncor[i, j] == pytest.approx(slow_ncor(left, right), abs=1e-9)


def test_ncor_by_hand():
    # 6 equal bases of 6 and 8: correlation 1, overlap 6, union 8.
    ncor = motif_correlations([word("GATAAG"), word("CCGATAAG"), word("CTTATC"), word("GATA")])
    assert ncor[0, 1] == pytest.approx(6 / 8)
    assert ncor[0, 2] == pytest.approx(1)  # the other strand
    assert ncor[0, 3] == pytest.approx(4 / 6)  # the whole of a motif shorter than 5
    # One of 5 columns differs: of 20 cells 2 do, and the correlation is 1 - 1/5 / (1 - 1/4).
    near = motif_correlations([word("GGGGG"), word("GGGGA")])[0, 1]
    assert near == pytest.approx(1 - (1 / 5) / (3 / 4))


def test_ncor_equals_the_slow_twin_on_jaspar():
    vertebrates = load_motifs("vertebrates").motifs
    short = [motif for motif in vertebrates if motif.width < 6][:3]
    wide = sorted(vertebrates, key=lambda motif: -motif.width)[:3]
    assert_equals_twin([*short, *wide, *vertebrates[::120]])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_ncor_equals_the_slow_twin_on_any_counts(data):
    column = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)
    motifs = [
        motif_of(np.array(data.draw(st.lists(column, min_size=1, max_size=9))).T, str(i))
        for i in range(3)
    ]
    assert_equals_twin(motifs)


def test_clusters_join_by_mean_similarity_and_are_named_after_the_centre():
    motifs = [
        word("CCACGTGG", "wide"),
        word("CACGTG", "centre"),
        word("CACGTGA", "longer"),
        word("GGTACCAATTGG", "other"),
        word("TTTTTTTT", "A::B"),
    ]
    clusters = cluster_motifs(motifs)
    assert clusters.labels.tolist() == [0, 0, 0, 1, 2]
    assert clusters.names == ("centre cluster", "other cluster", "A::B cluster")
    assert clusters.name_of(2) == "centre cluster"
    assert cluster_motifs(list(motifs)) is clusters


def test_a_monomer_names_a_cluster_before_any_dimer():
    motifs = [word("CACGTG", "A::B"), word("CACGTG", "B"), word("CACGTGA", "C")]
    assert cluster_motifs(motifs).names == ("B cluster",)


def test_clusters_of_one_name_are_told_apart():
    motifs = [word("GGGGGGGGGG", "MA1")._replace(name="X"), word("ACACACACAC")._replace(name="X")]
    assert cluster_motifs(motifs).names == ("X (MA1) cluster", "X (ACACACACAC) cluster")


def test_no_motif_and_one():
    assert cluster_motifs([]).names == ()
    assert cluster_motifs([word("GATAAG")]).names == ("GATAAG cluster",)


def test_jaspar_vertebrates_cluster_as_published_methods_do():
    motifs = load_motifs("vertebrates").motifs
    clusters = cluster_motifs(motifs)
    sizes = np.bincount(clusters.labels)
    # Measured with an independent numba implementation: 301 clusters, 165 single, the largest 92.
    assert (len(clusters.names), (sizes == 1).sum(), sizes.max()) == (301, 165, 92)
    assert len(set(clusters.names)) == 301
    gata = {clusters.name_of(i) for i, m in enumerate(motifs) if m.name.upper()[:4] == "GATA"}
    assert gata == {"GATA6 cluster", "GATA1::TAL1 cluster"}
    common = 0
    for label in range(301):
        members = [motifs[i] for i in np.flatnonzero(clusters.labels == label)]
        known = Counter(name for motif in members for name in motif.tf_class or ("none",))
        common += known.most_common(1)[0][1]
    assert common / len(motifs) > 0.9  # class purity
