"""Every route's answer on a complete run made by hand."""

import csv
import gzip
import io
import json
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pyBigWig
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from app.api import run_cache
from app.api.service import VERSION
from app.config import Settings
from app.database import transaction
from app.dispatch import heartbeat
from app.models import STATES
from app.shards import fail
from app.storage import LocalStorage
from tests.app.conftest import FASTA, complete, new_run, take


def test_a_form_is_accepted_and_computed(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    answer = client.post(
        "/v1/runs",
        data={
            "file": (io.BytesIO(FASTA), "yeast.fa"),
            "genes": (io.BytesIO(b"chrA\t2\t8\tG\nchrZ\t2\t8\tH\n"), "genes.bed"),
            "options": json.dumps({"taxon": "fungi", "seed": 3}),
            "title": "My run",
            "peaks_per_feature": "20",
        },
    )
    assert answer.status_code == 202
    view = answer.get_json()
    assert answer.headers["Location"] == f"/v1/runs/{view['id']}" == view["links"]["self"]
    assert answer.headers["Retry-After"] == "2"
    assert (view["title"], view["filename"], view["contigs"]) == ("My run", "yeast.fa", 2)
    assert view["annotation_skipped"] == {"lines on contigs that the sequences do not have": 1}
    assert view["options"]["seed"] == 3
    assert view["options"]["peaks_per_feature"] == 20
    assert view["dictionary"] == "toy-sae"
    assert (view["state"], view["progress"], view["bases"]) == ("QUEUED", 0.0, 30)
    assert "features" not in view["links"]
    complete(engine, storage, settings, tmp_path / "results")
    answer = client.get(answer.headers["Location"])
    view = answer.get_json()
    assert "Retry-After" not in answer.headers
    assert (view["state"], view["progress"], view["error"]) == ("COMPLETE", 1.0, None)
    assert view["created_at"] <= view["started_at"] <= view["finished_at"]
    assert view["finished_at"].endswith("Z")
    for address in view["links"].values():
        assert client.get(address).status_code == 200, address


@pytest.mark.parametrize(
    "body",
    [FASTA, gzip.compress(FASTA), FASTA.replace(b"\n", b"\r\n")],
    ids=["plain", "gzip", "crlf"],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", ""])
def test_a_raw_body_is_accepted(body: bytes, content_type: str, client: FlaskClient) -> None:
    answer = client.post(
        "/v1/runs?taxon=fungi&motif_p=0.001&filename=a.fa&title=T",
        data=body,
        content_type=content_type or None,
    )
    view = answer.get_json()
    assert answer.status_code == 202
    assert (view["options"]["taxon"], view["options"]["motif_p"]) == ("fungi", 0.001)
    assert (view["filename"], view["title"], view["bases"]) == ("a.fa", "T", 30)


def test_the_same_again_is_200_and_another_run(client: FlaskClient, finished: str) -> None:
    answer = client.post("/v1/runs?taxon=fungi", data=FASTA, content_type="text/plain")
    assert answer.status_code == 200
    assert answer.get_json()["state"] == "COMPLETE"
    assert answer.get_json()["id"] != finished
    assert "Retry-After" not in answer.headers


def test_runs_are_listed(client: FlaskClient, finished: str) -> None:
    first = client.post("/v1/runs", data=FASTA, content_type="text/plain").get_json()["id"]
    page = client.get("/v1/runs?limit=1").get_json()
    assert [run["id"] for run in page["runs"]] == [first]
    page = client.get(f"/v1/runs?limit=1&page_token={page['next_page_token']}").get_json()
    assert [run["id"] for run in page["runs"]] == [finished]
    assert page["next_page_token"] is None


def test_a_run_is_canceled_and_deleted(client: FlaskClient, settings: Settings) -> None:
    address = client.post("/v1/runs", data=FASTA, content_type="text/plain").headers["Location"]
    for _ in range(2):
        answer = client.post(f"{address}/cancel")
        assert (answer.status_code, answer.get_json()["state"]) == (202, "CANCELED")
    assert client.get(f"{address}/features").get_json()["state"] == "CANCELED"
    answer = client.delete(address)
    assert (answer.status_code, answer.data) == (204, b"")
    assert client.get(address).status_code == 404
    assert client.delete(address).status_code == 404


def test_deleting_removes_what_was_made_of_the_results(
    client: FlaskClient, finished: str, settings: Settings
) -> None:
    client.get(f"/v1/runs/{finished}/features/1/signal.bw")
    assert list(run_cache(settings, finished).iterdir()) != []
    client.delete(f"/v1/runs/{finished}")
    assert not run_cache(settings, finished).exists()


def test_a_failed_run_says_why(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    run_id = new_run(engine, storage, settings)
    claimed = take(engine, settings, 1)
    with transaction(engine) as session:
        fail(session, claimed, code="tool-error", message="it broke", retryable=False,
             settings=settings, state="SYSTEM_ERROR")  # fmt: skip
    view = client.get(f"/v1/runs/{run_id}").get_json()
    assert view["state"] == "SYSTEM_ERROR"
    assert view["error"] == {"code": "tool-error", "message": "it broke"}
    answer = client.get(f"/v1/runs/{run_id}/features")
    assert answer.status_code == 409
    assert "it broke" in answer.get_json()["detail"]


def test_contigs_are_listed(client: FlaskClient, finished: str) -> None:
    contigs = client.get(f"/v1/runs/{finished}/contigs").get_json()["contigs"]
    assert [(c["name"], c["length"]) for c in contigs] == [("chrA", 20), ("chrB", 10)]
    assert contigs[0]["refget"].startswith("SQ.")


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", [(1, "-"), (2, "+"), (1, "+")]),
        ("?sort=telling", [(1, "-"), (2, "+"), (1, "+")]),
        ("?sort=density", [(1, "+"), (1, "-"), (2, "+")]),
        ("?sort=max", [(2, "+"), (1, "-"), (1, "+")]),
        ("?sort=q", [(1, "-"), (1, "+"), (2, "+")]),
        ("?sort=feature", [(1, "+"), (1, "-"), (2, "+")]),
        ("?sort=max&strand=%2B", [(2, "+"), (1, "+")]),
        ("?sort=max&strand=+", [(2, "+"), (1, "+")]),
        ("?strand=-", [(1, "-")]),
        ("?limit=500", [(1, "-"), (2, "+"), (1, "+")]),
    ],
)
def test_features_are_sorted_and_filtered(
    query: str, order: list[tuple[int, str]], client: FlaskClient, finished: str
) -> None:
    page = client.get(f"/v1/runs/{finished}/features{query}").get_json()
    assert [(row["feature"], row["strand"]) for row in page["features"]] == order
    assert (page["total"], page["next_page_token"]) == (len(order), None)


def test_features_come_in_pages(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/features?sort=max&limit=2"
    page = client.get(address).get_json()
    assert len(page["features"]) == 2
    rest = client.get(f"{address}&page_token={page['next_page_token']}").get_json()
    assert [row["feature"] for row in rest["features"]] == [1]
    assert rest["next_page_token"] is None
    # a value that is no number is no JSON either
    assert [row["q50"] for row in page["features"]] == [None, 4.0]


def test_a_feature_is_shown_on_both_strands(client: FlaskClient, finished: str) -> None:
    view = client.get(f"/v1/runs/{finished}/features/1").get_json()
    assert (view["feature"], view["active"]) == (1, True)
    assert [row["strand"] for row in view["strands"]] == ["+", "-"]
    assert [(p["contig"], p["position"], p["strand"], p["value"]) for p in view["peaks"]] == [
        ("chrA", 5, "-", 4.0),
        ("chrA", 5, "+", 2.0),
    ]
    assert view["peaks"][1]["motif_strand"] == "-"
    assert [row["matrix_id"] for row in view["matches"]] == ["MA0363.3"]
    for address in view["links"].values():
        assert client.get(address).status_code == 200


def test_a_dead_feature_is_told_from_one_that_does_not_exist(
    client: FlaskClient, finished: str
) -> None:
    view = client.get(f"/v1/runs/{finished}/features/3").get_json()
    assert (view["active"], view["strands"], view["peaks"]) == (False, [], [])
    assert client.get(f"/v1/runs/{finished}/features/3/peaks.bed").data == b""
    answer = client.get(f"/v1/runs/{finished}/features/4")
    assert answer.status_code == 404
    assert "numbered 0 to 3" in answer.get_json()["detail"]


def read_bigwig(data: bytes, folder: Path) -> dict[str, list[float]]:
    path = folder / "signal.bw"
    path.write_bytes(data)
    with pyBigWig.open(str(path)) as file:
        return {name: file.values(name, 0, length) for name, length in file.chroms().items()}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("?strand=%2B", {4: 1.0, 5: 2.0}),
        ("?strand=+", {4: 1.0, 5: 2.0}),
        ("?strand=-", {5: 4.0}),
        ("?strand=either", {4: 1.0, 5: 4.0}),
        ("", {4: 1.0, 5: 4.0}),
    ],
)
def test_a_signal_is_a_bigwig_with_the_runs_names(
    query: str, values: dict[int, float], client: FlaskClient, finished: str, tmp_path: Path
) -> None:
    answer = client.get(f"/v1/runs/{finished}/features/1/signal.bw{query}")
    found = read_bigwig(answer.data, tmp_path)
    assert found == {"chrA": [values.get(i, 0.0) for i in range(20)], "chrB": [0.0] * 10}


