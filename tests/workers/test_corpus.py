"""Genomes to a corpus: reading frames against a slow twin, spec files, what may be learnt from."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError, FormatError, UnknownNameError
from workers.training.corpus import Contig, join_contigs, only_within, open_reading_frames
from workers.training.genomes import (
    GenomeSpec,
    load_corpus,
    mask_of,
    read_bed,
    read_coding,
    read_genome,
    read_spec,
)

LETTERS = "ACGTN"


def codes(text):
    return np.array([LETTERS.index(letter) for letter in text], np.uint8)


def slow_frames(bases, shortest):
    """Every stop-to-stop stretch of every frame, base by base, from its first ATG."""
    mask = np.zeros(len(bases), bool)
    for reverse in (False, True):
        text = "".join(LETTERS[b] for b in bases)
        if reverse:
            text = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
        for frame in range(3):
            first = None
            for i in range(frame, len(text) - 2, 3):
                codon = text[i : i + 3]
                if codon in ("TAA", "TAG", "TGA") or "N" in codon:
                    if first is not None and i - first >= shortest:
                        low, high = first, i + 3
                        if reverse:
                            low, high = len(text) - high, len(text) - low
                        mask[low:high] = True
                    first = None
                elif codon == "ATG" and first is None:
                    first = i
    return mask


codon = st.sampled_from(["ATG", "TAA", "TGA", "TAG", "CAT", "TTA", "GCA", "CCC", "N", "A", "CG"])


@settings(max_examples=50, deadline=None)
@given(st.lists(codon, max_size=60), st.sampled_from([3, 6, 12, 30]))
def test_reading_frames_equal_a_slow_twin(parts, shortest):
    bases = codes("".join(parts))
    found = open_reading_frames(bases, shortest=shortest)
    assert np.array_equal(found, slow_frames(bases, shortest))


def test_reading_frames_by_hand():
    bases = codes("CC" + "ATG" + "GCA" * 3 + "TAA" + "CC")
    assert np.flatnonzero(open_reading_frames(bases, shortest=12)).tolist() == list(range(2, 17))
    assert not open_reading_frames(bases, shortest=13).any()
    # the same gene on the other strand
    turned = np.where(bases < 4, 3 - bases, 4)[::-1].astype(np.uint8)
    assert np.flatnonzero(open_reading_frames(turned, shortest=12)).tolist() == list(range(2, 17))


def test_a_frame_without_a_stop_does_not_count():
    assert not open_reading_frames(codes("ATG" + "GCA" * 9), shortest=3).any()


def test_contigs_are_kept_apart_by_a_window_of_n():
    a = Contig(codes("ACGN"), np.array([True, False, False, False]), 3)
    b = Contig(codes("TT"), np.array([False, True]), 5)
    corpus = join_contigs([a, b], window=2)
    assert corpus.bases.tolist() == [4, 4, 0, 1, 2, 4, 4, 4, 3, 3, 4, 4]
    n, y = False, True
    assert corpus.coding.tolist() == [y, y, y, n, n, y, y, y, n, y, y, y]
    assert corpus.species.tolist() == [3] * 6 + [5] * 6


def test_no_sequence_is_no_corpus():
    with pytest.raises(ValueError, match="no sequence"):
        join_contigs([], window=4)


def test_only_what_is_allowed_stays():
    bases = codes("ACGTACGT")
    assert only_within(bases, [(0, 2), (5, 6)]).tolist() == [0, 1, 4, 4, 4, 1, 4, 4]
    assert bases.tolist() == codes("ACGTACGT").tolist()


@pytest.fixture
def genome(tmp_path):
    """Two genomes and their spec file."""
    (tmp_path / "one.fa").write_text(">chrI a comment\nacgtACGTnn\n>chrM\nAAAA\n>chrX\nCCCCC\n")
    gff = "##gff-version 3\nchrI\ts\tCDS\t2\t4\t.\t+\t0\tID=a\nchrI\ts\tgene\t1\t9\t.\t+\t.\tID=b\n"
    with gzip.open(tmp_path / "one.gff3.gz", "wt") as file:
        file.write(gff + "chrX\ts\ttRNA\t5\t5\t.\t-\t.\tID=c\n##FASTA\n>chrI\nACGT\n")
    with gzip.open(tmp_path / "two.fa.gz", "wt") as file:
        file.write(">a\n" + "ATG" + "GCA" * 100 + "TAA" + "\n>b\nGGGG\n")
    (tmp_path / "two.bed").write_text("track name=x\na\t0\t306\tname\n")
    (tmp_path / "spec.toml").write_text(
        '[[genome]]\nfasta = "one.fa"\nspecies = 0\nannotation = "one.gff3.gz"\n'
        'exclude = ["chrM"]\n'
        '[[genome]]\nfasta = "two.fa.gz"\nspecies = 4\nallowed = "two.bed"\n'
    )
    return tmp_path


def test_a_spec_file_becomes_a_corpus(genome):
    specs = read_spec(genome / "spec.toml")
    assert specs[1] == GenomeSpec(genome / "two.fa.gz", 4, genome / "two.bed", None, ())
    corpus = load_corpus(specs, window=3)
    gap = [4, 4, 4]
    second = codes("ATG" + "GCA" * 100 + "TAA").tolist()
    assert corpus.bases.tolist() == (
        [*gap, 0, 1, 2, 3, 0, 1, 2, 3, 4, 4, *gap, 1, 1, 1, 1, 1, *gap, *second, *gap]
    )
    first = np.flatnonzero(~corpus.coding[:18]).tolist()
    assert first == [3, 7, 8, 9, 10, 16, 17]  # 1-based 2 to 4 of chrI are coding, N counts so
    assert corpus.coding[20]  # the tRNA base, the last of chrX
    assert corpus.coding[24 : 24 + 306].all()  # an open reading frame of 303 bases
    assert set(corpus.species.tolist()) == {0, 4}


def test_what_is_not_allowed_ends_a_reading_frame(genome):
    (genome / "two.bed").write_text("a\t0\t150\na\t156\t306\n")
    contig = read_genome(read_spec(genome / "spec.toml")[1])[0]
    assert contig.name == "a"
    assert np.flatnonzero(contig.bases == 4).tolist() == list(range(150, 156))
    assert not contig.coding.any()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"chrM"', '"chrMito"', UnknownNameError, "chrMito"),
        ('"two.bed"', '"other.bed"', UnknownNameError, "zzz"),
        ('"two.bed"', '"long.bed"', CoordinateError, "307"),
        ("species = 4", "species = 256", FormatError, "0 to 255"),
        ("species = 4", "kind = 4", FormatError, "species"),
        ("species = 4", "species = 4\ncolour = 1", FormatError, "colour"),
        ('["chrM"]', '"chrM"', FormatError, "exclude"),
        ("[[genome]]", "[[genomes]]", FormatError, "genomes"),
        ('"one.gff3.gz"', '"empty.gff3"', FormatError, "open reading frames"),
        ('"one.gff3.gz"', '"names.gff3"', FormatError, "I-1"),
        ('"one.gff3.gz"', '"cut.gff3"', FormatError, "line 2"),
        ("[[genome]]", "[[genome", FormatError, "TOML"),
    ],
)
def test_specs_that_would_train_on_the_wrong_bases_are_refused(genome, old, new, error, message):
    (genome / "other.bed").write_text("a\t0\t5\nzzz\t0\t5\n")
    (genome / "long.bed").write_text("a\t0\t307\n")
    (genome / "empty.gff3").write_text("chrI\ts\tgene\t1\t2\t.\t+\t.\tID=a\n")
    (genome / "names.gff3").write_text("I-1\ts\tCDS\t1\t2\t.\t+\t.\tID=a\n")
    (genome / "cut.gff3").write_text("#\nchrI\ts\tCDS\t1\n")
    path = genome / "spec.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        load_corpus(read_spec(path), window=3)


@pytest.mark.parametrize("line", ["a\t1", "a\tx\t2", "a\t5\t2"])
def test_a_bed_file_that_is_none_is_refused(tmp_path, line):
    (tmp_path / "x.bed").write_text(line + "\n")
    with pytest.raises(FormatError, match="line 1"):
        read_bed(tmp_path / "x.bed")


def test_coordinates_of_gff_become_half_open(genome):
    assert read_coding(genome / "one.gff3.gz") == {"chrI": [(1, 4)], "chrX": [(4, 5)]}


def test_a_mask_ends_where_its_contig_ends():
    assert mask_of([(1, 2), (3, 4)], 4, "x").tolist() == [False, True, False, True]
    with pytest.raises(CoordinateError, match="ends at 5"):
        mask_of([(1, 5)], 4, "x")
