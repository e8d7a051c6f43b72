"""Atlases: concepts and labels against hand-computed toys, files that travel and those refused."""

import json
from math import comb, log2

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import atlas as atlas_module
from annotations.atlas import Atlas, AtlasCard, best_matches, build_atlas, load_atlas, write_atlas
from annotations.concepts import CONCEPTS_SCHEMA, concept_enrichment, kind_shares
from annotations.enrichment import MATCHES_SCHEMA
from annotations.errors import (
    CoordinateError,
    FormatError,
    LimitError,
    StorageError,
    WeightsError,
)
from annotations.naming import LABELS_SCHEMA, best_labels, label_of

SHA = "a" * 64
NOTHING = dict.fromkeys(
    [
        "motif_name",
        "motif_q",
        "motif_log2_enrichment",
        "concept",
        "concept_q",
        "concept_share",
        "concept_log2_enrichment",
    ]
)


def match(feature, strand, name, *, q=1e-6, effect=3.0, **more):
    row = {
        "feature": feature,
        "strand": strand,
        "matrix_id": f"MA_{name}.1",
        "motif_name": name,
        "peaks": 100,
        "hits": 50,
        "expected": 4.123456789,
        "log2_enrichment": effect,
        "odds_ratio": 9.0,
        "p": q / 10,
        "q": q,
        "offset": -3,
        "offset_share": 0.7,
        "gc": 0.4,
    }
    return row | more


def matches(*rows):
    return pa.Table.from_pylist(list(rows), schema=MATCHES_SCHEMA)


def peaks_of(*groups):
    """(feature, strand, kinds, how many) -> a table of peaks."""
    rows = [
        {"feature": feature, "strand": strand, "genes": kinds}
        for feature, strand, kinds, count in groups
        for _ in range(count)
    ]
    schema = pa.schema([("feature", pa.uint32()), ("strand", pa.int8()), ("genes", pa.string())])
    return pa.Table.from_pylist(rows, schema=schema)


def genes_of(*rows):
    names = ["contig", "start", "end", "kind"]
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows],
        schema=pa.schema(
            [
                ("contig", pa.uint32()),
                ("start", pa.int64()),
                ("end", pa.int64()),
                ("kind", pa.string()),
            ]
        ),
    )


def test_shares_of_bases_by_hand():
    genes = genes_of(
        (0, 0, 40, "gene"),
        (0, 0, 10, "exon"),
        (0, 5, 20, "exon"),  # overlaps the one before: 20 bases together
        (1, 0, 10, "gene"),
        (1, 10, 20, "unheard of"),
    )
    shares = kind_shares(genes, [60, 40])
    assert shares["gene"] == 0.5
    assert shares["exon"] == 0.2
    assert shares["intergenic"] == 0.5
    assert shares["intron"] == 0


def test_shares_need_sequence():
    with pytest.raises(CoordinateError, match="0 bases"):
        kind_shares(genes_of(), [])


