"""What is asked of atlases over HTTP: factors, features, concepts, in every format."""

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from app.config import Settings
from tests.app.atlas_cases import GENOME, install_atlas


@pytest.fixture(autouse=True)
def atlas(settings: Settings) -> None:
    """The dictionary of the installation has an atlas."""
    install_atlas(settings.models_dirs[0])


def get(client: FlaskClient, address: str, status: int = 200) -> Any:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return answer.get_json()


def test_a_factor_is_asked_of_the_default_atlas(client: FlaskClient) -> None:
    answer = get(client, "/v1/tfs/reb1/features")
    assert (answer["dictionary"], answer["source"], answer["total"]) == ("toy-sae", "atlas", 2)
    assert [row["feature"] for row in answer["features"]] == [1, 2]
    assert get(client, "/v1/tfs/reb1/features?dictionary=toy")["features"] == answer["features"]
    assert answer["baselines"][0]["baseline"] == "toy-neurons"


def test_a_name_may_have_a_slash(client: FlaskClient) -> None:
    """As C/EBP has, written as it is or as %2F."""
    for name in ("REB/1", "REB%2F1"):
        assert get(client, f"/v1/tfs/{name}/features")["motifs"][0]["name"] == "REB1"


def test_a_factor_is_asked_of_a_run(client: FlaskClient, finished: str) -> None:
    answer = get(client, f"/v1/tfs/REB1/features?run={finished}")
    assert answer == get(client, f"/v1/runs/{finished}/tfs/REB1/features")
    assert (answer["source"], [row["feature"] for row in answer["atlas_features"]]) == (
        "run",
        [1, 2],
    )


@pytest.mark.parametrize(
    ("query", "features"),
    [
        ("max_q=1e-6", [1]),
        ("evidence=centred", [1]),
        ("evidence=enriched,centred", [1]),
        ("evidence=causal", []),
        ("min_log2_enrichment=3.5", []),
        ("strand=-", []),
        ("strand=%2B&sort=feature", [1, 2]),
        ("group_by=group", [1]),
        ("group_by=cluster", [1, 2]),
        ("limit=1&page_token=1", [2]),
        ("taxon=fungi&release=JASPAR2026", [1, 2]),
    ],
)
def test_matches_are_filtered(query: str, features: list[int], client: FlaskClient) -> None:
    answer = get(client, f"/v1/tfs/REB1/features?{query}")
    assert [row["feature"] for row in answer["features"]] == features


def test_a_list_comes_as_a_file(client: FlaskClient) -> None:
    answer = client.get("/v1/tfs/REB1/features?format=tsv&limit=1")
    assert answer.mimetype == "text/tab-separated-values"
    [row] = csv.DictReader(io.StringIO(answer.text), delimiter="\t")
    assert (row["feature"], row["strand"], row["matrix_id"]) == ("1", "+", "MA0363.3")
    assert answer.headers["X-Total-Count"] == "2"
    described, following = answer.headers["Link"].split(", ")
    assert described == '</v1/tfs/REB1/features?format=json&limit=1>; rel="describedby"'
    address = following.removeprefix("<").split(">")[0]
    [row] = csv.DictReader(io.StringIO(client.get(address).text), delimiter="\t")
    assert row["feature"] == "2"
    whole = client.get("/v1/tfs/REB1/features?format=parquet")
    table = pq.read_table(io.BytesIO(whole.data))
    assert table["feature"].to_pylist() == [1, 2]
    head = json.loads(table.schema.metadata[b"saetrack"])
    assert head["note"] == f"known from the atlas of the dictionary ({GENOME})"
    assert "next" not in whole.headers["Link"]


def test_a_name_in_a_link_is_quoted(client: FlaskClient) -> None:
    answer = client.get("/v1/tfs/%E2%80%83REB1 /features?format=tsv")
    assert answer.status_code == 200
    address = "/v1/tfs/%E2%80%83REB1%20/features?format=json"
    assert answer.headers["Link"] == f'<{address}>; rel="describedby"'
    assert get(client, address)["features"]


def test_lists_of_a_run_come_as_files_too(client: FlaskClient, finished: str) -> None:
    for table in ("features", "matches"):
        answer = client.get(f"/v1/runs/{finished}/{table}?format=tsv")
        assert {line["strand"] for line in csv.DictReader(io.StringIO(answer.text), delimiter="\t")}
    page = get(client, f"/v1/runs/{finished}/matches?evidence=enriched&sort=effect")
    assert page["total"] == 2


