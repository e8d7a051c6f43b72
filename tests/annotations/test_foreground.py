"""The independent loci of a row, and the composition of their windows."""

import numpy as np
import pytest

from annotations.foreground import Loci, cpg_ratio
from annotations.motif_scan import HITS_SCHEMA
from annotations.motif_windows import Corpus


def codes_of(text: str) -> np.ndarray:
    return np.array(["ACGT".find(base) for base in text], dtype=np.uint8)


def test_cpg_ratio_by_hand():
    # Windows of 10: CCGGACGTTT has 2 CpG, 3 C and 3 G; ATCATGATCA 0 CpG, 2 C, 1 G. The CpG that
    # lies across the end of the first window does not count: it ends in C, and G follows.
    text = "CCGGACGTTC" + "G" + "ATCATGATCA" + "AAAAAAAAAAAA"
    corpus = Corpus.of([codes_of(text)], HITS_SCHEMA.empty_table(), 1)
    start = np.array([0, 11, 21])
    gc = corpus.codes.gc_of(start, 10)
    loci = Loci(np.array([4, 4, 7]), start + 5, start, gc)
    ratio = cpg_ratio(loci, np.array([4, 7]), corpus, 10)
    assert ratio == pytest.approx([2 * 20 / (6 * 4), np.nan], nan_ok=True)