def test_concepts_by_hand():
    peaks = peaks_of((7, 1, "intron;gene", 3), (7, 1, "", 1), (7, -1, "", 4), (8, 1, "gene", 3))
    shares = {"intron": 0.1, "gene": 0.5, "intergenic": 0.5, "UTR5": 0.0}
    table = concept_enrichment(peaks, shares, min_peaks=4)
    # feature 8 has too few peaks; 6 tests: 2 rows x 3 concepts with bases
    assert table.schema == CONCEPTS_SCHEMA
    rows = {(r["feature"], r["strand"], r["concept"]): r for r in table.to_pylist()}
    assert set(rows) == {
        (7, 1, "intron"),
        (7, 1, "gene"),
        (7, 1, "intergenic"),
        (7, -1, "intergenic"),
    }
    intron = rows[7, 1, "intron"]
    assert intron["share"] == 0.75
    assert intron["peaks"] == 4
    assert intron["log2_enrichment"] == pytest.approx(log2(3.5 / 0.9))
    p = sum(comb(4, i) * 0.1**i * 0.9 ** (4 - i) for i in (3, 4))
    assert intron["q"] == pytest.approx(p * 6)  # the smallest of 6
    # all four of four at one half: 1/16, second of six
    assert rows[7, -1, "intergenic"]["q"] == pytest.approx(1 / 16 * 6 / 2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, -1]), st.integers(0, 3)), max_size=60)
)
def test_concept_counts_equal_a_slow_twin(drawn):
    words = ["", "CDS;gene", "intron", "CDS;intron;gene"]
    peaks = peaks_of(*((f, s, words[w], 1) for f, s, w in drawn))
    shares = {"CDS": 0.3, "intron": 0.2, "gene": 0.6, "intergenic": 0.4}
    table = concept_enrichment(peaks, shares, min_peaks=1)
    found = {
        (r["feature"], r["strand"], r["concept"]): (r["share"], r["peaks"])
        for r in table.to_pylist()
    }
    slow = {}
    for feature, strand in {(f, s) for f, s, _ in drawn}:
        sets = [words[w] or "intergenic" for f, s, w in drawn if (f, s) == (feature, strand)]
        for name in shares:
            inside = sum(name in kinds.split(";") for kinds in sets)
            if inside:
                slow[feature, strand, name] = (inside / len(sets), len(sets))
    assert found == slow


def test_peaks_without_annotation_are_not_counted():
    table = concept_enrichment(peaks_of((1, 1, None, 50)), {"gene": 0.5})
    assert table.num_rows == 0


@pytest.mark.parametrize(
    ("evidence", "label"),
    [
        ({}, None),
        ({"motif_q": 0.05, "motif_log2_enrichment": 1.0}, "REB1-like motif"),
        ({"motif_q": 0.051, "motif_log2_enrichment": 4.0}, None),
        ({"motif_q": 1e-9, "motif_log2_enrichment": 0.99}, None),
        ({"concept_q": 0.05, "concept_share": 0.8, "concept_log2_enrichment": 0.1}, "CDS"),
        ({"concept_q": 0.06, "concept_share": 0.9, "concept_log2_enrichment": 0.1}, None),
        ({"concept_q": 0.01, "concept_share": 0.79, "concept_log2_enrichment": 0.1}, None),
        ({"concept_q": 0.01, "concept_share": 0.9, "concept_log2_enrichment": 0.0}, None),
    ],
)
def test_the_rule_at_its_borders(evidence, label):
    named = NOTHING | {"motif_name": "REB1", "concept": "CDS"} | evidence
    assert label_of(**named) == label


def test_a_motif_goes_before_a_concept():
    concepts = pa.Table.from_pylist(
        [
            {
                "feature": feature,
                "strand": 1,
                "concept": name,
                "peaks": 100,
                "share": share,
                "log2_enrichment": effect,
                "q": 1e-4,
            }
            for feature, name, share, effect in [
                (1, "intron", 0.9, 4.0),
                (2, "UTR5", 0.3, 6.0),  # a larger effect, but too few of the peaks
                (2, "CDS", 0.85, 0.3),
                (2, "exon", 0.85, 0.3),
                (3, "TSS", 0.2, 5.0),
            ]
        ],
        schema=CONCEPTS_SCHEMA,
    )
    found = best_labels(
        matches(
            match(1, 1, "CBF1", q=1e-3),
            match(1, 1, "REB1", q=1e-5, effect=2.0),
            match(1, 1, "WEAK", q=1e-9, effect=0.5),
            match(1, -1, "NONE", q=0.2),
            match(0, -1, "B", q=0.0, effect=2.0),
            match(0, -1, "A", q=0.0, effect=3.0),
        ),
        concepts,
    )
    assert found.schema == LABELS_SCHEMA
    rows = {(r["feature"], r["strand"]): r for r in found.to_pylist()}
    assert list(rows) == [(0, -1), (1, 1), (2, 1), (3, 1)]
    assert rows[1, 1]["label"] == "REB1-like motif"
    assert rows[1, 1]["motif_id"] == "MA_REB1.1"
    assert rows[1, 1]["concept"] == "intron"
    assert rows[0, -1]["label"] == "A-like motif"
    assert (rows[2, 1]["label"], rows[2, 1]["concept"]) == ("CDS", "CDS")
    assert (rows[3, 1]["label"], rows[3, 1]["concept"]) == (None, "TSS")
    assert rows[2, 1]["motif_q"] is None


