"""Pairs of records: cut around variants, or named by a user."""

from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.allele_maps import Change
from annotations.alleles import (
    ALLELES_FILE,
    RecordBases,
    alleles_json,
    cut_variants,
    default_flank,
    pair_records,
    read_alleles,
)
from annotations.contig_aliases import AliasTable, ContigNames
from annotations.errors import (
    CoordinateError,
    FormatError,
    LimitError,
    OptionError,
    StorageError,
    UnknownNameError,
)
from annotations.records import Record
from annotations.sequences import open_fasta, write_fasta
from annotations.vcf import Variant, VcfFile, read_vcf

#          0         1         2
#          012345678901234567890
CHROM = b"ACGTTGCAACCGTATGCCATA"
SOURCE = RecordBases([Record("chrI", "", CHROM), Record("chr|2", "", b"ACGT")])


def cut(*variants, flank=3, source=SOURCE, **changes):
    vcf = VcfFile([Variant(*variant, None) for variant in variants], {})
    return cut_variants(vcf, source, flank=flank, one_sided=True, **changes)


def test_a_substitution_is_cut_with_its_flanks():
    found = cut(("chrI", 9, "C", "T"))
    assert [record.sequence for record in found.records] == [b"CAACCGT", b"CAATCGT"]
    assert [record.name for record in found.records] == ["chrI_10_C_T_ref", "chrI_10_C_T_alt"]
    (pair,) = found.alleles.pairs
    assert (pair.name, pair.contig, pair.offset) == ("chrI:10 C>T", "chrI", 6)
    assert (pair.reference, pair.alternative) == (0, 1)
    assert pair.change == Change(3, 4, 3, 4)
    assert (found.alleles.kind, found.alleles.flank) == ("variants", 3)


def test_insertion_deletion_and_several_bases():
    found = cut(("chrI", 9, "C", "CTTT"), ("chrI", 9, "CCG", "C"), ("chrI", 9, "CCG", "ATA"))
    assert [record.sequence for record in found.records] == [
        b"AACCGT", b"AACTTTCGT", b"AACCGTAT", b"AACTAT", b"CAACCGTAT", b"CAAATATAT",
    ]  # fmt: skip
    changes = [pair.change for pair in found.alleles.pairs]
    assert changes == [Change(3, 3, 3, 6), Change(3, 5, 3, 3), Change(3, 6, 3, 6)]
    assert [pair.offset for pair in found.alleles.pairs] == [7, 7, 6]


def test_both_records_begin_at_the_same_base_and_end_at_the_contigs_ends():
    found = cut(("chrI", 0, "A", "AG"), ("chrI", 20, "A", "T"), flank=10)
    assert [record.sequence for record in found.records] == [
        CHROM[:11], b"AG" + CHROM[1:11], CHROM[10:], CHROM[10:20] + b"T",
    ]  # fmt: skip
    assert [pair.offset for pair in found.alleles.pairs] == [0, 10]


@pytest.mark.parametrize(
    ("stride", "context", "ahead", "flank"),
    [(1024, 32, 0, 256), (512, 8, 0, 224), (512, 250, 0, 256), (128, 8, 0, 256),
     (1024, 400, 0, 400), (320, 128, 0, 128), (8192, 90_000, 0, 50_000), (512, 104, 104, 224),
     (1024, 200, 200, 400)],
)  # fmt: skip
def test_records_fit_one_window_where_the_dictionary_allows_it(stride, context, ahead, flank):
    card = SimpleNamespace(stride=stride, context=context, ahead=ahead)
    assert default_flank(card) == flank


def test_names_are_what_every_browser_takes_and_differ():
    found = cut(
        ("chr|2", 1, "C", "G"), ("chrI", 9, "C", "C" + "A" * 30), ("chrI", 9, "C", "T" * 31)
    )
    assert [record.name for record in found.records[::2]] == [
        "chr_2_2_C_G_ref",
        "chrI_10_C_31bp_ref",
        "chrI_10_C_31bp_2_ref",
    ]


def test_the_reference_may_be_a_file(tmp_path):
    write_fasta([Record("chrI", "", CHROM)], tmp_path / "x.fa")
    with open_fasta(tmp_path / "x.fa") as source:
        found = cut(("chrI", 9, "C", "T"), source=source)
    assert found == cut(("chrI", 9, "C", "T"))


def test_other_names_are_those_of_a_table():
    names = ContigNames(SOURCE.names, AliasTable("a table", (("chrI", "I"),)))
    found = cut(("I", 9, "C", "T"), names=names)
    assert found.alleles.pairs[0].name == "chrI:10 C>T"
    with pytest.raises(UnknownNameError, match="chrI"):
        cut(("I", 9, "C", "T"))


