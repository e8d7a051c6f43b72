"""Uploads over a real connection: a body that is too large or cut is never half a genome."""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.database import make_engine, upgrade
from tests.app.conftest import write_models

LIMIT = 1 << 20
"""Bytes of the largest upload: the size at which a limit of the framework once cut silently."""

BORDER = "b0rder"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Port and data folder of gunicorn as `saetrack serve` runs it, with a small limit."""
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(data_dir=folder / "data", models_dirs=(folder / "models",))
    settings.make_folders()
    write_models(folder / "models")
    engine = make_engine(settings)
    upgrade(engine)
    engine.dispose()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SAETRACK_")},
        "SAETRACK_DATA_DIR": str(settings.data_dir),
        "SAETRACK_MODELS_DIRS": str(folder / "models"),
        "SAETRACK_MAX_UPLOAD_BYTES": str(LIMIT),
    }
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "app.factory:create_app()", "--bind", "127.0.0.1:0",
         "--worker-class", "gthread", "--threads", "4", "--no-control-socket"],
        env=environment, stderr=log, stdout=log, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield listening_port(process, folder / "log"), settings.data_dir
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def listening_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port of the server, once it answers."""
    for _ in range(600):
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(log.read_text())


def fasta(size: int) -> bytes:
    """FASTA of exactly so many bytes."""
    head, foot = b">x\n", b"\n"
    return head + b"ACGT"[: (size - 4) % 4] + b"ACGT" * ((size - 4) // 4) + foot


def as_form(body: bytes) -> bytes:
    head = f'--{BORDER}\r\nContent-Disposition: form-data; name="file"; filename="a.fa"\r\n\r\n'
    return head.encode() + body + f"\r\n--{BORDER}--\r\n".encode()


def post(port: int, body: bytes, content_type: str, *, chunked: bool) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": content_type}
    try:
        if chunked:
            pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
            connection.request("POST", "/v1/runs", pieces, headers, encode_chunked=True)
        else:
            connection.request("POST", "/v1/runs", body, headers)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before the end of the body; the answer is there to be read
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_the_largest_size_arrives_whole(
    chunked: bool, server: tuple[int, Path]
) -> None:
    port, _ = server
    status, content = post(port, fasta(LIMIT), "text/plain", chunked=chunked)
    assert status == 202, content
    assert f'"bases":{LIMIT - 4},'.encode() in content


def test_a_chunked_form_arrives_whole(server: tuple[int, Path]) -> None:
    port, _ = server
    kind = f"multipart/form-data; boundary={BORDER}"
    status, content = post(port, as_form(fasta(900_000)), kind, chunked=True)
    assert status == 202, content
    assert b'"bases":899996,' in content


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
@pytest.mark.parametrize("form", [False, True])
def test_a_chunked_upload_is_not_cut_silently(
    size: int, form: bool, server: tuple[int, Path]
) -> None:
    port, data = server
    body, kind = fasta(size), "text/plain"
    if form:
        # a form may be a little larger for its borders: what counts is that it is refused or whole
        body, kind = as_form(fasta(size + 2 * LIMIT)), f"multipart/form-data; boundary={BORDER}"
    status, content = post(port, body, kind, chunked=True)
    assert status == 413, content
    assert b'"status": 413' in content
    assert list((data / "uploads").iterdir()) == []


def test_a_cut_upload_is_refused(server: tuple[int, Path]) -> None:
    port, _ = server
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 100\r\n\r\n>x\nACGT\n"
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 422")
    status, content = post(port, b">y\nACGTA\n", "text/plain", chunked=False)
    assert status == 202
    assert b'"bases":5,' in content
