"""Tokens: an owner sees their own runs and nothing else; each refusal says why."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from annotations.errors import OptionError, QuotaError, UnknownNameError
from app.api import EXTENSION
from app.auth import COOKIE
from app.config import Settings
from app.database import reading, transaction
from app.factory import create_app
from app.rates import WRONG_TOKENS_PER_MINUTE
from app.storage import LocalStorage
from app.tokens import (
    create_token,
    end_session,
    identify,
    list_tokens,
    note_use,
    revoke_token,
    start_session,
)
from tests.app.conftest import FASTA, ClosingClient, complete, new_run
from workers.cli import run


@pytest.fixture
def guarded(settings: Settings, engine: Engine) -> Iterator[Flask]:
    app = create_app(replace(settings, auth="tokens"))
    app.test_client_class = ClosingClient
    yield app
    app.extensions[EXTENSION].engine.dispose()


def bearer(engine: Engine, owner: str, *scopes: str, days: float | None = 1) -> dict[str, str]:
    """Headers with a new token."""
    with transaction(engine) as session:
        made = create_token(session, owner=owner, scopes=scopes or ("read", "write"), days=days)
    return {"Authorization": f"Bearer {made.word}"}


def submitted(client: FlaskClient, headers: dict[str, str], fasta: bytes = FASTA) -> str:
    answer = client.post("/v1/runs", data={"file": (BytesIO(fasta), "x.fa")}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def test_a_word_is_not_in_the_database(engine: Engine) -> None:
    with transaction(engine) as session:
        made = create_token(session, owner="ada")
        word = start_session(session, identify(session, made.word))  # type: ignore[arg-type]
    with engine.connect() as connection:
        stored = json.dumps([list(row) for row in connection.execute(text("SELECT * FROM tokens"))])
    assert made.word.startswith("stk_")
    assert len(made.word) >= 40
    assert made.word not in stored
    assert word not in stored


def test_a_session_whose_token_is_gone_is_nobody(engine: Engine) -> None:
    with transaction(engine) as session:
        made = create_token(session, owner="ada")
        word = start_session(session, identify(session, made.word))  # type: ignore[arg-type]
    link = engine.raw_connection()
    try:
        # no way leads there but a damaged database: the session goes with its token
        link.execute("PRAGMA foreign_keys = OFF")  # type: ignore[attr-defined]
        link.execute("DELETE FROM tokens WHERE parent_id IS NULL")  # type: ignore[attr-defined]
        link.commit()
        left = link.execute("SELECT count(*) FROM tokens").fetchone()  # type: ignore[attr-defined]
        assert left[0] == 1
        link.execute("PRAGMA foreign_keys = ON")  # type: ignore[attr-defined]
    finally:
        link.close()
    with transaction(engine) as session:
        assert identify(session, word) is None


def test_whom_a_word_names(engine: Engine) -> None:
    with transaction(engine) as session:
        made = create_token(session, owner="ada", scopes=["write", "read"])
        found = identify(session, made.word)
        assert found == ("ada", frozenset({"read", "write"}), made.token.id)
        signed_in = start_session(session, found)
        assert identify(session, signed_in) == found
        assert identify(session, made.word[:-1]) is None
        assert [token.id for token in list_tokens(session, "ada")] == [made.token.id]
        assert list_tokens(session, "bob") == []
        end_session(session, signed_in)
        assert identify(session, signed_in) is None
        other = start_session(session, found)
        revoke_token(session, made.token.id)
        session.flush()
        assert identify(session, made.word) is None
        # a session ends with its token
        assert identify(session, other) is None


def test_a_token_expires(engine: Engine) -> None:
    with transaction(engine) as session:
        made = create_token(session, owner="ada", days=1)
        signed_in = start_session(session, identify(session, made.word))  # type: ignore[arg-type]
        assert made.token.expires_at is not None
        made.token.expires_at -= 2 * 86_400
        session.flush()
        assert identify(session, made.word) is None
        assert identify(session, signed_in) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"owner": ""}, "1 to 64 letters"),
        ({"owner": "../x"}, "1 to 64 letters"),
        ({"owner": "ada", "scopes": ["reed"]}, "read, write, admin, got reed"),
        ({"owner": "ada", "scopes": []}, "got none"),
        ({"owner": "ada", "days": -1}, "days must be above 0"),
        ({"owner": "ada", "name": "a\nb"}, "one line"),
    ],
)
def test_what_no_token_is_made_of(wrong: dict[str, object], said: str, engine: Engine) -> None:
    with pytest.raises(OptionError, match=said), transaction(engine) as session:
        create_token(session, **wrong)  # type: ignore[arg-type]


def test_an_unknown_token_is_not_revoked(engine: Engine) -> None:
    with pytest.raises(UnknownNameError, match="no token 'f00'"), transaction(engine) as session:
        revoke_token(session, "f00")


OPEN = ["/healthz", "/readyz", "/service-info", "/openapi.json", "/docs", "/sign-in"]
OPEN += ["/saetrack_client.py"]


def test_without_a_token_there_is_nothing(guarded: Flask) -> None:
    client = guarded.test_client()
    for path in OPEN:
        assert client.get(path).status_code == 200, path
    closed = {
        rule.rule
        for rule in guarded.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and rule.rule not in OPEN
    }
    opened = set()
    for rule in closed:
        path = rule.replace("<path:filename>", "saetrack.css")
        answer = client.get(path, headers={"Accept": "application/json"})
        if answer.status_code != 401:
            opened.add((rule, answer.status_code))
        else:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    # style sheets, the API's description, and share links, which have tokens of their own
    assert {rule for rule, _ in opened if not rule.startswith("/s/")} == {
        rule for rule in closed if "static" in rule or rule.startswith("/docs/")
    }
    assert {status for rule, status in opened if rule.startswith("/s/")} <= {400, 404}


def test_owners_do_not_see_each_other(guarded: Flask, engine: Engine) -> None:
    client = guarded.test_client()
    ada, bob = bearer(engine, "ada"), bearer(engine, "bob")
    mine = submitted(client, ada)
    assert [run["id"] for run in client.get("/v1/runs", headers=ada).get_json()["runs"]] == [mine]
    assert client.get("/v1/runs", headers=bob).get_json()["runs"] == []
    unknown = client.get("/v1/runs/0123", headers=bob)
    for method, path in [
        ("GET", ""),
        ("GET", "/contigs"),
        ("GET", "/features"),
        ("GET", "/peaks.tsv"),
        ("GET", "/share-links"),
        ("POST", "/cancel"),
        ("POST", "/share-links"),
        ("DELETE", ""),
    ]:
        answer = client.open(f"/v1/runs/{mine}{path}", method=method, headers=bob)
        assert answer.status_code == 404, (method, path)
    theirs = client.get(f"/v1/runs/{mine}", headers=bob)
    # not told from a run that does not exist
    assert theirs.get_json()["detail"].replace(mine, "0123") == unknown.get_json()["detail"]
    assert client.get(f"/v1/runs/{mine}", headers=ada).status_code == 200


def test_equal_content_of_two_owners_is_two_computations(guarded: Flask, engine: Engine) -> None:
    client = guarded.test_client()
    first, second = (submitted(client, bearer(engine, owner)) for owner in ("ada", "bob"))
    assert first != second
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM computations")).scalar() == 2


def test_scopes(guarded: Flask, engine: Engine) -> None:
    client = guarded.test_client()
    reader, admin = bearer(engine, "ada", "read"), bearer(engine, "root", "read", "admin")
    mine = submitted(client, bearer(engine, "ada"))
    assert client.get(f"/v1/runs/{mine}", headers=reader).status_code == 200
    refused = client.post(f"/v1/runs/{mine}/cancel", headers=reader)
    assert refused.status_code == 403
    assert "'write', and yours has read" in refused.get_json()["detail"]
    # forms that only lead to an address change nothing
    for form in (f"/runs/{mine}/draw", f"/runs/{mine}/compare", "/lists"):
        assert client.post(form, headers=reader).status_code == 303, form
    assert client.get("/v1/admin/owners", headers=reader).status_code == 403
    owners = client.get("/v1/admin/owners", headers=admin).get_json()["owners"]
    assert [(each["owner"], each["runs"], each["active_runs"]) for each in owners] == [
        ("ada", 1, 1)
    ]
    # the admin's own runs are none; another's is reached below /v1/admin alone
    assert client.get(f"/v1/runs/{mine}", headers=admin).status_code == 404
    canceled = client.post(f"/v1/admin/runs/{mine}/cancel", headers=admin)
    assert (canceled.status_code, canceled.get_json()["state"]) == (202, "CANCELED")
    assert client.delete(f"/v1/admin/runs/{mine}", headers=admin).status_code == 204
    assert client.get(f"/v1/runs/{mine}", headers=reader).status_code == 404


def test_share_links_need_no_token_and_show_one_run(
    guarded: Flask, engine: Engine, settings: Settings, storage: LocalStorage, tmp_path: Path
) -> None:
    shared = new_run(engine, storage, settings, owner="ada")
    complete(engine, storage, settings, tmp_path / "results")
    client = guarded.test_client()
    ada = bearer(engine, "ada")
    made = client.post(f"/v1/runs/{shared}/share-links", headers=ada).get_json()
    base = f"/s/{made['token']}"
    assert client.get(f"{base}/hub.txt").status_code == 200
    assert client.get(f"/v1/runs/{shared}/hub.txt").status_code == 401
    link = f"/v1/runs/{shared}/share-links/{made['id']}"
    assert client.delete(link, headers=bearer(engine, "bob")).status_code == 404
    assert client.delete(link, headers=ada).status_code == 204
    assert client.get(f"{base}/hub.txt").status_code == 404


def test_a_browser_signs_in_and_out(guarded: Flask, engine: Engine) -> None:
    client = guarded.test_client()
    browser = {"Accept": "text/html"}
    sent = client.get("/runs?page_token=x", headers=browser)
    assert (sent.status_code, sent.headers["Location"]) == (
        303,
        "/sign-in?next=%2Fruns%3Fpage_token%3Dx",
    )
    form = client.get(sent.headers["Location"], headers=browser)
    assert form.status_code == 200
    assert 'name="next" value="/runs?page_token=x"' in form.text
    assert "unknown, has expired" in client.post("/sign-in", data={"token": "stk_x"}).text
    word = bearer(engine, "ada")["Authorization"].split()[1]
    entered = client.post("/sign-in", data={"token": word, "next": "/runs"})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/runs")
    cookie = entered.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert word not in cookie
    page = client.get("/runs", headers=browser)
    assert page.status_code == 200
    assert "ada" in page.text
    assert "Sign out" in page.text
    kept = client.get_cookie(COOKIE)
    assert kept is not None
    assert client.post("/sign-out").headers["Location"] == "/sign-in"
    client.set_cookie(COOKIE, kept.value)
    assert client.get("/runs", headers=browser).status_code == 303


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(elsewhere: str, guarded: Flask, engine: Engine) -> None:
    word = bearer(engine, "ada")["Authorization"].split()[1]
    answer = guarded.test_client().post("/sign-in", data={"token": word, "next": elsewhere})
    assert answer.headers["Location"] == "/"


def test_a_session_makes_no_other_and_leaves_when_it_is_over(
    guarded: Flask, engine: Engine
) -> None:
    word = bearer(engine, "ada")["Authorization"].split()[1]
    with transaction(engine) as session:
        found = identify(session, word)
        assert found is not None
        first = start_session(session, found)
    client = guarded.test_client()
    assert client.post("/sign-in", data={"token": first}).status_code == 401
    assert client.post("/sign-in", data={"token": word}).status_code == 303
    count = "SELECT count(*) FROM tokens WHERE parent_id IS NOT NULL"
    with transaction(engine) as session:
        assert session.scalar(text(count)) == 2
        session.execute(text("UPDATE tokens SET expires_at = 1 WHERE parent_id IS NOT NULL"))
        start_session(session, found)
        assert session.scalar(text(count)) == 1


def test_another_site_uses_no_session(guarded: Flask, engine: Engine) -> None:
    client = guarded.test_client()
    word = bearer(engine, "ada")["Authorization"].split()[1]
    client.post("/sign-in", data={"token": word})
    answer = client.delete("/v1/runs/x", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_nobody_signs_in_where_there_are_no_tokens(client: FlaskClient) -> None:
    assert client.get("/sign-in").status_code == 404
    assert "Sign out" not in client.get("/", headers={"Accept": "text/html"}).text


def test_too_many_requests_wait(settings: Settings, engine: Engine) -> None:
    app = create_app(
        replace(settings, auth="tokens", requests_per_minute=5, submissions_per_hour=1)
    )
    client = app.test_client()
    ada, bob = bearer(engine, "ada"), bearer(engine, "bob")
    submitted(client, ada)
    again = client.post("/v1/runs", data={"file": (BytesIO(FASTA), "x.fa")}, headers=ada)
    assert again.status_code == 429
    assert "at most 1 submissions per hour" in again.get_json()["detail"]
    assert 0 < int(again.headers["Retry-After"]) <= 3_600
    statuses = [client.get("/v1/runs", headers=ada).status_code for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2
    assert client.get("/v1/runs", headers=bob).status_code == 200
    app.extensions[EXTENSION].engine.dispose()


def test_redis_may_be_away(settings: Settings, engine: Engine) -> None:
    app = create_app(
        replace(settings, auth="tokens", broker_url="redis://127.0.0.1:1/0", requests_per_minute=3)
    )
    client, ada = app.test_client(), bearer(engine, "ada")
    assert client.get("/healthz").status_code == 200
    statuses = [client.get("/v1/runs", headers=ada).status_code for _ in range(4)]
    assert statuses == [200] * 3 + [429]
    assert client.get("/v1/runs", headers={"Authorization": "Bearer stk_x"}).status_code == 401
    app.extensions[EXTENSION].engine.dispose()


def test_guessing_is_slow(guarded: Flask) -> None:
    client = guarded.test_client()
    statuses = [
        client.get("/v1/runs", headers={"Authorization": f"Bearer stk_{n}"}).status_code
        for n in range(WRONG_TOKENS_PER_MINUTE + 1)
    ]
    assert statuses == [401] * WRONG_TOKENS_PER_MINUTE + [429]


def test_too_much_that_waits_is_refused(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    few = replace(settings, max_queued_runs=1)
    new_run(engine, storage, few, owner="ada")
    with pytest.raises(QuotaError, match="1 of your runs"):
        new_run(engine, storage, few, owner="ada", fasta=b">a\nACGTACGT\n")
    new_run(engine, storage, few, owner="bob")
    short = replace(settings, max_queued_bases=40)
    with pytest.raises(QuotaError, match=r"30 bases .* 11 of this one .* 40 that may"):
        new_run(engine, storage, short, owner="ada", fasta=b">a\nACGTACGTACG\n")
    new_run(engine, storage, short, owner="ada", fasta=b">a\nACGTACGTAC\n")
    # nothing is left of what was refused
    assert len(list((settings.storage_dir / "computations").iterdir())) == 3


def test_a_change_leaves_one_line(
    guarded: Flask, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    client = guarded.test_client()
    ada = bearer(engine, "ada")
    with caplog.at_level(logging.INFO, logger="saetrack.audit"):
        mine = submitted(client, ada)
        client.get(f"/v1/runs/{mine}", headers=ada)
        client.post(f"/v1/runs/{mine}/cancel", headers=ada)
        client.delete("/v1/runs/secret-name", headers=ada)
        word = ada["Authorization"].split()[1]
        client.post("/sign-in", data={"token": word, "next": "/tfs/secret-name"})
    lines = [vars(record)["values"] for record in caplog.records]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/runs", 202),
        ("POST", "/v1/runs/<run_id>/cancel", 202),
        ("DELETE", "/v1/runs/<run_id>", 404),
        ("POST", "/sign-in", 303),
    ]
    assert {line["owner"] for line in lines[:3]} == {"ada"}
    assert lines[0]["made"] == f"/v1/runs/{mine}"
    assert lines[1]["ids"] == {"run_id": mine}
    said = json.dumps(lines)
    assert "secret-name" not in said
    assert ada["Authorization"].split()[1] not in said


def test_tokens_from_the_command_line(
    engine: Engine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        assert run(["token", *arguments, "--data-dir", str(settings.data_dir)]) == 0
        return capsys.readouterr().out

    word = said("create", "--owner", "ada", "--name", "laptop").strip()
    with reading(engine) as session:
        found = identify(session, word)
    assert found is not None
    assert found.owner == "ada"
    listed = json.loads(said("list", "--json"))["tokens"]
    assert [(each["id"], each["name"]) for each in listed] == [(found.token_id, "laptop")]
    assert word not in json.dumps(listed)
    assert listed[0]["changed_at"] is None
    assert "last change" in said("list")
    with transaction(engine) as session:
        note_use(session, found.token_id)
    listed = json.loads(said("list", "--json"))["tokens"]
    assert listed[0]["changed_at"][:10] in said("list")
    assert found.token_id in said("list")
    said("revoke", found.token_id)
    with reading(engine) as session:
        assert identify(session, word) is None
