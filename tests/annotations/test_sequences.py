"""Reading what users send: every accepted form gives the same bases, every bad one a message."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError, FormatError, LimitError, UnknownNameError
from annotations.sequences import (
    FastaFile,
    Limits,
    Record,
    contigs,
    encode_bases,
    example_path,
    open_fasta,
    read_sequences,
    refget_digest,
    reverse_complement,
    write_fasta,
)

DATA = Path(__file__).parents[1] / "data"
IUPAC = "ACGTRYSWKMBDHVN"
TWO = b">one first record\nACGT\nNNacgu\n\n>two\r\nRYKM\r\n"
TWO_RECORDS = [
    Record("one", "first record", b"ACGTNNACGT"),
    Record("two", "", b"RYKM"),
]


def read(content: bytes, **limits: int) -> list[Record]:
    return read_sequences(io.BytesIO(content), limits=Limits(**limits)).records


def bgzipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=buffer)
    writer.write(content)
    writer.flush()
    writer._handle.write(bgzf._bgzf_eof)
    return buffer.getvalue()


# ------------------------------------------------------------------------------ accepted


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TWO, id="plain"),
        pytest.param(TWO.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf\n\n" + TWO, id="byte order mark and blank lines"),
        pytest.param(TWO.rstrip(), id="no last line end"),
        pytest.param(gzip.compress(TWO), id="gzip"),
        pytest.param(gzip.compress(TWO[:20]) + gzip.compress(TWO[20:]), id="two gzip members"),
        pytest.param(gzip.compress(TWO) + b"\x00" * 512, id="padded gzip"),
        pytest.param(bgzipped(TWO), id="bgzip"),
    ],
)
def test_all_forms_of_fasta_give_the_same_records(content: bytes) -> None:
    assert read(content) == TWO_RECORDS


def test_a_path_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "two.fa.gz"
    path.write_bytes(gzip.compress(TWO))
    assert read_sequences(path).records == TWO_RECORDS
    assert read_sequences(path).genes is None


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"chr1", "chr1"),
        (b"gi|123|gb|X1.1| with > inside", "gi|123|gb|X1.1|"),
        (b"a/b\\c;d=e%20\"'<script>", "a/b\\c;d=e%20\"'<script>"),
        ("Höhe-β".encode(), "Höhe-β"),
        (b"caf\xe9 latin-1", "café"),
        (b"tab\tdescription", "tab"),
    ],
)
def test_names_are_kept_as_written(header: bytes, name: str) -> None:
    assert read(b">" + header + b"\nACGT\n")[0].name == name


@given(
    st.lists(
        st.text(IUPAC + IUPAC.lower() + "uU", min_size=1, max_size=200), min_size=1, max_size=5
    ),
    st.integers(1, 90),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 50),
)
@settings(max_examples=50, deadline=None)
def test_no_base_is_lost_however_the_file_is_cut(
    sequences: list[str], width: int, end: str, chunk: int
) -> None:
    """The twin: one line of Python per record, no chunks."""
    text = ""
    for index, sequence in enumerate(sequences):
        pieces = [sequence[i : i + width] for i in range(0, len(sequence), width)]
        text += f">{index}{end}{end.join(pieces)}{end}"

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(chunk)

    found = read_sequences(Dribble(text.encode())).records
    assert [record.sequence.decode() for record in found] == [
        sequence.upper().replace("U", "T") for sequence in sequences
    ]


def test_long_runs_of_n_are_not_taken_for_a_bomb() -> None:
    content = b">gap\nA" + b"N" * 3_000_000 + b"\n"
    compressed = gzip.compress(content)
    assert len(content) / len(compressed) > 900
    assert len(read(compressed)[0].sequence) == 3_000_001


def test_genbank_gives_records_and_genes() -> None:
    records, genes = read_sequences(DATA / "two_exons.gb")
    assert [(r.name, r.description, len(r.sequence)) for r in records] == [
        ("TOY0001.1", "Toy gene with one intron", 120)
    ]
    assert genes is not None
    assert "intron" in genes["kind"].to_pylist()


def test_the_example_has_genes_and_an_intron() -> None:
    records, genes = read_sequences(example_path())
    (record,) = records
    assert (record.name, len(record.sequence)) == ("chrI_40001_90000", 50_000)
    assert genes is not None
    kinds = genes["kind"].to_pylist()
    assert {kind: kinds.count(kind) for kind in ("gene", "exon", "intron")} == {
        "gene": 26,
        "exon": 27,
        "intron": 1,
    }
    names = set(genes["name"].to_pylist())
    assert {"ACS1", "FLC2", "SNC1"} <= names
    assert (example_path().parent / "README.md").is_file()


# ------------------------------------------------------------------------------- refused


GENBANK = (DATA / "two_exons.gb").read_bytes()
SECRET = b"GATTACAGATTACAGATTACA"

REFUSED = {
    "empty": (b"", "empty"),
    "blank": (b" \n\r\n\t", "empty"),
    "empty gzip": (gzip.compress(b""), "empty"),
    "no sequence at the end": (b">a\n" + SECRET + b"\n>b\n", "record 'b' has no sequence"),
    "no sequence between": (b">b\n\n>a\n" + SECRET, "record 'b' has no sequence"),
    "no name": (b">\nACGT\n", "record 1 has no name"),
    "space before the name": (b">a\nAC\n> chr1\nACGT\n", "record 2 has no name"),
    "duplicate": (b">a x\nAC\n>a y\nGT\n", "'a' is used by two records"),
    "protein": (b">p\nMKLVEFTQIP\n", "'p' looks like protein"),
    "protein with stop": (b">p\nMKVAS*\n", "'p' looks like protein"),
    "NUL in sequence": (b">a\nAC\x00GT\n", "'a' holds binary data"),
    "NUL in header": (b">a\x00b\nACGT\n", "control characters"),
    "binary": (b"\x89PNG\x00\x00\x00\x01", "binary"),
    "gaps": (b">a\nAC--GT\n", "'a' holds alignment gaps"),
    "digits": (b">a\n1 ACGT 5\n", "'a' holds characters that are no nucleotides: '1', '5'"),
    "masked by X": (b">a\nACXX\n", "no nucleotides: 'X'"),
    "text before": (b"my gene\n>a\nACGT\n", "text before the first record"),
    "bare sequence": (SECRET, "text before the first record"),
    "fastq": (b"@r1\nACGT\n+\nIIII\n", "looks like FASTQ"),
    "zip": (b"PK\x03\x04rest", "zip data"),
    "old line ends": (b">a\rACGT\r>b\rACGT\r", "control characters"),
    "stray carriage return": (b">a x\rACGT\nACGT\n", "control characters"),
    "no-break space in name": (b">a\xc2\xa0b\nACGT\n", "record 1 holds white space"),
    "long header": (b">" + b"a" * 70_000 + b"\nACGT\n", "header line is longer"),
    "long name": (b">" + b"a" * 2_000 + b"\nACGT\n", "longer than 1000 characters"),
    "truncated gzip": (gzip.compress(TWO)[:-9], "is cut"),
    "gzip of a header only": (gzip.compress(TWO)[:10], "is cut"),
    "bgzip without its last block": (bgzipped(TWO)[:-28], "is cut"),
    "rubbish after gzip": (gzip.compress(TWO) + b"rubbish", "data after the end of its gzip"),
    "genbank without end mark": (GENBANK[:-3], "record 1 is cut"),
    "genbank that lost a line": (
        GENBANK.replace(GENBANK.splitlines(keepends=True)[-2], b""),
        "60 bases where its LOCUS line says 120",
    ),
    "genbank of a protein": (b"LOCUS  P1  20 aa  linear\nORIGIN\n//\n", "'P1' is protein"),
    "genbank without bases": (
        GENBANK[: GENBANK.index(b"ORIGIN")] + b"CONTIG      join(X1.1:1..120)\n//\n",
        "'TOY0001' has no bases",
    ),
    "genbank twice": (GENBANK * 2, "'TOY0001.1' is used by two records"),
    "genbank without LOCUS length": (b"LOCUS  X\nORIGIN\n//\n", "does not start with a LOCUS line"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_files_are_refused_with_one_clear_message(content: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(content)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 300
    assert "GATTACA" not in text


def test_corrupted_gzip_is_refused() -> None:
    damaged = bytearray(gzip.compress(TWO * 100))
    damaged[-6] ^= 0xFF  # a byte of the checksum
    with pytest.raises(FormatError, match="damaged"):
        read(bytes(damaged))
    damaged = bytearray(gzip.compress(TWO))
    damaged[10] ^= 0xFF
    with pytest.raises(FormatError, match="damaged"):
        read(bytes(damaged))


@given(st.booleans(), st.data())
@settings(max_examples=50, deadline=None)
def test_a_gzip_cut_anywhere_is_refused(is_bgzip: bool, data: st.DataObject) -> None:
    whole = bgzipped(TWO) if is_bgzip else gzip.compress(TWO, mtime=0)
    with pytest.raises(FormatError, match="is cut"):
        read(whole[: data.draw(st.integers(2, len(whole) - 1))])


def test_a_gzip_bomb_stops_at_the_limit() -> None:
    """Reading stops near the limit: the rest of the bomb is never decompressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(
        [packer.compress(b">a\n"), *(packer.compress(b"\n" * 10_000_000) for _ in range(10))]
    )
    source = io.BytesIO(bomb + packer.flush())
    with pytest.raises(LimitError, match="more than 5,000,000 bytes once decompressed"):
        read_sequences(source, limits=Limits(max_bytes=5_000_000))
    with pytest.raises(LimitError, match="more than 1,000 bases, reached in record 'a'"):
        read(gzip.compress(b">a\n" + b"A" * 10_000_000), max_bases=1000)


