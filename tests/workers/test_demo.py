"""The client of `make demo`: what it sends, what it says, and the whole way with a tiny model."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyBigWig
import pytest
from click.testing import CliRunner
from werkzeug.formparser import parse_form_data

from annotations.errors import StateError, ToolError
from tests.workers.factories import make_tiny_models
from workers import demo, rest_client
from workers.rest_client import Client


class Recorder(BaseHTTPRequestHandler):
    """Answers as told and remembers what it was sent."""

    replies: list[tuple[int, dict[str, str], bytes]]
    form: dict[str, str]
    file: tuple[str, bytes]

    def do_POST(self):
        """Take a form apart with werkzeug, which the real server uses too."""
        environ = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": self.headers["Content-Type"],
            "CONTENT_LENGTH": self.headers["Content-Length"],
            "wsgi.input": self.rfile,
        }
        _, form, files = parse_form_data(environ)
        type(self).form = form.to_dict()
        sent = files["file"]
        type(self).file = (sent.filename, sent.read())
        sent.close()
        self.reply()

    def do_GET(self):
        """Answer with the next reply."""
        self.reply()

    def reply(self):
        """Send the next reply; the last one again and again."""
        replies = type(self).replies
        status, headers, body = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def recorder():
    class Own(Recorder):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Own, Client(server.server_port)
        server.shutdown()
        thread.join()


def as_json(value, status=200):
    return status, {}, json.dumps(value).encode()


def test_a_submission_is_a_form_with_the_file_byte_for_byte(recorder, tmp_path):
    handler, client = recorder
    handler.replies = [(202, {"Location": "http://elsewhere/v1/runs/abc"}, b"{}")]
    content = b">a\r\nACGT\r\n--\r\n\x00\xff"
    (tmp_path / "seq.fa").write_bytes(content)
    run = client.submit(tmp_path / "seq.fa", {"taxon": "fungi", "title": "a & b"})
    assert run == "/v1/runs/abc"
    assert handler.form == {"taxon": "fungi", "title": "a & b"}
    assert handler.file == ("seq.fa", content)


def test_a_refusal_becomes_the_detail_of_its_problem(recorder):
    handler, client = recorder
    handler.replies = [as_json({"title": "Not found", "detail": "there is no run x"}, 404)]
    with pytest.raises(ToolError, match=r"GET /v1/runs/x got 404: there is no run x"):
        client.get("/v1/runs/x")
    handler.replies = [(502, {}, b"<html>bad gateway")]
    with pytest.raises(ToolError, match=r"502: <html>bad gateway"):
        client.get("/v1/runs/x")


def view(state, progress, error=None):
    return as_json({"state": state, "progress": progress, "error": error})


def test_waiting_ends_with_the_run(recorder, monkeypatch):
    monkeypatch.setattr(demo, "POLL_SECONDS", 0.0)
    handler, client = recorder
    handler.replies = [view("QUEUED", 0.0), view("RUNNING", 0.5), view("COMPLETE", 1.0)]
    assert demo.wait_for(client, "/v1/runs/x", seconds=30)["progress"] == 1.0
    handler.replies = [view("EXECUTOR_ERROR", 0.5, {"code": "c", "message": "out of memory"})]
    with pytest.raises(StateError, match=r"EXECUTOR_ERROR: out of memory"):
        demo.wait_for(client, "/v1/runs/x", seconds=30)
    handler.replies = [view("QUEUED", 0.0)]
    with pytest.raises(StateError, match=r"still QUEUED after 0 s"):
        demo.wait_for(client, "/v1/runs/x", seconds=0)


def test_all_pages_are_read(recorder):
    handler, client = recorder
    rows = [{"feature": i, "active_bases": i} for i in range(4)]
    pages = [{"features": rows[i : i + 1], "next_page_token": str(i)} for i in range(3)]
    pages.append({"features": rows[3:], "next_page_token": None})
    handler.replies = [as_json(page) for page in pages]
    assert demo.active_features(client, "/v1/runs/x") == rows[1:]


def answer(**changes):
    test = {"tested": False, "power": "underpowered", "reason": "855 windows, 2000 are needed"}
    motif = {"name": "REB1", "matrix_id": "MA0363.3"}
    base = {"match_type": "name", "motifs": [motif], "motif_test": test, "max_q": 0.05}
    return {**base, "atlas": None, "features": [], **changes}


def test_no_match_and_no_test_are_said_in_words():
    lines = "\n".join(demo.tf_lines(answer(), "REB1", rows=3))
    assert "underpowered, 855 windows" in lines
    assert "none at q <= 0.05" in lines


def test_matches_of_the_atlas_are_called_so():
    here = {"feature": 7, "strand": "-", "motif_name": "REB1", "rank": 1}
    found = {**here, "q": 2e-12, "log2_enrichment": 3.456, "run_peaks": 11}
    absent = {**here, "rank": 2, "q": None, "log2_enrichment": None, "run_peaks": None}
    given = answer(source="atlas", features=[found, absent])
    lines = list(demo.tf_lines(given, "REB1", rows=3))
    assert "from the atlas of the dictionary" in lines[2]
    assert lines[-2].split() == ["1", "7", "-", "REB1", "2.0e-12", "3.46", "11"]
    assert lines[-1].split() == ["2", "7", "-", "REB1", "-", "-", "0"]


def test_a_server_that_cannot_start_is_one_clear_message(tmp_path, monkeypatch):
    monkeypatch.setenv("SAETRACK_NO_SUCH_SETTING", "1")
    outcome = CliRunner().invoke(demo.demo, ["--out", str(tmp_path / "out")])
    assert outcome.exit_code == 1
    last = outcome.output.strip().splitlines()[-1]
    assert last.startswith("Error: the server stopped with")
    assert "SAETRACK_NO_SUCH_SETTING" in last
    assert "server.log" in last


def test_a_free_port_can_be_listened_on():
    with ThreadingHTTPServer(("127.0.0.1", rest_client.free_port()), Recorder) as server:
        assert server.server_port > 0


@pytest.mark.slow
def test_the_demo_from_start_to_end(tmp_path):
    models = make_tiny_models(tmp_path / "models")
    out = tmp_path / "out"
    out.mkdir()
    (out / "feature_999_plus.bw").write_text("of an earlier demo")
    environment = {**os.environ, "SAETRACK_MODELS_DIRS": str(models)}
    done = subprocess.run(
        [sys.executable, "-m", "workers.demo", "--out", str(out), "--top", "2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "86,436 bases with tiny-tree-64: COMPLETE" in done.stdout
    assert "Which features match REB1?" in done.stdout
    assert "the server has stopped" in done.stdout
    tracks = sorted(out.glob("*.bw"))
    assert len(tracks) == 2
    for path in tracks:
        with pyBigWig.open(str(path)) as track:
            assert track.chroms() == {"AC007323.5": 86436}
            assert 0 < track.stats("AC007323.5", type="max", exact=True)[0] < 100
    for name in ("features.tsv", "peaks.tsv", "matches.tsv", "peaks.bed", "provenance.json"):
        assert (out / name).stat().st_size > 0
    assert (out / "sequence.fa").read_text().startswith(">AC007323.5\n")
    log = (out / "server.log").read_text()
    assert "Traceback" not in log
