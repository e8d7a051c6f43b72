"""Spans as sequences of their own, and pieces in a file: against twins that hold every base."""

import numpy as np
import pyarrow as pa
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.active_bases import Activations
from annotations.concept_tracks import ORIENTATIONS, gene_tracks
from annotations.errors import CoordinateError, FormatError, StorageError, UnknownNameError
from annotations.excerpts import Excerpt
from annotations.pieces import PieceFile, has_pieces, write_pieces
from annotations.sequence_files import StoredBases, pieces_index, write_pieces_fasta
from annotations.sequences import (
    FastaFile,
    Record,
    encode_bases,
    open_fasta,
    refget_digest,
    write_fasta,
)
from annotations.stretches import to_stretches
from annotations.tracks import write_bigwig
from annotations.transcripts import GENES_SCHEMA
from annotations.twobit import write_2bit, write_2bit_of_pieces
from annotations.types import Contig, Span

LENGTHS = (100, 37, 260)
SPANS = (Span(0, 10, 20), Span(0, 22, 60), Span(1, 0, 37), Span(2, 255, 260))
EXCERPT = Excerpt(SPANS, LENGTHS)


def slow_places(spans=SPANS):
    """Contig and position of every base of the spans, and the span and offset of each."""
    return {
        (contig, at): (index, at - start)
        for index, (contig, start, end) in enumerate(spans)
        for at in range(start, end)
    }


def test_places_go_in_and_out():
    places = slow_places()
    table = pa.table(
        {
            "contig": pa.array([contig for contig, _ in places], pa.uint32()),
            "position": pa.array([at for _, at in places], pa.int64()),
        }
    )
    inside = EXCERPT.inside(table)
    assert list(zip(*(c.to_pylist() for c in inside.columns), strict=True)) == list(places.values())
    assert inside.schema == table.schema
    assert EXCERPT.outside(inside).equals(table)
    with pytest.raises(CoordinateError, match="outside the spans"):
        EXCERPT.inside(pa.table({"contig": pa.array([0], pa.uint32()), "position": [21]}))
    with pytest.raises(CoordinateError, match="outside the spans"):
        EXCERPT.inside(pa.table({"contig": pa.array([0], pa.uint32()), "start": [19], "end": [21]}))


def test_all_of_the_contigs_is_left_as_it_is():
    whole = Excerpt.whole(LENGTHS)
    table = pa.table({"contig": pa.array([2], pa.uint32()), "position": [250]})
    assert whole.is_whole
    assert whole.inside(table) is table
    assert not Excerpt((Span(0, 0, 99), *whole.spans[1:]), LENGTHS).is_whole
    assert (EXCERPT.lengths, EXCERPT.held_out([0, 2])) == ([10, 38, 37, 5], (0, 1, 3))


@pytest.mark.parametrize(
    "spans",
    [
        (),
        (Span(0, 5, 5),),
        (Span(0, 5, 9), Span(0, 9, 12)),
        (Span(1, 5, 9), Span(0, 9, 12)),
        (Span(0, 90, 101),),
    ],
)
def test_spans_that_are_no_excerpt_are_refused(spans):
    with pytest.raises(CoordinateError):
        Excerpt(spans, LENGTHS)


INTERVALS = st.lists(
    st.integers(0, 2).flatmap(
        lambda contig: st.tuples(
            st.just(contig), st.integers(0, LENGTHS[contig] - 1), st.integers(1, 60)
        ).map(lambda each: (each[0], each[1], min(each[1] + each[2], LENGTHS[each[0]])))
    ),
    max_size=12,
)


@given(INTERVALS)
def test_clipped_intervals_hold_the_same_bases(intervals):
    columns = list(map(list, zip(*intervals, strict=True))) or [[], [], []]
    table = pa.table(
        {
            "contig": pa.array(columns[0], pa.uint32()),
            "start": pa.array(columns[1], pa.int64()),
            "end": pa.array(columns[2], pa.int64()),
            "row": pa.array(range(len(intervals)), pa.int64()),
        }
    )
    places = slow_places()
    expected = [
        (*places[contig, at], row)
        for row, (contig, start, end) in enumerate(intervals)
        for at in range(start, end)
        if (contig, at) in places
    ]
    found = [
        (part["contig"], at, part["row"])
        for part in EXCERPT.clipped(table).to_pylist()
        for at in range(part["start"], part["end"])
    ]
    assert found == expected


GENES = pa.table(
    [
        [0, 0, 0, 1, 2],
        [5, 12, 40, 3, 0],
        [58, 25, 50, 30, 260],
        [1, 1, 1, -1, -1],
        ["gene", "exon", "CDS", "exon", "exon"],
        ["A", "A", "A", "B", "C"],
        ["a", "a", "a", "b", "c"],
    ],
    schema=GENES_SCHEMA,
)


