"""Migrations, the database's clock, SQLite's locks."""

import threading
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from annotations.errors import OptionError, StateError
from app.config import Settings
from app.database import (
    alembic_config,
    check_schema,
    database_time,
    make_engine,
    migrating,
    reading,
    transaction,
    upgrade,
)
from app.models import Base, Run, Worker
from app.storage import LocalStorage
from tests.app.conftest import new_run


def test_an_empty_database_is_brought_to_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    check_schema(engine)


def test_check_constraints_are_those_of_the_models(engine: Engine) -> None:
    # Alembic does not compare these
    inspector = inspect(engine)
    for table in Base.metadata.sorted_tables:
        wanted = {c.sqltext.text for c in table.constraints if hasattr(c, "sqltext")}
        found = {c["sqltext"] for c in inspector.get_check_constraints(table.name)}
        assert found == wanted


def test_upgrading_twice_at_once_and_again_is_harmless(settings: Settings) -> None:
    engines = [make_engine(settings) for _ in range(3)]
    failures: list[BaseException] = []

    def run(engine: Engine) -> None:
        try:
            upgrade(engine)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    upgrade(engines[0])
    check_schema(engines[0])
    for engine in engines:
        engine.dispose()


def test_the_version_before_is_upgraded_with_its_rows(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    run_id = new_run(engine, storage, settings)
    with migrating(engine) as connection:
        command.downgrade(alembic_config(connection), "0005")
    with pytest.raises(StateError, match=r"is at version 0005.*saetrack migrate"):
        check_schema(engine)
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    with reading(engine) as session:
        run = session.get_one(Run, run_id)
        assert run.computation.queue == "1" * 16
        assert len(run.computation.shards) == 2


def test_a_database_without_tables_is_refused(settings: Settings) -> None:
    engine = make_engine(settings)
    with pytest.raises(StateError, match="version none"):
        check_schema(engine)
    engine.dispose()


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError, match="newer saetrack"):
        check_schema(engine)
    with pytest.raises(StateError, match="newer saetrack"):
        upgrade(engine)


def test_the_clock_is_utc_and_finer_than_a_second(engine: Engine) -> None:
    with reading(engine) as session:
        times = [database_time(session)]
    time.sleep(0.02)
    with reading(engine) as session:
        times.append(database_time(session))
    assert abs(times[0] - time.time()) < 5
    assert 0.01 < times[1] - times[0] < 5


def test_sqlite_settings(engine: Engine) -> None:
    with reading(engine) as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_foreign_keys_hold(engine: Engine) -> None:
    statement = text(
        "INSERT INTO runs (id, owner, created_at, computation_id, contig_names, options) "
        "VALUES ('r', 'o', 0, 'none', '[]', '{}')"
    )
    with pytest.raises(IntegrityError), transaction(engine) as session:
        session.execute(statement)


def test_a_reader_does_not_wait_for_a_writer(engine: Engine) -> None:
    with transaction(engine) as writer:
        writer.add(Worker(id="w", queues=["q"], seen_at=0.0, models=[]))
        writer.flush()
        with reading(engine) as reader:
            assert reader.get(Worker, "w") is None
    with reading(engine) as reader:
        assert reader.get(Worker, "w") is not None


def test_an_exception_rolls_back(engine: Engine) -> None:
    def write_and_fail() -> None:
        with transaction(engine) as session:
            session.add(Worker(id="w", queues=["q"], seen_at=0.0, models=[]))
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    with reading(engine) as session:
        assert session.get(Worker, "w") is None


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense"])
def test_other_databases_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="SAETRACK_DATABASE_URL"):
        make_engine(Settings(data_dir=tmp_path, database_url=url))
