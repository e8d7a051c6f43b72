"""Figures over HTTP: what they show, that they are the same each time, what is refused."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import Engine

from app.config import Settings
from app.storage import LocalStorage
from tests.app.conftest import complete, new_run


def svg(client: FlaskClient, address: str, **asked: object) -> str:
    answer = client.get(address, query_string=asked)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.text


def test_a_figure_of_a_run(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/figure.svg"
    text = svg(client, address, region="chrA:1-20", features="1-,2,0+", motifs="REB1")
    for said in ("chrA:1-20", "20 bases", "1-", "REB1 MA0363.3", "intron", "silent here"):
        assert f">{said}<" in text
    assert text == svg(client, address, region="chrA:1-20", features="1-,2,0+", motifs="REB1")
    # 20 bases are drawn as letters; base 5 of chrA is a C, and feature 1- reaches 4 there
    assert "scale(" in text
    assert "<metadata>" in text
    assert "2222" in text  # the dictionary
    assert finished not in text


def test_the_same_as_dots(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/figure.png"
    asked = {"region": "chrA", "features": "1-", "width": "254px", "dpi": 96}
    answer = client.get(address, query_string=asked)
    assert answer.status_code == 200
    assert answer.mimetype == "image/png"
    image = Image.open(io.BytesIO(answer.data))
    assert image.size[0] == 254
    assert "Feature 1-" in image.text["Description"]
    again = client.get(
        address, query_string=asked, headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
    assert client.get(address, query_string=asked).data == answer.data
    head = client.head(address, query_string=asked)
    assert head.headers["Content-Length"] == str(len(answer.data))
    assert f"{finished}.chrA_1-20.png" in answer.headers["Content-Disposition"]


def test_without_a_choice_the_most_telling_are_drawn(client: FlaskClient, finished: str) -> None:
    text = svg(client, f"/v1/runs/{finished}/figure.svg", region="chrB")
    assert re.search(r"<title[^>]*>1-, .* at chrB:1-10</title>", text)


def test_a_share_link_shows_figures_and_not_whose_run_it_is(
    client: FlaskClient, finished: str
) -> None:
    token = client.post(f"/v1/runs/{finished}/share-links").get_json()["token"]
    for name in ("figure.svg", "figure.png"):
        answer = client.get(f"/s/{token}/{name}?region=chrA&features=1-")
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert finished not in answer.headers["Content-Disposition"]
        assert finished.encode() not in answer.data
    assert client.get("/s/sht_none/figure.svg?region=chrA").status_code == 404
    own = client.get(f"/v1/runs/{finished}/figure.svg?region=chrA")
    assert "Access-Control-Allow-Origin" not in own.headers


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({}, 400, "region"),
        ({"region": "chrX:1-5"}, 404, "there is no sequence 'chrX'"),
        ({"region": "chrA:30-40"}, 422, "not inside chrA of 20 bases"),
        ({"region": "chrA", "features": "9"}, 404, "no feature '9'"),
        ({"region": "chrA", "features": ","}, 400, "1 to"),
        ({"region": "chrA", "motifs": "NOSUCH"}, 404, "NOSUCH"),
        ({"region": "chrA", "motifs": "a,b,c,d,e,f,g"}, 400, "at most 6|1 to 6"),
        ({"region": "chrA", "width": "5mm"}, 400, "width"),
        ({"region": "chrA", "theme": "pink"}, 400, "theme"),
        ({"region": "chrA", "colour": "red"}, 400, "colour"),
        ({"region": "chrA", "dpi": 300}, 400, "dpi"),
    ],
)
def test_what_is_refused(
    asked: dict[str, object], status: int, said: str, client: FlaskClient, finished: str
) -> None:
    answer = client.get(f"/v1/runs/{finished}/figure.svg", query_string=asked)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert re.search(said, answer.text)


def test_a_picture_too_large_says_what_to_do(client: FlaskClient, finished: str) -> None:
    asked = {"region": "chrA", "width": "2000px", "row_height": 200, "dpi": 600}
    answer = client.get(f"/v1/runs/{finished}/figure.png", query_string=asked)
    assert answer.status_code == 413
    assert "lower dpi" in answer.get_json()["detail"]


def test_a_strand_that_was_not_read_says_so(
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    client: FlaskClient,
    tmp_path: Path,
) -> None:
    run = new_run(engine, storage, settings, strands="forward")
    complete(engine, storage, settings, tmp_path / "results")
    text = svg(client, f"/v1/runs/{run}/figure.svg", region="chrA", features="1-")
    assert "not computed: the run read the forward strand only" in text


def test_a_run_that_is_not_complete_has_no_figure(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient
) -> None:
    run = new_run(engine, storage, replace(settings))
    assert client.get(f"/v1/runs/{run}/figure.svg?region=chrA").status_code == 409
