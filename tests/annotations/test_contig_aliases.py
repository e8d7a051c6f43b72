"""Alias tables: the forms that UCSC and NCBI write, by hand; and what no table may say."""

import gzip
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.assemblies import assemblies
from annotations.contig_aliases import (
    AliasTable,
    ContigNames,
    read_aliases,
    recognised,
    reconcile,
    shipped,
    shipped_aliases,
)
from annotations.errors import FormatError, LimitError, OptionError, UnknownNameError

YEAST = (("chrI", "I", "NC_001133.9", "BK006935.2"), ("chrM", "Mito", "NC_001224.1"))

NEW = b"# ucsc\tassembly\tgenbank\trefseq\nchrI\tI\tBK006935.2\tNC_001133.9\nchrM\tMito\t\tNC_1.1\n"
LATEST = b"# sequenceName\talias names\tUCSC database: toy\nchrI\tI\tBK006935.2\nchrM\tMito\n"
OLDER = b"I\tchrI\tassembly,ensembl\nBK006935.2\tchrI\tgenbank\nMito\tchrM\tensembl\n"
NAMED = b"#alias\tchrom\tsource\nI\tchrI\tSGD names\n"
REPORT = (
    b"# Assembly name:  R64\r\n"
    b"# Sequence-Name\tSequence-Role\tAssigned-Molecule\tAssigned-Molecule-Location/Type\t"
    b"GenBank-Accn\tRelationship\tRefSeq-Accn\tAssembly-Unit\tSequence-Length\tUCSC-style-name\r\n"
    b"I\tassembled-molecule\tI\tChromosome\tBK006935.2\t=\tNC_001133.9\tPrimary Assembly\t230218\t"
    b"chrI\r\n"
    b"MT\tassembled-molecule\tMT\tMitochondrion\tna\t<>\tNC_001224.1\tnon-nuclear\t85779\tchrM\r\n"
    b"HP\tunplaced-scaffold\tna\tna\tAAAA01.1\t<>\tNW_1.1\tPrimary Assembly\t9\tna\r\n"
    b"HQ\tunplaced-scaffold\tna\tna\tAAAA02.1\t<>\tNW_2.1\tPrimary Assembly\t9\tchrUn\r\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEW, (("chrI", "I", "BK006935.2", "NC_001133.9"), ("chrM", "Mito", "NC_1.1"))),
        (LATEST, (("chrI", "I", "BK006935.2"), ("chrM", "Mito"))),
        (OLDER, (("chrI", "I", "BK006935.2"), ("chrM", "Mito"))),
        (NAMED, (("chrI", "I"),)),
        (b"chrI\tI\n\nchrM\tMito\n", (("chrI", "I"), ("chrM", "Mito"))),
        (
            REPORT,
            (
                ("I", "chrI", "BK006935.2", "NC_001133.9"),
                ("MT", "chrM", "NC_001224.1"),
                ("HQ", "chrUn"),  # the two accessions are two sequences
            ),
        ),
    ],
)
def test_each_form_is_read(text, expected):
    for written in (text, gzip.compress(text)):
        assert read_aliases(BytesIO(written), filename="dir/toy.txt") == AliasTable(
            "toy.txt", expected
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"chrI\tI\nchrII\tI\n", "'I' stands for two sequences, 'chrI' and 'chrII'"),
        (b"chrI\nchrII\n", "no line with two names"),
        (b"", "no line with two names"),
        (b"chrI\t230218\nchrII\t813184\n", "chrom.sizes"),
        (b"#alias\tchrom\tsource\nI\n", "one column"),
        (b"\x00\x01", "binary"),
    ],
)
def test_what_states_nothing_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        read_aliases(BytesIO(text), filename="toy.txt")


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("annotations.contig_aliases.MAX_BYTES", 1000)
    with pytest.raises(LimitError):
        read_aliases(BytesIO(gzip.compress(b"chrI\tI\n" * 1000)), filename="toy.txt")


def test_a_contig_is_found_by_its_own_name_then_by_the_table():
    names = ContigNames(["chrI", "chrII"], AliasTable("toy.txt", YEAST))
    assert [names.find(name) for name in ("chrI", "I", "NC_001133.9", "chrII")] == [0, 0, 0, 1]
    assert names.get("II") is None
    assert names.aliases == (("I", "NC_001133.9", "BK006935.2"), ())
    assert names.table == AliasTable("toy.txt", (YEAST[0],))
    with pytest.raises(UnknownNameError, match=r"'II'.*did you mean.*'chrII'.*toy\.txt"):
        names.find("II")


