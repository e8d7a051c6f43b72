"""Concept tracks against sets of bases drawn by hand and by a slow twin."""

import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.concept_splits import split_bases
from annotations.concept_tracks import (
    INTERVALS_SCHEMA,
    ConceptTracks,
    Label,
    bed_tracks,
    codons,
    exon_ends,
    gene_tracks,
    read_intervals,
)
from annotations.errors import CoordinateError, FormatError, OptionError
from annotations.genes import GENES_SCHEMA
from annotations.types import Contig


def intervals_of(*rows):
    columns = list(map(list, zip(*rows, strict=True))) or [[]] * 4
    return pa.table(columns, schema=INTERVALS_SCHEMA)


def genes_of(*rows):
    """(contig, start, end, strand, kind) or with a transcript -> a table of genes."""
    full = [(*row[:5], "g", row[5] if len(row) > 5 else "t") for row in rows]
    return pa.table(list(map(list, zip(*full, strict=True))) or [[]] * 7, schema=GENES_SCHEMA)


def bases(tracks: ConceptTracks, concept, orientation, strand):
    """The places of a label on a pass over a strand, base by base."""
    label = tracks.labels.index(Label(concept, orientation))
    has = tracks.members[int(strand < 0), :, label]
    return np.flatnonzero(has[tracks.class_of_bases()]).tolist()


def kinds_of(table):
    names = ("contig", "start", "end", "strand", "kind")
    return sorted(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_orientation_is_that_of_the_pass():
    genes = genes_of((0, 2, 4, 1, "intron"), (0, 6, 7, -1, "intron"), (0, 9, 10, 0, "intron"))
    tracks = gene_tracks(genes, [12])
    assert bases(tracks, "intron", "same", 1) == [2, 3]
    assert bases(tracks, "intron", "opposite", 1) == [6]
    assert bases(tracks, "intron", "same", -1) == [6]
    assert bases(tracks, "intron", "opposite", -1) == [2, 3]
    for strand in (1, -1):
        assert bases(tracks, "intron", "either", strand) == [2, 3, 6, 9]
        assert bases(tracks, "intergenic", "either", strand) == [0, 1, 4, 5, 7, 8, 10, 11]
    assert {label.concept for label in tracks.labels} == {"intron", "intergenic"}


def test_intervals_that_touch_are_one_but_not_across_contigs():
    table = intervals_of((0, 0, 2, 0), (0, 2, 3, 0), (0, 4, 5, 0), (1, 0, 2, 0))
    tracks = bed_tracks(table, [5, 3])
    assert tracks.labels == (Label("bed", "either"),)
    starts, ends = tracks.intervals(0, 0, [0, 1])
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 3), (4, 5), (5, 7)]
    starts, ends = tracks.intervals(0, 0, [1])
    assert (starts.tolist(), ends.tolist()) == ([5], [7])


def test_with_a_background_other_bases_do_not_count():
    tracks = bed_tracks(
        intervals_of((0, 2, 4, 1)), [10], background=intervals_of((0, 3, 6, -1)), concept="peak"
    )
    counted = np.flatnonzero(tracks.counted[tracks.class_of_bases()]).tolist()
    assert counted == [2, 3, 4, 5]
    assert bases(tracks, "peak", "either", 1) == [2, 3]
    assert bases(tracks, "peak", "opposite", -1) == [2, 3]


def test_exon_ends_are_in_the_sense_of_the_gene():
    genes = genes_of(
        (0, 2, 5, 1, "exon"), (0, 7, 8, -1, "exon"), (0, 0, 1, 0, "exon"), (0, 1, 9, 1, "gene")
    )
    assert kinds_of(exon_ends(genes)) == [
        (0, 2, 3, 1, "exon_first_base"),
        (0, 4, 5, 1, "exon_last_base"),
        (0, 7, 8, -1, "exon_first_base"),
        (0, 7, 8, -1, "exon_last_base"),
    ]


def test_codons_may_be_cut_by_an_intron_and_turn_with_the_strand():
    genes = genes_of(
        (0, 10, 12, 1, "CDS", "a"),
        (0, 20, 30, 1, "CDS", "a"),
        (1, 10, 12, -1, "CDS", "b"),
        (1, 20, 30, -1, "CDS", "b"),
        (0, 50, 52, 1, "CDS", "too short"),
        (0, 60, 70, 0, "CDS", "no strand"),
        (0, 80, 83, 1, "CDS", "both at once"),
    )
    assert kinds_of(codons(genes)) == [
        (0, 10, 12, 1, "start_codon"),
        (0, 20, 21, 1, "start_codon"),
        (0, 27, 30, 1, "stop_codon"),
        (0, 80, 83, 1, "start_codon"),
        (0, 80, 83, 1, "stop_codon"),
        (1, 10, 12, -1, "stop_codon"),
        (1, 20, 21, -1, "stop_codon"),
        (1, 27, 30, -1, "start_codon"),
    ]


