"""The API page: it holds every address, and its examples work as they stand."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from app.config import Settings
from app.storage import LocalStorage
from app.web.api_reference import groups, kind_of
from app.web.examples import EXAMPLES, LANGUAGES, SERVER, script
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import FASTA
from tests.app.live import listening, working

ROOT = Path(__file__).parents[3]

Play = Callable[[list[str], str], str]


def has_httr2() -> bool:
    """Whether R is here and can submit."""
    program = shutil.which("Rscript")
    if program is None:
        return False
    asked = [program, "-e", 'quit(status = !requireNamespace("httr2", quietly = TRUE))']
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.fixture
def play(
    app: Flask, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> Play:
    """Run the examples of a language in a folder with `my.fa`; returns what they print."""
    install_atlas(settings.models_dirs[0])
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "my.fa").write_bytes(FASTA)
    (folder / "saetrack_client.py").write_bytes((ROOT / "app" / "client.py").read_bytes())
    results = tmp_path / "results"

    def run(command: list[str], language: str) -> str:
        with listening(app) as address, working(engine, storage, settings, results):
            done = subprocess.run(
                command,
                input=script(language, address),
                cwd=folder,
                # nothing of this project may be imported: the file alone has to do
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


def test_the_curl_examples_work(play: Play, tmp_path: Path) -> None:
    printed = play(["bash", "-eu", "-o", "pipefail"], "curl")
    first, state = printed.splitlines()[:2]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1/runs/\w+", first)
    assert '"COMPLETE"' in state
    folder = tmp_path / "session"
    assert (folder / "features.tsv").read_text().startswith("feature\tstrand\t")
    assert (folder / "peaks.parquet").read_bytes()[:4] == b"PAR1"
    assert "REB1" in (folder / "reb1.tsv").read_text()
    assert (folder / "f1.bw").stat().st_size > 100
    assert (folder / "f1.bed").read_text().startswith("chrA\t5\t6\t")
    assert "<svg" in (folder / "figure.svg").read_text()
    for part in (
        '"total":3',
        '"match_type"',
        '"active":true',
        "hub.txt",
        '"genome":"mine"',
        "option-error",
    ):
        assert part in re.sub(r'"\s*:\s*', '":', printed), part


def test_the_python_examples_work(play: Play, tmp_path: Path) -> None:
    printed = play([str(ROOT / ".venv" / "bin" / "python"), "-"], "python")
    assert "100%" in printed
    assert "'genome': 'mine'" in printed
    assert "hub.txt" in printed
    assert "400 urn:saetrack:problem:option-error sort: must be" in printed
    assert (tmp_path / "session" / "my-run" / "features.parquet").read_bytes()[:4] == b"PAR1"
    assert (tmp_path / "session" / "f1.bw").stat().st_size > 100
    assert "<svg" in (tmp_path / "session" / "figure.svg").read_text()


@pytest.mark.skipif(not has_httr2(), reason="NO R WITH httr2: apt-get install -y r-cran-httr2")
def test_the_r_examples_work(play: Play, tmp_path: Path) -> None:
    printed = play(["Rscript", "-"], "r")
    assert '"COMPLETE"' in printed
    assert "REB1" in printed
    assert "hub.txt" in printed
    assert "sort: must be" in printed
    assert "[1] 204" in printed
    assert '[1] "mine"' in printed
    assert (tmp_path / "session" / "f1.bw").stat().st_size > 100


def test_the_page_has_every_example_with_this_servers_address(client: FlaskClient) -> None:
    text = client.get("/docs", headers={"Host": "localhost:4321"}).text
    shown = [unescape(code) for code in re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)]
    assert len(shown) == len(EXAMPLES) * len(LANGUAGES)
    assert "\n\n".join(shown[::3]) + "\n" == script("curl", "http://localhost:4321")
    assert SERVER not in text
    assert 'href="/saetrack_client.py"' in text
    assert len({example.name for example in EXAMPLES}) == len(EXAMPLES)


def test_the_first_load_is_small(client: FlaskClient) -> None:
    assert len(client.get("/docs").data) < 60_000


def test_every_operation_has_its_place(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    front = client.get("/docs").text
    found = groups(document)
    assert sum(len(group.operations) for group in found) == sum(
        len(operations) for operations in document["paths"].values()
    )
    for group in found:
        text = client.get(f"/docs/{group.name}").text
        for operation in group.operations:
            assert f'href="/docs/{group.name}#{operation.anchor}"' in front
            assert f'id="{operation.anchor}"' in text
            for field in operation.fields:
                assert f"<code>{field.name}</code>" in text
            for answer in operation.answers:
                assert f'<th scope="row">{answer.status}</th>' in text
        assert len(re.findall(r' id="([^"]+)"', text)) == len(
            set(re.findall(r' id="([^"]+)"', text))
        )


def test_an_unknown_group_is_told_the_known_ones(client: FlaskClient) -> None:
    answer = client.get("/docs/nothing")
    assert answer.status_code == 404
    assert "there are" in answer.get_json()["detail"]
    assert "runs" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number or null"),
        ({"enum": ["json", "tsv"]}, "json, tsv"),
        ({"const": True}, "True"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Row"}}, "list of object"),
        ({"type": "array"}, "list"),
        ({"type": "string", "format": "binary"}, "file"),
        ({}, ""),
    ],
)
def test_types_are_said_in_words(schema: dict[str, object], kind: str) -> None:
    document = {"components": {"schemas": {"Row": {"type": "object"}}}}
    assert kind_of(document, schema) == kind


def test_the_fields_of_a_submission_are_told(client: FlaskClient) -> None:
    document = json.loads(client.get("/openapi.json").data)
    runs = next(group for group in groups(document) if group.name == "runs")
    submit = next(each for each in runs.operations if each.address == "/v1/runs" and each.bodies)
    fields = {(field.name, field.place): field for field in submit.fields}
    assert fields["file", "form"].kind == "file"
    assert fields["taxon", "query"].says
    assert not fields["taxon", "query"].required