def test_the_best_matches_of_each_row_are_kept():
    table = matches(
        *(match(1, 1, f"M{i}", q=i / 1000) for i in range(5, 0, -1)),
        match(1, -1, "X", q=0.06),
        match(0, -1, "Y"),
        match(0, 1, "Z"),
    )
    kept = best_matches(table, per_row=2).to_pylist()
    assert [(r["feature"], r["strand"], r["motif_name"]) for r in kept] == [
        (0, 1, "Z"),
        (0, -1, "Y"),
        (1, 1, "M1"),
        (1, 1, "M2"),
    ]


@pytest.fixture
def result(tmp_path):
    """The folder of a run, as workers.merge writes it."""
    folder = tmp_path / "result"
    folder.mkdir()
    found = matches(match(3, 1, "REB1"), match(5, -1, "CBF1", q=0.3), match(4, -1, "REB1", q=1e-3))
    pq.write_table(found, folder / "matches.parquet")
    pq.write_table(peaks_of((5, -1, "intron", 40), (3, 1, "", 40)), folder / "peaks.parquet")
    provenance = {
        "dictionary": {"id": "tiny", "sha256": SHA},
        "motif_test": {"release": "JASPAR2026", "taxon": "fungi", "tested_pairs": 12},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def test_an_atlas_of_a_run_says_what_is_known(result, tmp_path):
    shares = {"intron": 0.02, "intergenic": 0.98}
    build_atlas(result, tmp_path / "atlas", genome="toy", shares=shares)
    atlas = load_atlas(tmp_path / "atlas", SHA)
    labels = {(r["feature"], r["strand"]): r["label"] for r in atlas.labels.to_pylist()}
    assert labels == {
        (3, 1): "REB1-like motif",
        (4, -1): "REB1-like motif",
        (5, -1): "intron",
    }
    assert atlas.labels_for([5, 9]).column("label").to_pylist() == ["intron"]
    assert atlas.matches_for(["MA_REB1.1", "MA_CBF1.1"])["feature"].to_pylist() == [3, 4]
    assert atlas.matches_for([]).num_rows == 0
    assert (atlas.release, atlas.taxon) == ("JASPAR2026", "fungi")
    assert atlas.card()["counts"] == {
        "peaks": 80,
        "tested_pairs": 12,
        "matches": 2,
        "feature_rows": 3,
        "labels": 3,
    }
    json.dumps(atlas.card())
    # numbers are rounded to 12 bits, nothing more
    kept = atlas.matches.to_pylist()[0]
    assert kept["expected"] == pytest.approx(4.123456789, rel=1.3e-4)
    assert (kept["offset"], kept["hits"]) == (-3, 50)


def test_without_an_annotation_there_are_no_concepts(result, tmp_path):
    atlas = build_atlas(result, tmp_path / "atlas", genome="toy")
    assert atlas.labels["concept"].null_count == atlas.labels.num_rows == 2


def test_an_atlas_of_another_dictionary_is_refused(result, tmp_path):
    build_atlas(result, tmp_path / "atlas", genome="toy")
    with pytest.raises(WeightsError, match="tiny"):
        load_atlas(tmp_path / "atlas", "b" * 64)


@pytest.mark.parametrize("name", ["labels.parquet", "matches.parquet"])
def test_altered_and_missing_tables_are_refused(result, tmp_path, name):
    build_atlas(result, tmp_path / "atlas", genome="toy")
    path = tmp_path / "atlas" / name
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StorageError, match="altered"):
        load_atlas(tmp_path / "atlas", SHA)
    path.unlink()
    with pytest.raises(StorageError, match=name):
        load_atlas(tmp_path / "atlas", SHA)


