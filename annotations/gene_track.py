"""Genes as BED12: one item for each transcript, with its exons as blocks and its CDS thick.

    parts of genes --gene_models--> items --write_genes_bigbed--> .bb
                                          --write_gene_models_bed--> .bed

The parts of a computation (`annotations.genes.GENES_SCHEMA`) are put together again: blocks of one
transcript are joined over its introns, so that two loci of one name stay two items.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from annotations.bigbed import write_bigbed
from annotations.errors import FormatError
from annotations.tables import replacing, text_of, write_lines
from annotations.transcripts import MIN_INTRON, Interval, merged

STANDARD_FIELDS: Final = 12
"""Fields of BED before those of our own."""

COLOR: Final = "0,0,120"

AUTOSQL: Final = """table saetrackGenes
"Genes of the submission's annotation"
(
string chrom;        "Sequence"
uint   chromStart;   "Start, 0-based"
uint   chromEnd;     "End, exclusive"
string name;         "Gene"
uint   score;        "0"
char[1] strand;      "Strand; . where unknown"
uint   thickStart;   "Start of the coding part"
uint   thickEnd;     "End of the coding part"
uint   reserved;     "Color"
int    blockCount;   "Exons"
int[blockCount] blockSizes;  "Bases of each exon"
int[blockCount] chromStarts; "Start of each exon, from chromStart"
string transcript;   "Transcript, or ."
)
"""
"""Description of the fields."""


class _Key(NamedTuple):
    contig: int
    strand: int
    name: str
    transcript: str


class _Item(NamedTuple):
    contig: int
    start: int
    end: int
    name: str
    score: int
    strand: str
    thick_start: int
    thick_end: int
    reserved: str
    block_count: int
    block_sizes: str
    block_starts: str
    transcript: str


_SCHEMA: Final = pa.schema(
    [
        ("contig", pa.uint32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("name", pa.string()),
        ("score", pa.int64()),
        ("strand", pa.string()),
        ("thickStart", pa.int64()),
        ("thickEnd", pa.int64()),
        ("reserved", pa.string()),
        ("blockCount", pa.int64()),
        ("blockSizes", pa.string()),
        ("chromStarts", pa.string()),
        ("transcript", pa.string()),
    ]
)


def gene_models(genes: pa.Table) -> pa.Table:
    """The items of a gene track.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
        In any order.

    Returns
    -------
    items : Table
        The fields of `AUTOSQL` in their order, `contig` as an index, in no order. A gene without
        exons and a region without any structure are items of one block.
    """
    exons: dict[_Key, list[Interval]] = defaultdict(list)
    coding: dict[_Key, list[Interval]] = defaultdict(list)
    introns: set[tuple[_Key, Interval]] = set()
    whole: list[tuple[_Key, Interval]] = []
    columns = (genes.column(name).to_pylist() for name in genes.schema.names)
    for contig, start, end, strand, kind, name, transcript in zip(*columns, strict=True):
        key, interval = _Key(contig, strand, name, transcript), (start, end)
        if kind == "exon":
            exons[key].append(interval)
        elif kind == "CDS":
            coding[key].append(interval)
        elif kind == "intron":
            introns.add((key, interval))
        elif kind in {"gene", "region"}:
            whole.append((key, interval))
    drawn = {(key.contig, key.strand, key.name) for key in exons if key.name}
    items = [
        _item(key, chain, coding.get(key, []))
        for key, blocks in exons.items()
        for chain in _chains(key, merged(blocks), introns)
    ]
    items += [
        _item(key, [interval], [])
        for key, interval in whole
        if (key.contig, key.strand, key.name) not in drawn
    ]
    fields = list(zip(*items, strict=True)) or [()] * len(_SCHEMA)
    return pa.table(
        [pa.array(values, kind.type) for values, kind in zip(fields, _SCHEMA, strict=True)],
        schema=_SCHEMA,
    )


def write_genes_bigbed(
    genes: pa.Table, names: Sequence[str], lengths: Sequence[int], path: Path
) -> None:
    """Write genes as bigBed with an index by name, whole or not at all.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
        In any order.
    names, lengths : sequences
        Of all contigs of the submission, in order.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    CoordinateError
        If a part is outside its contig.
    """
    write_bigbed(
        path,
        gene_models(genes),
        names,
        lengths,
        autosql=AUTOSQL,
        standard_fields=STANDARD_FIELDS,
        index="name",
    )


def write_gene_models_bed(genes: pa.Table, names: Sequence[str], path: Path) -> None:
    """Write genes as BED12, sorted as ``LC_ALL=C sort -k1,1 -k2,2n`` does.

    Parameters
    ----------
    genes : Table of `annotations.genes.GENES_SCHEMA`
        In any order.
    names : sequence of str
        Of all contigs of the submission, in order.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    FormatError
        If a contig's name is empty or holds white space.
    """
    if any(name.split() != [name] for name in names):
        raise FormatError("a contig's name in BED must not be empty or hold white space")
    items = gene_models(genes).drop_columns(["transcript"])
    rank = sorted(range(len(names)), key=lambda contig: names[contig].encode())
    place = {contig: at for at, contig in enumerate(rank)}
    order = pa.array([place[contig] for contig in items["contig"].to_pylist()], pa.int64())
    keys = [("order", "ascending"), ("start", "ascending"), ("end", "ascending")]
    items = items.append_column("order", order)
    items = items.sort_by([*keys, ("name", "ascending")]).drop_columns(["order"])
    contig = pa.array(list(names), pa.string()).take(items["contig"].combine_chunks())
    texts = {"chrom": pa.chunked_array([contig])}
    texts |= {name: text_of(items[name]) for name in items.column_names[1:]}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write_lines(pa.table(texts), stream)


def _chains(
    key: _Key, blocks: list[Interval], introns: set[tuple[_Key, Interval]]
) -> Iterator[list[Interval]]:
    """Blocks that introns, or gaps too short for one, join."""
    chain: list[Interval] = []
    for block in blocks:
        gap = (chain[-1][1], block[0]) if chain else None
        if gap is not None and gap[1] - gap[0] >= MIN_INTRON and (key, gap) not in introns:
            yield chain
            chain = []
        chain.append(block)
    if chain:
        yield chain


def _item(key: _Key, blocks: list[Interval], coding: Sequence[Interval]) -> _Item:
    start, end = blocks[0][0], blocks[-1][1]
    inside = [piece for piece in coding if start <= piece[0] and piece[1] <= end]
    # nothing is thick where nothing is coding
    thick_start = min((piece[0] for piece in inside), default=start)
    thick_end = max((piece[1] for piece in inside), default=start)
    return _Item(
        key.contig,
        start,
        end,
        # a field of BED holds no white space
        "_".join((key.name or key.transcript or ".").split()),
        0,
        {1: "+", -1: "-"}.get(key.strand, "."),
        thick_start,
        thick_end,
        COLOR,
        len(blocks),
        ",".join(str(high - low) for low, high in blocks) + ",",
        ",".join(str(low - start) for low, _ in blocks) + ",",
        key.transcript or ".",
    )