def test_a_genbank_record_too_large_for_its_parser_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("annotations.genbank.MAX_RECORD", len(GENBANK))
    with pytest.raises(LimitError, match=r"record 1 has more than .* FASTA with a GFF3"):
        read(GENBANK)
    with pytest.raises(LimitError, match="record 1 has more than"):
        read(b"LOCUS  X  10 bp\n" + b"\n" * len(GENBANK))
    monkeypatch.setattr("annotations.genbank.MAX_RECORD", 3 * len(GENBANK))
    assert len(read(GENBANK + GENBANK.replace(b"TOY0001", b"TOY0002"))) == 2


def test_limits_on_bases_and_records_are_exact() -> None:
    assert len(read(TWO, max_bases=14, max_records=2)) == 2
    with pytest.raises(LimitError, match="more than 13 bases, reached in record 'two'"):
        read(TWO, max_bases=13)
    with pytest.raises(LimitError, match="more than 1 records"):
        read(TWO, max_records=1)


# ------------------------------------------------------------------ codes, digests, files


def test_codes_and_reverse_complement_by_hand() -> None:
    codes = encode_bases(b"AACGTNRacgtn-U")
    assert codes.tolist() == [0, 0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 4, 4, 4]
    assert codes.dtype == np.uint8
    assert codes.flags.writeable
    assert reverse_complement(encode_bases(b"AACGN")).tolist() == [4, 1, 2, 3, 3]


