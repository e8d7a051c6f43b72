"""Inputs made to harm: each is refused in one sentence, and leaves nothing behind.

The corpus is data: what is sent, and which statuses are an honest answer to it.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from app.config import Settings
from app.storage import LocalStorage
from tests.app.conftest import FASTA, complete, new_run

MEGABYTE = 1_000_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An installation that takes a million bases."""
    return replace(settings, max_bases=MEGABYTE)


class Body(NamedTuple):
    """A body of a submission."""

    content: bytes
    content_type: str = "text/plain"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


def bomb(size: int, unit: bytes = b"A") -> bytes:
    """A gzip file of many bases."""
    return gzip.compress(b">x\n" + unit * (size // len(unit)) + b"\n")


def zipped(name: str, content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return held.getvalue()


def tarred(name: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(FASTA)
        archive.addfile(entry, io.BytesIO(FASTA))
    return held.getvalue()


def with_flag(content: bytes, flag: int) -> bytes:
    """A gzip file whose header has a flag set that its content does not honour."""
    changed = bytearray(gzip.compress(content))
    changed[3] |= flag
    return bytes(changed)


GZIPPED = gzip.compress(FASTA * 50)

BODIES: dict[str, Body] = {
    "nothing": Body(b""),
    "blank lines": Body(b"\n" * 1000),
    "one null": Body(b"\0"),
    "nulls in the bases": Body(b">x\nACGT\0\0\0ACGT\n"),
    "null in the name": Body(b">x\0y\nACGT\n"),
    "escape codes in the name": Body(b">x\x1b[31m\nAC!T\n"),
    "newline tricks": Body(b">x\x0bACGT\x0c\x85ACGT\n"),
    "right to left name": Body(">\u202eabc\nAC!T\n".encode()),
    "name of a megabyte": Body(b">" + b"x" * 90_000 + b"\nACGT\n"),
    "no name": Body(b">\nACGT\n"),
    "names twice": Body(b">x\nACGT\n>x\nACGT\n"),
    "a record without bases": Body(b">x\n>y\nACGT\n"),
    "protein": Body(b">x\nMEEPQSDPSVEPPLSQETFSDLWKLLPENN\n"),
    "prose": Body(b"Dear server, please run this.\n"),
    "html": Body(b"<!doctype html><script>alert(1)</script>"),
    "json": Body(b'{"sequence": "ACGT"}', "text/plain"),
    "json as json": Body(b'{"sequence": "ACGT"}', "application/json"),
    "deep json": Body(b"[" * 50_000 + b"]" * 50_000, "application/json"),
    "xml entities": Body(
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "application/xml"
    ),
    "pickle": Body(b"\x80\x04cposix\nsystem\n(S'id'\ntR.", "application/octet-stream"),
    "zip": Body(zipped("../../evil.fa", FASTA), "application/octet-stream"),
    "tar of a path": Body(tarred("../../evil.fa"), "application/gzip"),
    "elf": Body(b"\x7fELF" + bytes(200), "application/octet-stream"),
    "png": Body(b"\x89PNG\r\n\x1a\n" + bytes(200), "application/octet-stream"),
    "utf-16": Body(">x\nACGT\n".encode("utf-16")),
    "gzip bomb": Body(bomb(60 * MEGABYTE), "application/gzip"),
    "gzip bomb of N": Body(bomb(60 * MEGABYTE, b"N"), "application/gzip"),
    "gzip bomb of names": Body(gzip.compress(b">x\n" * 20_000_000), "application/gzip"),
    "gzip bomb of one line": Body(gzip.compress(b">" + b"x" * 60_000_000), "application/gzip"),
    "gzip in gzip": Body(gzip.compress(bomb(1000)), "application/gzip"),
    "gzip that is cut": Body(GZIPPED[:-10], "application/gzip"),
    "gzip of one byte": Body(b"\x1f", "application/gzip"),
    "gzip header alone": Body(GZIPPED[:10], "application/gzip"),
    "gzip with a wrong sum": Body(
        GZIPPED[:-8] + struct.pack("<II", 1, len(FASTA) * 50), "application/gzip"
    ),
    "gzip with a wrong size": Body(GZIPPED[:-4] + b"\1\0\0\0", "application/gzip"),
    "gzip with a long name": Body(with_flag(FASTA, 0x08), "application/gzip"),
    "gzip with an extra field": Body(with_flag(FASTA, 0x04), "application/gzip"),
    "gzip and rubbish": Body(GZIPPED + b"rubbish", "application/gzip"),
    "zlib": Body(zlib.compress(FASTA), "application/gzip"),
    "encoded body": Body(GZIPPED, "text/plain", {"Content-Encoding": "gzip"}),
    "encoded twice": Body(GZIPPED, "text/plain", {"Content-Encoding": "gzip, gzip"}),
    "genbank without bases": Body(b"LOCUS       X  4 bp  DNA\n//\n"),
    "genbank that is cut": Body(b"LOCUS       X  400 bp  DNA\nORIGIN\n        1 acgt\n"),
    "genbank of nothing": Body(b"LOCUS"),
    "form without a border": Body(b"x", "multipart/form-data"),
    "form without an end": Body(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nACGT',
        "multipart/form-data; boundary=b",
    ),
    "form of text": Body(
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nACGT\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
    "form of many parts": Body(
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n
            for n in range(1500)
        )
        + b"--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
    "form with a file it has no field for": Body(
        b'--b\r\nContent-Disposition: form-data; name="weights"; filename="a.pt"\r\n\r\nx\r\n'
        b"--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
    "form with two files": Body(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n>x\nACGT\r\n' * 2
        + b"--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
    "form with a url": Body(
        b'--b\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://169.254.169.254/\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n>x\nACGT\r\n'
        b"--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
    "unknown type": Body(FASTA, "application/x-sh"),
}
"""Bodies that are no sequences, or more than may be."""

QUERIES: dict[str, str] = {
    "a path for a dictionary": "dictionary=../../etc/passwd",
    "a null for a dictionary": "dictionary=toy-sae%00",
    "sql for a dictionary": "dictionary=x'%20OR%20'1'='1",
    "an unknown parameter": "url=http://localhost:22/",
    "a parameter twice": "taxon=fungi&taxon=plants",
    "an unknown taxon": "taxon=dragons",
    "a script for a title": "title=%0A%3Cscript%3E&taxon=none-such",
    "a long title": "title=" + "x" * 5000,
    "a number that is none": "seed=NaN",
    "a number that is too large": "seed=" + "9" * 400,
    "a negative number": "peaks_per_feature=-1",
    "more peaks than memory": "peaks_per_feature=1000000000",
    "a contig that is not there": "held_out=../../x",
    "wrong encoding": "title=%ff%fe%00",
}
"""Query strings of submissions that are refused, the sequences being good."""

READS: dict[str, str] = {
    "a path": "/v1/runs/..%2f..%2fsaetrack.db",
    "a path in dots": "/v1/runs/../../saetrack.db",
    "a path with a null": "/v1/runs/x%00.json",
    "a run of a kilobyte": "/v1/runs/" + "a" * 1000,
    "a static path": "/static/../../../../etc/passwd",
    "a static path, coded": "/static/%2e%2e/%2e%2e/app/config.py",
    "a share link of nothing": "/s/sht_x/hub.txt",
    "a share link with a path": "/s/sht_x/..%2f..%2f..%2fsaetrack.db",
    "sql in a factor": "/v1/tfs/'%20OR%201=1--/features",
    "a factor that is a pattern": "/v1/tfs/(a+)+$/features",
    "a template in a factor": "/v1/tfs/%7B%7B7*7%7D%7D/features",
    "a script in a page": "/tfs/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "a huge page": "/v1/runs?limit=1000000000",
    "a wrong page token": "/v1/runs?page_token=AAAA",
    "a page token of rubbish": "/v1/runs?page_token=" + "%ff" * 50,
    "a negative feature": "/v1/features/toy-sae/-1",
    "a huge feature": "/v1/features/toy-sae/" + "9" * 50,
    "a feature in other digits": "/v1/features/toy-sae/\u0663",
    "a dictionary that is a path": "/v1/features/..%2f..%2fx/1",
    "an unknown address": "/wp-admin/setup.php",
}
"""Addresses at which there is nothing to be had."""


def left(settings: Settings, engine: Engine) -> dict[str, int]:
    """What a refused submission might leave: rows, files of computations, uploads."""
    with engine.connect() as connection:
        rows = {
            name: int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() or 0)  # noqa: S608 - our tables
            for name in ("runs", "computations", "shards")
        }
    files = {
        folder.name: sum(path.is_file() for path in folder.rglob("*"))
        for folder in (settings.storage_dir, settings.upload_dir)
    }
    return rows | files


def checked_problem(answer: Any) -> dict[str, Any]:
    """The problem document of an answer that refuses; nothing of our insides is in it."""
    assert answer.content_type == "application/problem+json", answer.text[:300]
    problem: dict[str, Any] = json.loads(answer.data)
    assert answer.status_code == problem["status"]
    assert 10 < len(problem["detail"]) < 1500
    said = answer.text
    assert not any(word in said for word in ("Traceback", "site-packages", "/app/", "sqlalchemy"))
    assert "\0" not in problem["detail"]
    assert "\x1b" not in problem["detail"]
    return problem


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str, client: FlaskClient, settings: Settings, engine: Engine) -> None:
    body = BODIES[name]
    before = left(settings, engine)
    answer = client.post(
        "/v1/runs", data=body.content, content_type=body.content_type, headers=body.headers
    )
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    checked_problem(answer)
    assert left(settings, engine) == before


@pytest.mark.parametrize("name", QUERIES)
def test_queries(name: str, client: FlaskClient, settings: Settings, engine: Engine) -> None:
    before = left(settings, engine)
    answer = client.post(f"/v1/runs?{QUERIES[name]}", data=FASTA, content_type="text/plain")
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    checked_problem(answer)
    assert left(settings, engine) == before


@pytest.mark.parametrize("name", READS)
def test_addresses(name: str, client: FlaskClient) -> None:
    answer = client.get(READS[name])
    assert answer.status_code in {400, 404}, (answer.status_code, answer.text[:300])
    checked_problem(answer)


@pytest.mark.parametrize("name", READS)
def test_addresses_in_a_browser(name: str, client: FlaskClient) -> None:
    answer = client.get(READS[name], headers={"Accept": "text/html"})
    assert answer.status_code in {400, 404}, answer.status_code
    assert "<script>alert" not in answer.text
    assert "root:" not in answer.text


FILE_NAMES = [
    "../../../etc/cron.d/x",
    "/etc/passwd",
    "a\0b.fa",
    "x" * 3000,
    "<script>.fa",
    "..",
    "",
]


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_name_of_a_file_is_no_path(
    name: str, client: FlaskClient, settings: Settings, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(settings.data_dir)}
    answer = client.post("/v1/runs", data={"file": (io.BytesIO(FASTA), name)})
    assert answer.status_code in {202, 400, 422}, answer.text[:300]
    if answer.status_code == 202:
        shown = answer.get_json()["filename"] or ""
        assert "/" not in shown
        assert "\0" not in shown
        assert len(shown) <= 200
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(settings.data_dir)}
    assert after == before


HEADERS: dict[str, dict[str, str]] = {
    "a foreign host": {"Host": "evil.example"},
    "a host of rubbish": {"Host": "a:b:c"},
    "a range without end": {"Range": "bytes=" + ",".join(f"{n}-" for n in range(2000))},
    "a range of rubbish": {"Range": "bytes=z-"},
    "a huge range": {"Range": "bytes=" + "9" * 400 + "-"},
    "a wrong date": {"If-Modified-Since": "yesterday"},
    "a token of rubbish": {"Authorization": "Bearer \xff" + "x" * 5000},
    "an accept of rubbish": {"Accept": ";;;q=z"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(
    name: str,
    client: FlaskClient,
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    tmp_path: Path,
) -> None:
    run_id = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results")
    answer = client.get(f"/v1/runs/{run_id}/peaks.bed", headers=HEADERS[name])
    assert answer.status_code in {200, 400, 416, 421}, answer.status_code
    if answer.status_code >= 400:
        checked_problem(answer)


def test_the_corpus_is_large_enough() -> None:
    sizes = [len(each) for each in (BODIES, QUERIES, READS, FILE_NAMES, HEADERS)]
    assert sum(sizes) >= 60, sizes


def test_it_goes_on_working(app: Flask, client: FlaskClient) -> None:
    send: list[Callable[[], Any]] = [
        lambda body=body: client.post(  # type: ignore[misc]
            "/v1/runs", data=body.content, content_type=body.content_type, headers=body.headers
        )
        for name, body in BODIES.items()
        if "bomb" not in name
    ]
    for each in send:
        each()
    assert client.post("/v1/runs", data=FASTA, content_type="text/plain").status_code == 202