def test_factors_are_searched(client: FlaskClient) -> None:
    answer = get(client, "/v1/tfs?q=reb")
    assert (answer["taxon"], answer["release"], answer["resolution"]) == (
        "fungi",
        "JASPAR2026",
        None,
    )
    assert "REB1" in {each["name"] for each in answer["tfs"]}
    assert "REB1" in answer["problem"]
    named = get(client, "/v1/tfs?q=Reb1p")["resolution"]
    assert [motif["name"] for motif in named["motifs"]] == ["REB1"]
    assert len(get(client, "/v1/tfs?limit=3")["tfs"]) == 3
    ambiguous = get(client, "/v1/tfs?q=AP-1&taxon=vertebrates")
    assert ambiguous["resolution"] is None
    assert ambiguous["candidates"][0]["matrix_ids"]


def test_all_that_is_known_of_a_feature(client: FlaskClient, finished: str) -> None:
    view = get(client, "/v1/features/toy-sae/1")
    plus, minus = view["rows"]
    assert plus["logo"] == "/v1/features/toy-sae/1/logo.svg?strand=%2B"
    assert minus["logo"] is None
    [match] = plus["matches"]
    assert match["logo"] == "/v1/motifs/MA0363.3/logo.svg?taxon=fungi&release=JASPAR2026"
    assert "run" not in view["links"]
    seen = get(client, f"/v1/features/toy-sae/1?run={finished}&strand=-")
    assert seen["rows"][0]["run"]["max"] == 4.0
    for name in ("run", "signal", "peaks"):
        assert client.get(seen["links"][name]).status_code == 200
    for address in (plus["logo"], match["logo"]):
        answer = client.get(address)
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
        assert answer.text.startswith("<svg")
    assert client.get("/v1/features/toy-sae/1/logo.svg?strand=-").status_code == 404
    assert client.get("/v1/motifs/MA9999.1/logo.svg").status_code == 404


def test_a_feature_is_named_with_its_sign(client: FlaskClient, finished: str) -> None:
    for name in ("1-", "1_minus"):
        [row] = get(client, f"/v1/features/toy-sae/{name}")["rows"]
        assert row["strand"] == "-"
        view = get(client, f"/v1/runs/{finished}/features/{name}")
        assert (view["feature"], {row["strand"] for row in view["strands"]}) == (1, {"-"})
    assert client.get("/v1/features/toy-sae/1+/logo.svg").status_code == 200
    assert client.get("/v1/features/toy-sae/1-/logo.svg").status_code == 404
    both = client.get(f"/v1/runs/{finished}/features/1/peaks.bed?strand=-")
    assert client.get(f"/v1/runs/{finished}/features/1-/peaks.bed").text == both.text
    said = get(client, "/v1/features/toy-sae/1-?strand=%2B", 400)["detail"]
    assert "leave one of them out" in said


def test_a_matrix_needs_no_version_and_another_is_refused_with_what_is_held(
    client: FlaskClient,
) -> None:
    held = client.get("/v1/motifs/MA0363.3/logo.svg").text
    assert client.get("/v1/motifs/ma0363/logo.svg").text == held
    said = get(client, "/v1/motifs/MA0363.1/logo.svg", 404)["detail"]
    assert "MA0363.3" in said


def test_concepts(client: FlaskClient, finished: str) -> None:
    view = get(client, "/v1/concepts")
    assert [row["concept"] for row in view["concepts"]] == ["intron", "exon"]
    answer = get(client, "/v1/concepts/intron/features?max_q=0.05&limit=1")
    assert [row["feature"] for row in answer["features"]] == [2]
    assert (answer["total"], answer["next_page_token"]) == (2, "1")
    run = get(client, f"/v1/concepts/intron/features?run={finished}&orientation=same")
    assert (run["source"], [row["feature"] for row in run["features"]]) == ("run", [2])
    text = client.get("/v1/concepts/intron/features?format=tsv").text
    assert len(text.splitlines()) == 3  # one row has q = 0.5
    whole = get(client, "/v1/concepts/intron/features?max_q=1")
    assert (whole["total"], whole["max_q"]) == (3, None)
    assert "whatever their q" in whole["note"]
    none = get(client, "/v1/concepts/intron/features?max_q=1e-9")
    assert (none["features"], [row["feature"] for row in none["nearest"]]) == ([], [2, 2, 1])