def test_concepts_of_spans_are_those_of_the_bases():
    whole = gene_tracks(GENES, LENGTHS)
    clipped = EXCERPT.tracks(whole)
    assert clipped.lengths == (10, 38, 37, 5)
    places = slow_places()
    of_whole, of_spans = whole.class_of_bases(), clipped.class_of_bases()
    assert len(of_spans) == len(places)
    for reverse in (0, 1):
        for (contig, at), (span, offset) in places.items():
            expected = whole.members[reverse, of_whole[whole.offsets[contig] + at]]
            found = clipped.members[reverse, of_spans[clipped.offsets[span] + offset]]
            assert {whole.labels[i] for i in np.flatnonzero(expected)} == {
                clipped.labels[i] for i in np.flatnonzero(found)
            }
    # the ends of spans are no ends of exons: exon A ends at 25, C begins and ends outside
    names = {label.concept for label in clipped.labels}
    assert "exon_first_base" in names
    assert all(label.orientation in ORIENTATIONS for label in clipped.labels)


# ------------------------------------------------------------------------------ pieces


BASES = [np.random.default_rng(at).choice(list(b"ACGTN"), n) for at, n in enumerate(LENGTHS)]
SEQUENCES = [bytes(bases.astype(np.uint8)) for bases in BASES]
CONTIGS = [Contig(f"c{at}", len(s), refget_digest(s)) for at, s in enumerate(SEQUENCES)]
PIECES = [Span(0, 3, 90), Span(1, 0, 37), Span(2, 80, 161), Span(2, 250, 260)]


def written(path, pieces=PIECES):
    write_pieces(path, pieces, CONTIGS, lambda piece: SEQUENCES[piece[0]][piece[1] : piece[2]])
    return path


@pytest.fixture(scope="module")
def piece_path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("pieces") / "pieces.fa")


def masked(pieces=PIECES):
    """The contigs, N outside the pieces."""
    found = [bytearray(b"N" * length) for length in LENGTHS]
    for contig, start, end in pieces:
        found[contig][start:end] = SEQUENCES[contig][start:end]
    return [bytes(sequence) for sequence in found]


def test_pieces_read_as_contigs(piece_path):
    with open_fasta(piece_path) as source:
        assert isinstance(source, PieceFile)
        assert source.names == ["0", "1", "2"]
        assert [source.length(name) for name in source.names] == list(LENGTHS)
        assert list(source.digests.values()) == [contig.digest for contig in CONTIGS]
        for name, sequence in zip(source.names, masked(), strict=True):
            for start, end in ((0, len(sequence)), (0, 0), (2, 4), (36, 37)):
                assert source.fetch(name, start, end) == sequence[start:end]
        assert source.fetch("2", 79, 255) == masked()[2][79:255]
        with pytest.raises(CoordinateError):
            source.fetch("1", 0, 38)
        with pytest.raises(UnknownNameError):
            source.fetch("3", 0, 1)


SOME = st.integers(0, 259).flatmap(lambda start: st.tuples(st.just(start), st.integers(start, 260)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 250), st.integers(1, 90)), min_size=1, max_size=4), SOME)
def test_any_pieces_read_as_the_masked_contig(tmp_path_factory, starts, asked):
    ends = sorted({(start, min(260, start + size)) for start, size in starts})
    pieces, last = [], -1
    for start, end in ends:
        if start > last:
            pieces.append(Span(2, start, end))
            last = end
    contigs = [*CONTIGS[:2], CONTIGS[2]]
    path = tmp_path_factory.mktemp("any") / "p.fa"
    write_pieces(path, pieces, contigs, lambda piece: SEQUENCES[2][piece.start : piece.end])
    with PieceFile(path) as source:
        assert source.fetch("2", *asked) == masked(pieces)[2][slice(*asked)]


def test_a_fetch_reads_the_pieces_that_it_touches_alone(tmp_path, monkeypatch):
    pieces = [Span(2, at, at + 5) for at in range(0, 260, 10)]
    looked = []
    read = PieceFile._read
    monkeypatch.setattr(
        PieceFile, "_read", lambda self, *asked: looked.append(asked[0].start) or read(self, *asked)
    )
    with PieceFile(written(tmp_path / "p.fa", pieces)) as source:
        for start, end, touched in ((112, 131, [110, 120, 130]), (115, 120, []), (120, 121, [120])):
            looked.clear()
            assert source.fetch("2", start, end) == masked(pieces)[2][start:end]
            assert looked == touched


def test_pieces_that_are_not_in_order_are_damage(tmp_path):
    path = tmp_path / "p.fa"
    head = b">0:%d-%d length=50 refget=SQ.x\nACGTA\n"
    path.write_bytes(head % (10, 15) + head % (12, 17))
    with pytest.raises(FormatError, match="not in order"):
        PieceFile(path)


def test_a_file_of_whole_records_is_none_of_pieces(tmp_path):
    path = tmp_path / "whole.fa"
    write_fasta([Record("0", "", b"ACGT")], path)
    assert not has_pieces(path)
    with open_fasta(path) as source:
        assert isinstance(source, FastaFile)
    with pytest.raises(FormatError, match="no FASTA of pieces"):
        PieceFile(path)
    with pytest.raises(StorageError):
        has_pieces(tmp_path / "missing.fa")