def test_nothing_is_guessed_without_a_table():
    names = ContigNames(["chr1", "chr2"])
    with pytest.raises(UnknownNameError, match="no alias table"):
        names.find("1")
    assert names.table is None


def test_a_table_may_not_join_two_contigs():
    with pytest.raises(FormatError, match="'chrI' and 'I' are one sequence"):
        ContigNames(["chrI", "I"], AliasTable("toy.txt", YEAST))


def test_one_contig_is_spoken_of_as_one():
    assert "the only contig is V, and" in ContigNames(["V"]).unknown("I")
    assert "the 2 contigs are V, X, and" in ContigNames(["V", "X"]).unknown("I")


def test_contigs_are_reconciled_or_named():
    table = AliasTable("toy.txt", YEAST)
    theirs = {"chrI": 230218, "chrM": 85779, "chrII": 5}
    ours = {"NC_001133.9": 230218, "Mito": None, "chrII": 5}
    expected = {"NC_001133.9": "chrI", "Mito": "chrM", "chrII": "chrII"}
    assert reconcile(ours, theirs, table, what="sacCer3") == expected
    for wrong, message in [
        ({"I": 230219}, r"I \(there chrI\) has 230219 bases, 230218 there"),
        ({"II": 5}, "II is not there"),
        ({"I": 230218, "chrI": 230218}, "I and chrI are both chrI there"),
    ]:
        with pytest.raises(OptionError, match=message):
            reconcile(wrong, theirs, table, what="sacCer3")
    with pytest.raises(OptionError, match=r"1 of 1 contig differs from.*sacCer3 \(no alias table"):
        reconcile({"I": 230218}, theirs, None, what="sacCer3")
    with pytest.raises(OptionError, match="and 12 more"):
        reconcile({f"x{i}": 1 for i in range(20)}, theirs, None, what="sacCer3")


def test_the_shipped_tables_agree_with_the_lengths_that_we_ship():
    assert {*shipped()} == {"ce11", "dm6", "hg38", "mm39", "sacCer3"}
    for assembly in sorted({*shipped()} & {*assemblies()}):
        known = shipped()[assembly]
        assert {names[0] for names in known.table.sequences} == {*assemblies()[assembly]}
        for at in range(2):  # UCSC's names, and Ensembl's
            theirs = {group[at]: known.lengths[group[0]] for group in known.table.sequences}
            found = reconcile(assemblies()[assembly], theirs, known.table, what=assembly)
            assert set(found.values()) == set(theirs)
        names = [name for group in known.table.sequences for name in group]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("assembly", "name", "alias"),
    [
        # NCBI's reports of GCA_000146045.2, GCA_000001405.15, GCA_000001215.4, GCA_000001635.9
        ("sacCer3", "chrVIII", "BK006934.2"),  # the one that breaks the series
        ("sacCer3", "chrIV", "NC_001136.10"),
        ("sacCer3", "chrM", "Mito"),
        ("hg38", "chr7", "NC_000007.14"),
        ("hg38", "chr1", "CM000663.2"),
        ("mm39", "chr2", "NC_000068.8"),
        ("dm6", "chr2L", "NT_033779.5"),
        ("ce11", "chrIII", "BX284603.4"),
    ],
)
def test_names_of_known_chromosomes(assembly, name, alias):
    assert alias in next(g for g in shipped_aliases(assembly).sequences if g[0] == name)


def test_an_assembly_without_a_table_is_unknown():
    with pytest.raises(UnknownNameError, match="sacCer3"):
        shipped_aliases("hg17")


def test_an_assembly_is_recognised_by_names_and_lengths_only():
    yeast = dict(assemblies()["sacCer3"])
    assert recognised(yeast) == shipped_aliases("sacCer3")
    assert recognised({"NC_001133.9": 230218}) == shipped_aliases("sacCer3")
    assert recognised(yeast | {"plasmid": 6318}) == shipped_aliases("sacCer3")
    assert recognised(yeast | {"chrI": 230219}) is None
    assert recognised({"chrI": 230218, "other": 10**6}) is None
    assert recognised({"a": 5}) is None


NAMES = st.text("abc1.", min_size=1, max_size=4)


@given(st.lists(st.lists(NAMES, min_size=2, max_size=4, unique=True), min_size=1, max_size=5))
def test_a_table_that_is_read_means_one_sequence_by_each_name(groups):
    text = "".join("\t".join(["#x", *group][1:]) + "\n" for group in groups).encode()
    flat = [name for group in groups for name in group if name not in {"-", "."}]
    try:
        table = read_aliases(BytesIO(text), filename="t")
    except FormatError:
        return
    seen = [name for names in table.sequences for name in names]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(flat)
