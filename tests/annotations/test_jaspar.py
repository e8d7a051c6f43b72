"""The catalogue against the counts of motifs.md, and names as people write them."""

import numpy as np
import pytest

from annotations.errors import OptionError, UnknownNameError
from annotations.jaspar import RELEASES, TAXA, load_motifs, resolve_tf
from annotations.tf_names import ALIASES, loose_name

# CORE, latest version of each base id, counted in the SQLite files with plain SQL.
COUNTS = {
    ("JASPAR2026", "vertebrates"): 1019,
    ("JASPAR2026", "plants"): 927,
    ("JASPAR2026", "insects"): 296,
    ("JASPAR2026", "fungi"): 193,
    ("JASPAR2026", "nematodes"): 103,
    ("JASPAR2026", "urochordates"): 94,
    ("JASPAR2026", "diatoms"): 1,
    ("JASPAR2024", "vertebrates"): 879,
    ("JASPAR2024", "fungi"): 178,
    ("JASPAR2022", "vertebrates"): 841,
}


@pytest.mark.parametrize(("release", "taxon"), COUNTS)
def test_catalogue_holds_the_latest_version_of_each_core_matrix(release, taxon):
    catalogue = load_motifs(taxon, release)
    assert len(catalogue.motifs) == COUNTS[release, taxon]
    bases = [motif.matrix_id.split(".")[0] for motif in catalogue.motifs]
    assert len(set(bases)) == len(bases)
    assert bases == sorted(bases)
    assert (catalogue.release, catalogue.taxon) == (release, taxon)


def test_a_motif_is_read_as_jaspar_publishes_it():
    # MA0035.5, GATA1: 7 bases after the trimming of 2024, 11 before.
    (motif,) = resolve_tf(load_motifs("vertebrates"), "MA0035.5").motifs
    assert (motif.name, motif.width, motif.tax_group) == ("GATA1", 7, "vertebrates")
    assert motif.uniprot == ("P15976",)
    assert "C4-GATA-related" in motif.family
    consensus = "".join("ACGT"[base] for base in motif.counts.argmax(axis=0))
    assert consensus == "CTAATCT"
    (older,) = resolve_tf(load_motifs("vertebrates", "JASPAR2022"), "MA0035.4").motifs
    assert older.width == 11


