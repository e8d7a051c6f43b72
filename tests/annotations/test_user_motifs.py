"""Readers against hand-made files, Biopython and round trips; malformed files by their line."""

import contextlib
import gzip
import io

import numpy as np
import pytest
from Bio import motifs as biopython
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import user_motifs
from annotations.errors import FormatError, LimitError, UnknownNameError
from annotations.jaspar import Motif, load_motifs, resolve_tf, search_tfs
from annotations.run_motifs import read_motif_file
from annotations.user_motifs import catalogue_of, read_motifs, with_user_motifs, write_motifs

COUNTS = [[10, 0, 5, 0, 2], [0, 10, 5, 0, 2], [0, 0, 0, 10, 4], [0, 0, 0, 0, 2]]
"""Of a toy of 10 sites: A, C, A or C, G, anything."""

JASPAR = """>TOY.1 Toy one
A [ 10 0 5 0 2 ]
C [ 0 10 5 0 2 ]
G [ 0 0 0 10 4 ]
T [ 0 0 0 0 2 ]
"""
RAW = ">TOY.1\tToy one\n10 0 5 0 2\n0 10 5 0 2\n0 0 0 10 4\n0 0 0 0 2\n"
TRANSFAC = """VV  a comment
XX
//
AC  TOY.1
XX
ID  V$TOY
XX
NA  Toy one
XX
P0      A      C      G      T
01     10      0      0      0      A
02      0     10      0      0      C
03      5      5      0      0      M
04      0      0     10      0      G
05      2      2      4      2      N
XX
//
"""
MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies (from uniform background):
A 0.25000 C 0.25000 G 0.25000 T 0.25000

MOTIF TOY.1 Toy one
letter-probability matrix: alength= 4 w= 5 nsites= 10 E= 1e-3
 1.000000 0.000000 0.000000 0.000000
 0.000000 1.000000 0.000000 0.000000
 0.500000 0.500000 0.000000 0.000000
 0.000000 0.000000 1.000000 0.000000
 0.200000 0.200000 0.400000 0.200000
URL http://example.org
"""
# As `meme -text` writes it, with what comes before and between cut short.
FULL_MEME = """********************************************************************************
MEME - Motif discovery tool
********************************************************************************
MEME version 5.5.5 (Release date: Thu Sep 14 08:48:04 2023 +1000)

ALPHABET "DNA" DNA-LIKE
ALPHABET= ACGT

MOTIF ACMGN MEME-1\twidth =   5  sites =  10  llr = 98  E-value = 1.2e-003
--------------------------------------------------------------------------------
\tMotif ACMGN MEME-1 Description
Simplified        A  a:5:2
--------------------------------------------------------------------------------
\tMotif ACMGN MEME-1 position-specific scoring matrix
--------------------------------------------------------------------------------
log-odds matrix: alength= 4 w= 5 n= 100 bayes= 6.6 E= 1.2e-003
   200   -997   -997   -997
  -997    200   -997   -997
   100    100   -997   -997
  -997   -997    200   -997
   -32    -32     68    -32
--------------------------------------------------------------------------------
\tMotif ACMGN MEME-1 position-specific probability matrix
--------------------------------------------------------------------------------
letter-probability matrix: alength= 4 w= 5 nsites= 10 E= 1.2e-003
 1.000000  0.000000  0.000000  0.000000
 0.000000  1.000000  0.000000  0.000000
 0.500000  0.500000  0.000000  0.000000
 0.000000  0.000000  1.000000  0.000000
 0.200000  0.200000  0.400000  0.200000
