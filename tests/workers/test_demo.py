"""`make demo`: what it says, and the whole way with a tiny model."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyBigWig
import pytest
from click.testing import CliRunner

from app.client import Client, ClientError, Run
from tests.app.fake_server import Reply, fake_server
from tests.workers.factories import make_tiny_models
from workers import demo
from workers.embedded_server import free_port


@pytest.fixture
def fake():
    with fake_server() as server:
        yield server


def view(state, progress, error=None):
    said = {"id": "x", "state": state, "progress": progress, "error": error, "links": {}}
    return Reply(200, json.dumps(said).encode())


@pytest.mark.parametrize(("watched", "shown"), [(False, "computing: 50 %"), (True, " 50%")])
def test_waiting_shows_progress_and_ends_with_the_run(fake, monkeypatch, capsys, watched, shown):
    monkeypatch.setattr(demo.sys.stderr, "isatty", lambda: watched)
    fake.replies = [view("QUEUED", 0.0), view("RUNNING", 0.5), view("COMPLETE", 1.0)]
    run = Run(Client(fake.url), {"id": "x", "state": "QUEUED", "links": {}})
    assert demo.wait_for(run, seconds=30).view["progress"] == 1.0
    assert shown in capsys.readouterr().err
    fake.replies = [view("EXECUTOR_ERROR", 0.5, {"code": "c", "message": "out of memory"})]
    with pytest.raises(ClientError, match=r"EXECUTOR_ERROR: out of memory"):
        demo.wait_for(run, seconds=30)
    fake.replies = [view("QUEUED", 0.0)]
    with pytest.raises(TimeoutError, match=r"still QUEUED after 0 s"):
        demo.wait_for(run, seconds=0)


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 0.5, 1.0, 2.0, 3.0, 30.0, 31.0])
    monkeypatch.setattr(demo.time, "monotonic", lambda: next(clock))
    show = demo.progress_lines()
    for progress in (0.0, 0.05, 0.2, 0.21, 0.22):
        show({"progress": progress, "state": "RUNNING"})
    show({"progress": 0.23, "state": "COMPLETE"})
    assert capsys.readouterr().err.splitlines() == [
        "computing: 0 %, RUNNING, 0 s",
        "computing: 20 %, RUNNING, 2 s",
        "computing: 22 %, RUNNING, 30 s",
        "computing: 23 %, COMPLETE, 31 s",
    ]


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
    with ThreadingHTTPServer(("127.0.0.1", free_port()), BaseHTTPRequestHandler) as server:
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
    assert "50,000 bases with tiny-tree-64: COMPLETE" in done.stdout
    assert "Which features match REB1?" in done.stdout
    assert "the server has stopped" in done.stdout
    tracks = sorted(out.glob("*.bw"))
    assert len(tracks) == 4
    for path in tracks:
        with pyBigWig.open(str(path)) as track:
            assert track.chroms() == {"chrI_40001_90000": 50000}
            assert 0 < track.stats("chrI_40001_90000", type="max", exact=True)[0] < 100
    for name in ("features.tsv", "peaks.tsv", "matches.tsv", "peaks.bed", "provenance.json"):
        assert (out / name).stat().st_size > 0
    assert (out / "sequence.fa").read_text().startswith(">chrI_40001_90000\n")
    log = (out / "server.log").read_text()
    assert "Traceback" not in log