drawn_intervals = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 18), st.integers(1, 9), st.sampled_from([1, -1, 0])
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(drawn_intervals, drawn_intervals)
def test_tracks_equal_sets_of_bases(exons, introns):
    lengths = [20, 25]
    rows = [(c, s, min(s + n, lengths[c]), strand, kind)
            for kind, drawn in (("exon", exons), ("intron", introns))
            for c, s, n, strand in drawn]  # fmt: skip
    tracks = gene_tracks(genes_of(*rows), lengths)
    covered = set()
    for kind in ("exon", "intron"):
        by_strand = {
            wanted: {20 * c + at for c, s, e, strand, k in rows if k == kind and strand == wanted
                     for at in range(s, e)}
            for wanted in (1, -1, 0)
        }  # fmt: skip
        either = by_strand[1] | by_strand[-1] | by_strand[0]
        covered |= either
        for strand in (1, -1):
            for orientation, expected in (
                ("same", by_strand[strand]),
                ("opposite", by_strand[-strand]),
                ("either", either),
            ):
                if Label(kind, orientation) in tracks.labels:
                    assert set(bases(tracks, kind, orientation, strand)) == expected
                else:
                    assert not expected
    if Label("intergenic", "either") in tracks.labels:
        assert set(bases(tracks, "intergenic", "either", 1)) == set(range(45)) - covered
    else:
        assert covered == set(range(45))


def test_bed_files_are_read_whole_lines_as_intervals():
    text = (
        "track name=x\n"
        "chrB\t3\t8\tpeak1\t0\t-\t1\t2\t3\t1\n"  # narrowPeak: ten columns
        "chrA\t0\t5\tpeak2\t0\t.\t1\t2\t3\t1\n"
        "chrA\t0\t5\tpeak3\t0\t.\t1\t2\t3\t1\n"
        "chrZ\t0\t5\tpeak4\t0\t.\t1\t2\t3\t1\n"
    )
    contigs = [Contig("chrA", 10, ""), Contig("chrB", 10, "")]
    expected = [(0, 0, 5, 0), (1, 3, 8, -1)]
    for data in (text.encode(), gzip.compress(text.encode())):
        table = read_intervals(io.BytesIO(data), contigs)
        assert table.schema == INTERVALS_SCHEMA
        assert list(zip(*(c.to_pylist() for c in table.columns), strict=True)) == expected
    blocks = b"chrA\t1\t9\tx\t0\t+\t1\t1\t0\t2\t2,3\t0,5\n"  # BED12: the range, not the blocks
    table = read_intervals(io.BytesIO(blocks), contigs)
    assert [c.to_pylist() for c in table.columns] == [[0], [1], [9], [1]]


def test_what_is_no_interval_on_the_sequences_is_refused():
    contigs = [Contig("chrA", 10, "")]
    with pytest.raises(FormatError, match="line 1"):
        read_intervals(io.BytesIO(b"chrA\t1\n"), contigs)
    with pytest.raises(FormatError, match="prefix 'chr'"):
        read_intervals(io.BytesIO(b"A\t1\t2\n"), contigs)
    with pytest.raises(CoordinateError, match="outside"):
        read_intervals(io.BytesIO(b"chrA\t1\t20\n"), contigs)
    with pytest.raises(CoordinateError, match="outside its 10 bases"):
        bed_tracks(intervals_of((0, 5, 11, 0)), [10])
    with pytest.raises(FormatError, match="no intervals"):
        bed_tracks(intervals_of(), [10])
    with pytest.raises(CoordinateError, match="0 bases"):
        gene_tracks(genes_of(), [])


def test_splits_divide_contigs_and_refuse_what_is_in_both(tmp_path):
    tracks = bed_tracks(intervals_of((0, 0, 2, 0), (2, 0, 1, 0)), [3, 4, 5])
    splits = split_bases(tracks, [0], [2])
    positives = splits.sizes @ tracks.members[0, :, 0]
    assert positives.tolist() == [2, 1]
    assert splits.sizes.sum(axis=1).tolist() == [3, 5]
    assert (splits.group[3:7] == splits.ignored).all()
    in_file = split_bases(tracks, [0], [2], path=tmp_path / "groups")
    assert np.array_equal(in_file.group, splits.group)
    assert np.array_equal(np.fromfile(tmp_path / "groups", splits.group.dtype), splits.group)
    for discovery, held_out in (([], [0]), ([0], [0]), ([0, 0], []), ([3], [])):
        with pytest.raises(OptionError, match="discovery"):
            split_bases(tracks, discovery, held_out)