@pytest.mark.parametrize("change", [{"format": 2}, {"extra": 1}])
def test_a_card_of_another_form_is_refused(result, tmp_path, change):
    build_atlas(result, tmp_path / "atlas", genome="toy")
    path = tmp_path / "atlas" / "atlas.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FormatError, match="format"):
        load_atlas(tmp_path / "atlas", SHA)


def test_a_folder_without_an_atlas_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"atlas\.json"):
        load_atlas(tmp_path, SHA)


@pytest.mark.parametrize("key", ["dictionary", "motif_test"])
def test_a_result_that_lacks_what_an_atlas_needs_is_refused(result, tmp_path, key):
    path = result / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: None}))
    with pytest.raises(FormatError):
        build_atlas(result, tmp_path / "atlas", genome="toy")


def test_a_run_without_motifs_makes_no_atlas(result, tmp_path):
    path = result / "provenance.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"motif_test": {"release": None, "taxon": None}})
    )
    with pytest.raises(FormatError, match="looked for none"):
        build_atlas(result, tmp_path / "atlas", genome="toy")


def card():
    return AtlasCard(
        dictionary_id="tiny",
        dictionary_sha256=SHA,
        genome="toy",
        release="JASPAR2026",
        taxon="fungi",
        counts={},
        date="2026-01-01",
    )


def test_tables_of_another_schema_are_not_written(tmp_path):
    wrong = Atlas(card(), LABELS_SCHEMA.empty_table(), LABELS_SCHEMA.empty_table())
    with pytest.raises(FormatError, match="matrix_id"):
        write_atlas(wrong, tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


def test_too_large_an_atlas_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas_module, "MAX_BYTES", 1000)
    atlas = Atlas(card(), LABELS_SCHEMA.empty_table(), matches(match(1, 1, "REB1")))
    with pytest.raises(LimitError, match="1000"):
        write_atlas(atlas, tmp_path / "atlas")
    assert list((tmp_path / "atlas").iterdir()) == []


def test_eight_thousand_full_rows_fit_the_limit(tmp_path):
    rng = np.random.default_rng(0)
    n, per_row, motifs = 8192, atlas_module.MATCHES_PER_ROW, 193
    size = n * per_row
    name = rng.integers(0, motifs, size)
    p = 10.0 ** -rng.uniform(2, 60, size)
    columns = {
        "feature": np.repeat(np.arange(n) // 2, per_row).astype(np.uint32),
        "strand": np.repeat(np.where(np.arange(n) % 2, -1, 1), per_row).astype(np.int8),
        "matrix_id": pa.array([f"MA{i:04d}.1" for i in name]),
        "motif_name": pa.array([f"NAME{i}" for i in name]),
        "peaks": np.repeat(rng.integers(30, 200, n), per_row).astype(np.int32),
        "hits": rng.integers(5, 200, size).astype(np.int32),
        "expected": rng.gamma(2.0, 2.0, size),
        "log2_enrichment": rng.gamma(2.0, 1.0, size),
        "odds_ratio": rng.gamma(2.0, 5.0, size),
        "p": p,
        "q": p * 7,
        "offset": rng.integers(-50, 50, size).astype(np.int32),
        "offset_share": rng.random(size),
        "gc": np.repeat(rng.uniform(0.3, 0.5, n), per_row),
    }
    table = atlas_module.rounded(pa.table(columns, schema=MATCHES_SCHEMA))
    write_atlas(Atlas(card(), best_labels(table, CONCEPTS_SCHEMA.empty_table()), table), tmp_path)
    assert load_atlas(tmp_path, SHA).matches.equals(table)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 100_000 < size <= atlas_module.MAX_BYTES
