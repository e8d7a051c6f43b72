"""Questions that fall back on a dictionary's atlas, and rows as JSON values."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.atlas import Atlas, AtlasCard, write_atlas
from annotations.enrichment import MATCHES_SCHEMA
from annotations.errors import CoordinateError, OptionError, StateError, UnknownNameError
from annotations.naming import LABELS_SCHEMA
from annotations.options import RunOptions
from app.catalog import Result, feature, json_rows, signal_file, tf_features
from tests.app.conftest import write_results


def make_result(folder: Path, *, tested: bool, taxon: str | None = "fungi") -> Result:
    files = {path.name: path for path in write_results(folder / "results", tested=tested)}
    return Result(
        files=files,
        names=["chrA", "chrB"],
        lengths=[20, 10],
        options=RunOptions(dictionary="toy-sae", taxon=taxon),
        n_features=4,
        atlas=make_atlas(folder / "atlas"),
        dictionary_sha256="2" * 64,
    )


def make_atlas(folder: Path) -> Path:
    """Features 2 and 3 match REB1, 2 by a smaller q."""
    columns = {field.name: None for field in MATCHES_SCHEMA}
    rows = [
        columns | {"feature": feature, "strand": 1, "matrix_id": "MA0363.3", "motif_name": "REB1",
                   "q": q, "p": q, "log2_enrichment": 2.0}
        for feature, q in ((2, 1e-9), (3, 1e-4))
    ]  # fmt: skip
    about = AtlasCard(
        dictionary_id="toy-sae",
        dictionary_sha256="2" * 64,
        genome="yeast",
        release="JASPAR2026",
        taxon="fungi",
        counts={},
        date="2026-01-01T00:00:00Z",
    )
    matches = pa.Table.from_pylist(rows, schema=MATCHES_SCHEMA)
    write_atlas(Atlas(about, LABELS_SCHEMA.empty_table(), matches), folder)
    return folder


def test_a_test_of_the_runs_own_comes_before_the_atlas(tmp_path: Path) -> None:
    answer = tf_features(make_result(tmp_path, tested=True), "REB1", max_q=0.05, limit=10)
    assert [(row["feature"], row["source"]) for row in answer.features] == [(1, "run")]
    assert answer.atlas is not None
    known = [(row["rank"], row["feature"], row["source"]) for row in answer.atlas_features]
    assert known == [(1, 2, "atlas"), (2, 3, "atlas")]


def test_a_feature_with_rows_but_no_active_base_is_silent(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=True)
    assert feature(result, 1)["active"] is True
    table = result.table("features")
    place = table.schema.get_field_index("active_bases")
    silent = table.set_column(place, "active_bases", pa.array([0, 0, 1], pa.int64()))
    pq.write_table(silent, result.files["features.parquet"])
    view = feature(result, 1)
    assert (view["active"], len(view["strands"])) == (False, 2)


@pytest.mark.parametrize("taxon", ["fungi", None])
def test_the_atlas_answers_where_there_was_no_test(taxon: str | None, tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=False, taxon=taxon)
    answer = tf_features(result, "REB1", max_q=0.05, limit=10)
    assert [(row["rank"], row["feature"], row["source"]) for row in answer.features] == [
        (1, 2, "atlas"),
        (2, 3, "atlas"),
    ]
    assert answer.atlas_features == []
    # what the features did in this run stands beside: 2 was active, 3 was not
    assert [row["here"] and row["here"]["max"] for row in answer.features] == [8.0, None]
    assert answer.atlas is not None
    assert answer.atlas["genome"] == "yeast"
    assert answer.test["tested"] is False
    assert len(tf_features(result, "REB1", max_q=1e-6, limit=10).features) == 1
    assert len(tf_features(result, "REB1", max_q=1, limit=1).features) == 1


def test_an_atlas_of_another_taxon_says_nothing(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=False, taxon="vertebrates")
    answer = tf_features(result, "CTCF", max_q=1.0, limit=10)
    assert (answer.features, answer.atlas) == ([], None)
    with pytest.raises(UnknownNameError):
        tf_features(result, "REB1", max_q=1.0, limit=10)


def test_without_motifs_and_atlas_there_is_nothing_to_ask(tmp_path: Path) -> None:
    result = replace(make_result(tmp_path, tested=False, taxon=None), atlas=None)
    with pytest.raises(StateError, match="taxon=fungi"):
        tf_features(result, "REB1", max_q=1.0, limit=10)


def test_a_strand_that_was_not_read_has_no_signal(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=True)
    forward = replace(result, options=replace(result.options, strands="forward"))
    with pytest.raises(OptionError, match="forward strand only"):
        signal_file(forward, tmp_path / "x.bw", feature=1, strand="-")
    signal_file(forward, tmp_path / "x.bw", feature=1, strand="+")


def test_rows_are_json_values() -> None:
    table = pa.table(
        {
            "strand": pa.array([1, -1], pa.int8()),
            "motif_strand": pa.array([None, -1], pa.int8()),
            "contig": pa.array([1, 0], pa.uint32()),
            "value": [float("nan"), float("inf")],
        }
    )
    assert json_rows(table, ["a", "b"]) == [
        {"strand": "+", "motif_strand": None, "contig": "b", "value": None},
        {"strand": "-", "motif_strand": "-", "contig": "a", "value": None},
    ]
    with pytest.raises(CoordinateError):
        json_rows(table, ["a"])