@pytest.mark.parametrize(
    ("variant", "error", "words"),
    [
        (("chrI", 9, "G", "T"), FormatError, "chrI:10 is G, and the sequence has C there"),
        (("chrI", 9, "CCT", "T"), FormatError, "is CCT, and the sequence has CCG"),
        (("chrII", 9, "C", "T"), UnknownNameError, "chrI"),
        (("chrI", 19, "TAT", "T"), CoordinateError, "reaches to base 22, and the contig has 21"),
        (("chrI", 99, "T", "A"), CoordinateError, "chrI:100"),
        (("chr|2", 0, "ACGT", "T"), None, ""),
    ],
)
def test_variants_that_do_not_fit_are_refused(variant, error, words):
    if error is None:
        assert cut(variant).records[1].sequence == b"T"
        return
    with pytest.raises(error) as caught:
        cut(variant)
    assert words in str(caught.value)


def test_the_records_have_a_limit():
    assert len(cut(("chrI", 9, "C", "T"), max_bases=14).records) == 2
    with pytest.raises(LimitError, match="a smaller flank"):
        cut(("chrI", 9, "C", "T"), max_bases=13)


def test_a_flank_has_bounds():
    for flank in (0, 50_001):
        with pytest.raises(OptionError, match="flank"):
            cut(("chrI", 9, "C", "T"), flank=flank)


RECORDS = [Record("a", "", b"ACGT"), Record("b,c", "", b"ACTT"), Record("d", "", b"ACGT")]


def test_two_named_records_are_a_pair():
    found = pair_records(RECORDS, "d, b,c", one_sided=False)
    (pair,) = found.pairs
    assert (pair.name, pair.reference, pair.alternative) == ("b,c against d", 2, 1)
    assert (pair.change, pair.map.blocks) == (Change(2, 3, 2, 3), ((0, 0, 4),))


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ("a", OptionError, "with a comma between"),
        ("a,e", UnknownNameError, "'e', which is not a record"),
        ("a,a", OptionError, "two different records"),
        ("a,d", OptionError, "the same sequence"),
    ],
)
def test_names_that_are_no_pair_are_refused(names, error, words):
    with pytest.raises(error) as caught:
        pair_records(RECORDS, names, one_sided=True)
    assert words in str(caught.value)


def test_records_that_differ_too_much_are_refused():
    records = [Record("a", "", b"A" + b"CG" * 9000), Record("b", "", b"T" + b"TA" * 8000)]
    with pytest.raises(LimitError, match="give the variants as VCF"):
        pair_records(records, "a,b", one_sided=True)


def test_the_file_holds_the_pairs(tmp_path):
    for alleles in (
        cut(("chrI", 9, "C", "CTTT"), ("chrI", 9, "CCG", "C")).alleles,
        pair_records(RECORDS, "a,b,c", one_sided=True),
    ):
        path = tmp_path / ALLELES_FILE
        path.write_text(alleles_json(alleles))
        assert read_alleles(path) == alleles
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StorageError, match="cut or altered"):
        read_alleles(path)
    path.write_text('{"format": 2}')
    with pytest.raises(StorageError, match="another version"):
        read_alleles(path)
    with pytest.raises(StorageError, match="missing"):
        read_alleles(tmp_path / "nothing.json")


dna = st.text("ACGT", min_size=1, max_size=6)


@settings(deadline=None)
@given(st.text("ACGT", min_size=12, max_size=40), st.data(), dna, st.integers(1, 50))
def test_the_alternative_record_is_the_edited_contig(sequence, data, alternative, flank):
    at = data.draw(st.integers(0, len(sequence) - 1))
    end = data.draw(st.integers(at + 1, min(len(sequence), at + 6)))
    if alternative == sequence[at:end]:
        return
    source = RecordBases([Record("x", "", sequence.encode())])
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
    row = f"x\t{at + 1}\t.\t{sequence[at:end]}\t{alternative}\n"
    vcf = read_vcf(BytesIO((head + row).encode()))
    found = cut_variants(vcf, source, flank=flank, one_sided=True)
    reference, changed = (record.sequence.decode() for record in found.records)
    (pair,) = found.alleles.pairs
    edited = sequence[:at] + alternative + sequence[end:]
    assert sequence[pair.offset :].startswith(reference)
    assert edited[pair.offset :].startswith(changed)
    # what is left out on the right is the same in both
    assert sequence[pair.offset + len(reference) :] == edited[pair.offset + len(changed) :]
    assert (pair.map.reference_length, pair.map.alternative_length) == (
        len(reference),
        len(changed),
    )
    for start, other, size in pair.map.blocks:
        if start + size <= pair.change.start or start >= pair.change.end:
            assert reference[start : start + size] == changed[other : other + size]
