"""Baseline rows: the best of a result by hand, GC against a slow twin."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.baselines import BASELINES_SCHEMA, GC_FLANK, best_rows, gc_rows
from annotations.concept_tracks import gene_tracks
from annotations.errors import FormatError, StorageError
from annotations.evaluation import auprc, auroc
from annotations.interval_concepts import CONCEPTS_SCHEMA
from tests.annotations.test_concept_tracks import genes_of

FIGURES = BASELINES_SCHEMA.names[6:]


def concept(feature, strand, name, auprc_value, **more):
    row = {
        "feature": feature,
        "strand": strand,
        "concept": name,
        "orientation": "either",
        "auroc": 0.6,
        "auprc": auprc_value,
        "prevalence": 0.1,
        "peaks": 0,
    }
    return row | more


def result(folder, concepts, matches=()):
    (folder / "provenance.json").write_text(json.dumps({"dictionary": {"id": "neurons"}}))
    pq.write_table(
        pa.Table.from_pylist(list(concepts), schema=CONCEPTS_SCHEMA), folder / "concepts.parquet"
    )
    if matches:
        pq.write_table(pa.Table.from_pylist(list(matches)), folder / "matches.parquet")
    return folder


def test_the_row_with_the_best_area_on_discovery_is_chosen(tmp_path):
    folder = result(
        tmp_path,
        [
            concept(1, 1, "CDS", 0.2, held_out_auprc=0.9),
            concept(2, -1, "CDS", 0.3, held_out_auprc=0.1, held_out_auroc=0.55),
            concept(3, 1, "CDS", 0.3, auroc=0.5),
            concept(4, 1, "CDS", 0.25, orientation="same"),
            concept(5, 1, "TSS", None),
        ],
        [
            {"matrix_id": "MA1.1", "feature": 7, "strand": 1, "auroc": 0.8, "auprc": 0.5,
             "prevalence": 0.1, "held_out_auroc": 0.7, "held_out_auprc": 0.4,
             "held_out_prevalence": 0.1},
        ],
    )  # fmt: skip
    table = best_rows(folder)
    assert table.schema == BASELINES_SCHEMA
    rows = table.to_pylist()
    assert [(r["kind"], r["name"], r["orientation"], r["feature"], r["strand"]) for r in rows] == [
        ("concept", "CDS", "either", 2, -1),
        ("concept", "CDS", "same", 4, 1),
        ("matrix", "MA1.1", None, 7, 1),
    ]
    assert {r["baseline"] for r in rows} == {"neurons"}
    assert (rows[0]["held_out_auprc"], rows[0]["held_out_auroc"]) == (0.1, 0.55)
    assert rows[0]["held_out_prevalence"] is None


def test_a_folder_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "provenance.json").write_text("{}")
    with pytest.raises(FormatError, match="no dictionary"):
        best_rows(tmp_path)
    (tmp_path / "provenance.json").write_text('{"dictionary": {"id": "x"}}')
    with pytest.raises(StorageError, match="neither"):
        best_rows(tmp_path)


def test_gc_equals_a_slow_twin_and_takes_the_better_sign():
    rng = np.random.default_rng(5)
    codes = [rng.integers(0, 4, 400).astype(np.uint8) for _ in range(2)]
    codes[0][100:160] = rng.choice([1, 2], 60)  # rich in GC: the exon
    codes[0][250:330] = rng.choice([0, 3], 80)  # poor: the intron
    codes[1][50:90] = rng.choice([0, 3], 40)
    genes = genes_of((0, 100, 160, 1, "exon"), (0, 250, 330, 1, "intron"), (1, 50, 90, 1, "intron"))
    tracks = gene_tracks(genes, [400, 400])
    table = gc_rows(codes, tracks, discovery=[0], held_out=[1])
    rows = {(r["name"], r["orientation"]): r for r in table.to_pylist()}
    assert set(rows) == {(label.concept, label.orientation) for label in tracks.labels}
    score = [
        np.array([np.isin(one[max(0, at - GC_FLANK) : at + GC_FLANK + 1], (1, 2)).sum()
                  for at in range(400)])
        for one in codes
    ]  # fmt: skip
    intron = [np.zeros(400, bool) for _ in codes]
    intron[0][250:330], intron[1][50:90] = True, True
    found = rows["intron", "either"]
    assert (found["feature"], found["strand"], found["baseline"]) == (None, None, "GC")
    for split, prefix in ((0, ""), (1, "held_out_")):
        assert found[prefix + "auroc"] == pytest.approx(auroc(-score[split], intron[split]))
        area = auprc(-score[split], intron[split])
        assert found[prefix + "auprc"] == pytest.approx(area.auprc)
        assert found[prefix + "prevalence"] == pytest.approx(area.prevalence)
    exon = np.zeros(400, bool)
    exon[100:160] = True
    assert rows["exon", "same"]["auroc"] == pytest.approx(auroc(score[0], exon))
    assert rows["exon", "same"]["held_out_auroc"] is None  # no exon there
