"""Parts of a genome: loci, BED and genes by hand; unions and pieces against every base."""

import gzip
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.contig_aliases import AliasTable, ContigNames
from annotations.errors import (
    CoordinateError,
    FormatError,
    LimitError,
    OptionError,
    UnknownNameError,
)
from annotations.genome_regions import (
    MAX_FLANK,
    Region,
    find_genes,
    merged,
    near_spans,
    on_run,
    parse_loci,
    pieces,
    read_regions,
)
from annotations.peaks import RADIUS
from annotations.transcripts import GENES_SCHEMA
from annotations.types import Span
from annotations.windows import plan_shards, plan_spans, read_spans

NAMES = ContigNames(
    ["chrI", "chrII", "1", "100", "HLA:01"], AliasTable("t", (("chrI", "I", "NC_1.1"),))
)
LENGTHS = [50_000, 3_000, 1_000, 700, 50]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chrI:1,001-2,000", [(0, 1000, 2000)]),
        ("I:5", [(0, 4, 5)]),
        ("NC_1.1:1..3", [(0, 0, 3)]),
        ("chrII", [(1, 0, 3000)]),
        ("HLA:01", [(4, 0, 50)]),
        ("HLA:01:2-5", [(4, 1, 5)]),
        ("chrI:1,000-2,000,chrII:5-9", [(0, 999, 2000), (1, 4, 9)]),
        ("chrI:1-2, chrII:5-9;1:3\n100:4-5\r\n", [(0, 0, 2), (1, 4, 9), (2, 2, 3), (3, 3, 5)]),
        ("1:5-10,100:7-9", [(2, 4, 10), (3, 6, 9)]),  # 100 is a name: a colon follows
        ("chrI:1-2,100", [(0, 0, 2100)]),  # three digits are part of the number
        ("chrI : 5 - 9", [(0, 4, 9)]),
        ("chrI:1-2,chrI", [(0, 0, 2), (0, 0, 50_000)]),
    ],
)
def test_loci_are_read(text, expected):
    assert [tuple(region)[:3] for region in parse_loci(text, NAMES, LENGTHS)] == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", OptionError, "no locus"),
        (" , ;\n", OptionError, "no locus"),
        ("II:1-5", UnknownNameError, "did you mean .*'chrII'"),
        ("chrIX", UnknownNameError, "no contig 'chrIX'"),
        ("chrI:x-y", FormatError, "is no locus"),
        ("chrI:10,00-2000", UnknownNameError, "00-2000"),
        ("chrI:1234,567", FormatError, "is no number"),
        ("chrI:0-5", CoordinateError, "empty or reversed"),
        ("chrI:10-9", CoordinateError, "empty or reversed"),
        ("chrI:1-50001", CoordinateError, "past the end of chrI, which has 50,000 bases"),
        ("\n".join(["chrI:1"] * 1001), OptionError, "at most 1,000"),
    ],
)
def test_what_is_no_locus_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse_loci(text, NAMES, LENGTHS)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 700), st.integers(0, 600), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([",", ";", "\n", " , "]),
)
def test_loci_come_back_from_text(places, separator):
    texts, expected = [], []
    for contig, first, size, commas in places:
        last = min(first + size, LENGTHS[contig])
        first = min(first, last)
        form = "{:,}-{:,}" if commas else "{}-{}"
        texts.append(f"{NAMES.contigs[contig]}:{form.format(first, last)}")
        expected.append((contig, first - 1, last))
    found = parse_loci(separator.join(texts), NAMES, LENGTHS)
    assert [tuple(region)[:3] for region in found] == expected


BED = (
    b"#chrom\tstart\tend\ntrack name=peaks\nbrowser position chrI:1-5\n\n"
    b"chrI\t0\t10\r\nNC_1.1\t5\t20\tsecond peak\t7\t+\n100 3 9\n"
    b"chrII\t10\t20\t.\t100\t.\t5.5\t-1\t-1\t4\n"
)