def test_every_matrix_has_counts_and_cannot_be_changed():
    for taxon in TAXA:
        for motif in load_motifs(taxon).motifs:
            assert motif.counts.shape == (4, motif.width)
            assert (motif.counts >= 0).all()
            assert (motif.counts.sum(axis=0) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        motif.counts[0, 0] = 1.0


def test_index_is_the_place_in_the_catalogue():
    catalogue = load_motifs("fungi")
    place = catalogue.index("MA0363.3")
    assert catalogue.motifs[place].name == "REB1"
    with pytest.raises(UnknownNameError, match="MA0363"):
        catalogue.index("MA0363")


@pytest.mark.parametrize(
    ("taxon", "query", "match_type", "names"),
    [
        ("fungi", "Reb1", "name", {"REB1"}),
        ("fungi", " reb1 ", "name", {"REB1"}),
        ("fungi", "Reb1p", "alias", {"REB1"}),
        ("fungi", "MA0363", "matrix_id", {"REB1"}),
        ("fungi", "ma0363.3", "matrix_id", {"REB1"}),
        ("fungi", "P21538", "uniprot", {"REB1"}),
        ("fungi", "TBP", "alias", {"SPT15"}),
        ("fungi", "swi6-mbp1", "dimer", {"MBP1::SWI6"}),
        ("fungi", "SWI6", "dimer", {"MBP1::SWI6"}),
        ("vertebrates", "SPI1", "name", {"Spi1"}),
        ("vertebrates", "PU.1", "alias", {"Spi1"}),
        ("vertebrates", "OCT4", "alias", {"POU5F1"}),
        ("vertebrates", "p53", "alias", {"TP53"}),
        ("vertebrates", "c-Myc", "alias", {"MYC"}),
        ("vertebrates", "NRF2", "alias", {"Nfe2l2"}),
        ("vertebrates", "BMAL1", "alias", {"Arntl"}),
        ("vertebrates", "GR", "alias", {"NR3C1"}),
        ("vertebrates", "C/EBP\u03b1", "alias", {"CEBPA"}),
        ("vertebrates", "NKX2.5", "alias", {"NKX2-5"}),
        ("vertebrates", "TAL1::GATA1", "dimer", {"GATA1::TAL1"}),
        ("vertebrates", "tal1/gata1", "dimer", {"GATA1::TAL1"}),
        ("vertebrates", "TAL1", "dimer", {"GATA1::TAL1", "TAL1::TCF3"}),
        ("vertebrates", "SP1", "name", {"SP1"}),
        ("vertebrates", "EWSR1-FLI1", "name", {"EWSR1-FLI1"}),
        ("plants", "AP1", "name", {"AP1"}),
        ("insects", "Bicoid", "alias", {"bcd"}),
    ],
)
def test_names_resolve_as_people_write_them(taxon, query, match_type, names):
    resolution = resolve_tf(load_motifs(taxon), query)
    assert resolution.match_type == match_type
    assert {motif.name for motif in resolution.motifs} == names
    assert (resolution.query, resolution.taxon) == (query.strip(), taxon)


def test_a_family_is_all_its_motifs():
    catalogue = load_motifs("vertebrates")
    resolution = resolve_tf(catalogue, "c4-gata-related")
    assert resolution.match_type == "family"
    expected = [m.matrix_id for m in catalogue.motifs if "C4-GATA-related" in m.family]
    assert [motif.matrix_id for motif in resolution.motifs] == expected


@pytest.mark.parametrize(
    ("query", "candidates"),
    [("AP-1", ["FOS::JUN", "JUN"]), ("NF-\u03baB", ["RELA", "NFKB1"]), ("TCF1", ["TCF7", "HNF1A"])],
)
def test_an_alias_of_several_factors_is_not_decided(query, candidates):
    with pytest.raises(UnknownNameError, match="several factors") as error:
        resolve_tf(load_motifs("vertebrates"), query)
    assert all(name in str(error.value) for name in candidates)


@pytest.mark.parametrize(
    ("query", "near"),
    [("GATA11", "GATA1"), ("CTFC", "CTCF"), ("zzzzzzzzzz", "no near name"), ("", "no near name")],
)
def test_an_unknown_name_is_answered_with_near_ones(query, near):
    with pytest.raises(UnknownNameError, match="JASPAR2026 CORE vertebrates") as error:
        resolve_tf(load_motifs("vertebrates"), query)
    assert near in str(error.value)


@pytest.mark.parametrize(
    "query",
    [
        "zzz' or '1'='1",
        "REB1'; DROP TABLE MATRIX; --",
        '" OR ""="',
        "REB1%",
        "RE_1",
        "MA0363.3' --",
    ],
)
def test_a_name_that_looks_like_sql_is_only_an_unknown_name(query):
    # pyjaspar 4.0.0 answers the first of these with 3,664 matrices.
    with pytest.raises(UnknownNameError, match="near name"):
        resolve_tf(load_motifs("fungi"), query)
    assert len(load_motifs("fungi").motifs) == 193


def test_a_long_query_is_not_repeated():
    sequence = "ACGT" * 5000
    with pytest.raises(UnknownNameError, match="of 20000 characters") as error:
        resolve_tf(load_motifs("fungi"), sequence)
    assert "ACGTACGT" not in str(error.value)


def test_another_version_is_not_silently_replaced():
    with pytest.raises(UnknownNameError, match=r"MA0035\.5, not as version 4"):
        resolve_tf(load_motifs("vertebrates"), "MA0035.4")
    with pytest.raises(UnknownNameError, match="another taxonomic group"):
        resolve_tf(load_motifs("vertebrates"), "MA0363")


def test_options_name_what_is_allowed():
    with pytest.raises(OptionError, match="fungi"):
        load_motifs("fungus")
    with pytest.raises(OptionError, match="JASPAR2026"):
        load_motifs("fungi", "JASPAR2020")


def test_every_alias_stands_for_something():
    for taxon, aliases in ALIASES.items():
        catalogues = [load_motifs(taxon, release) for release in RELEASES]
        held = {
            side.casefold() for c in catalogues for m in c.motifs for side in m.name.split("::")
        }
        for alias, symbols in aliases.items():
            assert loose_name(alias) == alias
            for symbol in symbols:
                assert all(side.casefold() in held for side in symbol.split("::")), (alias, symbol)


def test_counts_equal_those_of_pyjaspar_itself():
    # The outside tool: its own reader of the same file, for one matrix.
    from pyjaspar import jaspardb

    database = jaspardb(release="JASPAR2026")
    theirs = database.fetch_motif_by_id("MA0363.3")
    database.conn.close()
    (ours,) = resolve_tf(load_motifs("fungi"), "MA0363.3").motifs
    assert np.array_equal(ours.counts, [list(theirs.counts[base]) for base in "ACGT"])
