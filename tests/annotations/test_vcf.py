"""VCF files: what is read, what is passed over and counted, what is refused."""

import gzip
from io import BytesIO

import pytest

from annotations.errors import FormatError, LimitError
from annotations.vcf import MAX_ALLELE, Variant, read_vcf, said

HEAD = "##fileformat=VCFv4.2\n##contig=<ID=chrI>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def vcf(*rows, head=HEAD):
    return BytesIO((head + "".join("\t".join(row) + "\n" for row in rows)).encode())


def row(place, reference, alternative, name=".", contig="chrI"):
    return (contig, str(place), name, reference, alternative, ".", "PASS", ".")


def test_each_alternative_is_a_variant_and_the_rest_is_counted():
    found = read_vcf(
        vcf(
            row(5, "a", "G,T", "rs1;rs2"),
            row(7, "AC", "A,*,<DEL>"),
            row(9, "C", "."),
            row(9, "C", "C[chr2:5["),
            row(9, "C", ".T"),
            row(11, "G", "g"),
            row(5, "A", "G"),
        )
    )
    assert found.variants == [
        Variant("chrI", 4, "A", "G", "rs1"),
        Variant("chrI", 4, "A", "T", "rs1"),
        Variant("chrI", 6, "AC", "A", None),
    ]
    assert found.skipped == {
        "breakend": 2,
        "given twice": 1,
        "spanning deletion (*)": 1,
        "symbolic allele (<...>)": 1,
        "the same as the reference": 1,
        "without an alternative": 1,
    }
    assert found.variants[0].text == "chrI:5 A>G"


def test_letters_that_stand_for_several_bases_cost_their_own_rows_alone():
    found = read_vcf(
        vcf(row(3, "R", "A,G"), row(4, "A", "G,y"), row(5, "AcK", "A"), row(6, "N", "C"))
    )
    assert found.variants == [
        Variant("chrI", 3, "A", "G", None),
        Variant("chrI", 5, "N", "C", None),
    ]
    assert found.skipped == {"letters that stand for several bases": 4}


@pytest.mark.parametrize("version", ["VCFv4.1", "VCFv4.3"])
def test_gzip_and_windows_line_ends_are_read(version):
    text = HEAD.replace("VCFv4.2", version) + "chrI\t3\t.\tA\tC\t.\t.\t.\n"
    packed = BytesIO(gzip.compress(text.replace("\n", "\r\n").encode()))
    assert read_vcf(packed).variants == [Variant("chrI", 2, "A", "C", None)]


def test_columns_behind_alt_are_not_needed():
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
    assert len(read_vcf(vcf(("chrI", "3", ".", "A", "C"), head=head)).variants) == 1


BAD = {
    "fasta": (BytesIO(b">chrI\nACGT\n"), "no VCF 4"),
    "old": (BytesIO(b"##fileformat=VCFv3.3\n"), "no VCF 4"),
    "empty": (BytesIO(b""), "no variant"),
    "no columns": (BytesIO(b"##fileformat=VCFv4.2\nchrI\t1\t.\tA\tC\n"), "line 2"),
    "spaces": (BytesIO(HEAD.replace("\t", " ").encode()), "separated by tabs"),
    "few fields": (vcf(("chrI", "3", ".", "A")), "has 4 columns"),
    "position 0": (vcf(row(0, "A", "C")), "'0'"),
    "position": (vcf(row("1e3", "A", "C")), "'1e3'"),
    "REF": (vcf(row(3, "A-", "C")), "REF of chrI:3 (line 4)"),
    "no REF": (vcf(row(3, "", "C")), "REF of chrI:3"),
    "ALT": (vcf(row(3, "A", "C,Z")), "ALT of chrI:3 (line 4)"),
    "no contig": (vcf(row(3, "A", "C", contig="")), "names no contig"),
    "no usable ALT": (vcf(row(3, "A", "<DEL>"), row(4, "A", "*")), "1 symbolic allele"),
    "cut gzip": (BytesIO(gzip.compress(HEAD.encode() * 50)[:-9]), "cut"),
    "binary": (BytesIO(b"##fileformat=VCFv4.2\n\x00\n"), "binary"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused(kind):
    source, words = BAD[kind]
    with pytest.raises(FormatError) as error:
        read_vcf(source)
    assert words in str(error.value)


def test_limits():
    rows = [row(place, "A", "C") for place in range(1, 5)]
    assert len(read_vcf(vcf(*rows), limit=4).variants) == 4
    with pytest.raises(LimitError, match="more than 3 variants"):
        read_vcf(vcf(*rows), limit=3)
    with pytest.raises(LimitError, match="chrI:3"):
        read_vcf(vcf(row(3, "A", "C" * (MAX_ALLELE + 1))))


def test_a_message_shows_no_long_allele():
    assert said("ACGTACGTACGT") == "ACGTACGTACGT"
    assert said("ACGTACGTACGTA") == "(13 bases)"
