"""Which features match, from an atlas, from a run, and from an atlas beside a run."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.errors import OptionError, StateError, UnknownNameError
from annotations.interval_ranking import RANKING_SCHEMA
from annotations.options import RunOptions
from app.answers import Listing, Source, tf_features, write_listing
from app.atlases import IndexedAtlas
from app.catalog import Result
from app.concept_answers import concept_features, concepts, interval_features
from app.feature_views import feature_matches, feature_view
from app.selection import Choice
from tests.app.atlas_cases import GENOME, make_atlas
from tests.app.conftest import write_results

ALL = Choice(max_q=0.05)


def source(folder: Path | None = None, *, atlas: bool = True, **changes: Any) -> Source:
    """The atlas, and with a folder a run beside it."""
    known = IndexedAtlas(make_atlas()) if atlas else None
    result = None if folder is None else make_result(folder, **changes)
    return Source(dictionary="toy-sae", n_features=4, atlas=known, result=result)


def make_result(folder: Path, *, tested: bool, taxon: str | None = "fungi") -> Result:
    folder.mkdir(exist_ok=True)
    return Result(
        files={path.name: path for path in write_results(folder / "results", tested=tested)},
        names=["chrA", "chrB"],
        lengths=[20, 10],
        options=RunOptions(dictionary="toy-sae", taxon=taxon),
        n_features=4,
        atlas=None,
        dictionary_sha256="2" * 64,
    )


def features(answer: Listing) -> list[str]:
    return [f"{row['feature']}{row['strand']}" for row in answer.to_json()["features"]]


def test_an_atlas_answers_alone() -> None:
    answer = tf_features(source(), "reb1", ALL).to_json()
    assert [(row["rank"], row["feature"], row["source"]) for row in answer["features"]] == [
        (1, 1, "atlas"),
        (2, 2, "atlas"),
    ]
    first = answer["features"][0]
    assert (first["label"], first["group"], first["cluster"]) == ("REB1-like motif", 5, "REB1")
    assert (first["gc"], first["cpg"]) == (0.4, None)
    assert "run_max" not in first
    assert (answer["match_type"], answer["taxon"], answer["motif_test"]) == ("name", "fungi", None)
    assert answer["note"] == f"known from the atlas of the dictionary ({GENOME})"
    assert [row["auroc"] for row in answer["baselines"]] == [0.6]
    assert answer["motifs"][0]["cluster"] == "REB1"


def test_a_test_of_the_runs_own_comes_before_the_atlas(tmp_path: Path) -> None:
    answer = tf_features(source(tmp_path, tested=True), "REB1", ALL).to_json()
    assert [(row["feature"], row["source"]) for row in answer["features"]] == [(1, "run")]
    assert answer["features"][0]["run_max"] == 4.0
    known = [(row["rank"], row["feature"], row["source"]) for row in answer["atlas_features"]]
    assert known == [(1, 1, "atlas"), (2, 2, "atlas")]
    assert answer["source"] == "run"


@pytest.mark.parametrize("taxon", ["fungi", None])
def test_the_atlas_answers_where_there_was_no_test(taxon: str | None, tmp_path: Path) -> None:
    answer = tf_features(source(tmp_path, tested=False, taxon=taxon), "REB1", ALL).to_json()
    assert [row["source"] for row in answer["features"]] == ["atlas", "atlas"]
    assert answer["atlas_features"] == []
    # what the features did in this run stands beside: 1 was silent on +, where 2 was active
    assert [row["run_max"] for row in answer["features"]] == [2.0, 8.0]
    assert answer["note"].startswith("underpowered here: the sequences hold 0 independent")
    assert GENOME in answer["note"]
    assert answer["motif_test"]["tested"] is False


def test_an_atlas_of_another_taxon_says_nothing(tmp_path: Path) -> None:
    asked = source(tmp_path, tested=False, taxon="vertebrates")
    answer = tf_features(asked, "CTCF", ALL).to_json()
    assert (answer["features"], answer["atlas"], answer["source"]) == ([], None, "run")
    assert "no atlas of these motifs" in answer["note"]
    with pytest.raises(UnknownNameError):
        tf_features(asked, "REB1", ALL)


def test_without_motifs_and_atlas_there_is_nothing_to_ask(tmp_path: Path) -> None:
    asked = source(tmp_path, atlas=False, tested=False, taxon=None)
    with pytest.raises(StateError, match="taxon=fungi"):
        tf_features(asked, "REB1", ALL)


@pytest.mark.parametrize("wrong", [{"taxon": "vertebrates"}, {"release": "JASPAR2022"}])
def test_motifs_that_were_not_looked_for_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="knows the motifs of JASPAR2026 fungi"):
        tf_features(source(), "REB1", ALL, **wrong)
    right = {"taxon": "fungi", "release": "JASPAR2026"}
    assert features(tf_features(source(), "REB1", ALL, **right)) == ["1+", "2+"]


def test_an_empty_answer_tells_the_nearest(tmp_path: Path) -> None:
    answer = tf_features(source(tmp_path, tested=True), "REB1", Choice(max_q=1e-9)).to_json()
    assert answer["features"] == []
    assert [row["q"] for row in answer["nearest"]] == [0.001, 0.4]


def test_features_that_fire_together_are_one_row() -> None:
    answer = tf_features(source(), "REB1", replace(ALL, group_by="group")).to_json()
    [row] = answer["features"]
    assert (row["feature"], row["members"], row["member_names"]) == (1, 2, "1+;2+")


def test_filters_reach_the_rows() -> None:
    assert features(tf_features(source(), "REB1", replace(ALL, evidence=("centred",)))) == ["1+"]
    assert features(tf_features(source(), "REB1", replace(ALL, max_q=1e-6))) == ["1+"]
    first = tf_features(source(), "REB1", replace(ALL, limit=1))
    assert (features(first), first.page.next_page_token) == (["1+"], "1")
    second = tf_features(source(), "REB1", replace(ALL, limit=1, page_token="1"))  # noqa: S106
    assert second.to_json()["features"][0]["rank"] == 2


def test_concepts_are_listed_with_their_best_feature() -> None:
    view = concepts(source(), max_q=0.05)
    [intron, exon] = view["concepts"]
    assert (intron["concept"], intron["features"], intron["best_f1"]) == ("intron", 2, 0.8)
    assert (intron["best_feature"], intron["best_strand"]) == (2, "-")
    assert (exon["concept"], exon["orientation"], exon["features"]) == ("exon", "either", 1)


def test_features_of_a_concept(tmp_path: Path) -> None:
    choice = Choice(sort="f1")
    answer = concept_features(source(), "Intron", choice, orientation=None)
    assert features(answer) == ["2-", "2+", "1+"]
    assert answer.head["source"] == "atlas"
    assert [row["auroc"] for row in answer.head["baselines"]] == [0.7]
    assert features(concept_features(source(), "intron", choice, orientation="either")) == []
    strong = replace(choice, max_q=0.05, group_by="group")
    assert features(concept_features(source(), "intron", strong, orientation="same")) == [
        "2-",
        "2+",
    ]
    own = concept_features(source(tmp_path, tested=True), "intron", choice, orientation=None)
    assert (features(own), own.head["source"]) == (["2+", "1-"], "run")
    with pytest.raises(UnknownNameError, match=r"did you mean exon\? known are: exon, intron"):
        concept_features(source(), "exons", choice, orientation=None)


def test_without_genes_and_without_an_atlas_of_concepts_it_is_said_so(tmp_path: Path) -> None:
    bare = make_atlas()
    bare = replace(bare, concepts=bare.concepts.slice(0, 0))
    asked = source(tmp_path, tested=True)
    assert asked.result is not None
    table = asked.result.table("concepts")
    pq.write_table(table.slice(0, 0), asked.result.files["concepts.parquet"])
    asked = replace(asked, atlas=IndexedAtlas(bare))
    with pytest.raises(StateError, match="no gene annotation, and the atlas no concepts"):
        concept_features(asked, "exon", Choice(sort="f1"), orientation=None)
    with pytest.raises(StateError, match="the atlas has no concepts"):
        concept_features(replace(asked, result=None), "exon", Choice(sort="f1"), orientation=None)
    assert "no concepts" in concepts(asked, max_q=0.05)["note"]


@pytest.mark.parametrize("name", ["", "  "])
def test_a_factor_must_be_named(name: str) -> None:
    with pytest.raises(OptionError, match="name a factor"):
        tf_features(source(), name, ALL)


def test_intervals_of_a_user() -> None:
    rows = [
        dict.fromkeys(RANKING_SCHEMA.names, 1) | {"feature": f, "auroc": a}
        for f, a in ((1, 0.6), (2, 0.9))
    ]
    ranking = pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)
    answer = interval_features(source(), ranking, Choice(sort="auroc", limit=1))
    assert (features(answer), answer.page.total, answer.head["tested"]) == (["2+"], 2, 2)
    assert answer.to_json()["features"][0]["label"] == "intron"
    assert answer.head["note"].startswith("too few for a test: 1 interval against 1")


def test_a_list_is_written_as_text_and_as_parquet(tmp_path: Path) -> None:
    answer = tf_features(source(tmp_path, tested=True), "REB1", ALL)
    text = io.StringIO()
    write_listing(answer, text, "tsv")
    header, line = text.getvalue().splitlines()
    cells = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (cells["strand"], cells["matrix_id"], cells["run_peaks"]) == ("-", "MA0363.3", "1")
    write_listing(answer, tmp_path / "x.parquet", "parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["strand"].to_pylist() == [-1]
    head = json.loads(table.schema.metadata[b"saetrack"])
    assert (head["source"], head["query"]) == ("run", "REB1")


def test_all_that_is_known_of_a_feature(tmp_path: Path) -> None:
    view = feature_view(source(tmp_path, tested=True), 1)
    plus, minus = view["rows"]
    assert (view["known"], plus["label"], minus["label"]) == (True, "REB1-like motif", None)
    assert plus["evidence"]["motif_name"] == "REB1"
    assert plus["group"]["members"] == [
        {"feature": 1, "strand": "+", "label": "REB1-like motif"},
        {"feature": 2, "strand": "+", "label": "intron"},
    ]
    assert [match["matrix_id"] for match in plus["matches"]] == ["MA0363.3"]
    assert plus["examples"][0]["sequence"] == "ACGTN"
    assert plus["neighbours"] == [
        {"other_feature": 2, "other_strand": "+", "correlation": 0.8, "other_label": "intron"}
    ]
    assert (plus["has_motif"], minus["has_motif"]) == (True, False)
    assert minus["run"] == {"active_bases": 1, "density": 0.04, "max": 4.0, "peaks": 1}
    assert {(row["kind"], row["name"]) for row in view["baselines"]} == {
        ("matrix", "MA0363.3"),
        ("concept", "intron"),
    }


def test_a_feature_nothing_is_known_of() -> None:
    view = feature_view(source(), 3, strand="-")
    assert view["known"] is False
    assert [(row["strand"], row["matches"], row["run"]) for row in view["rows"]] == [
        ("-", [], None)
    ]
    with pytest.raises(StateError, match="has no atlas"):
        feature_view(source(atlas=False), 3)


def test_matches_of_a_feature_alone() -> None:
    listing = feature_matches(source(), 2)
    assert [row["matrix_id"] for row in listing.to_json()["matches"]] == ["MA0362.1", "MA0363.3"]
    assert feature_matches(source(), 2, strand="-").page.total == 0


def test_a_users_own_motifs_have_names(tmp_path: Path) -> None:
    own = tmp_path / "motifs.jaspar"
    rows = (f"{base} [ 9 1 9 1 9 1 ]" for base in "ACGT")
    own.write_text(">M1 LAB7\n" + "\n".join(rows) + "\n")
    asked = source(tmp_path, atlas=False, tested=True, taxon=None)
    assert asked.result is not None
    asked = replace(asked, result=replace(asked.result, motifs=own))
    answer = tf_features(asked, "lab7", ALL).to_json()
    assert [motif["matrix_id"] for motif in answer["motifs"]] == ["M1"]
    assert (answer["features"], answer["source"]) == ([], "run")
