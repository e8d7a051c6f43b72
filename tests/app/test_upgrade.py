"""Data of an earlier release goes on being read; a backup taken at work is restored whole."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine

from annotations.cards import find_cards
from annotations.errors import StateError
from app.api import EXTENSION
from app.config import Settings
from app.database import (
    alembic_config,
    check_schema,
    make_engine,
    migrating,
    reading,
    transaction,
    upgrade,
)
from app.dispatch import due, heartbeat
from app.factory import create_app
from app.models import Run
from app.runs import get_run, run_state
from app.shards import claim
from app.share_links import shared_run
from app.storage import LocalStorage
from tests.app.conftest import complete, new_run

RELEASE = Path(__file__).parents[1] / "data" / "releases" / "0.1.0.sql"
"""An SQLite database of release 0.1.0: a complete run with a share link, and one that waits."""

DONE, WAITING = "f36bf232020436ff3541b109", "e7f4de992803512916c2b19d"
LINK = "sht_opVPiDv6CVXnzLjNtYPClgsmi5AehSCSY8bAUSHsgGE"


@pytest.fixture
def old(settings: Settings) -> Settings:
    """An installation whose database is of the earlier release."""
    with sqlite3.connect(settings.data_dir / "saetrack.db") as connection:
        connection.executescript(RELEASE.read_text())
    connection.close()
    return settings


def test_an_old_database_is_refused_until_it_is_upgraded(old: Settings) -> None:
    engine = make_engine(old)
    with pytest.raises(StateError, match="version 0004"):
        check_schema(engine)
    upgrade(engine)
    check_schema(engine)
    engine.dispose()


def test_runs_of_the_earlier_release_go_on(old: Settings) -> None:
    engine = make_engine(old)
    upgrade(engine)
    with reading(engine) as session:
        assert run_state(get_run(session, DONE, "local")) == "COMPLETE"
        assert run_state(get_run(session, WAITING, "local")) == "QUEUED"
        assert shared_run(session, LINK).id == DONE
    # work that was waiting is given out
    with transaction(engine) as session:
        (shard,) = due(session, old, limit=5)
    with transaction(engine) as session:
        claimed = claim(session, shard.shard_id, "w1", old)
    assert claimed is not None
    assert claimed.kind == "encode"
    app = create_app(old)
    listed = app.test_client().get("/v1/runs").get_json()["runs"]
    assert {run["id"]: run["state"] for run in listed}[DONE] == "COMPLETE"
    assert app.test_client().get("/metrics").status_code == 200
    app.extensions[EXTENSION].engine.dispose()
    engine.dispose()


def test_runs_over_regions_get_what_is_read_for_them(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    of_regions = new_run(engine, storage, settings)
    whole = new_run(engine, storage, settings, fasta=b">late\nACGTACGTAAA\n")
    with transaction(engine) as session:
        run = session.get_one(Run, of_regions)
        run.options = run.options | {"regions": {"read_bases": 30 * 7}}
    with migrating(engine) as connection:
        command.downgrade(alembic_config(connection), "0007")
    upgrade(engine)
    with reading(engine) as session:
        found = session.get_one(Run, of_regions).computation
        assert (found.bases, found.read_bases) == (30, 210)
        assert [(each.kind, each.read_bases) for each in found.shards] == [
            ("encode", 210),
            ("merge", 30),
        ]
        found = session.get_one(Run, whole).computation
        assert found.read_bases == found.bases == 11
        assert [each.read_bases for each in found.shards] == [11, 11]


def test_upgrading_twice_changes_nothing(old: Settings) -> None:
    engine = make_engine(old)
    upgrade(engine)
    before = dump(old.data_dir / "saetrack.db")
    upgrade(engine)
    assert dump(old.data_dir / "saetrack.db") == before
    engine.dispose()


def test_a_backup_taken_at_work_is_restored(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    done = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results")
    waiting = new_run(engine, storage, settings, fasta=b">late\nACGTACGTAAA\n")
    copy = tmp_path / "backup"
    # as docs/deploy.md says: the database first, then the files
    copy.mkdir()
    with (
        sqlite3.connect(settings.data_dir / "saetrack.db") as source,
        sqlite3.connect(copy / "saetrack.db") as target,
    ):
        source.backup(target)
    source.close()
    target.close()
    late = new_run(engine, storage, settings, fasta=b">later\nACGTACGTAAATTT\n")
    shutil.copytree(settings.storage_dir, copy / settings.storage_dir.name)
    restored = replace(settings, data_dir=copy, database_url="", models_dirs=settings.models_dirs)
    restored.make_folders()
    again = make_engine(restored)
    upgrade(again)
    with reading(again) as session:
        assert {run.id for run in session.query(Run)} == {done, waiting}
        assert session.get(Run, late) is None
    app = create_app(restored)
    client = app.test_client()
    assert client.get(f"/v1/runs/{done}/features").get_json()["features"]
    with transaction(again) as session:
        heartbeat(session, "w1", queues=[], models=list(find_cards(settings.models_dirs).models))
        assert due(session, restored, limit=5)
    app.extensions[EXTENSION].engine.dispose()
    again.dispose()


def dump(path: Path) -> list[str]:
    """A database as SQL."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
