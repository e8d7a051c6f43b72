"""Every format gives the intervals a biologist would draw by hand."""

import gzip
import io
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError, FormatError, LimitError
from annotations.genes import GENES_SCHEMA, KINDS, read_genes, skipped_entries
from annotations.sequences import read_sequences
from annotations.transcripts import GeneModels, Transcript, gene_table, merged
from annotations.types import Contig

DATA = Path(__file__).parents[1] / "data"
CONTIGS = [Contig("other", 50, ""), Contig("chrA", 200, "")]

# tA1 of the toy files, drawn by hand: 0-based, half-open. The third gap is 10 bases: an intron.
ALPHA = {
    "exon": [(10, 40), (60, 90), (100, 120)],
    "intron": [(40, 60), (90, 100)],
    "CDS": [(30, 40), (60, 75)],
    "UTR5": [(10, 30)],
    "UTR3": [(75, 90), (100, 120)],
    "splice_donor": [(40, 42), (90, 92)],
    "splice_acceptor": [(58, 60), (98, 100)],
    "TSS": [(10, 11)],
}
# The same blocks on the other strand.
ALPHA_MINUS = ALPHA | {
    "UTR5": ALPHA["UTR3"],
    "UTR3": ALPHA["UTR5"],
    "splice_donor": ALPHA["splice_acceptor"],
    "splice_acceptor": ALPHA["splice_donor"],
    "TSS": [(119, 120)],
}


def read(text: str | bytes, filename: str = "", contigs: list[Contig] = CONTIGS) -> pa.Table:
    content = text.encode() if isinstance(text, str) else text
    return read_genes(io.BytesIO(content), contigs, filename=filename)


def intervals(genes: pa.Table, transcript: str) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for row in genes.to_pylist():
        if row["transcript"] == transcript:
            found.setdefault(row["kind"], []).append((row["start"], row["end"]))
    return found


def rows(genes: pa.Table, *kinds: str) -> list[tuple[object, ...]]:
    return [
        (row["start"], row["end"], row["strand"], row["kind"], row["name"])
        for row in genes.to_pylist()
        if row["kind"] in kinds
    ]


# ------------------------------------------------------------------- one gene, four formats