def test_atlases_are_listed(client: FlaskClient) -> None:
    view = get(client, "/v1/atlases")
    assert (view["default"], [each["genome"] for each in view["atlases"]]) == ("toy-sae", [GENOME])
    assert get(client, "/v1/atlases/toy-sae") == view["atlases"][0]
    assert "matches.parquet" in view["atlases"][0]["files"]


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/v1/tfs/REBB1/features", 404, "REB1"),
        ("/v1/tfs/REB1/features?dictionary=toy-sea", 404, "did you mean toy-sae"),
        ("/v1/tfs/REB1/features?run=nothing", 404, "nothing"),
        ("/v1/tfs/REB1/features?run=x&dictionary=toy-sae", 400, "not both"),
        ("/v1/tfs/REB1/features?taxon=plants", 400, "knows the motifs of JASPAR2026 fungi"),
        ("/v1/tfs/REB1/features?evidence=sure", 400, "evidence must be of enriched"),
        ("/v1/tfs/REB1/features?sort=size", 400, "sort"),
        ("/v1/tfs/REB1/features?group_by=family", 400, "group_by"),
        ("/v1/tfs/%20/features", 400, "name a factor"),
        ("/v1/tfs/Spi1/features", 404, "No installed atlas covers vertebrates"),
        ("/v1/tfs/REB1/features?format=xlsx", 400, "format"),
        ("/v1/tfs/REB1/features?colour=red", 400, "there is no such parameter"),
        ("/v1/tfs/REB1/features?page_token=x", 400, "next_page_token"),
        ("/v1/tfs/REB1/features?limit=501", 400, "limit"),
        ("/v1/tfs?taxon=mammals", 400, "vertebrates"),
        ("/v1/features/toy-sae/4", 404, "numbered 0 to 3"),
        ("/v1/features/toy-sae/x", 404, "numbered 0 to 3"),
        ("/v1/features/toy-sea/1", 404, "did you mean toy-sae"),
        ("/v1/features/toy-sae/1?run=nothing", 404, "nothing"),
        ("/v1/concepts/exons/features", 404, "did you mean exon"),
        ("/v1/concepts/exon/features?evidence=causal", 400, "there is no such parameter"),
        ("/v1/concepts?sort=f1", 400, "there is no such parameter"),
        ("/v1/atlases/toy-sea", 404, "did you mean toy-sae"),
    ],
)
def test_wrong_questions(address: str, status: int, said: str, client: FlaskClient) -> None:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert said in answer.get_json()["detail"]


def test_an_ambiguous_name_is_refused_with_what_it_may_mean(
    client: FlaskClient, settings: Settings
) -> None:
    install_atlas(settings.models_dirs[0], "vertebrates")
    body = get(client, "/v1/tfs/AP-1/features", 404)
    assert body["type"].endswith("ambiguous-name")
    assert any(place["message"].startswith("FOS") for place in body["errors"])


def test_files_are_declared(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    for path in ("/v1/tfs/{tf}/features", "/v1/concepts/{concept}/features"):
        assert set(paths[path]["get"]["responses"]["200"]["content"]) == {
            "application/json",
            "text/tab-separated-values",
            "application/vnd.apache.parquet",
        }
    assert set(paths["/v1/concepts"]) == {"get", "post"}


@pytest.mark.parametrize("wrong", ["table", "weights", "format"])
def test_a_run_whose_atlas_does_not_fit_is_refused(
    wrong: str, client: FlaskClient, settings: Settings
) -> None:
    """It is no fault of the request, whatever it is."""
    (card,) = settings.models_dirs[0].glob("**/atlas/atlas.json")
    if wrong == "table":
        labels = card.with_name("labels.parquet")
        labels.write_bytes(labels.read_bytes() + b"more")
    else:
        change = {"weights": {"dictionary_sha256": "3" * 64}, "format": {"format": 1}}[wrong]
        card.write_text(json.dumps(json.loads(card.read_text()) | change))
    before = get(client, "/v1/runs")["runs"]
    answer = client.post("/v1/runs", data={"file": (io.BytesIO(b">a\nACGT\n"), "a.fa")})
    assert answer.status_code == 500
    assert "not your fault" in answer.get_json()["detail"]
    assert get(client, "/v1/runs")["runs"] == before