@given(st.text("ACGTN", max_size=100))
@settings(max_examples=50, deadline=None)
def test_reverse_complement_twice_is_nothing(sequence: str) -> None:
    codes = encode_bases(sequence.encode())
    twice = reverse_complement(reverse_complement(codes))
    np.testing.assert_array_equal(twice, codes)
    twin = sequence[::-1].translate(str.maketrans("ACGT", "TGCA")).encode()
    np.testing.assert_array_equal(reverse_complement(codes), encode_bases(twin))


def test_digest_is_refgets_and_blind_to_names() -> None:
    assert refget_digest(b"ACGT") == "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"
    assert refget_digest(b"") == "SQ.z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXc"  # refget 2.0, empty
    first, second = contigs(read(b">a\nacgt\n>b desc\nACG\nT\n"))
    assert (first.name, first.length, first.digest) == ("a", 4, second.digest)


def test_fasta_round_trip_and_random_access(tmp_path: Path) -> None:
    records = [
        Record("x", "d", b"ACGTN" * 50),
        Record("y", "", b"GATTACA"),
        Record("z", "", b"R" * 80),
    ]
    path = tmp_path / "sequences.fa"
    write_fasta(records, path, names=["0", "1", "2"])
    assert max(len(line) for line in path.read_bytes().splitlines()) == 80
    again = read_sequences(path).records
    assert [record.sequence for record in again] == [record.sequence for record in records]
    path.chmod(0o400)
    with open_fasta(path) as fasta:
        assert fasta.names == ["0", "1", "2"]
        assert fasta.length("0") == 250
        assert fasta.fetch("0", 78, 83) == records[0].sequence[78:83]
        assert fasta.fetch("1", 0, 7) == b"GATTACA"
        assert fasta.fetch("1", 3, 3) == b""
        for start, end in [(-1, 2), (0, 8), (5, 4)]:
            with pytest.raises(CoordinateError, match="not inside record '1' of 7 bases"):
                fasta.fetch("1", start, end)
        with pytest.raises(UnknownNameError, match="'x'"):
            fasta.fetch("x", 0, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["sequences.fa"]


def test_a_stale_index_beside_the_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "sequences.fa"
    write_fasta([Record("a", "", b"ACGT")], path)
    (tmp_path / "sequences.fa.fai").write_text("a\t2\t3\t2\t3\n")
    with FastaFile(path) as fasta:
        assert fasta.fetch("a", 0, fasta.length("a")) == b"ACGT"


def test_names_must_fit_the_records(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="1 records need as many names, got 2"):
        write_fasta([Record("a", "", b"A")], tmp_path / "a.fa", names=["0", "1"])


def test_what_is_no_fasta_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "ragged.fa"
    path.write_text(">a\nACGT\nACGTACGT\nAC\n")
    with pytest.raises(FormatError, match=r"ragged\.fa cannot be indexed"):
        open_fasta(path)