@pytest.mark.parametrize("name", ["toy.gff3", "toy.gtf", "toy.bed12"])
def test_every_format_gives_the_intervals_drawn_by_hand(name: str) -> None:
    genes = read_genes(DATA / name, CONTIGS)
    assert genes.schema.equals(GENES_SCHEMA)
    assert intervals(genes, "tA1") == ALPHA
    assert set(genes["contig"].to_pylist()) == {1}
    assert set(genes["kind"].to_pylist()) <= set(KINDS)
    order = list(zip(*(genes[key].to_pylist() for key in ("contig", "start", "end")), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["toy.gff3", "toy.gtf", "toy.bed12"])
def test_the_format_is_told_from_the_content_and_gzip_is_read(name: str) -> None:
    content = (DATA / name).read_bytes()
    assert read(gzip.compress(content), "genes.txt.gz").equals(read_genes(DATA / name, CONTIGS))


def test_minus_strand_of_bed12_mirrors_the_plus_strand() -> None:
    genes = read_genes(DATA / "toy.bed12", CONTIGS)
    assert intervals(genes, "tA2") == ALPHA_MINUS
    assert rows(genes, "gene") == [(10, 120, -1, "gene", "tA2"), (10, 120, 1, "gene", "tA1")]


def test_gff3_gene_with_coding_pieces_only() -> None:
    """A 1-base gap is slippage, no intron; without a 5' UTR the start is not known: no TSS."""
    genes = read_genes(DATA / "toy.gff3", CONTIGS)
    assert intervals(genes, "gB") == {
        "CDS": [(130, 149), (150, 190)],
        "exon": [(130, 149), (150, 190)],
    }
    assert rows(genes, "gene") == [
        (10, 120, 1, "gene", "alpha;1"),
        (130, 190, -1, "gene", "beta"),
    ]
    assert skipped_entries(genes) == {"lines on contigs that the sequences do not have": 1}
    assert not intervals(genes, "pA")


def test_genbank_joins_give_the_same_kinds() -> None:
    genes = read_sequences(DATA / "two_exons.gb").genes
    assert intervals(genes, "T1") == {
        "exon": [(10, 40), (70, 100)],
        "intron": [(40, 70)],
        "CDS": [(13, 40), (70, 91)],
        "UTR5": [(10, 13)],
        "UTR3": [(91, 100)],
        "splice_donor": [(40, 42)],
        "splice_acceptor": [(68, 70)],
        "TSS": [(10, 11)],
    }
    assert rows(genes, "gene") == [(10, 100, 1, "gene", "toyA")]


# ------------------------------------------------------------------------------- details


def gff(*lines: str) -> str:
    return "##gff-version 3\n" + "".join(
        "\t".join(["chrA", "t", *line.split(" ")]) + "\n" for line in lines
    )


def test_gff3_several_coding_sequences_of_one_gene_stay_apart() -> None:
    genes = read(
        gff(
            "gene 1 60 . + . ID=g",
            "CDS 1 20 . + 0 ID=c1;Parent=g",
            "CDS 41 60 . + 0 ID=c1;Parent=g",
            "CDS 1 30 . + 0 ID=c2;Parent=g",
        )
    )
    assert intervals(genes, "c1")["intron"] == [(20, 40)]
    assert intervals(genes, "c2") == {"CDS": [(0, 30)], "exon": [(0, 30)]}


def test_gff3_exons_of_two_transcripts_do_not_mix() -> None:
    """Another library, gffutils, gives t2 an intron here that it does not have."""
    genes = read(
        gff(
            "gene 1 120 . + . ID=g",
            "mRNA 1 120 . + . ID=t1;Parent=g",
            "mRNA 1 60 . + . ID=t2;Parent=g",
            "exon 1 20 . + . Parent=t1,t2",
            "exon 41 60 . + . Parent=t1,t2",
            "exon 101 120 . + . Parent=t1",
        )
    )
    assert intervals(genes, "t1")["intron"] == [(20, 40), (60, 100)]
    assert intervals(genes, "t2")["intron"] == [(20, 40)]


def test_gff3_transcript_without_pieces_is_one_exon() -> None:
    genes = read(gff("tRNA 5 80 . - . ID=trn1;Name=tP"))
    assert intervals(genes, "trn1") == {"exon": [(4, 80)], "TSS": [(79, 80)]}
    assert rows(genes, "exon")[0][-1] == "tP"


def test_gff3_open_ends_have_no_tss_and_broken_pseudogenes_no_introns() -> None:
    genes = read(
        gff(
            "ncRNA 5 80 . + . ID=n1;start_range=.,5",
            "ncRNA 5 80 . - . ID=n2;start_range=.,5",
            "pseudogene 1 90 . + . ID=p",
            "CDS 1 20 . + 0 ID=c;Parent=p;pseudo=true",
            "CDS 60 90 . + 0 ID=c;Parent=p;pseudo=true",
        )
    )
    assert "TSS" not in intervals(genes, "n1")
    assert intervals(genes, "n2")["TSS"] == [(79, 80)]
    assert rows(genes, "intron") == []


def test_gff3_trans_splicing_and_origins_are_left_out_and_counted() -> None:
    genes = read(
        gff(
            "region 1 200 . + . ID=r;Is_circular=true",
            "gene 190 210 . + . ID=g1",
            "gene 1 80 . + . ID=g2",
            "CDS 1 20 . + 0 ID=c2;Parent=g2",
            "CDS 60 80 . - 0 ID=c2;Parent=g2",
        )
    )
    assert rows(genes, "gene", "CDS", "exon") == [(0, 80, 1, "gene", "g2")]
    assert skipped_entries(genes) == {
        "features across the origin of a circular sequence": 1,
        "trans-spliced transcripts": 1,
    }


def test_gtf_without_gene_lines_has_genes_that_span_their_transcripts() -> None:
    line = 'chrA\tt\texon\t{}\t{}\t.\t-\t.\tgene_id "g"; transcript_id "{}";\n'
    genes = read(line.format(11, 30, "t1") + line.format(61, 90, "t2"), "x.gtf")
    assert rows(genes, "gene") == [(10, 90, -1, "gene", "g")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("chrA\t3\t9", (2, 0, "")),
        ("chrA 3 9 peak1", (1, 0, "peak1")),
        ("chrA\t3\t9\tpeak 1\t0\t-", (1, -1, "peak 1")),
        ("chrA\t3\t9\t.\t0\t.\t1.5\t2\t3\t4", (1, 0, "")),  # narrowPeak
    ],
)
def test_bed_rows_are_regions(line: str, expected: tuple[int, int, str]) -> None:
    genes = read(f"track name=x\n#c\n\n{line}\n", "peaks.bed")
    assert rows(genes, "region") == [(3, 9, expected[1], "region", expected[2])]
    assert genes.num_rows == 1


# ------------------------------------------------------------------------------- refused

BED12 = "chrA\t10\t120\tx\t0\t+\t{}\t{}\t0\t{}\t{}\t{}\n"

