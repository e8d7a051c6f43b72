"""FASTA with a user's names, and its index, against pyfaidx; assemblies against pybedtools."""

from pathlib import Path

import pybedtools.genome_registry
import pyfaidx
import pytest

from annotations.assemblies import assemblies
from annotations.errors import CoordinateError, StorageError
from annotations.records import Record
from annotations.sequence_files import (
    chrom_sizes,
    fasta_index,
    places,
    read_bases,
    read_codes,
    write_named_fasta,
)
from annotations.sequences import encode_bases, write_fasta

NAMES = ["chr2", "ä", "chr10"]
SEQUENCES = [b"ACGTN" * 50, b"ACGT" * 20, b"G"]
LENGTHS = [250, 80, 1]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    stored, named = tmp_path / "stored.fa", tmp_path / "named.fa"
    records = [Record(name, "", s) for name, s in zip(NAMES, SEQUENCES, strict=True)]
    write_fasta(records, stored, names=["0", "1", "2"])
    write_named_fasta(stored, named, NAMES)
    return named


def test_the_index_is_that_of_another_program(fasta: Path) -> None:
    pyfaidx.Faidx(str(fasta), rebuild=True).close()
    theirs = Path(f"{fasta}.fai").read_text(encoding="utf-8")
    assert fasta_index(NAMES, LENGTHS) == theirs


def test_bases_are_read_where_they_lie(fasta: Path) -> None:
    for place, sequence in zip(places(NAMES, LENGTHS), SEQUENCES, strict=True):
        for start, end in ((0, len(sequence)), (0, 0), (79, 81), (80, 160), (17, 230)):
            if end <= len(sequence):
                assert read_bases(fasta, place, start, end) == sequence[start:end]
        with pytest.raises(CoordinateError):
            read_bases(fasta, place, 0, len(sequence) + 1)
    codes = read_codes(fasta, NAMES, LENGTHS)
    assert [c.tolist() for c in codes] == [encode_bases(s).tolist() for s in SEQUENCES]


def test_a_cut_file_is_told(fasta: Path, tmp_path: Path) -> None:
    fasta.write_bytes(fasta.read_bytes()[:100])
    with pytest.raises(StorageError, match="cut"):
        read_bases(fasta, places(NAMES, LENGTHS)[0], 0, 250)
    with pytest.raises(StorageError, match="holds 1 records"):
        write_named_fasta(fasta, tmp_path / "again.fa", NAMES)
    assert not (tmp_path / "again.fa").exists()


def test_sizes_are_lines() -> None:
    assert chrom_sizes(["a", "b"], [1, 2]) == "a\t1\nb\t2\n"


@pytest.mark.parametrize("name", ["dm6", "hg19", "hg38", "mm9", "mm10"])
def test_assemblies_are_those_of_another_table(name: str) -> None:
    theirs = getattr(pybedtools.genome_registry, name)
    assert {contig: (0, length) for contig, length in assemblies()[name].items()} == {
        contig: theirs[contig] for contig in assemblies()[name]
    }


def test_known_totals() -> None:
    # sum of the primary chromosomes without chrM, as the assemblies' own reports give it
    for name, total in (("hg38", 3_088_269_832), ("mm10", 2_725_521_370), ("sacCer3", 12_071_326)):
        assert sum(n for contig, n in assemblies()[name].items() if contig != "chrM") == total