--------------------------------------------------------------------------------
\tMotif ACMGN MEME-1 regular expression
"""


def read(text: str | bytes) -> tuple[Motif, ...]:
    content = text.encode() if isinstance(text, str) else text
    return read_motifs(io.BytesIO(content), "my.txt")


@pytest.mark.parametrize(
    "text",
    [JASPAR, RAW, TRANSFAC, MEME, JASPAR.replace("\n", "\r\n"), gzip.compress(MEME.encode())],
    ids=["jaspar", "raw", "transfac", "meme", "crlf", "gzip"],
)
def test_every_format_gives_the_same_motif(text):
    (motif,) = read(text)
    assert (motif.matrix_id, motif.name, motif.tax_group) == ("TOY.1", "Toy one", "user")
    assert np.allclose(motif.counts, COUNTS)
    assert (motif.family, motif.tf_class, motif.uniprot) == ((), (), ())
    assert not motif.counts.flags.writeable


def test_full_meme_text_is_read_past_its_log_odds():
    (motif,) = read(FULL_MEME)
    assert (motif.matrix_id, motif.name) == ("ACMGN", "MEME-1")
    assert np.allclose(motif.counts, COUNTS)


def test_nsites_make_counts_and_twenty_are_assumed():
    assert read(MEME.replace(" nsites= 10", ""))[0].counts[0, 0] == 20
    assert read(MEME.replace("nsites= 10", "nsites= 7.5"))[0].counts[0, 0] == 7.5
    # Printed probabilities that sum to 0.999 are made whole.
    rounded = read(MEME.replace("0.200000 0.200000 0.400000 0.200000", "0.2 0.2 0.399 0.2"))[0]
    assert rounded.counts[:, 4].sum() == pytest.approx(10)


def test_rows_and_columns_are_taken_by_their_letters():
    lines = JASPAR.splitlines()
    shuffled = "\n".join([lines[0], lines[4], lines[2], lines[1], lines[3]])
    assert np.allclose(read(shuffled)[0].counts, COUNTS)
    table = TRANSFAC.replace("P0      A      C      G      T", "PO T C G A")
    assert np.allclose(read(table)[0].counts, np.array(COUNTS)[[3, 1, 2, 0]])


def test_biopython_reads_the_same_from_jaspar_transfac_and_meme():
    fungi = load_motifs("fungi").motifs
    ours = read(write_motifs(fungi))
    theirs = biopython.parse(io.StringIO(write_motifs(fungi)), "jaspar")
    assert len(ours) == len(theirs) == len(fungi)
    for mine, other, source in zip(ours, theirs, fungi, strict=True):
        assert (mine.matrix_id, mine.name) == (other.matrix_id, other.name)
        assert (mine.matrix_id, mine.name) == (source.matrix_id, source.name)
        assert np.array_equal(mine.counts, source.counts)
        assert np.allclose(mine.counts, [list(other.counts[base]) for base in "ACGT"])
    (transfac,) = biopython.parse(io.StringIO(TRANSFAC), "TRANSFAC")[-1:]
    assert np.allclose(read(TRANSFAC)[0].counts, [transfac.counts[base] for base in "ACGT"])
    (minimal,) = biopython.parse(io.StringIO(MEME), "minimal")
    assert np.allclose(read(MEME)[0].counts, [minimal.counts[base] for base in "ACGT"])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(0, 1e6), min_size=4, max_size=4).filter(lambda c: sum(c) > 0),
        min_size=4,
        max_size=10,
    )
)
def test_what_is_written_is_read_back_to_the_last_bit(columns):
    motif = Motif("ID:1/x", "a name", np.array(columns).T, (), (), "user", ())
    (back,) = read(write_motifs([motif]))
    assert np.array_equal(back.counts, motif.counts)
    assert back[:2] == motif[:2]
    assert write_motifs([back]) == write_motifs([motif])


HEADER = "MEME version 4\nMOTIF a\n"
ROWS = "letter-probability matrix: alength= 4 w= 4\n" + "0.25 0.25 0.25 0.25\n" * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("hello\n", "line 1 .*format is not recognised"),
        ("<?xml version='1.0'?>\n<MEME>", "line 1 .*XML"),
        ("MEME version 4\n", "holds no motif"),
        ("MEME version 4\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n", "line 2 .*alphabet must be ACGT"),
        ("MEME version 4\nMOTIF\n", "line 2 .*needs an id"),
        (HEADER, "line 2 .*no probability matrix"),
        (HEADER + "MOTIF b\n" + ROWS, "line 2 .*a has no probability matrix"),
        ("MEME version 4\n" + ROWS, "line 2 .*without a MOTIF"),
        (HEADER + ROWS.replace("alength= 4", "alength= 20"), "line 3 .*alength must be 4"),
        (HEADER + ROWS.replace("w= 4", "w= 3"), "line 3 .*from 4 to 60"),
        (HEADER + ROWS.replace("w= 4", "w= 1e9"), "line 3 .*from 4 to 60"),
        (HEADER + ROWS.replace("w= 4", "w= 5"), "5 rows of 4 probabilities"),
        (HEADER + ROWS.replace("w= 4", "w= 4 nsites= 0"), "line 3 .*nsites must be above 0"),
        (HEADER + ROWS + "MOTIF b\n" + ROWS.replace("0.25 0", "0.5 0"), "line 10 .*sum to 1"),
        (HEADER + ROWS.replace("0.25 0", "nan 0"), "line 4 .*from 0 to 1e9"),
        (JASPAR + JASPAR, "line 6 .*second motif with the id TOY.1"),
        (JASPAR + JASPAR.replace("TOY", "toy"), "line 6 .*second motif"),
        (JASPAR.replace("T [ 0 0 0 0 2 ]\n", ""), "line 1 .*four rows .*got 3"),
        (JASPAR.replace("T [ 0 0 0 0 2 ]", "T [ 0 0 0 2 ]"), "line 5 .*equally many"),
        (JASPAR.replace("T [", "A ["), "line 5 .*second row for A"),
        (JASPAR.replace("10", "-1"), "line 2 .*from 0 to 1e9"),
        (JASPAR.replace("10", "1O"), "line 2 .*a number was expected"),
        (JASPAR.replace("A [", "A [["), "line 2 .*a row must be numbers|a number was expected"),
        (">\n" + JASPAR, "line 1 .*needs an id"),
        (JASPAR.replace("TOY.1", "T\u00f6Y"), "line 1 .*visible ASCII"),
        (JASPAR.replace("TOY.1", "x" * 81), "line 1 .*visible ASCII"),
        (">a\n" + "1 1 1\n" * 4, "line 1 .*3 bases wide"),
        (">a\n" + f"{'1 ' * 61}\n" * 4, "line 1 .*61 bases wide"),
        (">a\n" + "1 0 1 1\n" * 4, "line 1 .*column 2 .*no counts"),
        (TRANSFAC.replace("02      0     10", "02      0"), "line 12 .*(4 counts|number)"),
        (TRANSFAC.replace("P0      A", "P0      X"), "line 10 .*A, C, G and T"),
        ("AC  a\n01 1 2 3 4\n//\n", "line 2 .*before the line P0"),
        ("P0 A C G T\n" + "01 1 2 3 4\n" * 4 + "//\n", "line 1 .*AC, ID or NA"),
        ("AC  a\nhello\n", "line 2 .*two-letter code"),
        ("AC  a\nXX\n", "holds no motif"),
    ],
)
def test_a_malformed_file_is_refused_by_line(text, message):
    with pytest.raises(FormatError, match=message) as error:
        read(text)
    assert "my.txt" in str(error.value)


def test_sizes_are_bounded(monkeypatch):
    monkeypatch.setattr(user_motifs, "MAX_MOTIFS", 2)
    three = "".join(JASPAR.replace("TOY", f"T{i}") for i in range(3))
    with pytest.raises(LimitError, match="more than 2 motifs"):
        read(three)
    monkeypatch.setattr(user_motifs, "MAX_BYTES", 100)
    with pytest.raises(LimitError, match="100 bytes"):
        read(gzip.compress(three.encode()))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=">ACGTMEP0 .[]123\n/=wX", max_size=120), st.sampled_from(["", "MEME v"]))
def test_any_text_is_motifs_or_one_clear_error(text, begin):
    for prefix in (begin, JASPAR, MEME, TRANSFAC):
        # Anything but a FormatError fails the test.
        with contextlib.suppress(FormatError):
            assert read(prefix + text)


def test_a_users_catalogue_says_so_and_resolves():
    catalogue = catalogue_of(read(JASPAR), "my.txt", "ab12")
    assert (catalogue.release, catalogue.taxon) == ("user", "user")
    assert (catalogue.user_file, catalogue.user_sha256) == ("my.txt", "ab12")
    assert catalogue.title == "the motifs of my.txt"
    for query in ("TOY.1", "toy.1", "toy one", "Toy-One"):
        assert [motif.matrix_id for motif in resolve_tf(catalogue, query).motifs] == ["TOY.1"]
    with pytest.raises(UnknownNameError, match=r"the motifs of my\.txt; it is known in fungi"):
        resolve_tf(catalogue, "REB1")
    assert [s.name for s in search_tfs(catalogue, "toy", 1)] == ["Toy one"]


def test_a_users_motifs_stand_after_those_of_jaspar():
    jaspar = load_motifs("fungi")
    both = with_user_motifs(jaspar, read(JASPAR), "my.txt", "ab12")
    assert both.motifs[:-1] == jaspar.motifs
    assert (both.release, both.taxon, both.user_file) == ("JASPAR2026", "fungi", "my.txt")
    assert both.title == "JASPAR2026 CORE fungi with the motifs of my.txt"
    assert both.index("TOY.1") == len(jaspar.motifs)
    assert jaspar.user_file == ""
    assert resolve_tf(both, "toy one").motifs[0].matrix_id == "TOY.1"
    assert resolve_tf(both, "Reb1p").motifs[0].matrix_id == "MA0363.3"
    with pytest.raises(FormatError, match=r"ma0363\.3 .*rename it"):
        with_user_motifs(jaspar, read(JASPAR.replace("TOY.1", "ma0363.3")), "my.txt", "ab12")


def test_a_file_that_cannot_be_read_is_called_as_the_user_calls_it():
    with pytest.raises(FormatError, match=r"motif file mine\.pfm"):
        read_motif_file(io.BytesIO(b">M1 X\nnothing\n"), "some/folder/mine.pfm")