def test_a_cut_or_altered_file_of_pieces_is_told(tmp_path, piece_path):
    whole = piece_path.read_bytes()
    cut = tmp_path / "cut.fa"
    for content, error in (
        (whole[:-5], StorageError),
        (whole.replace(b">1:0-37", b">1:0-36"), FormatError),
    ):
        cut.write_bytes(content)
        with pytest.raises(error):
            PieceFile(cut)


@pytest.mark.parametrize("piece", [Span(1, 5, 5), Span(1, 30, 38), Span(1, -1, 5)])
def test_a_piece_outside_its_contig_is_not_written(tmp_path, piece):
    with pytest.raises(CoordinateError, match="must lie inside"):
        written(tmp_path / "p.fa", [piece])
    assert not (tmp_path / "p.fa").exists()


def test_stored_bases_are_read_from_either(tmp_path, piece_path):
    stored = StoredBases(piece_path, LENGTHS)
    assert stored.fetch(2, 70, 90) == masked()[2][70:90]
    whole = tmp_path / "whole.fa"
    write_fasta([Record(str(at), "", s) for at, s in enumerate(SEQUENCES)], whole)
    assert StoredBases(whole, LENGTHS).fetch(2, 70, 90) == SEQUENCES[2][70:90]


def test_pieces_are_given_away_by_locus(tmp_path, piece_path):
    path = tmp_path / "sequence.fa"
    names = [contig.name for contig in CONTIGS]
    write_pieces_fasta(piece_path, path, names)
    with FastaFile(path) as source:
        assert source.names == ["c0:4-90", "c1:1-37", "c2:81-161", "c2:251-260"]
        assert source.fetch("c2:81-161", 0, 81) == SEQUENCES[2][80:161]
    index = [line.split("\t") for line in pieces_index(piece_path, names).splitlines()]
    text = path.read_bytes()
    for (_, start, _), (_, length, offset, *_) in zip(PIECES[2:], index[2:], strict=True):
        assert text[int(offset) : int(offset) + 5] == SEQUENCES[2][start : start + 5]
        assert int(length) in {81, 10}


@pytest.mark.parametrize(
    "pieces", [PIECES, [Span(0, 0, 100), Span(1, 1, 2), Span(2, 5, 6), Span(2, 7, 10)]]
)
def test_the_2bit_of_pieces_is_that_of_the_masked_contigs(tmp_path, pieces):
    """Which other programs read: tests/annotations/test_browser_readers.py."""
    names = ["c0", "c1", "c2"]
    with PieceFile(written(tmp_path / "p.fa", pieces)) as source:
        write_2bit_of_pieces(tmp_path / "pieces.2bit", names, source)
    write_2bit(tmp_path / "whole.2bit", names, [encode_bases(s) for s in masked(pieces)])
    assert (tmp_path / "pieces.2bit").read_bytes() == (tmp_path / "whole.2bit").read_bytes()


def test_a_2bit_of_a_long_contig_is_mostly_a_hole(tmp_path):
    contig = Contig("long", 248_956_422, "SQ.x")
    path = tmp_path / "p.fa"
    spans = [Span(0, 200_000_000, 200_000_100)]
    write_pieces(path, spans, [contig], lambda _: b"ACGT" * 25)
    with PieceFile(path) as source:
        write_2bit_of_pieces(tmp_path / "s.2bit", ["chr1"], source)
    size = (tmp_path / "s.2bit").stat()
    assert size.st_size == 16 + 9 + 16 + 2 * 8 + -(-contig.length // 4)
    assert size.st_blocks * 512 < 1_000_000


def test_a_track_says_nothing_outside_the_spans(tmp_path):
    places = [(0, 10, 1.5), (0, 11, 1.5), (0, 59, 2.0), (2, 259, 3.0)]
    contig, position, value = (list(column) for column in zip(*places, strict=True))
    active = Activations(
        feature=np.zeros(4, np.uint32),
        strand=np.ones(4, np.int8),
        contig=np.array(contig, np.uint32),
        position=np.array(position, np.int64),
        value=np.array(value, np.float32),
    )
    path = tmp_path / "signal.bw"
    names = ["c0", "c1", "c2"]
    write_bigwig(path, to_stretches(active), names, LENGTHS, spans=SPANS)
    read = pyBigWig.open(str(path))
    assert read.chroms() == dict(zip(names, LENGTHS, strict=True))
    for at, length in enumerate(LENGTHS):
        found = np.array(read.values(names[at], 0, length))
        expected = np.full(length, np.nan)
        for span in SPANS:
            if span.contig == at:
                expected[span.start : span.end] = 0
        for on, where, height in places:
            if on == at:
                expected[where] = height
        assert np.array_equal(found, expected, equal_nan=True)
    mean = read.stats("c0", 0, 100, type="coverage")[0]
    assert mean == pytest.approx(0.48)
    read.close()
    with pytest.raises(CoordinateError, match="in a span"):
        write_bigwig(path, to_stretches(active), names, LENGTHS, spans=SPANS[:2])
