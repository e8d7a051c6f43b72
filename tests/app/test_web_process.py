"""Tracks under the web server that `saetrack serve` starts: what a test client cannot show."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from app.api import run_cache
from app.config import Settings
from tests.app.web_server import ask, web_process
from workers.serve import free_port

LARGE = 3 * 2**30
"""Bytes of a file that has no blocks but its last."""
TAIL = b"the last bytes"


class Server(NamedTuple):
    port: int
    pids: list[str]
    log: Path
    token: str
    run: str
    link: str


@pytest.fixture
def server(settings: Settings, finished: str, tmp_path: Path) -> Iterator[Server]:
    """The web process with a complete run, one of whose files is large; its log names addresses."""
    settings = replace(settings, port=free_port("127.0.0.1", 0))
    cache = run_cache(settings, finished)
    cache.mkdir(parents=True)
    with (cache / "sequence.fa").open("wb") as file:
        file.truncate(LARGE - len(TAIL))
        file.seek(0, os.SEEK_END)
        file.write(TAIL)
    (cache / "sequence.fa.sha256").write_text("0" * 64)
    log = tmp_path / "log"
    with web_process(settings, log, {"GUNICORN_CMD_ARGS": "--access-logfile=-"}) as pid:
        made = ask(settings.port, f"/v1/runs/{finished}/share-links", "POST")
        link = json.loads(made.body)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        yield Server(settings.port, children, log, link["token"], finished, link["id"])


def bytes_read(pids: list[str]) -> int:
    """Bytes that processes have read, from the page cache too, as Linux counts them."""
    lines = [Path(f"/proc/{pid}/io").read_text() for pid in pids]
    return sum(int(text.split("rchar:")[1].split()[0]) for text in lines)


def test_ranges_under_the_server_we_ship(server: Server) -> None:
    large = f"/s/{server.token}/sequence.fa"
    head = ask(server.port, large, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == LARGE
    assert head.headers["ETag"] == f'"{"0" * 64}"'
    before = bytes_read(server.pids)
    for wanted in (f"bytes={LARGE - len(TAIL)}-", f"bytes=-{len(TAIL)}"):
        part = ask(server.port, large, Range=wanted, If_Range=head.headers["ETag"])
        assert (part.status, part.body) == (206, TAIL)
        place = f"bytes {LARGE - len(TAIL)}-{LARGE - 1}/{LARGE}"
        assert part.headers["Content-Range"] == place
    # a server that reads up to the range would have read 6 GB
    assert bytes_read(server.pids) - before < 50_000_000
    # a part larger than a chunk
    part = ask(server.port, large, Range=f"bytes={LARGE - 1_000_000}-")
    assert (len(part.body), part.body[-len(TAIL) :]) == (1_000_000, TAIL)
    assert ask(server.port, large, If_None_Match=head.headers["ETag"]).status == 304
    past = ask(server.port, large, Range=f"bytes={LARGE}-")
    assert (past.status, past.headers["Content-Range"]) == (416, f"bytes */{LARGE}")
    small = f"/s/{server.token}/features/1_minus/signal.bw"
    whole = ask(server.port, small, Accept_Encoding="gzip, br")
    assert whole.headers["ETag"] == f'"{hashlib.sha256(whole.body).hexdigest()}"'
    assert ask(server.port, small, Range="bytes=3-9").body == whole.body[3:10]
    assert "Content-Encoding" not in whole.headers
    assert "Last-Modified" in whole.headers
    for wanted in ("bytes=0-1,4-5", "bytes=x-y", "bytes", "items=0-1", "bytes=9-3"):
        answer = ask(server.port, small, Range=wanted)
        assert (answer.status, answer.body) == (200, whole.body), wanted
    for name in (
        "hub.txt", "igv.json", "session.xml", "jbrowse.json", "links.json", "about.html",
        "peaks.bb", "features/1/peaks.bb", "features/1/peaks.bw", "sequence.2bit",
        "sequence.fa.fai", "chrom.sizes", "provenance.json",
    ):  # fmt: skip
        path = f"/s/{server.token}/{name}"
        got, head = ask(server.port, path), ask(server.port, path, "HEAD")
        assert (got.status, head.status, head.body) == (200, 200, b""), name
        for header in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"):
            assert head.headers[header] == got.headers[header], (name, header)
        assert int(head.headers["Content-Length"]) == len(got.body)
        assert "Content-Encoding" not in got.headers
        stale = ask(server.port, path, Range="bytes=0-0", If_Range='"stale"')
        assert (stale.status, stale.body) == (200, got.body), name
        part = ask(server.port, path, Range="bytes=0-0", If_Range=got.headers["ETag"])
        assert (part.status, part.body) == (206, got.body[:1]), name
    preflight = ask(
        server.port, small, "OPTIONS", Origin="https://a.example",
        Access_Control_Request_Method="GET", Access_Control_Request_Headers="range",
    )  # fmt: skip
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (200, "*")
    for path in (small + "/", f"/s/{server.token}//hub.txt"):
        assert ask(server.port, path).status in {200, 404}
    revoke = f"/v1/runs/{server.run}/share-links/{server.link}"
    assert ask(server.port, revoke, "DELETE").status == 204
    assert ask(server.port, small).status == 404
    log = server.log.read_text()
    # even where the operator has the server write down every address
    assert "/s/sht_.../sequence.fa" in log
    assert server.token not in log
    assert server.token[10:] not in log
