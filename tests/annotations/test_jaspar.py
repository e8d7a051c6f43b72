"""The catalogue against the counts of motifs.md, and names as people write them."""

import numpy as np
import pytest

from annotations.errors import AmbiguousNameError, OptionError, UnknownNameError
from annotations.jaspar import RELEASES, TAXA, load_motifs, resolve_tf, search_tfs
from annotations.tf_names import ACCESSIONS, ALIASES, loose_name

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
        ("vertebrates", "MA0139", "matrix_id", {"CTCF"}),
        ("vertebrates", "P17433", "uniprot", {"Spi1"}),
        ("vertebrates", "P17947", "other_accession", {"Spi1"}),
        ("vertebrates", "P17947-2", "other_accession", {"Spi1"}),
        ("vertebrates", "O00327", "other_accession", {"Arntl"}),
        ("vertebrates", "BMAL1", "alias", {"Arntl"}),
        ("vertebrates", "GR", "alias", {"NR3C1"}),
        ("vertebrates", "C/EBP\u03b1", "alias", {"CEBPA"}),
        ("vertebrates", "NKX2.5", "alias", {"NKX2-5"}),
        ("vertebrates", "TAL1::GATA1", "dimer", {"GATA1::TAL1"}),
        ("vertebrates", "tal1/gata1", "dimer", {"GATA1::TAL1"}),
        ("vertebrates", "TAL1", "dimer", {"GATA1::TAL1", "TAL1::TCF3"}),
        ("vertebrates", "GATA1::TAL1", "name", {"GATA1::TAL1"}),
        ("vertebrates", "TAL1::", "dimer", {"GATA1::TAL1", "TAL1::TCF3"}),
        ("vertebrates", "SCL/GATA1", "dimer", {"GATA1::TAL1"}),
        ("vertebrates", "Oct4-Sox2", "dimer", {"Pou5f1::Sox2"}),
        ("vertebrates", "MAFG::NFE2L1", "former_name", {"MAFG::NRF1"}),
        ("vertebrates", "SP1", "name", {"SP1"}),
        ("vertebrates", "EWSR1-FLI1", "name", {"EWSR1-FLI1"}),
        ("plants", "AP1", "name", {"AP1"}),
        ("fungi", "AP-1", "alias", {"YAP1"}),
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


def test_words_of_one_family_name_are_enough_for_it():
    catalogue = load_motifs("vertebrates")
    whole, word = resolve_tf(catalogue, "Ets-related"), resolve_tf(catalogue, "ETS")
    assert (word.match_type, word.note) == ("family", "family Ets-related")
    assert [m.matrix_id for m in word.motifs] == [m.matrix_id for m in whole.motifs]


@pytest.mark.parametrize(
    ("query", "candidates"),
    [
        ("AP-1", {"FOS::JUN": "MA0099.4", "JUN": "MA0488.2"}),
        ("NF-\u03baB", {"RELA": "MA0107.1", "NFKB1": "MA0105.4"}),
        ("TCF1", {"TCF7": "MA0769.3", "HNF1A": "MA0046.3"}),
        # Nrf2 the oxidative stress factor, and nuclear respiratory factor 2, which is GABP.
        ("NRF2", {"NFE2L2": "MA0150.3", "GABPA": "MA0062.4"}),
    ],
)
def test_an_alias_of_several_factors_is_not_decided(query, candidates):
    with pytest.raises(AmbiguousNameError, match="several factors") as error:
        resolve_tf(load_motifs("vertebrates"), query)
    told = {candidate.name: candidate for candidate in error.value.candidates}
    for name, matrix in candidates.items():
        assert matrix in told[name].matrix_ids
        assert told[name].meaning
        assert name in str(error.value)
        assert matrix in str(error.value)
    for name in told:
        assert resolve_tf(load_motifs("vertebrates"), name).motifs


def test_words_of_several_families_are_not_decided():
    with pytest.raises(AmbiguousNameError, match="several families") as error:
        resolve_tf(load_motifs("vertebrates"), "zinc")
    names = [candidate.name for candidate in error.value.candidates]
    assert "C2H2 zinc finger factors" in names
    assert all("zinc" in name for name in names)


