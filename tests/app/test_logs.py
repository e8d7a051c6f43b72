"""Logs: ids are in them, sequence and tokens are not."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import Engine

from app.api import EXTENSION
from app.config import Settings
from app.database import transaction
from app.dispatch import WorkerStatus, heartbeat
from app.factory import create_app
from app.logs import OURS, bound, said, set_up, without_tokens

SECRET = "GATTACAGATTACA"  # noqa: S105 - a sequence


@pytest.fixture
def root() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    log = logging.getLogger()
    before, level = list(log.handlers), log.level
    levels = {name: logging.getLogger(name).level for name in OURS}
    yield
    log.handlers[:] = before
    log.setLevel(level)
    for name, kept in levels.items():
        logging.getLogger(name).setLevel(kept)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.usefixtures("root")
def test_json_lines_have_ids_and_no_tokens(settings: Settings) -> None:
    stream = io.StringIO()
    set_up(replace(settings, log_format="json", log_level="info"), stream)
    log = logging.getLogger("saetrack.test")
    with bound(run="r1"), bound(shard=7):
        said(log, "done", bases=12)
    log.warning("at /s/sht_%s/hub.txt with stk_abc-DE_f", "x1y2")
    try:
        raise ValueError("stk_secret")
    except ValueError:
        log.exception("failed")
    first, second, third = lines(stream)
    assert {key: first[key] for key in ("message", "run", "shard", "bases", "level")} == {
        "message": "done",
        "run": "r1",
        "shard": 7,
        "bases": 12,
        "level": "info",
    }
    assert second["message"] == "at /s/sht_.../hub.txt with stk_..."
    assert "run" not in second
    assert "ValueError: stk_..." in str(third["exception"])


@pytest.mark.usefixtures("root")
def test_lines_for_people(settings: Settings) -> None:
    stream = io.StringIO()
    set_up(settings, stream)
    log = logging.getLogger("saetrack.test")
    said(log, "not shown")
    log.warning("lost %s", "x")
    assert stream.getvalue().split(" ", 1)[1] == "warning lost x\n"


def test_tokens_of_every_kind() -> None:
    assert without_tokens("sht_a sts_b stk_c best_d") == "sht_... sts_... stk_... best_d"


@pytest.mark.usefixtures("root")
def test_what_was_submitted_is_not_logged(settings: Settings, app: Flask) -> None:
    stream = io.StringIO()
    set_up(replace(settings, log_format="json", log_level="info"), stream)
    client = app.test_client()
    for body in (
        f">my_locus\n{SECRET}\n",
        f">my_locus\n{SECRET}!\n",
        f"{SECRET}",
        f">a\n{SECRET}\n>a\n{SECRET}\n",
    ):
        client.post("/v1/runs?title=my_locus", data=body, content_type="text/plain")
    client.get(f"/v1/tfs/{SECRET}/features")
    client.get(f"/v1/runs/{SECRET}")
    entries = lines(stream)
    routes = [entry["route"] for entry in entries if entry["message"] == "request"]
    assert routes[:4] == ["/v1/runs"] * 4
    assert len(routes) == 6
    assert [entry for entry in entries if "request" not in entry] == []
    assert SECRET not in stream.getvalue()
    assert "my_locus" not in stream.getvalue()


def test_metrics(settings: Settings, app: Flask) -> None:
    client = app.test_client()
    client.post("/v1/runs", data=f">a\n{SECRET}\n", content_type="text/plain")
    client.get("/v1/runs/none")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    values = dict(
        line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")
    )
    assert values['saetrack_runs{state="QUEUED"}'] == "1.0"
    assert values['saetrack_runs{state="COMPLETE"}'] == "0.0"
    assert values['saetrack_shards{kind="encode",state="QUEUED"}'] == "1.0"
    assert values["saetrack_queue_bases"] == "14.0"
    assert float(values["saetrack_queue_age_seconds"]) >= 0
    assert values["saetrack_workers"] == "0.0"
    route = '{method="GET",route="/v1/runs/<run_id>",status="404"}'
    assert values[f"saetrack_http_requests_total{route}"] == "1.0"
    # a path that nobody declared does not make a series of its own
    client.get("/wp-admin/x")
    assert 'route="(none)"' in client.get("/metrics").text
    assert "wp-admin" not in client.get("/metrics").text
    # nor does a method that somebody made up
    client.open("/v1/runs", method="BREW")
    assert 'method="(other)"' in client.get("/metrics").text
    assert "BREW" not in client.get("/metrics").text


def test_metrics_of_workers(app: Flask, engine: Engine) -> None:
    with transaction(engine) as session:
        heartbeat(session, "w1", queues=[], models=[], status=WorkerStatus(3, 1, 600_000))
        heartbeat(session, "w2", queues=[], models=[], status=WorkerStatus(gpu_bytes=5))
        heartbeat(session, "w2", queues=[], models=[], status=WorkerStatus(gpu_bytes=7))
    shown = app.test_client().get("/metrics").text
    assert 'saetrack_worker_bases_total{worker="w1"} 600000.0' in shown
    assert 'saetrack_worker_failures_total{worker="w1"} 1.0' in shown
    assert 'saetrack_worker_gpu_bytes{worker="w2"} 7.0' in shown
    assert 'saetrack_worker_gpu_bytes{worker="w1"}' not in shown


def test_metrics_are_the_operators(settings: Settings, engine: object) -> None:
    app = create_app(replace(settings, auth="tokens"))
    assert app.test_client().get("/metrics").status_code == 401
    app.extensions[EXTENSION].engine.dispose()