def test_bed_files_are_read():
    expected = [
        Region(0, 0, 10, ""),
        Region(0, 5, 20, "second peak"),
        Region(3, 3, 9, ""),
        Region(1, 10, 20, "."),
    ]
    for text in (BED, gzip.compress(BED)):
        assert read_regions(BytesIO(text), NAMES, LENGTHS) == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (b"", OptionError, "no region"),
        (b"#chrI\t1\t2\n", OptionError, "no region"),
        (b"chrI\t5\t5\n", CoordinateError, "line 1 of the BED file of regions: .*empty"),
        (b"chrI\t1\t2\nchrI\t9\t5\n", CoordinateError, "line 2"),
        (b"chrI\t1\t50001\n", CoordinateError, "past the end of chrI"),
        (b"chrIV\t1\t5\n", UnknownNameError, "line 1.*no contig 'chrIV'"),
        (b"chrI\t1\n", FormatError, "2 of the three columns"),
        (b"chrI\t1.5\t3\n", FormatError, "whole numbers"),
        (b"chrI\t-1\t3\n", FormatError, "whole numbers"),
        (b"\x00", FormatError, "binary"),
    ],
)
def test_what_is_no_region_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        read_regions(BytesIO(text), NAMES, LENGTHS)


def test_too_many_regions_are_refused(monkeypatch):
    monkeypatch.setattr("annotations.genome_regions.MAX_REGIONS", 3)
    with pytest.raises(LimitError, match="more than 3 regions"):
        read_regions(BytesIO(b"chrI\t1\t5\n" * 4), NAMES, LENGTHS)
    assert len(read_regions(BytesIO(b"chrI\t1\t5\n" * 3), NAMES, LENGTHS)) == 3


GENES = pa.table(
    [
        [0, 0, 0, 0, 1, 1, 0, 0],
        [100, 100, 150, 206, 10, 500, 900, 990],
        [300, 150, 200, 300, 90, 600, 950, 999],
        [1, 1, 1, 1, -1, 1, 1, 1],
        ["gene", "exon", "intron", "exon", "gene", "gene", "gene", "gene"],
        ["PHO5", "PHO5", "PHO5", "PHO5", "TWIN", "TWIN", "pho84", "Pho84"],
        ["", "T1", "T1", "T1", "", "", "", ""],
    ],
    schema=GENES_SCHEMA,
)


def test_genes_are_found_by_name():
    found = find_genes(GENES, "PHO5, twin\nPHO5;PHO84")
    assert found.regions == [
        Region(0, 100, 300, "PHO5"),
        Region(1, 10, 90, "twin"),
        Region(1, 500, 600, "twin"),
        Region(0, 900, 950, "PHO84"),
        Region(0, 990, 999, "PHO84"),
    ]
    assert found.several == {"twin": 2, "PHO84": 2}
    assert find_genes(GENES, "T1").regions == [Region(0, 100, 300, "T1")]
    with pytest.raises(UnknownNameError, match="did you mean 'PHO5'"):
        find_genes(GENES, "PHO55")
    with pytest.raises(OptionError, match="no gene"):
        find_genes(GENES, " , ")


def test_an_exact_name_goes_before_one_in_other_letters():
    assert find_genes(GENES, "pho84").regions == [Region(0, 900, 950, "pho84")]
    assert find_genes(GENES, "Pho84").regions == [Region(0, 990, 999, "Pho84")]


def test_columns_of_genes_are_gone_through_once_for_all_names(monkeypatch):
    lowered = []
    lower = pc.utf8_lower
    monkeypatch.setattr(
        pc, "utf8_lower", lambda column: lowered.append(len(column)) or lower(column)
    )
    found = find_genes(GENES, "pho5, twin, PhO84, t1")
    assert [region.name for region in found.regions] == [
        "pho5",
        *["twin"] * 2,
        *["PhO84"] * 2,
        "t1",
    ]
    assert len(lowered) == 4  # names, transcripts, and the rows found by either


def test_genes_near_spans_keep_all_their_rows():
    kept = near_spans(GENES, [Span(0, 290, 400), Span(1, 0, 10), Span(1, 599, 700)])
    assert set(kept["name"].to_pylist()) == {"PHO5", "TWIN"}
    assert kept.num_rows == 6
    assert near_spans(GENES, [Span(0, 300, 900)]).num_rows == 0


