"""Analyses: asked and answered under a lease, seen by their owner alone, gone with their run."""

import time
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, text
from sqlalchemy.orm.exc import DetachedInstanceError

from annotations.errors import LimitError, StateError
from app import analyses
from app.analyses import create_analysis, get_analysis, list_analyses
from app.analysis_leases import (
    MESSAGES,
    ClaimedAnalysis,
    claim_analysis,
    due_analyses,
    fail_analysis,
    fail_exhausted_analyses,
    finish_analysis,
    give_back_analysis,
    renew_analysis,
)
from app.config import Settings
from app.database import reading, transaction
from app.dispatch import release
from app.models import Analysis, Run
from app.runs import delete_run
from app.storage import LocalStorage
from tests.app.conftest import new_run

CAUSAL = "/v1/features/toy-sae/1/causal-tests"
BED = b"chrA\t2\t9\nchrA\t12\t18\n"


@pytest.fixture
def ask(engine: Engine, storage: LocalStorage, settings: Settings, finished: str) -> Any:
    """Ask a question of the finished run; returns its id."""

    def create(**changes: Any) -> str:
        given = {
            "run_id": finished,
            "owner": "local",
            "kind": "causal_test",
            "parameters": {"feature": 1},
            "settings": settings,
        }
        return create_analysis(engine, storage, **(given | changes))

    return create


def row(engine: Engine, analysis_id: str) -> Analysis:
    with reading(engine) as session:
        return session.get_one(Analysis, analysis_id)


def taken(
    engine: Engine, settings: Settings, analysis_id: str, owner: str = "w1"
) -> ClaimedAnalysis | None:
    with transaction(engine) as session:
        return claim_analysis(session, analysis_id, owner, settings)


def due_now(engine: Engine, settings: Settings, alive: int = 1, queue: str = "1" * 16) -> list[str]:
    with transaction(engine) as session:
        due = due_analyses(session, settings, alive={queue: alive})
        return [item.analysis_id for item in due]


