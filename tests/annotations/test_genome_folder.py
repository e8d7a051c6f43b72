"""Registered genomes: what was given comes back, whole or not at all."""

import gzip
import json

import pyarrow.parquet as pq
import pytest

from annotations.errors import (
    FormatError,
    OptionError,
    StateError,
    StorageError,
    UnknownNameError,
)
from annotations.genome_folder import add_genome, find_genomes, open_genome, read_genome
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
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(FormatError, match="register the genome again"):
        open_genome(source / "root", "toy")


def test_genes_keep_what_was_skipped(source, genome):
    assert pq.read_table(genome.folder / "genes.parquet").schema.metadata is not None
