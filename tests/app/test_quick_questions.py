"""What is asked at every request: few statements, short columns, nothing that is out of date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, text

from annotations.errors import OptionError, UnknownNameError
from app.api import EXTENSION
from app.card_cache import KnownCards
from app.config import Settings
from app.database import glance, reading, transaction
from app.dispatch import count_workers, heartbeat
from app.estimates import Paces, read_pace
from app.models import Run
from app.rates import WRONG_TOKENS_PER_MINUTE, RateLimits
from app.run_facts import contig_names, facts_of, run_facts
from app.storage import LocalStorage
from app.tokens import create_token, identify, is_noted, note_use
from tests.app.conftest import new_run, write_models

MODEL = "1" * 16


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """The statements that an application sends to its database."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    engine = app.extensions[EXTENSION].engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_a_question_for_the_state_takes_three_statements(
    client: FlaskClient, app: Flask, engine: Engine, settings: Settings, storage: LocalStorage
) -> None:
    run_id = new_run(engine, storage, settings)
    with transaction(engine) as session:
        heartbeat(session, "w", queues=[MODEL], models=[])
    client.get(f"/v1/runs/{run_id}")
    with counted(app) as sent:
        view = client.get(f"/v1/runs/{run_id}").get_json()
    assert (view["state"], view["estimate"]["workers"]) == ("QUEUED", 1)
    # the run, its shards, the workers; the pace of the model was asked for just before
    assert len(sent) == 3
    assert not [words for words in sent if "BEGIN" in words or "contig_names" in words]


def test_a_part_of_a_track_takes_one_statement(
    client: FlaskClient, app: Flask, finished: str
) -> None:
    address = f"/v1/runs/{finished}/features/1+/signal.bw"
    assert client.get(address).status_code == 200
    with counted(app) as sent:
        part = client.get(address, headers={"Range": "bytes=4-11"})
    assert (part.status_code, len(part.data), len(sent)) == (206, 8, 1)


def test_facts_are_those_of_the_rows(
    engine: Engine, settings: Settings, storage: LocalStorage
) -> None:
    run_id = new_run(engine, storage, settings, owner="ada")
    with reading(engine) as session:
        loaded = facts_of(session.get_one(Run, run_id))
    with glance(engine) as connection:
        assert run_facts(connection, run_id, "ada") == loaded
        assert run_facts(connection, run_id, None) == loaded
        assert contig_names(connection, run_id) == ["chrA", "chrB"]
        assert (loaded.contigs, loaded.compares, loaded.computation.bases) == (2, False, 30)
        for owner, name in (("bob", run_id), ("ada", "0" * 24)):
            with pytest.raises(UnknownNameError, match="there is no run"):
                run_facts(connection, name, owner)


def test_a_glance_sees_what_was_committed_meanwhile_and_holds_no_writer_up(engine: Engine) -> None:
    with glance(engine) as connection:
        assert count_workers(connection, Settings(), MODEL) == 0
        with transaction(engine) as session:
            heartbeat(session, "w", queues=[MODEL, "other"], models=[])
        assert count_workers(connection, Settings(), MODEL) == 1
        with transaction(engine) as session:
            session.execute(text("UPDATE workers SET seen_at = seen_at - 3600"))
        assert count_workers(connection, Settings(), MODEL) == 0


def test_a_pace_is_kept_for_its_time_only(
    engine: Engine, settings: Settings, storage: LocalStorage
) -> None:
    kept, anew = Paces(seconds=3600), Paces(seconds=-1)
    with glance(engine) as connection:
        assert kept.of(connection, MODEL).left == {}
        new_run(engine, storage, settings)
        assert list(read_pace(connection, MODEL).left.values()) == [(30, 30)]
        assert kept.of(connection, MODEL).left == {}
        assert anew.of(connection, MODEL) == read_pace(connection, MODEL)


def test_what_a_token_changed_is_noted_once_an_hour(engine: Engine) -> None:
    with transaction(engine) as session:
        made = create_token(session, owner="ada")
        assert not is_noted(session, made.token.id)
        note_use(session, made.token.id)
        assert is_noted(session, made.token.id)
        session.execute(text("UPDATE tokens SET used_at = used_at - 3601"))
        assert not is_noted(session, made.token.id)
        assert not is_noted(session, "nobody")
    with glance(engine) as connection:
        found = identify(connection, made.word)
    assert found is not None
    assert found.token_id == made.token.id


def test_cards_are_read_again_when_a_file_has_changed(tmp_path: Path) -> None:
    known, root = KnownCards(), tmp_path / "models"
    write_models(root)
    first = known.of([root])
    assert known.of([root]) is first
    write_models(root, name="other")
    assert list(known.of([root]).dictionaries) == ["other-sae", "toy-sae"]
    card = root / "toy" / "model.json"
    card.write_text(card.read_text().replace("A toy", "Another toy"))
    assert known.of([root]).models["toy"].title == "Another toy"
    with pytest.raises(OptionError, match="does not exist"):
        known.of([root, tmp_path / "none"])


def test_an_address_that_may_ask_is_looked_up_once_a_second(settings: Settings) -> None:
    rates = RateLimits(replace(settings, auth="tokens"))
    # another process counts in the same place
    for _ in range(WRONG_TOKENS_PER_MINUTE):
        assert rates.wrong_token("1.2.3.4") is None
        rates._own.hit(rates._wrong, "wrong", "1.2.3.4")
    assert rates.wrong_token("1.2.3.4") is None
    rates._innocent["1.2.3.4"] -= 1.0
    assert rates.wrong_token("1.2.3.4") is not None
    assert rates.wrong_token("4.3.2.1") is None