def end_leases(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE analyses SET lease_until = 1 WHERE lease_until > 0"))


def test_a_question_is_answered_by_one_worker(ask: Any, engine: Engine, settings: Settings) -> None:
    asked = ask()
    claimed = taken(engine, settings, asked)
    assert claimed is not None
    assert (claimed.kind, claimed.attempt, claimed.contig_names) == (
        "causal_test",
        1,
        ("chrA", "chrB"),
    )
    assert claimed.lengths == (20, 10)
    assert claimed.dictionary["sha256"] == "2" * 64
    assert "activations.parquet" in claimed.run_results
    assert "sequences.fa" in claimed.run_inputs
    assert row(engine, asked).state == "INITIALIZING"
    assert taken(engine, settings, asked, "w2") is None
    with transaction(engine) as session:
        assert renew_analysis(session, claimed, settings)
    assert row(engine, asked).state == "INITIALIZING"
    with transaction(engine) as session:
        assert renew_analysis(session, claimed, settings, bases_done=1)
    assert row(engine, asked).state == "RUNNING"
    with transaction(engine) as session:
        assert finish_analysis(session, claimed, {"p": None})
    done = row(engine, asked)
    assert (done.state, done.result, done.lease_owner) == ("COMPLETE", {"p": None}, None)
    assert done.finished_at is not None
    assert taken(engine, settings, asked) is None


def test_a_dead_workers_question_goes_to_another_and_the_first_is_too_late(
    ask: Any, engine: Engine, settings: Settings
) -> None:
    asked = ask()
    first = taken(engine, settings, asked)
    end_leases(engine)
    second = taken(engine, settings, asked, "w2")
    assert first is not None
    assert second is not None
    assert second.attempt == 2
    with transaction(engine) as session:
        assert not renew_analysis(session, first, settings)
        assert not finish_analysis(session, first, {"from": "first"})
        assert finish_analysis(session, second, {"from": "second"})
    assert row(engine, asked).result == {"from": "second"}


def test_three_attempts_and_no_more(ask: Any, engine: Engine, settings: Settings) -> None:
    asked = ask()
    for _ in range(settings.max_attempts):
        claimed = taken(engine, settings, asked)
        assert claimed is not None
        with transaction(engine) as session:
            fail_analysis(
                session,
                claimed,
                code="tool-error",
                message="it broke",
                retryable=True,
                settings=settings,
            )
    failed = row(engine, asked)
    assert (failed.state, failed.error_code, failed.error_message) == (
        "EXECUTOR_ERROR",
        "tool-error",
        "it broke",
    )
    assert taken(engine, settings, asked) is None


def test_a_question_that_kills_its_workers_is_given_up(
    ask: Any, engine: Engine, settings: Settings
) -> None:
    asked = ask()
    for attempt in range(settings.max_attempts):
        with transaction(engine) as session:
            assert fail_exhausted_analyses(session, settings) == []
        assert taken(engine, settings, asked, f"w{attempt}") is not None
        with transaction(engine) as session:
            release(session, f"w{attempt}")
    assert due_now(engine, settings) == []
    with transaction(engine) as session:
        assert fail_exhausted_analyses(session, settings) == [asked]
    failed = row(engine, asked)
    assert (failed.state, failed.error_code) == ("EXECUTOR_ERROR", "worker-lost")
    assert "given up after 3 attempts" in str(failed.error_message)


def test_a_worker_that_is_told_to_stop_gives_the_question_back(
    ask: Any, engine: Engine, settings: Settings
) -> None:
    asked = ask()
    claimed = taken(engine, settings, asked)
    assert claimed is not None
    with transaction(engine) as session:
        assert give_back_analysis(session, claimed)
    assert (row(engine, asked).state, row(engine, asked).attempts) == ("QUEUED", 0)
    taken(engine, settings, asked)
    with transaction(engine) as session:
        release(session, "w1", stopped=True)
    assert (row(engine, asked).state, row(engine, asked).attempts) == ("QUEUED", 0)


def test_messages_are_few_and_sent_again(ask: Any, engine: Engine, settings: Settings) -> None:
    asked = [ask() for _ in range(MESSAGES + 1)]
    assert due_now(engine, settings) == asked[:MESSAGES]
    assert due_now(engine, settings) == []
    taken(engine, settings, asked[0])
    assert due_now(engine, settings) == asked[MESSAGES:]
    with transaction(engine) as session:
        session.execute(text("UPDATE analyses SET published_at = 1"))
    assert due_now(engine, settings, alive=0) == []
    assert due_now(engine, settings) == asked[1:]


def test_a_model_that_no_worker_serves_holds_up_no_other(
    ask: Any,
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    finished: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analyses, "MAX_WAITING", 1000)
    unserved = {ask() for _ in range(60)}
    served = new_run(engine, storage, settings, fasta=b">a\nACGTACGT\n")
    with transaction(engine) as session:
        session.get_one(Run, served).computation.queue = "served"
    sendable = ask(run_id=served)
    for _ in range(2):
        due = due_now(engine, settings, queue="served")
        assert sendable in due
        assert len(unserved.intersection(due)) <= MESSAGES
        with transaction(engine) as session:
            session.execute(text("UPDATE analyses SET published_at = 1 WHERE published_at > 0"))
    # more workers of a queue, more messages
    for _ in range(9):
        ask(run_id=served)
    assert len(set(due_now(engine, settings, alive=3, queue="served")) - unserved) == 3 * MESSAGES


def test_an_answer_that_is_too_large_is_refused(
    ask: Any, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.analysis_leases.MAX_RESULT_BYTES", 10)
    claimed = taken(engine, settings, ask())
    assert claimed is not None
    with pytest.raises(LimitError, match="may have 10"), transaction(engine) as session:
        finish_analysis(session, claimed, {"long": "x" * 20})


def test_too_many_waiting_are_refused_and_leave_no_file(
    ask: Any, engine: Engine, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyses, "MAX_WAITING", 1)
    ask()
    with pytest.raises(StateError, match="1 analyses of yours wait already"):
        ask()
    assert list(storage.list("analyses")) == []


def test_pages_have_every_analysis_once(ask: Any, engine: Engine, finished: str) -> None:
    asked = {ask() for _ in range(5)}
    seen: list[str] = []
    token = None
    for _ in range(3):
        with reading(engine) as session:
            run = session.get_one(Run, finished)
            page = list_analyses(session, run, limit=2, page_token=token)
        seen += [analysis.id for analysis in page.analyses]
        token = page.next_page_token
    assert token is None
    assert len(seen) == 5
    assert set(seen) == asked
    with pytest.raises(DetachedInstanceError):  # megabytes, which a list does not show
        _ = page.analyses[0].result


def test_a_causal_test_is_accepted_with_its_matrix(client: FlaskClient, finished: str) -> None:
    answer = client.post(CAUSAL, json={"run": finished, "strand": "-", "tf": "reb1"})
    assert answer.status_code == 202, answer.text
    view = answer.get_json()
    assert answer.headers["Location"] == view["links"]["self"] == f"/v1/analyses/{view['id']}"
    assert (view["kind"], view["state"], view["result"], view["error"]) == (
        "causal_test",
        "QUEUED",
        None,
        None,
    )
    motif = view["parameters"]["motif"]
    assert (motif["matrix_id"], motif["name"], len(motif["counts"])) == ("MA0363.3", "REB1", 4)
    assert view["parameters"] | {"motif": None} == {
        "feature": 1,
        "strand": "-",
        "tf": "reb1",
        "motif": None,
        "sites": 50,
        "seed": 0,
    }
    again = client.get(view["links"]["self"])
    assert again.get_json() == view
    assert again.headers["Retry-After"]
    listed = client.get(f"/v1/runs/{finished}/analyses").get_json()
    assert [one["id"] for one in listed["analyses"]] == [view["id"]]
    assert "result" not in listed["analyses"][0]


@pytest.mark.parametrize(
    ("address", "changes", "status", "words"),
    [
        ("/v1/features/toy-sae/4/causal-tests", {}, 404, "numbered 0 to 3"),
        ("/v1/features/other/1/causal-tests", {}, 404, "is of dictionary 'toy-sae'"),
        (CAUSAL, {"run": "none"}, 404, "there is no run 'none'"),
        (CAUSAL, {"tf": None}, 400, "name the factor"),
        (CAUSAL, {"tf": ""}, 400, "name a factor"),
        (CAUSAL, {"run": None}, 400, "run: is missing"),
        (CAUSAL, {"strand": None}, 400, "name the strand"),
        (CAUSAL.replace("/1/", "/1-/"), {}, 400, "named on strand -"),
        (CAUSAL, {"tf": "reb2x"}, 400, "reb2x"),
        (CAUSAL, {"matrix_id": "MA0281"}, 400, "has no matrix 'MA0281'"),
        (CAUSAL, {"tf": "C2H2 zinc finger factors"}, 400, "name one with matrix_id"),
        (CAUSAL, {"sites": 2}, 400, "sites"),
        (CAUSAL, {"strand": "x"}, 400, "strand"),
        (CAUSAL, {"unknown": 1}, 400, "there is no such parameter"),
    ],
)
def test_what_a_causal_test_refuses(
    client: FlaskClient,
    finished: str,
    address: str,
    changes: dict[str, Any],
    status: int,
    words: str,
) -> None:
    body = {"run": finished, "strand": "+", "tf": "REB1"} | changes
    answer = client.post(address, json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == status, answer.text
    assert words in answer.get_json()["detail"]


@pytest.mark.parametrize("dictionary", ["toy-sae", "toy"])
def test_a_causal_test_takes_the_names_that_features_take(
    client: FlaskClient, finished: str, dictionary: str
) -> None:
    """A model for its only dictionary, and the sign of a feature for its strand."""
    address = f"/v1/features/{dictionary}/1-/causal-tests"
    answer = client.post(address, json={"run": finished, "tf": "REB1"})
    assert answer.status_code == 202, answer.text
    asked = answer.get_json()["parameters"]
    assert (asked["feature"], asked["strand"]) == (1, "-")


def test_a_list_is_refused_in_words(client: FlaskClient) -> None:
    answer = client.post(CAUSAL, json=[])
    assert (answer.status_code, "must be a JSON object" in answer.text) == (400, True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"x" * 200_000])
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post(CAUSAL, data=body, content_type="application/json")
    assert answer.status_code in {400, 413}, answer.text
    assert answer.content_type == "application/problem+json"


def test_a_run_without_results_cannot_be_asked(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    waiting = new_run(engine, storage, settings)
    answer = client.post(CAUSAL, json={"run": waiting, "strand": "+", "tf": "REB1"})
    assert (answer.status_code, answer.get_json()["state"]) == (409, "QUEUED")


def concept_form(run_id: str, **changes: Any) -> dict[str, Any]:
    form = {"file": (BytesIO(BED), "peaks.bed"), "run": run_id, "name": "Reb1 ChIP"} | changes
    return {name: value for name, value in form.items() if value is not None}


def test_intervals_are_stored_until_they_are_deleted(
    client: FlaskClient, storage: LocalStorage, finished: str
) -> None:
    form = concept_form(finished, background=(BytesIO(b"chrB\t5\t9\n"), "b.bed"), limit="7")
    answer = client.post("/v1/concepts", data=form)
    assert answer.status_code == 202, answer.text
    view = answer.get_json()
    assert (view["kind"], view["title"]) == ("bed_concept", "Reb1 ChIP")
    assert view["parameters"] == {
        "name": "Reb1 ChIP",
        "limit": 7,
        "seed": 0,
        "intervals": {"foreground": 2, "background": 1},
    }
    prefix = f"analyses/{view['id']}"
    assert list(storage.list(prefix)) == [
        f"{prefix}/input/background.parquet",
        f"{prefix}/input/foreground.parquet",
    ]
    assert client.delete(f"/v1/analyses/{view['id']}").status_code == 204
    assert list(storage.list(prefix)) == []
    assert client.get(f"/v1/analyses/{view['id']}").status_code == 404


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"file": None}, 400, "must have a file in the field 'file'"),
        ({"file": BED.decode()}, 400, "as a file, not as text"),
        ({"run": None}, 400, "the field run must name a complete run"),
        ({"run": "none"}, 404, "there is no run"),
        ({"genes": (BytesIO(b""), "g")}, 400, "got one in 'genes'"),
        ({"taxon": "fungi"}, 400, "there is no field 'taxon'"),
        ({"limit": "0"}, 400, "limit must be a whole number"),
        ({"name": "a\nb"}, 400, "one line"),
        ({"file": (BytesIO(b"A\t1\t2\n"), "x.bed")}, 422, "the sequences are named 'chrA', 'chrB'"),
        ({"file": (BytesIO(b"chrA\t1\t99\n"), "x.bed")}, 422, "line 1: end 99 is outside 'chrA'"),
        ({"file": (BytesIO(b"chrA\tx\t9\n"), "x.bed")}, 422, "BED line 1"),
        ({"file": (BytesIO(b""), "x.bed")}, 422, "the BED file holds no intervals"),
        ({"background": (BytesIO(BED), "b.bed")}, 400, "the same intervals"),
        (
            {"file": (BytesIO(b"chrA\t0\t20\nchrB\t0\t10\n"), "x.bed")},
            400,
            "no room for a background",
        ),
    ],
)
def test_what_a_question_about_intervals_refuses(
    client: FlaskClient,
    storage: LocalStorage,
    finished: str,
    changes: dict[str, Any],
    status: int,
    words: str,
) -> None:
    form = concept_form(finished, **changes)
    answer = client.post("/v1/concepts", data=form, content_type="multipart/form-data")
    assert answer.status_code == status, answer.text
    assert words in answer.get_json()["detail"]
    assert list(storage.list("analyses")) == []


