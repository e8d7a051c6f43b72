"""One problem document for every error, over all routes; nothing leaks."""

import errno
import io
import logging
import os

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from annotations.errors import UnavailableError
from app.errors import CONTENT_TYPE
from tests.app.conftest import FASTA

MEMBERS = {"type", "title", "status", "detail", "instance", "errors", "state"}
SECRET = b"GATTACAGATTACAGATTACA"


def check(answer: TestResponse, status: int, code: str | None = None) -> str:
    """A problem document of this status; returns its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    body = answer.get_json(force=True)
    assert set(body) == MEMBERS
    assert body["status"] == status
    assert body["detail"]
    assert body["type"].startswith("urn:saetrack:problem:")
    if code is not None:
        assert body["type"] == f"urn:saetrack:problem:{code}"
    assert body["instance"].endswith(answer.headers["X-Request-Id"])
    assert SECRET.decode() not in answer.text
    return str(body["detail"])


def addresses(app: Flask) -> list[tuple[str, str]]:
    """Every route, with names that exist nowhere."""
    return sorted(
        (
            method,
            rule.rule.replace("<run_id>", "none").replace("<feature>", "0").replace("<tf>", "X"),
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


VALUES = {"features": "1%2B", "region": "chrA:1-5"}
"""Of query parameters that a route must have."""


def with_required(address: str, method: str, client: FlaskClient) -> str:
    """An address with the query parameters that its route must have."""
    paths = client.get("/openapi.json").get_json()["paths"]
    for path, operations in paths.items():
        plain = path.replace("{run_id}", "none").replace("{feature}", "0").replace("{tf}", "X")
        if plain == address and method.lower() in operations:
            needed = [
                each["name"]
                for each in operations[method.lower()].get("parameters", [])
                if each["in"] == "query" and each.get("required")
            ]
            return address + "?" * bool(needed) + "&".join(f"{n}={VALUES[n]}" for n in needed)
    return address


def test_unknown_parameters_are_refused_everywhere(app: Flask, client: FlaskClient) -> None:
    found = addresses(app)
    assert len(found) > 20
    for method, address in found:
        detail = check(client.open(f"{address}?colour=red", method=method), 400, "option-error")
        assert "colour" in detail


def test_doubled_parameters_are_refused_everywhere(app: Flask, client: FlaskClient) -> None:
    for method, address in addresses(app):
        check(client.open(f"{address}?limit=1&limit=2", method=method), 400, "option-error")


def test_an_unknown_run_is_404_everywhere(app: Flask, client: FlaskClient) -> None:
    for method, address in addresses(app):
        if "/none" in address:
            whole = with_required(address, method, client)
            check(client.open(whole, method=method, follow_redirects=True), 404, "unknown-name")


def test_a_wrong_method_is_405_everywhere_and_tells_the_right_ones(
    app: Flask, client: FlaskClient
) -> None:
    for method, address in addresses(app):
        answer = client.patch(address)
        check(answer, 405, "method-not-allowed")
        assert method in answer.headers["Allow"]


def test_results_of_an_unfinished_run_are_409_everywhere(app: Flask, client: FlaskClient) -> None:
    run_id = client.post("/v1/runs", data=FASTA, content_type="text/plain").get_json()["id"]
    asked = [
        with_required(address, method, client).replace("none", run_id)
        for method, address in addresses(app)
        if method == "GET"
        and address.startswith("/v1/")  # a page shows how far the run is
        and "/none/" in address
        and not address.endswith(("/contigs", "/analyses", "/share-links"))
    ]
    assert len(asked) >= 12
    for address in asked:
        answer = client.get(address)
        check(answer, 409, "state-conflict")
        assert answer.get_json(force=True)["state"] == "QUEUED"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nowhere", 404),
        ("/v1/runs/../../etc/passwd", 404),
        ("/v1/runs/%2e%2e%2fetc/features", 404),
        ("/v1/runs?limit=501", 400),
        ("/v1/runs?limit=0", 400),
        ("/v1/runs?limit=x", 400),
        ("/v1/runs?page_token=x", 400),
        ("/v1/runs/R/features?sort=colour", 400),
        ("/v1/runs/R/features?strand=2", 400),
        ("/v1/runs/R/features?limit=501", 400),
        ("/v1/runs/R/features?page_token=-1", 400),
        ("/v1/runs/R/features/-1", 404),
        ("/v1/runs/R/features/4", 404),
        ("/v1/runs/R/features/%D9%A1", 404),
        ("/v1/runs/R/features/1e0", 404),
        ("/v1/runs/R/features/99999999999999999999", 404),
        ("/v1/runs/R/features/..%2f..%2fx/signal.bw", 404),
        ("/v1/runs/R/features/1/signal.bw?strand=both", 400),
        ("/v1/runs/R/features/1/signal.bw?strand=", 400),
        ("/v1/runs/R/matches?max_q=2", 400),
        ("/v1/runs/R/matches?max_q=nan", 400),
        ("/v1/runs/R/tfs/NoSuchFactor/features", 404),
        (f"/v1/runs/R/tfs/{3 * SECRET.decode()}/features", 404),
        ("/v1/runs/R/tfs/REB1/features?limit=501", 400),
    ],
)  # fmt: skip
def test_wrong_questions(address: str, status: int, client: FlaskClient, finished: str) -> None:
    check(client.get(address.replace("/R/", f"/{finished}/")), status)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "empty"),
        (SECRET, 422, "before the first record"),
        (b">a\n" + SECRET + b"\n>a\nACGT\n", 422, "'a'"),
        (b">a\n\n>b\nACGT\n", 422, "'a'"),
        (b">a\nMKLV" + SECRET, 422, "protein"),
        (b">a\nAC-GT\n", 422, "gaps"),
        (b"@r\n" + SECRET + b"\n+\nIIII\n", 422, "FASTQ"),
        (b"PK\x03\x04" + b"\0" * 40, 422, "zip"),
        (b"\x1f\x8b\x08\x00" + b"\0" * 9, 422, "gzip"),
        (b">a\n" + b"A" * 100_001, 413, "100000 bytes"),
    ],
)
def test_bad_sequences_are_refused_in_words(
    body: bytes, status: int, said: str, client: FlaskClient
) -> None:
    # the test client leaves out a length of 0, which every real one sends
    length = {"CONTENT_LENGTH": str(len(body))}
    answer = client.post("/v1/runs", data=body, content_type="text/plain", environ_overrides=length)
    detail = check(answer, status)
    assert said in detail
    assert client.get("/v1/runs").get_json()["runs"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("taxon=fungus", "fungi"),
        ("dictionary=toy-sea", "toy-sae"),
        ("dictionary=" + "x" * 3000, "no dictionary"),
        ("strands=reverse", "both"),
        ("seed=x", "whole number"),
        ("motif_p=nan", "number"),
        ("motif_p=1", "motif_p must be in"),
        ("title=" + "x" * 201, "200"),
    ],
)
def test_bad_options_are_refused_in_words(query: str, said: str, client: FlaskClient) -> None:
    answer = client.post(f"/v1/runs?{query}", data=FASTA, content_type="text/plain")
    assert said in check(answer, 400, "option-error")


def form(**fields: object) -> dict[str, object]:
    return {"file": (io.BytesIO(FASTA), "a.fa"), **fields}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"title": "no file"}, "'file'"),
        ({"file": "text"}, "as a file"),
        (form(sequence=(io.BytesIO(b""), "x")), "'sequence'"),
        (form(colour="red"), "colour"),
        (form(options="{"), "JSON object"),
        (form(options="[1]"), "JSON object"),
        (form(options='{"colour": 1}'), "colour"),
        (form(options='{"seed": 1}', seed="2"), "twice"),
        (form(title=["a", "b"]), "once"),
        ({"file": [(io.BytesIO(FASTA), "a"), (io.BytesIO(FASTA), "b")]}, "once"),
    ],
)
def test_bad_forms_are_refused_in_words(
    data: dict[str, object], said: str, client: FlaskClient
) -> None:
    answer = client.post("/v1/runs", data=data, content_type="multipart/form-data")
    assert said in check(answer, 400, "option-error")


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("the object store did not take or give a file"),
        OperationalError("SELECT", {}, Exception("gone")),
    ],
)
def test_what_is_away_says_when_to_ask_again(
    error: Exception, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.submissions.create_run", away)
    answer = client.post("/v1/runs", data=FASTA, content_type="text/plain")
    check(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415_and_says_what_to_do(
    content_type: str, client: FlaskClient
) -> None:
    answer = client.post("/v1/runs", data=FASTA, content_type=content_type)
    check(answer, 415, "unsupported-media-type")
    assert "curl -F file=@genome.fa" in answer.get_json()["detail"]


def test_an_encoded_body_is_415(client: FlaskClient) -> None:
    answer = client.post(
        "/v1/runs",
        data=FASTA,
        content_type="text/plain",
        headers={"Content-Encoding": "gzip"},
    )
    check(answer, 415)


def test_a_form_that_is_too_large_is_413(client: FlaskClient) -> None:
    # written out, because the test client leaves its own temporary file of a large form open
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.fa"\r\n\r\n'
    body = head + b"A" * 1_200_000 + b"\r\n--x--\r\n"
    check(client.post("/v1/runs", data=body, content_type="multipart/form-data; boundary=x"), 413)


def test_a_bug_is_500_and_tells_nothing(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password is hunter2")

    monkeypatch.setattr("app.api.runs.runs.list_runs", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/runs")
    check(answer, 500, "internal-server-error")
    assert "hunter2" not in answer.text
    assert answer.headers["X-Request-Id"] in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OperationalError("INSERT", {}, Exception("database or disk is full")),
    ],
)
def test_a_full_disk_is_507(
    error: Exception, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.api.runs.submissions.create_run", full)
    check(client.post("/v1/runs", data=FASTA, content_type="text/plain"), 507)


def test_sequences_are_not_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for body in (b">a\n" + SECRET, SECRET, b">a\nMKLV" + SECRET):
            client.post("/v1/runs", data=body, content_type="text/plain")
    assert SECRET.decode() not in caplog.text