@pytest.mark.parametrize("flank", [-1, MAX_FLANK + 1])
def test_a_flank_has_a_limit(flank):
    with pytest.raises(OptionError, match="flank must be 0 to"):
        merged([Region(0, 1, 2, "")], LENGTHS, flank=flank)


SMALL = [60, 35, 90]
REGIONS = st.lists(
    st.integers(0, 2).flatmap(
        lambda contig: st.tuples(
            st.just(contig), st.integers(0, SMALL[contig] - 1), st.integers(1, 30)
        ).map(lambda r: Region(r[0], r[1], min(r[1] + r[2], SMALL[r[0]]), ""))
    ),
    min_size=1,
    max_size=8,
)


@given(REGIONS, st.integers(0, 12))
def test_merged_spans_hold_every_base_once(regions, flank):
    found = merged(regions, SMALL, flank=flank)
    bases = [(c, at) for c, start, end in found.spans for at in range(start, end)]
    wanted = {
        (c, at)
        for c, start, end, _ in regions
        for at in range(max(0, start - flank), min(SMALL[c], end + flank))
    }
    assert len(bases) == len(set(bases)) == found.bases
    assert set(bases) == wanted
    assert found.spans == sorted(found.spans)
    for one, other in zip(found.spans, found.spans[1:], strict=False):
        assert one.contig < other.contig or one.end < other.start
    assert found.regions == len(regions)
    assert found.contigs == sorted({region.contig for region in regions})


@given(REGIONS, st.integers(1, 40), st.integers(0, 20))
def test_pieces_hold_what_the_windows_read(regions, stride, context):
    spans = merged(regions, SMALL).spans
    held = {(c, at) for c, s, e in pieces(spans, SMALL, stride=stride, context=context)
            for at in range(s, e)}  # fmt: skip
    for contig, start, end in spans:
        length = SMALL[contig]
        low, high = max(0, start - RADIUS), min(length, end + RADIUS)
        cells = np.array(
            [
                (at, min(at + stride, length))
                for at in range(0, length, stride)
                if at < high and at + stride > low
            ]
        )
        for strand in ("+", "-"):
            for first, last in read_spans(cells, length, context, strand).tolist():
                assert {(contig, at) for at in range(first, last)} <= held


def test_contigs_of_a_run_are_numbered_anew():
    spans = [Span(2, 1, 5), Span(7, 0, 3)]
    assert on_run(spans, [2, 7]) == [Span(0, 1, 5), Span(1, 0, 3)]


# ------------------------------------------------------------------------ plan_spans


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=6),
    st.integers(1, 20),
    st.integers(1, 100),
)
def test_whole_contigs_are_cut_as_ever(lengths, stride, target):
    whole = [Span(at, 0, length) for at, length in enumerate(lengths)]
    assert plan_spans(whole, stride=stride, target=target) == plan_shards(
        lengths, stride=stride, target=target
    )


@given(REGIONS, st.integers(1, 20), st.integers(1, 100))
def test_spans_are_cut_on_the_grid_of_their_contig(regions, stride, target):
    spans = merged(regions, SMALL).spans
    plan = plan_spans(spans, stride=stride, target=target)
    bases = [(c, at) for shard in plan for c, start, end in shard for at in range(start, end)]
    assert bases == [(c, at) for c, start, end in spans for at in range(start, end)]
    room = max(1, target // stride)
    borders = {(span.contig, edge) for span in spans for edge in (span.start, span.end)}
    for shard in plan:
        assert shard
        cells = sum(-(-end // stride) - start // stride for _, start, end in shard)
        assert cells <= max(room, 1)
        for contig, start, end in shard:
            for edge in (start, end):
                assert edge % stride == 0 or (contig, edge) in borders


@pytest.mark.parametrize("span", [Span(0, 5, 5), Span(0, -1, 5)])
def test_an_empty_span_is_no_work(span):
    with pytest.raises(CoordinateError):
        plan_spans([span], stride=4, target=8)
