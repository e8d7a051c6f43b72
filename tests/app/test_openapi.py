"""The document holds every route, and its page loads nothing from elsewhere."""

import re

from flask import Flask
from flask.testing import FlaskClient


def test_every_route_is_in_the_document(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["openapi"] == "3.1.0"
    declared = {
        (path, method.upper())
        for path, operations in document["paths"].items()
        for method in operations
    }
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("web.")  # pages
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == declared


def test_what_the_library_gets_wrong_is_mended(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            assert len(set(operation.get("tags", []))) == 1
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {"application/problem+json"}
    ids = re.findall(r'"operationId": ?"([^"]+)"', client.get("/openapi.json").text)
    assert len(ids) == len(set(ids))


def test_references_lead_somewhere(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    schemas = set(answer.get_json()["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", answer.text)) <= schemas


def test_a_submission_is_declared_in_both_forms(client: FlaskClient) -> None:
    post = client.get("/openapi.json").get_json()["paths"]["/v1/runs"]["post"]
    assert {"multipart/form-data", "text/plain", "application/gzip"} <= set(
        post["requestBody"]["content"]
    )
    assert {"200", "202", "400", "411", "413", "415", "422"} <= set(post["responses"])


def test_the_page_shows_every_address_and_loads_nothing(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    answer = client.get("/docs")
    for path in document["paths"]:
        assert f"<code>{path}</code>" in answer.text
    assert re.findall(r"""(?:src|href)=["'](?!/|#)""", answer.text) == []
    assert not re.search(r"<script|<style|@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