def test_intervals_have_the_limit_of_uploads(
    client: FlaskClient, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.uploads.FORM_OVERHEAD", 1000)
    form = concept_form(finished, file=(BytesIO(b"#" * 102_000), "x.bed"))
    assert client.post("/v1/concepts", data=form).status_code == 413


def test_intervals_must_be_few(
    client: FlaskClient, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyses, "MAX_INTERVALS", 4)
    answer = client.post("/v1/concepts", data=concept_form(finished))
    assert (answer.status_code, answer.get_json()["type"]) == (
        413,
        "urn:saetrack:problem:limit-exceeded",
    )
    form = concept_form(finished, background=(BytesIO(b"chrB\t5\t9\n"), "b.bed"))
    assert client.post("/v1/concepts", data=form).status_code == 202


def test_a_body_that_is_no_form_is_refused(client: FlaskClient) -> None:
    answer = client.post("/v1/concepts", data=BED, content_type="text/plain")
    assert (answer.status_code, "multipart/form-data" in answer.text) == (415, True)


def test_canceling_stops_the_worker_and_again_is_no_error(
    ask: Any, client: FlaskClient, engine: Engine, settings: Settings
) -> None:
    asked = ask()
    claimed = taken(engine, settings, asked)
    assert claimed is not None
    for _ in range(2):
        answer = client.post(f"/v1/analyses/{asked}/cancel")
        assert (answer.status_code, answer.get_json()["state"]) == (202, "CANCELED")
    with transaction(engine) as session:
        assert not renew_analysis(session, claimed, settings)
        assert not finish_analysis(session, claimed, {})
    done = ask()
    claimed = taken(engine, settings, done)
    assert claimed is not None
    with transaction(engine) as session:
        finish_analysis(session, claimed, {"answer": 1})
    answer = client.post(f"/v1/analyses/{done}/cancel")
    assert (answer.status_code, "has ended (COMPLETE)" in answer.text) == (409, True)
    assert client.get(f"/v1/analyses/{done}").get_json()["result"] == {"answer": 1}


def test_an_error_is_told(
    ask: Any, client: FlaskClient, engine: Engine, settings: Settings
) -> None:
    asked = ask()
    claimed = taken(engine, settings, asked)
    assert claimed is not None
    with transaction(engine) as session:
        fail_analysis(
            session,
            claimed,
            code="weights-error",
            message="other weights",
            retryable=False,
            settings=settings,
            state="SYSTEM_ERROR",
        )
    view = client.get(f"/v1/analyses/{asked}").get_json()
    assert (view["state"], view["error"]) == (
        "SYSTEM_ERROR",
        {"code": "weights-error", "message": "other weights"},
    )


@pytest.mark.parametrize(("method", "ending"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel")])
def test_anothers_analysis_is_not_told_from_none(
    ask: Any, app: Flask, engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str, ending: str
) -> None:
    asked = ask()
    monkeypatch.setattr("app.api.analyses.owner", lambda: "somebody else")
    client = app.test_client()
    answers = [
        client.open(f"/v1/analyses/{name}{ending}", method=method) for name in (asked, "0" * 24)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    details = [answer.get_json()["detail"] for answer in answers]
    assert details[0].replace(asked, "") == details[1].replace("0" * 24, "")
    assert client.get(f"/v1/runs/{row(engine, asked).run_id}/analyses").status_code == 404
    assert row(engine, asked).state == "QUEUED"


def test_a_deleted_run_takes_its_analyses_along(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    view = client.post("/v1/concepts", data=concept_form(finished)).get_json()
    claimed = taken(engine, settings, view["id"])
    assert claimed is not None
    delete_run(engine, storage, finished, "local")
    with reading(engine) as session:
        assert session.scalars(select(Analysis)).all() == []
    assert list(storage.list("analyses")) == []
    with transaction(engine) as session:
        assert not renew_analysis(session, claimed, settings)
        assert not finish_analysis(session, claimed, {})
    assert client.get(view["links"]["self"]).status_code == 404


def test_times_are_told_in_order(ask: Any, engine: Engine) -> None:
    first = ask()
    time.sleep(0.01)
    second = ask()
    with reading(engine) as session:
        times = [get_analysis(session, one, "local").created_at for one in (first, second)]
    assert times == sorted(times)