def test_a_signal_answers_head_ranges_and_conditions(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/features/1/signal.bw"
    whole = client.get(address)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert "Last-Modified" in whole.headers
    head = client.head(address)
    assert (head.status_code, head.data) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(whole.data)
    part = client.get(address, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.data) == (206, whole.data[4:8])
    assert part.headers["Content-Range"] == f"bytes 4-7/{len(whole.data)}"
    same = client.get(address, headers={"If-None-Match": whole.headers["ETag"]})
    assert (same.status_code, same.data) == (304, b"")
    past = client.get(address, headers={"Range": "bytes=999999-"})
    assert past.status_code == 416
    assert past.headers["Content-Range"] == f"bytes */{len(whole.data)}"


def test_two_runs_of_one_computation_have_tracks_with_their_own_names(
    client: FlaskClient, finished: str, tmp_path: Path
) -> None:
    client.get(f"/v1/runs/{finished}/features/1/signal.bw")
    other = client.post(
        "/v1/runs?taxon=fungi", data=FASTA.replace(b"chr", b"seq"), content_type="text/plain"
    ).get_json()["id"]
    answer = client.get(f"/v1/runs/{other}/features/1/signal.bw")
    assert set(read_bigwig(answer.data, tmp_path)) == {"seqA", "seqB"}
    assert client.get(f"/v1/runs/{other}/peaks.bed").text.startswith("seqA\t5\t6\tf1")


def test_peaks_are_bed(client: FlaskClient, finished: str) -> None:
    lines = client.get(f"/v1/runs/{finished}/peaks.bed").text.splitlines()
    assert [line.split("\t")[:6] for line in lines] == [
        ["chrA", "5", "6", "f1", "500", "+"],
        ["chrA", "5", "6", "f1", "1000", "-"],
        ["chrB", "9", "10", "f2", "1000", "+"],
    ]
    assert lines[0].split("\t")[6:] == ["REB1", "."]
    assert lines[1].split("\t")[6:] == [".", "ACT1_gene"]
    one = client.get(f"/v1/runs/{finished}/features/1/peaks.bed?strand=-").text.splitlines()
    assert [line.split("\t")[5] for line in one] == ["-"]


@pytest.mark.parametrize(("table", "rows"), [("features", 3), ("peaks", 3), ("matches", 2)])
def test_tables_are_served_whole(table: str, rows: int, client: FlaskClient, finished: str) -> None:
    answer = client.get(f"/v1/runs/{finished}/{table}.tsv")
    assert answer.mimetype == "text/tab-separated-values"
    text = list(csv.DictReader(io.StringIO(answer.text), delimiter="\t"))
    parquet = pq.read_table(io.BytesIO(client.get(f"/v1/runs/{finished}/{table}.parquet").data))
    assert len(text) == parquet.num_rows == rows
    assert list(text[0]) == parquet.column_names
    assert {row["strand"] for row in text} == {"+", "-"}
    if table == "peaks":
        assert text[0]["contig"] == "chrA"


def test_matches_are_ranked_and_cut(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/matches"
    page = client.get(address).get_json()
    assert [row["q"] for row in page["matches"]] == [0.001, 0.4]
    assert page["motif_test"]["tested"] is True
    assert client.get(f"{address}?max_q=0.05").get_json()["total"] == 1
    token = client.get(f"{address}?limit=1").get_json()["next_page_token"]
    rest = client.get(f"{address}?limit=1&page_token={token}").get_json()["matches"]
    assert [row["q"] for row in rest] == [0.4]


def test_a_tf_finds_its_features(client: FlaskClient, finished: str) -> None:
    answer = client.get(f"/v1/runs/{finished}/tfs/reb1/features").get_json()
    assert (answer["match_type"], answer["taxon"], answer["atlas"]) == ("name", "fungi", None)
    assert [motif["matrix_id"] for motif in answer["motifs"]] == ["MA0363.3"]
    [found] = answer["features"]
    assert (found["rank"], found["source"], found["feature"], found["strand"]) == (1, "run", 1, "-")
    did = {name: value for name, value in found.items() if name.startswith("run_")}
    assert did == {"run_active_bases": 1, "run_density": 0.04, "run_max": 4.0, "run_peaks": 1}
    wide = client.get(f"/v1/runs/{finished}/tfs/MA0363/features?max_q=1&limit=500").get_json()
    assert [row["feature"] for row in wide["features"]] == [1, 2]


def test_no_match_is_an_answer_and_an_unknown_tf_is_not(client: FlaskClient, finished: str) -> None:
    answer = client.get(f"/v1/runs/{finished}/tfs/CBF1/features")
    assert (answer.status_code, answer.get_json()["features"]) == (200, [])
    assert answer.get_json()["nearest"] == []
    near = client.get(f"/v1/runs/{finished}/tfs/REB1/features?max_q=1e-9").get_json()
    assert [row["feature"] for row in near["nearest"]] == [1, 2]
    answer = client.get(f"/v1/runs/{finished}/tfs/REBB1/features")
    assert answer.status_code == 404
    assert "REB1" in answer.get_json()["detail"]


def test_an_underpowered_run_says_so(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    run_id = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results", tested=False)
    answer = client.get(f"/v1/runs/{run_id}/tfs/REB1/features").get_json()
    assert (answer["features"], answer["atlas"]) == ([], None)
    assert (answer["motif_test"]["tested"], answer["motif_test"]["power"]) == (
        False,
        "underpowered",
    )
    assert "0 independent windows" in answer["motif_test"]["reason"]
    assert answer["note"].startswith("underpowered here: the sequences hold 0 independent")


def test_an_order_by_q_says_when_it_is_the_atlas_q(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    run_id = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results", tested=False)
    page = client.get(f"/v1/runs/{run_id}/features?sort=q").get_json()
    assert "label_motif_q" in page["note"]
    assert client.get(f"/v1/runs/{run_id}/features?sort=max").get_json()["note"] is None


def test_provenance_has_the_runs_names(client: FlaskClient, finished: str) -> None:
    record = client.get(f"/v1/runs/{finished}/provenance").get_json()
    assert record["contigs"] == [
        {"name": "chrA", "length": 20},
        {"name": "chrB", "length": 10},
    ]


def test_models_are_listed(client: FlaskClient) -> None:
    answer = client.get("/v1/models").get_json()
    assert [model["id"] for model in answer["models"]] == ["toy"]
    assert [card["id"] for card in answer["dictionaries"]] == ["toy-sae"]
    assert "fungi" in answer["taxa"]
    # what was not measured is null, never a default
    assert answer["dictionaries"][0]["figures"] is None


def test_a_broken_card_is_the_servers_fault_and_shows_no_path(
    client: FlaskClient, settings: Settings
) -> None:
    next(settings.models_dirs[0].glob("*/model.json")).write_text("{")
    for answer in (client.get("/v1/models"), client.post("/v1/runs", data=b">a\nACGT\n")):
        assert answer.status_code == 500
        assert str(settings.models_dirs[0]) not in answer.get_data(as_text=True)


def test_the_service_describes_itself(client: FlaskClient, settings: Settings) -> None:
    info = client.get("/service-info").get_json()
    # required by GA4GH service-info 1.0.0
    assert {"id", "name", "type", "organization", "version"} <= set(info)
    assert set(info["type"]) == {"group", "artifact", "version"}
    assert set(info["organization"]) == {"name", "url"}
    assert set(info["states"]) == set(STATES)
    assert info["limits"]["max_upload_bytes"] == settings.max_upload_bytes
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert info["version"] == VERSION == tomllib.loads(project.read_text())["project"]["version"]


def test_health_and_readiness(client: FlaskClient, engine: Engine) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    ready = client.get("/readyz").get_json()
    assert ready["checks"] == {"database": "ok", "storage": "ok", "disk": "ok"}
    assert ready["workers"] == 0
    with transaction(engine) as session:
        heartbeat(session, "w", queues=["1111111111111111"], models=[])
    assert client.get("/readyz").get_json()["workers"] == 1


def test_a_full_disk_is_not_ready(app: Flask, client: FlaskClient, settings: Settings) -> None:
    object.__setattr__(settings, "min_free_bytes", 10**18)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert [place["location"] for place in answer.get_json()["errors"]] == ["disk"]
    assert client.get("/healthz").status_code == 200
