"""Atlases: labels and what is kept against hand-made toys, folders that are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations import atlas as atlas_module
from annotations.atlas import (
    FORMAT,
    ROW_MOTIFS_SCHEMA,
    TABLES,
    Atlas,
    AtlasCard,
    load_atlas,
    pack,
    rounded,
    write_atlas,
)
from annotations.atlas_build import (
    LEVELS,
    best_concepts,
    best_matches,
    fitted,
    leaders,
    trimmed,
    with_causal,
)
from annotations.cards import file_sha256
from annotations.errors import FormatError, LimitError, StorageError, WeightsError
from annotations.feature_examples import EXAMPLES_SCHEMA
from annotations.feature_groups import NEIGHBOURS_SCHEMA
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.match_table import MATCHES_SCHEMA
from annotations.naming import LABELS_SCHEMA, best_labels, label_of

SHA = "a" * 64
NOTHING = dict.fromkeys(
    [
        "motif_name",
        "motif_cluster",
        "motif_q",
        "motif_log2_enrichment",
        "concept",
        "concept_orientation",
        "concept_q",
        "concept_share",
        "concept_log2_enrichment",
    ]
)


def match(feature, strand, name, *, q=1e-6, effect=3.0, evidence="enriched", **more):
    row = dict.fromkeys(MATCHES_SCHEMA.names)
    return row | {
        "feature": feature,
        "strand": strand,
        "matrix_id": f"MA_{name}.1",
        "motif_name": name,
        "peaks": 100,
        "hits": 50,
        "expected": 4.123456789,
        "log2_enrichment": effect,
        "p": None if q is None else q / 10,
        "q": q,
        "offset": -3,
        "cluster": f"{name} cluster",
        "evidence": evidence,
    } | more  # fmt: skip


def matches(*rows):
    return pa.Table.from_pylist(list(rows), schema=MATCHES_SCHEMA)


def concept(feature, strand, name, *, orientation="either", share=0.9, effect=2.0, **more):
    row = dict.fromkeys(CONCEPTS_SCHEMA.names)
    return row | {
        "feature": feature,
        "strand": strand,
        "concept": name,
        "orientation": orientation,
        "auroc": 0.7,
        "auprc": 0.5,
        "f1": 0.4,
        "peaks": 100,
        "share": share,
        "log2_enrichment": effect,
        "q": 1e-4,
    } | more  # fmt: skip


def concepts(*rows):
    return pa.Table.from_pylist(list(rows), schema=CONCEPTS_SCHEMA)


def example(feature, strand, part, rank):
    return {
        "feature": feature,
        "strand": strand,
        "range": part,
        "rank": rank,
        "contig": "chrI",
        "position": 10 * rank,
        "value": 1.0 / rank,
        "gene": None,
        "sequence": "A" * 51,
    }


def card(**changes):
    about = AtlasCard(
        dictionary_id="tiny",
        dictionary_sha256=SHA,
        genome="toy",
        release="JASPAR2026",
        taxon="fungi",
        counts={},
        date="2026-01-01",
    )
    return replace(about, **changes)


def small():
    """An atlas with something in every table but the baselines."""
    found = matches(match(3, 1, "REB1"), match(3, 1, "CBF1", q=1e-3), match(4, -1, "REB1", q=1e-3))
    return Atlas(
        card(),
        best_labels(found, CONCEPTS_SCHEMA.empty_table(), {(3, 1): 0, (9, 1): 0}),
        found,
        concepts=concepts(concept(5, 1, "intron")),
        examples=pa.Table.from_pylist(
            [example(3, 1, part, 4 * part + at) for part in (1, 2, 3, 4) for at in range(-3, 1)],
            schema=EXAMPLES_SCHEMA,
        ),
        neighbours=pa.Table.from_pylist(
            [
                dict(zip(NEIGHBOURS_SCHEMA.names, (3, 1, other, -1, 0.9), strict=True))
                for other in range(4)
            ],
            schema=NEIGHBOURS_SCHEMA,
        ),
        row_motifs=pa.Table.from_pylist(
            [dict(zip(ROW_MOTIFS_SCHEMA.names, (3, 1, -2, 9, 0, 1, 0), strict=True))],
            schema=ROW_MOTIFS_SCHEMA,
        ),
    )


@pytest.fixture
def folder(tmp_path):
    write_atlas(small(), tmp_path / "atlas")
    return tmp_path / "atlas"


@pytest.mark.parametrize(
    ("evidence", "label"),
    [
        ({}, None),
        ({"motif_q": 0.05, "motif_log2_enrichment": 1.0}, "REB1-like motif"),
        (
            {"motif_q": 0.05, "motif_log2_enrichment": 1.0, "motif_cluster": "REB1 cluster"},
            "REB1-like motif",
        ),
        (
            {"motif_q": 0.05, "motif_log2_enrichment": 1.0, "motif_cluster": "TYE7 cluster"},
            "REB1-like motif (TYE7 cluster)",
        ),
        ({"motif_q": 0.051, "motif_log2_enrichment": 4.0}, None),
        ({"motif_q": 1e-9, "motif_log2_enrichment": 0.99}, None),
        ({"concept_q": 0.05, "concept_share": 0.8, "concept_log2_enrichment": 0.1}, "CDS"),
        (
            {
                "concept_q": 0.05,
                "concept_share": 0.8,
                "concept_log2_enrichment": 0.1,
                "concept_orientation": "opposite",
            },
            "CDS, antisense",
        ),
        ({"concept_q": 0.06, "concept_share": 0.9, "concept_log2_enrichment": 0.1}, None),
        ({"concept_q": 0.01, "concept_share": 0.79, "concept_log2_enrichment": 0.1}, None),
        ({"concept_q": 0.01, "concept_share": 0.9, "concept_log2_enrichment": 0.0}, None),
    ],
)
def test_the_rule_at_its_borders(evidence, label):
    named = NOTHING | {"motif_name": "REB1", "concept": "CDS"} | evidence
    assert label_of(**named) == label


def test_a_motif_goes_before_a_concept_and_evidence_before_q():
    found = best_labels(
        matches(
            match(1, 1, "CBF1", q=1e-3, evidence="enriched;centred;predictive"),
            match(1, 1, "REB1", q=1e-5, effect=2.0),
            match(1, 1, "WEAK", q=1e-9, effect=0.5, evidence=""),
            match(1, -1, "NONE", q=0.2, evidence=""),
            match(0, -1, "B", q=0.0, effect=2.0),
            match(0, -1, "A", q=0.0, effect=3.0),
        ),
        concepts(
            concept(1, 1, "intron", effect=4.0),
            concept(2, 1, "UTR5", share=0.3, effect=6.0),  # too few of the peaks
            concept(2, 1, "CDS", share=0.85, effect=0.3),
            concept(2, 1, "exon", share=0.85, effect=0.3),
            concept(2, -1, "CDS", share=0.85, effect=0.3),
            concept(2, -1, "CDS", orientation="same", share=0.85, effect=0.3),
            concept(3, 1, "TSS", share=0.2, effect=5.0),
            concept(4, 1, "TSS", share=None, effect=None, q=None),
        ),
        {(3, 1): 7, (9, -1): 7},
    )
    assert found.schema == LABELS_SCHEMA
    rows = {(r["feature"], r["strand"]): r for r in found.to_pylist()}
    assert list(rows) == [(0, -1), (1, 1), (2, 1), (2, -1), (3, 1), (9, -1)]
    assert rows[1, 1]["label"] == "CBF1-like motif"
    assert rows[1, 1]["motif_id"] == "MA_CBF1.1"
    assert rows[1, 1]["motif_evidence"] == "enriched;centred;predictive"
    assert rows[1, 1]["concept"] == "intron"
    assert rows[0, -1]["label"] == "A-like motif"
    assert (rows[2, 1]["label"], rows[2, 1]["concept_f1"]) == ("CDS", 0.4)
    assert rows[2, -1]["label"] == "CDS, sense"
    assert (rows[3, 1]["label"], rows[3, 1]["concept"], rows[3, 1]["group"]) == (None, "TSS", 7)
    assert (rows[9, -1]["label"], rows[9, -1]["group"]) == (None, 7)
    assert rows[2, 1]["motif_q"] is None


def test_the_best_matches_of_each_row_are_kept():
    table = matches(
        *(match(1, 1, f"M{i}", q=i / 1000) for i in range(5, 0, -1)),
        match(1, 1, "SURE", q=0.04, evidence="enriched;predictive"),
        match(1, -1, "X", q=0.06),
        match(0, -1, "Y"),
        match(0, 1, "Z"),
        match(0, 1, "UNTESTED", q=1.0, p=None),
    )
    kept = best_matches(table, per_row=2).to_pylist()
    assert [(r["feature"], r["strand"], r["motif_name"]) for r in kept] == [
        (0, 1, "Z"),
        (0, -1, "Y"),
        (1, 1, "SURE"),
        (1, 1, "M1"),
    ]


def test_concepts_are_kept_for_their_rows_and_for_their_names(monkeypatch):
    monkeypatch.setattr("annotations.atlas_build.ROWS_PER_CONCEPT", 1)
    table = concepts(
        concept(1, 1, "CDS", effect=1.0, auprc=0.2),
        concept(1, 1, "exon", effect=2.0, auprc=0.9),
        concept(1, 1, "gene", effect=3.0, auprc=0.3),
        concept(2, 1, "CDS", effect=None, q=None, share=None, auprc=0.8),
        concept(3, 1, "gene", effect=None, q=None, share=None, auprc=0.1),
        concept(4, 1, "gene", effect=-1.0, auprc=None),
    )
    kept = [(r["feature"], r["concept"]) for r in best_concepts(table, per_row=1).to_pylist()]
    assert kept == [(1, "exon"), (1, "gene"), (2, "CDS")]
    assert best_concepts(CONCEPTS_SCHEMA.empty_table(), per_row=1).num_rows == 0


def test_sure_matches_lead_then_busy_rows():
    table = matches(match(1, 1, "A", q=1e-9), match(1, -1, "B", q=1e-3), match(0, 1, "C", q=None))
    assert leaders(table, np.array([5, 50, 1, 2, 9])).tolist() == [2, 3, 1, 4, 0]


def test_causal_effects_become_evidence():
    table = matches(match(1, 1, "A"), match(1, -1, "A"), match(2, 1, "B"))
    keys = ["feature", "strand", "matrix_id", "causal_effect", "causal_q"]
    causal = [(1, 1, "MA_A.1", 0.4, 0.01), (1, -1, "MA_A.1", -0.4, 0.01)]
    rows = pa.Table.from_pylist([dict(zip(keys, row, strict=True)) for row in causal])
    found = with_causal(table, rows).to_pylist()
    assert [row["causal_p"] for row in found] == [0.01, 0.01, None]
    assert ["causal" in row["evidence"] for row in found] == [True, False, False]


def test_a_smaller_atlas_keeps_the_best_of_each_row():
    whole = small()
    least = trimmed(whole, LEVELS[-1])
    assert [r["rank"] for r in least.examples.to_pylist()] == [1, 5, 9, 13]
    assert [r["other_feature"] for r in least.neighbours.to_pylist()] == [0]
    assert least.labels.equals(whole.labels)
    assert least.about.kept["examples"] == 1
    two = trimmed(whole, replace(LEVELS[0], examples=2))
    assert [r["rank"] for r in two.examples.to_pylist()] == [1, 4, 5, 8, 9, 12, 13, 16]


def test_an_atlas_takes_the_first_level_at_which_it_fits():
    sizes = [
        sum(len(atlas_module.pack(t)) for t in trimmed(small(), level).tables.values())
        for level in LEVELS
    ]
    assert fitted(small(), max(sizes)).about.kept["examples"] == LEVELS[0].examples
    with pytest.raises(LimitError, match="--max-bytes"):
        fitted(small(), 100)


def test_an_atlas_comes_back_as_it_was_written(folder):
    found = load_atlas(folder, SHA)
    for name, table in small().tables.items():
        assert found.tables[name].equals(table), name
    assert (found.release, found.taxon) == ("JASPAR2026", "fungi")
    json.dumps(found.card())


def test_equal_atlases_are_equal_bytes(folder, tmp_path):
    write_atlas(small(), tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_an_atlas_of_another_dictionary_is_refused(folder):
    with pytest.raises(WeightsError, match="tiny"):
        load_atlas(folder, "b" * 64)


@pytest.mark.parametrize("name", TABLES)
def test_altered_and_missing_tables_are_refused(folder, name):
    path = folder / f"{name}.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StorageError, match="altered"):
        load_atlas(folder, SHA)
    path.unlink()
    with pytest.raises(StorageError, match=name):
        load_atlas(folder, SHA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 1, this version reads format 2; make it again with `saetrack atl"),
        ({"format": None}, "format None"),
        ({"extra": 1}, "must have the keys"),
        ({"counts": []}, "a list as counts"),
    ],
)
def test_a_card_of_another_form_is_refused(folder, change, message):
    path = folder / "atlas.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FormatError, match=message):
        load_atlas(folder, SHA)
    assert FORMAT == 2


def resealed(folder, name, data):
    """Give the folder another table, and the card its sha256."""
    (folder / name).write_bytes(data)
    about = json.loads((folder / "atlas.json").read_text())
    about["files"][name] = atlas_module.file_sha256(folder / name)
    (folder / "atlas.json").write_text(json.dumps(about))


def test_a_table_of_other_columns_is_refused(folder, tmp_path):
    pq.write_table(pa.table({"feature": [1]}), tmp_path / "x")
    resealed(folder, "labels.parquet", (tmp_path / "x").read_bytes())
    with pytest.raises(FormatError, match=r"labels\.parquet must have the columns"):
        load_atlas(folder, SHA)
    resealed(folder, "labels.parquet", b"not parquet")
    with pytest.raises(StorageError, match="no Parquet"):
        load_atlas(folder, SHA)


def test_a_table_that_unpacks_to_too_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr(atlas_module, "MAX_TABLE_BYTES", 100)
    with pytest.raises(LimitError, match="decompressed"):
        load_atlas(folder, SHA)
    monkeypatch.setattr(atlas_module, "MAX_BYTES", 10)
    with pytest.raises(LimitError, match="at most 10"):
        load_atlas(folder, SHA)


def test_a_folder_without_an_atlas_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"atlas\.json"):
        load_atlas(tmp_path, SHA)


def test_tables_of_another_schema_are_not_written(tmp_path):
    wrong = Atlas(card(), LABELS_SCHEMA.empty_table(), LABELS_SCHEMA.empty_table())
    with pytest.raises(FormatError, match="matrix_id"):
        write_atlas(wrong, tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


def test_too_large_an_atlas_is_not_written(tmp_path):
    with pytest.raises(LimitError, match="at most 1000"):
        write_atlas(small(), tmp_path / "atlas", max_bytes=1000)
    assert not (tmp_path / "atlas").exists()


def test_numbers_are_rounded_to_12_bits_and_nothing_more():
    table = rounded(matches(match(1, 1, "A", gc=0.123456789)))
    (row,) = table.to_pylist()
    assert row["expected"] == pytest.approx(4.123456789, rel=1.3e-4)
    assert row["expected"] != 4.123456789
    assert (row["offset"], row["hits"], row["auroc"]) == (-3, 50, None)
    assert table.schema == MATCHES_SCHEMA


def test_eight_thousand_full_rows_fit_the_limit_of_the_bundle():
    rng = np.random.default_rng(0)
    n, per_row = 8192, 3
    feature = np.repeat(np.arange(n) // 2, per_row).astype(np.uint32)
    strand = np.repeat(np.where(np.arange(n) % 2, -1, 1), per_row).astype(np.int8)
    size = n * per_row
    name = rng.integers(0, 193, size)
    columns = {field.name: rng.random(size) for field in MATCHES_SCHEMA}
    columns |= {
        "feature": feature,
        "strand": strand,
        "matrix_id": pa.array([f"MA{i:04d}.1" for i in name]),
        "motif_name": pa.array([f"NAME{i}" for i in name]),
        "q": 10.0 ** -rng.uniform(2, 60, size),
        "similar_to": pa.array([f"MA{i:04d}.1" for i in name]),
        "cluster": pa.array([f"NAME{i % 90} cluster" for i in name]),
        "evidence": pa.array(["enriched"] * size),
    }
    for whole in ("peaks", "hits", "offset", "held_out_peaks", "held_out_hits"):
        columns[whole] = rng.integers(0, 100, size).astype(np.int32)
    table = rounded(pa.table(columns, schema=MATCHES_SCHEMA))
    letters = np.array(list("ACGT"))
    places = 20
    sites = n * places
    examples = pa.table(
        {
            "feature": np.repeat(np.arange(n) // 2, places).astype(np.uint32),
            "strand": np.repeat(np.where(np.arange(n) % 2, -1, 1), places).astype(np.int8),
            "range": np.tile(np.repeat([1, 2, 3, 4], 5), n).astype(np.uint8),
            "rank": np.tile(np.arange(places), n).astype(np.int32),
            "contig": pa.array(["chrI"] * sites),
            "position": rng.integers(0, 10**6, sites),
            "value": rng.random(sites).astype(np.float32),
            "gene": pa.array([f"G{i}" for i in rng.integers(0, 6000, sites)]),
            "sequence": pa.array(
                ["".join(row) for row in letters[rng.integers(0, 4, (sites, 51))]]
            ),
            # the bundled dictionary's examples have 1.2 active bases each
            "values": pa.ListArray.from_arrays(
                np.arange(sites + 1, dtype=np.int32) * 51,
                pa.array(
                    np.where(rng.random(sites * 51) < 0.03, rng.integers(1, 256, sites * 51), 0),
                    pa.uint8(),
                ),
                type=EXAMPLES_SCHEMA.field("values").type,
            ),
        },
        schema=EXAMPLES_SCHEMA,
    )
    whole = Atlas(
        card(), best_labels(table, CONCEPTS_SCHEMA.empty_table()), table, examples=examples
    )
    kept = fitted(whole, 4_000_000)
    assert 1 <= kept.about.kept["examples"] < LEVELS[0].examples
    assert kept.labels.equals(whole.labels)


def test_an_atlas_without_values_of_its_examples_is_read(tmp_path):
    kept = write_atlas(small(), tmp_path / "new")
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "new", older)
    path = older / "examples.parquet"
    path.write_bytes(pack(pq.read_table(path).drop_columns(["values"])))
    record = json.loads((older / "atlas.json").read_text())
    record["files"]["examples.parquet"] = file_sha256(path)
    (older / "atlas.json").write_text(json.dumps(record))
    read = load_atlas(older, kept.about.dictionary_sha256)
    assert read.examples["values"].null_count == read.examples.num_rows > 0
    assert read.examples.schema.types == EXAMPLES_SCHEMA.types
    again = load_atlas(tmp_path / "new", kept.about.dictionary_sha256)
    assert again.examples.drop_columns(["values"]).equals(read.examples.drop_columns(["values"]))