REFUSED = {
    "reversed": ("chrA\t5\t3\n", "a.bed", CoordinateError, "line 1: "),
    "empty interval": ("chrA\t5\t5\n", "a.bed", CoordinateError, "line 1: "),
    "off the end": ("chrA\t0\t9\nchrA\t5\t201\n", "a.bed", CoordinateError, "line 2: end 201 is"),
    "gff3 reversed": (gff("gene 9 5 . + . ID=g"), "a.gff3", CoordinateError, "line 2: "),
    "gff3 from zero": (gff("gene 0 5 . + . ID=g"), "a.gff3", CoordinateError, "line 2: "),
    "gff3 off the end": (gff("gene 9 300 . + . ID=g"), "a.gff3", CoordinateError, "has 200 bases"),
    "two columns": ("chrA\t5\n", "a.bed", FormatError, "line 1: BED has at least 3 columns"),
    "number": ("chrA\tfive\t9\n", "a.bed", FormatError, "line 1: start must be a whole number"),
    "underscore": ("chrA\t1_0\t90\n", "a.bed", FormatError, "whole number, got '1_0'"),
    "negative": ("chrA\t-1\t9\n", "a.bed", FormatError, "whole number, got '-1'"),
    "strand": ("chrA\t1\t9\tx\t0\t*\n", "a.bed", FormatError, "line 1: strand must be"),
    "uneven": ("chrA\t1\t9\nchrA\t1\t9\tx\n", "a.bed", FormatError, "line 2: 4 columns where"),
    "gff columns": ("chrA\tt\tgene\t1\t9\n", "a.gff3", FormatError, "line 1: GFF3 has 9 columns"),
    "gff attributes": (gff("gene 1 9 . + . nothing"), "a.gff3", FormatError, "key=value"),
    "gtf no id": ("chrA\tt\texon\t1\t9\t.\t+\t.\tx 1\n", "a.gtf", FormatError, "no transcript_id"),
    "block count": (BED12.format(10, 10, 3, "1,2", "0,5"), "", FormatError, "blockCount is 3"),
    "block end": (BED12.format(10, 10, 1, "5", "0"), "", FormatError, "blocks must"),
    "block overlap": (BED12.format(10, 10, 2, "50,80", "0,30"), "", FormatError, "blocks must"),
    "thick": (BED12.format(5, 50, 1, "110", "0"), "", FormatError, "thickStart and thickEnd"),
    "chr prefix": (
        "A\t5\t9\n",
        "a.bed",
        FormatError,
        "it names 'A', the sequences are named 'other', 'chrA'; they differ by the prefix 'chr'",
    ),
    "other names": ("NC_1\t5\t9\n", "a.bed", FormatError, "use the same names in both files"),
    "empty": ("", "a.bed", FormatError, "holds no intervals"),
    "comments only": ("# nothing\n", "a", FormatError, "holds no intervals"),
    "no genes": (gff("region 1 200 . + . ID=r"), "a.gff3", FormatError, "holds no genes"),
    "prose": ("some text about genes\n", "a.txt", FormatError, "line 1 of the annotation file"),
    "genbank": ("LOCUS       X 1 bp\n", "a.gb", FormatError, "send it as the sequence file"),
    "binary": ("chrA\t1\t\x00\n", "a.bed", FormatError, "NUL in line 1"),
    "long line": (
        "chrA" * 300_000,
        "a.bed",
        FormatError,
        "line 1 of the annotation file is longer",
    ),
}


