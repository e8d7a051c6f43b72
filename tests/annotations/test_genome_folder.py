"""Registered genomes: what was given comes back, whole or not at all."""

import gzip
import json
from io import BytesIO

import pyarrow.parquet as pq
import pytest

from annotations.errors import (
    CoordinateError,
    FormatError,
    OptionError,
    StateError,
    StorageError,
    UnknownNameError,
)
from annotations.genome_folder import (
    GenomeBases,
    GivenFile,
    add_genome,
    find_genomes,
    open_genome,
    read_genome,
)
from annotations.sequences import refget_digest

FASTA = b">chrI first\nacgtACGTAC\n>chrII\nGGGGGGGGGGGGGGGGGGGG\n>chrM\nNNNNACGT\n"
BED = b"chrI\t2\t8\tONE\t0\t+\nchrM\t4\t8\tMITO\t0\t-\n"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in.fa.gz").write_bytes(gzip.compress(FASTA))
    (tmp_path / "in.bed").write_bytes(BED)
    return tmp_path


@pytest.fixture
def genome(source):
    return add_genome(source / "root", "toy", source / "in.fa.gz", genes=source / "in.bed")


def test_a_genome_comes_back(source, genome):
    found = open_genome(source / "root", "toy")
    assert found == genome
    assert [contig.name for contig in found.contigs] == ["chrI", "chrII", "chrM"]
    assert found.contigs[0].digest == refget_digest(b"ACGTACGTAC")
    assert (found.bases, found.has_genes) == (38, True)
    assert found.source["sequences"]["file"] == "in.fa.gz"
    assert find_genomes(source / "root") == [genome]
    reference = read_genome(found)
    assert reference.records[0].sequence == b"ACGTACGTAC"
    assert set(reference.genes["name"].to_pylist()) == {"ONE", "MITO"}


def test_contigs_are_left_out_with_their_genes(genome):
    reference = read_genome(genome, exclude=("chrI",))
    assert [record.name for record in reference.records] == ["chrII", "chrM"]
    assert set(reference.genes["name"].to_pylist()) == {"MITO"}
    assert set(reference.genes["contig"].to_pylist()) == {1}
    with pytest.raises(UnknownNameError, match="'chrX'"):
        read_genome(genome, exclude=("chrX",))
    with pytest.raises(OptionError, match="every contig"):
        read_genome(genome, exclude=("chrI", "chrII", "chrM"))


def test_a_genome_without_genes(source):
    genome = add_genome(source / "root", "bare", source / "in.fa.gz")
    assert (genome.has_genes, read_genome(genome).genes) == (False, None)


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "a b", "x" * 65, "ä"])
def test_a_name_that_is_no_safe_folder_is_refused(source, name):
    with pytest.raises(OptionError, match="1 to 64 letters"):
        add_genome(source / "root", name, source / "in.fa.gz")
    assert not (source / "root").exists()
    with pytest.raises(UnknownNameError):
        open_genome(source / "root", name)


def test_a_genome_is_never_replaced(source, genome):
    with pytest.raises(StateError, match="never replaced"):
        add_genome(source / "root", "toy", source / "in.fa.gz")


def test_what_cannot_be_read_leaves_nothing(source):
    (source / "bad.bed").write_bytes(b"chrX\t1\t2\n")
    with pytest.raises(FormatError):
        add_genome(source / "root", "toy", source / "in.fa.gz", genes=source / "bad.bed")
    with pytest.raises(UnknownNameError, match="no file"):
        add_genome(source / "root", "toy", source / "missing.fa")
    assert find_genomes(source / "root") == []


def test_a_near_name_is_told(source, genome):
    with pytest.raises(UnknownNameError, match="did you mean toy"):
        open_genome(source / "root", "tou")


def test_altered_sequences_are_refused(source, genome):
    path = source / "root" / "toy" / "sequences.fa"
    path.write_bytes(path.read_bytes().replace(b"GGGG", b"GGGC", 1))
    with pytest.raises(StorageError, match="altered"):
        read_genome(genome)


def test_a_card_of_another_form_is_refused(source, genome):
    path = source / "root" / "toy" / "genome.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    with pytest.raises(FormatError, match="register the genome again"):
        open_genome(source / "root", "toy")


def test_genes_keep_what_was_skipped(source, genome):
    assert pq.read_table(genome.folder / "genes.parquet").schema.metadata is not None


