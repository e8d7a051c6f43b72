"""Runs that are deleted some days after their end, and the bytes an owner may store."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from annotations.errors import QuotaError, UnknownNameError
from app.api import EXTENSION
from app.config import Settings
from app.database import database_time, reading, transaction
from app.factory import create_app
from app.leftovers import find_leftovers
from app.models import Computation, Run
from app.retention import DAY_SECONDS, delete_expired, expired_runs, expires_at, stored_bytes
from app.runs import cancel_run, get_run
from app.storage import LocalStorage
from tests.app.conftest import new_run


def age(engine: Engine, run_id: str, *, days: float, created: float | None = None) -> None:
    """Have a complete run have ended, and been submitted, so many days ago."""
    with transaction(engine) as session:
        today = database_time(session)
        run = get_run(session, run_id, None)
        run.created_at = today - (days if created is None else created) * DAY_SECONDS
        session.execute(
            update(Computation)
            .where(Computation.id == run.computation_id)
            .values(finished_at=today - days * DAY_SECONDS)
        )


def expired(engine: Engine, settings: Settings) -> list[str]:
    with reading(engine) as session:
        return [run_id for run_id, _ in expired_runs(session, settings)]


def test_runs_are_kept_for_ever_unless_it_is_said(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    age(engine, finished, days=10_000)
    assert expired(engine, settings) == []
    assert delete_expired(engine, storage, settings) == []
    with reading(engine) as session:
        assert expires_at(session.get_one(Run, finished), settings) is None


def test_a_run_is_deleted_when_its_days_are_over_and_not_before(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    kept = replace(settings, keep_days=7)
    made = settings.runs_cache_dir / finished
    made.mkdir(parents=True)
    age(engine, finished, days=6.9)
    assert delete_expired(engine, storage, kept) == []
    age(engine, finished, days=7.1)
    assert delete_expired(engine, storage, kept) == [finished]
    with reading(engine) as session, pytest.raises(UnknownNameError):
        get_run(session, finished, None)
    assert list(storage.list("computations")) == []
    assert not made.exists()


def test_a_young_run_of_old_results_is_kept(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    """It found them ready yesterday: its own week has begun then."""
    kept = replace(settings, keep_days=7)
    age(engine, finished, days=30, created=1)
    assert expired(engine, kept) == []
    with reading(engine) as session:
        run = session.get_one(Run, finished)
        assert expires_at(run, kept) == pytest.approx(run.created_at + 7 * DAY_SECONDS)


def test_results_that_another_run_has_stay(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    kept = replace(settings, keep_days=7)
    second = new_run(engine, storage, settings)
    age(engine, finished, days=30)
    stored = list(storage.list("computations"))
    assert delete_expired(engine, storage, kept) == [finished]
    assert list(storage.list("computations")) == stored
    assert find_leftovers(engine, storage, older_than=0) == []
    with reading(engine) as session:
        assert get_run(session, second, None).computation.state == "COMPLETE"


def test_a_run_that_has_not_ended_stays_and_a_canceled_one_goes(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    kept = replace(settings, keep_days=1)
    run_id = new_run(engine, storage, settings)
    with transaction(engine) as session:
        run = get_run(session, run_id, None)
        run.created_at -= 5 * DAY_SECONDS
        assert expires_at(run, kept) is None
    assert expired(engine, kept) == []
    with transaction(engine) as session:
        run = get_run(session, run_id, None)
        cancel_run(session, run)
        assert expires_at(run, kept) == pytest.approx(run.canceled_at + DAY_SECONDS)
        run.canceled_at -= 2 * DAY_SECONDS
    assert expired(engine, kept) == [run_id]


def test_when_a_run_expires_is_shown(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    app = create_app(replace(settings, keep_days=30))
    client = app.test_client()
    view = client.get(f"/v1/runs/{finished}").get_json()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", view["expires_at"])
    assert view["expires_at"] > view["finished_at"]
    page = client.get(f"/runs/{finished}").get_data(as_text=True)
    assert f'Deleted on</dt><dd><time datetime="{view["expires_at"]}"' in page
    app.extensions[EXTENSION].engine.dispose()
    app = create_app(settings)
    assert app.test_client().get(f"/v1/runs/{finished}").get_json()["expires_at"] is None
    app.extensions[EXTENSION].engine.dispose()


def test_stored_bytes_are_those_of_the_files(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str, tmp_path: Path
) -> None:
    on_disk = sum(path.stat().st_size for path in settings.storage_dir.rglob("*") if path.is_file())
    new_run(engine, storage, settings)  # of the same content: nothing more is stored
    with reading(engine) as session:
        assert stored_bytes(session, "local") == on_disk > 1000
        assert stored_bytes(session, "ada") == 0


def test_who_stores_too_much_is_refused_until_something_is_deleted(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    with reading(engine) as session:
        stored = stored_bytes(session, "local")
    full = replace(settings, max_stored_bytes=stored + 5)
    before = sorted(storage.list("computations"))
    with pytest.raises(QuotaError, match=rf"{stored:,} bytes of stored .* {stored + 5:,} that may"):
        new_run(engine, storage, full, fasta=b">a\nACGTACGT\n")
    assert sorted(storage.list("computations")) == before
    new_run(engine, storage, full, fasta=b">a\nACGTACGT\n", owner="ada")
    new_run(engine, storage, full)  # what is there already is no more
    app = create_app(full)
    answer = app.test_client().post(
        "/v1/runs?dictionary=toy-sae", data=b">a\nACGTACGT\n", content_type="text/x-fasta"
    )
    assert answer.status_code == 429
    assert "delete runs" in answer.get_json()["detail"]
    app.extensions[EXTENSION].engine.dispose()
