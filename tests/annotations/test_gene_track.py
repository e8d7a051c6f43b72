"""Items of a gene track: hand-made transcripts, and a BED12 file read and written again."""

from io import BytesIO
from pathlib import Path

import pyBigWig

from annotations.gene_track import gene_models, write_gene_models_bed, write_genes_bigbed
from annotations.genes import read_genes
from annotations.transcripts import GeneModels, Row, Transcript, gene_table
from annotations.types import Contig

CONTIGS = [Contig("chr2", 1000, ""), Contig("chr10", 1000, "")]
BED12 = Path(__file__).parents[1] / "data" / "toy.bed12"


def items(models: GeneModels) -> list[tuple[object, ...]]:
    names = (
        "start",
        "end",
        "name",
        "strand",
        "thickStart",
        "thickEnd",
        "blockSizes",
        "chromStarts",
    )
    return sorted(
        tuple(row[name] for name in names) for row in gene_models(gene_table(models)).to_pylist()
    )


def test_a_transcript_is_one_item_with_its_exons() -> None:
    models = GeneModels([Transcript(0, -1, "A", "A.1", ((10, 20), (50, 70)), ((15, 20), (50, 60)))])
    assert items(models) == [(10, 70, "A", "-", 15, 60, "10,20,", "0,40,")]


def test_two_loci_of_one_name_stay_two_items() -> None:
    models = GeneModels(
        [Transcript(0, 1, "tRNA", "", ((10, 20),)), Transcript(0, 1, "tRNA", "", ((500, 530),))]
    )
    assert [item[:2] for item in items(models)] == [(10, 20), (500, 530)]


def test_a_gap_too_short_for_an_intron_joins() -> None:
    models = GeneModels([Transcript(0, 1, "A", "A.1", ((10, 20), (23, 40)))])
    assert items(models) == [(10, 40, "A", "+", 10, 10, "10,17,", "0,13,")]


def test_a_gene_without_exons_and_a_region_are_boxes() -> None:
    models = GeneModels(
        [Transcript(0, 1, "A", "A.1", ((10, 20),))],
        [
            Row(0, 5, 25, 1, "gene", "A", ""),
            Row(0, 30, 40, 1, "gene", "B", ""),
            Row(1, 3, 9, 0, "region", "a b", ""),
        ],
    )
    assert [item[:4] for item in items(models)] == [
        (3, 9, "a_b", "."),
        (10, 20, "A", "+"),
        (30, 40, "B", "+"),
    ]


def test_bed12_read_and_written_again_is_the_same(tmp_path: Path) -> None:
    lines = [line for line in BED12.read_text().splitlines() if line.count("\t") == 11]
    names = sorted({line.split("\t")[0] for line in lines})
    contigs = [Contig(name, 10**6, "") for name in names]
    genes = read_genes(BytesIO(BED12.read_bytes()), contigs, filename="toy.bed12")
    write_gene_models_bed(genes, names, tmp_path / "genes.bed")
    # score and color are ours; chrom, place, name, strand, CDS and blocks are the file's

    def kept(line: str) -> list[str]:
        fields = line.rstrip().split("\t")
        coding = fields[6:8] if fields[6] != fields[7] else []
        blocks = [field.rstrip(",") for field in fields[9:12]]
        return [*fields[:4], fields[5], *coding, *blocks]

    written = (tmp_path / "genes.bed").read_text().splitlines()
    assert sorted(map(kept, written)) == sorted(map(kept, lines))
    places = [(line.split("\t")[0].encode(), int(line.split("\t")[1])) for line in written]
    assert places == sorted(places)
    write_genes_bigbed(genes, names, [10**6] * len(names), tmp_path / "genes.bb")
    with pyBigWig.open(str(tmp_path / "genes.bb")) as file:
        read = [entry for name in names for entry in file.entries(name, 0, 10**6) or []]
    assert len(read) == len(written)
    assert all(len(rest.split("\t")) == 10 for _, _, rest in read)
