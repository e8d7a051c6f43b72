"""Matching holds what its windows need, and no array that has a number for each base."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from annotations.activations import Activations, sort, to_stretches, write_stretches
from annotations.contig_codes import ContigCodes
from annotations.jaspar import load_motifs
from annotations.motif_scan import MOTIF_P, scan
from annotations.peaks import PEAKS_SCHEMA, top_peaks
from workers.association import Corpus, MotifHits, associate, background_activity, scan_corpus

FEATURES = 4
PLACES = 3000
"""Active bases of each feature row, whatever the length."""
MOTIFS = tuple(load_motifs("fungi").motifs[:6])
CATALOGUE = replace(load_motifs("fungi"), motifs=MOTIFS)


class Matched:
    """The matches of features that fire at random, on contigs of random bases."""

    def __init__(self, folder, lengths):
        random = np.random.default_rng(1)
        parts = (random.integers(0, 4, length).astype(np.uint8) for length in lengths)
        codes = ContigCodes.filled(lengths, parts, folder / "codes")
        self.corpus = Corpus(codes=codes, held_out=(1,), seed=0)
        found = active_bases(random, lengths)
        self.activations = folder / "activations.parquet"
        write_stretches(to_stretches(sort(found)), self.activations)
        table = pa.table([pa.array(values) for values in found], schema=PEAKS_SCHEMA)
        self.peaks = top_peaks([table], 60, held_out=(1,))
        self.scanned = scan_corpus(self.corpus, CATALOGUE, self.peaks, p=MOTIF_P)
        # the smaller of two: threads that other tests left behind are traced as well
        self.most = min(self.traced() for _ in range(2))
        """Bytes allocated at once by the matching, beside what was there before."""
        # what it put on disk is gone
        assert sorted(path.name for path in folder.iterdir()) == ["activations.parquet", "codes"]

    def traced(self):
        """Bytes allocated at once while matches are found."""
        tracemalloc.start()
        try:
            self.found = self.matched(self.scanned)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def matched(self, hits):
        """The matches that follow from some hits."""
        with background_activity(
            self.corpus, self.activations, self.activations.parent, n_features=FEATURES
        ) as activity:
            return associate(self.peaks, hits, self.corpus, activity, catalogue=CATALOGUE)


def active_bases(random, lengths):
    """Bases drawn for each feature row, with values that tell them apart."""
    contig = random.choice(2, 2 * FEATURES * PLACES, p=np.array(lengths) / sum(lengths))
    row = np.repeat(np.arange(2 * FEATURES), PLACES)
    place = random.integers(0, np.array(lengths)[contig])
    _, first = np.unique(np.stack([row, contig, place]), axis=1, return_index=True)
    return Activations(
        (row[first] // 2).astype(np.uint32),
        (1 - 2 * (row[first] % 2)).astype(np.int8),
        contig[first].astype(np.uint32),
        place[first],
        random.uniform(1, 9, len(first)).astype(np.float16).astype(np.float32),
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    # the second of two, so that importing and compiling count for none of them
    Matched(tmp_path_factory.mktemp("first"), (250_000, 220_000))
    return Matched(tmp_path_factory.mktemp("small"), (2_100_000, 300_000))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return Matched(tmp_path_factory.mktemp("large"), (8_400_000, 300_000))


def test_four_times_the_genome_takes_no_more_memory(small, large):
    for each in (small, large):
        assert each.found.matches.power.tested
        assert len(each.corpus.backgrounds[0].start) == 20_000
    assert large.most < 1.3 * small.most
    assert large.scanned.total > 3 * small.scanned.total
    assert large.scanned.table.nbytes < 1.3 * small.scanned.table.nbytes


def test_the_hits_of_windows_give_the_matches_of_all_hits(large):
    corpus = large.corpus
    every = scan(corpus.codes, MOTIFS, background=corpus.background)
    assert large.scanned.total == every.num_rows > 2 * large.scanned.table.num_rows
    of_all = large.matched(MotifHits(every, every.num_rows, len(MOTIFS)))
    assert of_all.matches.table.num_rows
    assert large.found == of_all
