"""Parts of genes and the codon's frame, counted by hand."""

import numpy as np
import pyarrow as pa
import pytest

from annotations.evaluation import auprc
from annotations.genes import GENES_SCHEMA
from workers.evidence.structure import codon_bases, concept_masks, pieces_of, sparse_auprc


def genes(*rows):
    """Rows of (kind, start, end, strand, transcript)."""
    columns = [
        [0] * len(rows),
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[0] for row in rows],
        ["g"] * len(rows),
        [row[4] for row in rows],
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, GENES_SCHEMA, strict=True)],
        schema=GENES_SCHEMA,
    )


def test_frames_go_on_over_an_intron_and_backwards_on_the_other_strand():
    table = genes(("CDS", 2, 6, 1, "a"), ("CDS", 8, 10, 1, "a"), ("CDS", 10, 13, -1, "b"))
    (frames,) = codon_bases(table, [14])
    assert frames[0].tolist() == [-1, -1, 0, 1, 2, 0, -1, -1, 1, 2, -1, -1, -1, -1]
    assert frames[1].tolist() == [-1] * 10 + [2, 1, 0, -1]


def test_bases_of_two_frames_and_of_broken_genes_have_none():
    table = genes(("CDS", 0, 6, 1, "a"), ("CDS", 1, 4, 1, "b"), ("CDS", 8, 12, 1, "c"))
    (frames,) = codon_bases(table, [12])
    assert frames[0].tolist() == [0, -1, -1, -1, 1, 2, -1, -1, -1, -1, -1, -1]


def test_masks_are_in_the_sense_of_the_pass():
    table = genes(("exon", 0, 6, 1, "a"), ("CDS", 0, 6, 1, "a"), ("exon", 8, 10, -1, "b"))
    masks = concept_masks(table, [12])
    assert np.flatnonzero(masks["exon"][0][0]).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(masks["exon"][0][1]).tolist() == [8, 9]
    assert np.flatnonzero(masks["start_codon"][0][0]).tolist() == [0, 1, 2]
    assert np.flatnonzero(masks["codon base 2"][0][0]).tolist() == [1, 4]
    assert "intron" not in masks


def test_pieces_lie_about_introns():
    table = genes(("exon", 0, 100, 1, "a"), ("intron", 30_000, 30_100, 1, "a"))
    (bins,) = pieces_of(table, [1_000_000])
    assert bins[2955:3054].all()
    assert bins.sum() < 100 * 151 + 1
    (again,) = pieces_of(table, [1_000_000])
    assert (bins == again).all()


def test_sparse_auprc_is_that_of_the_dense_scores():
    rng = np.random.default_rng(1)
    active = np.sort(rng.random(30))[::-1]
    label = rng.random((30, 2)) < 0.4
    silent = rng.random((70, 2)) < 0.1
    every = np.concatenate([label, silent])
    found = sparse_auprc(label, every.sum(0).astype(float), 100)
    dense = np.concatenate([active, np.zeros(70)])
    for concept in range(2):
        assert found[concept] == pytest.approx(auprc(dense, every[:, concept]).auprc)


def test_a_concept_without_a_positive_has_no_area():
    assert np.isnan(sparse_auprc(np.zeros((3, 1), bool), np.zeros(1), 10)).all()