@pytest.mark.parametrize(
    ("taxon", "query", "where"),
    [
        ("vertebrates", "reb1", "known in fungi (JASPAR2026, JASPAR2024, JASPAR2022)"),
        ("fungi", "Spi1", "known in vertebrates (JASPAR2026, JASPAR2024, JASPAR2022)"),
        ("fungi", "PU.1", "known in vertebrates"),
        ("fungi", "p53", "known in vertebrates"),
        ("plants", "TAL1", "known in vertebrates"),
        ("insects", "AP-1", "known in fungi"),
        ("nematodes", "tal1/gata1", "known in vertebrates"),
        ("fungi", "MA0139", "it is CTCF, in vertebrates (JASPAR2026, JASPAR2024, JASPAR2022)"),
        ("vertebrates", "Rbpjl", "known in vertebrates (JASPAR2022)"),
        ("vertebrates", "UN0921", "unvalidated"),
        ("vertebrates", "MA9999", "no release from JASPAR2022 to JASPAR2026 has it"),
    ],
)
def test_a_refusal_says_where_the_name_is_known(taxon, query, where):
    with pytest.raises(UnknownNameError) as error:
        resolve_tf(load_motifs(taxon), query)
    assert where in str(error.value)


def test_another_accession_of_the_factor_is_stated():
    note = resolve_tf(load_motifs("vertebrates"), "P17947").note
    assert "P17947 (Homo sapiens) is the accession of SPI1" in note
    assert "MA0080.7 (Spi1) carries P17433 (Mus musculus)" in note
    assert "human ARNTL" in resolve_tf(load_motifs("vertebrates"), "O00327").note


def test_every_curated_accession_is_needed_and_finds_its_factor():
    for taxon, accessions in ACCESSIONS.items():
        catalogue = load_motifs(taxon)
        for accession, symbol in accessions.items():
            assert accession.casefold() not in catalogue.by_uniprot
            names = {
                side.casefold()
                for motif in resolve_tf(catalogue, accession).motifs
                for side in motif.name.split("::")
            }
            assert symbol.casefold() in names


@pytest.mark.parametrize("query", ["MAFG::NRF1", "MAFG::NFE2L1", "MA0089", "Q14494"])
@pytest.mark.parametrize("release", ["JASPAR2026", "JASPAR2024"])
def test_a_matrix_that_was_renamed_to_another_gene_is_found_and_told(release, query):
    resolution = resolve_tf(load_motifs("vertebrates", release), query)
    assert [motif.matrix_id for motif in resolution.motifs] == ["MA0089.3"]
    assert "MAFG::NRF1" in resolution.note
    assert "MAFG::NFE2L1" in resolution.note
    assert "the same matrix under two names" in resolution.note


def test_notes_tell_what_else_a_name_may_mean():
    catalogue = load_motifs("vertebrates")
    assert "older name of TCF7L2" in resolve_tf(catalogue, "TCF4").note
    assert "dimers FOS::JUN" in resolve_tf(catalogue, "JUN").note
    assert "no matrix of TAL1 alone" in resolve_tf(catalogue, "TAL1").note
    assert resolve_tf(catalogue, "CTCF").note == ""


def test_a_dimer_of_one_factor_with_itself_is_not_any_dimer_of_it():
    with pytest.raises(UnknownNameError, match=r"near names: .*GATA1"):
        resolve_tf(load_motifs("vertebrates"), "GATA1::GATA1")


@pytest.mark.parametrize("text", ["gata", "ETS", "pu.1", "nkx2", "MA003", "P15976", "zinc"])
def test_search_finds_by_containment_and_ranks_exact_then_prefix(text):
    found = search_tfs(load_motifs("vertebrates"), text, 1000)
    assert found
    loose = loose_name(text)

    def rank(matched: str) -> int:
        keys = {matched.casefold(): text.casefold(), loose_name(matched): loose}
        ranks = [
            0 if key == wanted else 1 if key.startswith(wanted) else 2
            for key, wanted in keys.items()
            if wanted in key
        ]
        return min(ranks)

    ranks = [rank(suggestion.matched) for suggestion in found]
    assert ranks == sorted(ranks)
    assert found[:3] == search_tfs(load_motifs("vertebrates"), text, 3)


def test_search_knows_aliases_and_what_is_asked_for_resolves():
    catalogue = load_motifs("vertebrates")
    first = search_tfs(catalogue, "PU.1")[0]
    assert (first.name, first.kind, first.matrix_ids) == ("SPI1", "alias", ("MA0080.7",))
    for text in ("nfk", "tal1", "ma0139", "zip", "q9"):
        for suggestion in search_tfs(catalogue, text, 50):
            asked = {motif.matrix_id for motif in resolve_tf(catalogue, suggestion.name).motifs}
            assert asked == set(suggestion.matrix_ids)


def test_search_may_be_empty_and_lists_names_for_no_text():
    catalogue = load_motifs("fungi")
    assert search_tfs(catalogue, "zzzzzz") == ()
    assert search_tfs(catalogue, "REB1", 0) == ()
    every = search_tfs(catalogue, "", 1000)
    assert {"REB1", "ABF1"} <= {s.name for s in every if s.kind == "name"}


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
    with pytest.raises(UnknownNameError, match="use JASPAR2022"):
        resolve_tf(load_motifs("vertebrates"), "MA0035.4")


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