@pytest.mark.parametrize(("text", "filename", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_annotation_is_refused_with_its_line(
    text: str, filename: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        read(text, filename)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_endless_blank_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotations.compression.MAX_LINES", 100)
    assert read("\n" * 99 + "chrA\t5\t9\n", "a.bed").num_rows == 1
    with pytest.raises(LimitError, match="annotation file has more than 100 lines"):
        read("\n" * 100 + "chrA\t5\t9\n", "a.bed")


def test_gzip_of_an_annotation_is_bounded_and_whole() -> None:
    content = gzip.compress(b"chrA\t5\t9\n" * 10_000)
    with pytest.raises(LimitError, match="annotation file holds more than 1,000 bytes"):
        read_genes(io.BytesIO(content), CONTIGS, filename="a.bed.gz", max_bytes=1000)
    with pytest.raises(FormatError, match="annotation file is cut"):
        read(content[:-9], "a.bed.gz")


# ------------------------------------------------------------------------ GenBank details

_GENBANK = (DATA / "two_exons.gb").read_text()


def genbank(features: str) -> pa.Table:
    start, end = _GENBANK.index("     gene  "), _GENBANK.index("ORIGIN")
    lines = [
        f"     {key:<16}{location}\n" + "".join(f"{'':21}/{text}\n" for text in qualifiers)
        for key, location, *qualifiers in (line.split() for line in features.splitlines())
    ]
    content = _GENBANK[:start] + "".join(lines) + _GENBANK[end:]
    return read_sequences(io.BytesIO(content.encode())).genes


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ('CDS join(1..20,complement(40..60)) gene="a"', "trans-spliced features"),
        ('CDS join(1..20,40..60) gene="a" trans_splicing', "trans-spliced features"),
        ("CDS join(X99999.1:1..20,40..60)", "features that refer to other records"),
        ("CDS join(100..120,1..20)", "features across the origin of a circular sequence"),
        ("CDS order(1..20,40..60)", "features whose parts are not joined (order)"),
    ],
)
def test_genbank_locations_that_are_no_transcript_are_counted(feature: str, reason: str) -> None:
    genes = genbank(feature)
    assert genes.num_rows == 0
    assert skipped_entries(genes) == {reason: 1}


def test_genbank_fuzzy_ends_are_used_but_give_no_tss() -> None:
    genes = genbank('tRNA <11..>40 gene="a"\ntRNA complement(51..60) gene="b"')
    assert rows(genes, "exon", "TSS") == [
        (10, 40, 1, "exon", "a"),
        (50, 60, -1, "exon", "b"),
        (59, 60, -1, "TSS", "b"),
    ]


def test_genbank_complement_join_has_its_donor_on_the_right() -> None:
    genes = genbank('CDS complement(join(11..40,71..100)) gene="a"')
    assert rows(genes, "splice_donor", "splice_acceptor") == [
        (40, 42, -1, "splice_acceptor", "a"),
        (68, 70, -1, "splice_donor", "a"),
    ]


def test_genbank_intron_features_count_once() -> None:
    genes = genbank('CDS join(11..40,71..100) gene="a"\nintron 41..70\nintron 101..115 gene="a"')
    assert [row[:2] for row in rows(genes, "intron")] == [(40, 70), (100, 115)]
    assert [row[:2] for row in rows(genes, "splice_donor")] == [(40, 42), (100, 102)]


def test_genbank_coding_sequence_of_another_isoform_stands_alone() -> None:
    genes = genbank(
        'mRNA join(11..40,71..100) gene="a" transcript_id="t"\n'
        'CDS join(14..35,71..91) gene="a" protein_id="p"'
    )
    assert "CDS" not in intervals(genes, "t")
    assert intervals(genes, "p")["intron"] == [(35, 70)]


def test_genbank_feature_outside_its_record_is_refused() -> None:
    with pytest.raises(CoordinateError, match=r"'TOY0001\.1': a CDS feature at 100\.\.130"):
        genbank("CDS 100..130")


# ----------------------------------------------------------------------------- properties


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    edges = sorted(draw(st.sets(st.integers(0, 300), min_size=2, max_size=10)))
    edges = edges[: len(edges) // 2 * 2]
    exons = list(zip(edges[::2], edges[1::2], strict=True))
    first, last = exons[0][0], exons[-1][1]
    low = draw(st.integers(first, last - 1))
    high = draw(st.integers(low + 1, last))
    cds = [(max(a, low), min(b, high)) for a, b in exons if a < high and b > low]
    if draw(st.booleans()):
        cds = []
    return Transcript(0, draw(st.sampled_from([-1, 0, 1])), "g", "t", tuple(exons), tuple(cds))


@given(transcripts())
@settings(max_examples=50, deadline=None)
def test_intervals_tile_the_transcript(transcript: Transcript) -> None:
    """The twin marks every base of the transcript by what it is."""
    genes = gene_table(GeneModels(transcripts=[transcript]))
    base: dict[int, str] = {}
    for start, end in transcript.exons:
        base |= dict.fromkeys(range(start, end), "UTR")
    coding = [position for start, end in transcript.cds for position in range(start, end)]
    base |= dict.fromkeys(coding, "CDS")

    found: Counter[tuple[str, int]] = Counter()
    for row in genes.to_pylist():
        found.update((row["kind"], position) for position in range(row["start"], row["end"]))
    assert max(found.values()) == 1
    assert {p for kind, p in found if kind == "exon"} == set(base)
    assert {p for kind, p in found if kind == "CDS"} == set(coding)
    introns = {p for kind, p in found if kind == "intron"}
    gaps = set(range(min(base), max(base))) - set(base)
    assert introns == {
        p
        for start, end in merged((p, p + 1) for p in gaps)
        if end - start >= 10
        for p in range(start, end)
    }
    utr5, utr3 = ({p for kind, p in found if kind == name} for name in ("UTR5", "UTR3"))
    if transcript.strand and coding:
        before = {p for p in base if p < min(coding)}
        after = {p for p in base if p > max(coding)}
        assert (utr5, utr3) == ((before, after) if transcript.strand > 0 else (after, before))
    else:
        assert not utr5 | utr3
    first = min(base) if transcript.strand > 0 else max(base)
    known = transcript.strand != 0 and (not coding or first not in coding)
    assert {p for kind, p in found if kind == "TSS"} == ({first} if known else set())
