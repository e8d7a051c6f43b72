"""A local server mistrusts browsers that other sites have sent."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from app.api import EXTENSION
from app.config import Settings
from app.factory import create_app


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765"])
def test_local_names_are_answered(host: str, client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1"])
def test_other_names_are_not(host: str, client: FlaskClient) -> None:
    answer = client.get("/v1/runs", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.content_type == "application/problem+json"


@pytest.fixture
def network_app(settings: Settings, engine: Engine) -> Iterator[Flask]:
    app = create_app(replace(settings, trust_network=True))
    yield app
    app.extensions[EXTENSION].engine.dispose()


def test_a_trusted_network_has_any_name(network_app: Flask) -> None:
    answer = network_app.test_client().get("/healthz", headers={"Host": "saetrack.lab"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[x", 403),
        ("http://localhost", 404),
        (None, 404),
    ],
)
def test_another_sites_page_may_not_change_anything(
    origin: str | None, status: int, client: FlaskClient
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    assert client.delete("/v1/runs/none", headers=headers).status_code == status
    assert client.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)],
)
def test_a_browser_that_says_another_site_asks_is_believed(
    site: str, status: int, client: FlaskClient
) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert client.delete("/v1/runs/none", headers=headers).status_code == status
    assert client.post("/runs/none/cancel", headers=headers).status_code == status
    assert client.get("/healthz", headers=headers).status_code == 200


def test_every_answer_has_the_security_headers(client: FlaskClient) -> None:
    for address in ("/healthz", "/docs", "/nowhere", "/"):
        headers = client.get(address).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        # a page's forms have to say that they are ours
        page = address in {"/docs", "/"}
        assert headers["Referrer-Policy"] == ("same-origin" if page else "no-referrer")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