def test_what_the_folder_says_of_all_contigs(genome):
    assert (genome.folder / "chrom.sizes").read_text() == "chrI\t10\nchrII\t20\nchrM\t8\n"
    assert genome.genes == 2
    assert genome.source["aliases"] is None
    assert genome.contig_names().source is None


def test_the_digest_is_that_of_the_refget_tools(tmp_path):
    """base.fa of the specification's own test files, digested by refget and gtars."""
    (tmp_path / "base.fa").write_bytes(b">chrX\nTTGGGGAA\n>chr1\nGGAA\n>chr2\nGCGC\n")
    genome = add_genome(tmp_path / "root", "base", tmp_path / "base.fa")
    assert genome.seqcol == "XZlrcEGi6mlopZ2uD8ObHkQB1d0oDwKk"


def test_a_genome_of_format_1_is_still_read(genome):
    card = genome.folder / "genome.json"
    values = json.loads(card.read_text()) | {"format": 1}
    del (
        values["seqcol"],
        values["genes"],
        values["source"]["aliases"],
        values["files"]["chrom.sizes"],
    )
    card.write_text(json.dumps(values))
    (genome.folder / "chrom.sizes").unlink()
    found = open_genome(genome.folder.parent, "toy")
    assert (found.seqcol, found.contigs, found.genes) == (genome.seqcol, genome.contigs, None)
    assert found.contig_names().find("chrM") == 2
    assert read_genome(found).genes.num_rows == 2


def test_aliases_name_contigs_and_genes(source):
    (source / "alias.txt").write_text("# ucsc\tensembl\nchrI\tI\nchrM\tMito\nchrX\tX\n")
    (source / "ensembl.bed").write_text("I\t2\t8\tONE\t0\t+\nMito\t4\t8\tMITO\t0\t-\n")
    genome = add_genome(
        source / "root",
        "toy",
        source / "in.fa.gz",
        genes=source / "ensembl.bed",
        aliases=source / "alias.txt",
    )
    assert open_genome(source / "root", "toy") == genome
    names = genome.contig_names()
    assert [names.find(name) for name in ("I", "chrI", "Mito")] == [0, 0, 2]
    assert (names.source, names.aliases) == ("alias.txt", (("I",), (), ("Mito",)))
    assert genome.gene_parts()["contig"].to_pylist() == [0, 2]
    assert genome.gene_parts([2])["contig"].to_pylist() == [0]
    with pytest.raises(UnknownNameError, match="no contig 'X'"):
        names.find("X")


def test_files_that_were_sent_are_read(source):
    given = GivenFile(BytesIO(FASTA), "mine.fa")
    genome = add_genome(source / "root", "toy", given, genes=GivenFile(BytesIO(BED), "mine.bed"))
    assert genome.source["sequences"]["file"] == "mine.fa"
    assert genome.genes == 2


@pytest.mark.parametrize(
    ("aliases", "error", "message"),
    [
        ("hg17", UnknownNameError, "no alias table is shipped for 'hg17'"),
        ("sacCer3", OptionError, "chrI has 10 bases, 230218 there"),
        ("hg38", OptionError, "chrM has 8 bases, 16569 there"),
        (GivenFile(BytesIO(b"a\tb\n"), "t.tsv"), FormatError, "t.tsv says nothing about any of"),
    ],
)
def test_a_table_of_other_contigs_is_refused(source, aliases, error, message):
    with pytest.raises(error, match=message):
        add_genome(source / "root", "toy", source / "in.fa.gz", aliases=aliases)
    assert list((source / "root").iterdir()) == []


def test_bases_are_read_without_an_index(genome):
    bases = GenomeBases(genome)
    assert bases.names == ["chrI", "chrII", "chrM"]
    assert (bases.length("chrII"), bases.fetch("chrI", 2, 7)) == (20, b"GTACG")
    assert bases.fetch("chrM", 3, 8) == b"NACGT"
    with pytest.raises(CoordinateError):
        bases.fetch("chrM", 3, 10)
    with pytest.raises(UnknownNameError):
        bases.fetch("chrX", 0, 1)
    genome.fasta.write_bytes(genome.fasta.read_bytes()[:-3])
    with pytest.raises(StorageError, match="cut"):
        GenomeBases(genome)
