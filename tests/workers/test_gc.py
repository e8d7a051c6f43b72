"""`saetrack gc` and the dispatcher: runs whose time is over leave with their files."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.broker import make_producer
from app.config import Settings
from app.database import make_engine, reading, transaction, upgrade
from app.models import Run
from app.retention import DAY_SECONDS
from app.runs import cancel_run, get_run
from app.storage import LocalStorage
from tests.app.conftest import new_run, write_models
from workers import cli
from workers.dispatcher import EXPIRY_RUNS, Dispatcher


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(
        data_dir=tmp_path / "data", models_dirs=(tmp_path / "models",), min_free_bytes=0
    )
    settings.make_folders()
    write_models(tmp_path / "models")
    return settings


@pytest.fixture
def engine(settings: Settings):
    engine = make_engine(settings)
    upgrade(engine)
    yield engine
    engine.dispose()


def canceled(engine: Engine, settings: Settings, *, days: float, bases: int = 8) -> str:
    """A run of a content of its own that was canceled so many days ago."""
    fasta = b">a\n" + b"ACGT" * bases + b"\n"
    run_id = new_run(engine, LocalStorage(settings.storage_dir), settings, fasta=fasta)
    with transaction(engine) as session:
        run = get_run(session, run_id, None)
        cancel_run(session, run)
        run.canceled_at -= days * DAY_SECONDS
        run.created_at -= days * DAY_SECONDS
    return run_id


def left(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return set(session.scalars(select(Run.id)))


def test_gc_deletes_what_is_over_and_says_so(settings, engine, monkeypatch, capsys):
    old = canceled(engine, settings, days=31)
    young = canceled(engine, settings, days=29, bases=9)
    gc = ["gc", "--data-dir", str(settings.data_dir)]
    assert cli.run(gc) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("SAETRACK_KEEP_DAYS", "30")
    assert cli.run([*gc, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out == f"run {old}\n"
    assert "1 runs that ended 30 days ago would be deleted" in told.err
    assert left(engine) == {old, young}
    assert cli.run(gc) == 0
    assert capsys.readouterr().out == f"run {old}\n"
    assert left(engine) == {young}
    assert len(list((settings.storage_dir / "computations").iterdir())) == 1


def test_young_files_are_deleted_only_by_force(settings, engine, capsys):
    """They may be those of a submission that has not said so yet."""
    storage = LocalStorage(settings.storage_dir)
    source = settings.data_dir / "x"
    source.write_bytes(b"x")
    storage.put_file("computations/c1/input/sequences.fa", source)
    gc = ["gc", "--data-dir", str(settings.data_dir), "--older-than"]
    assert cli.run([*gc, "0.5"]) != 0
    assert "must be at least 1 hour, got 0.5" in capsys.readouterr().err
    assert cli.run([*gc, "1"]) == 0
    assert len(list(storage.list("computations"))) == 1
    assert cli.run([*gc, "0", "--force"]) == 0
    assert list(storage.list("computations")) == []


def round_of(dispatcher: Dispatcher) -> int:
    """One round, and what it has done beside."""
    sent = dispatcher.dispatch()
    if dispatcher.expiry is not None:
        dispatcher.expiry.join()
    return sent


def test_a_slow_storage_holds_up_no_message(settings, engine, monkeypatch):
    canceled(engine, settings, days=3)
    kept = replace(settings, keep_days=2)
    gate = threading.Event()
    real = LocalStorage.delete_prefix

    def slow(self, prefix):
        assert gate.wait(60)
        real(self, prefix)

    monkeypatch.setattr("app.storage.LocalStorage.delete_prefix", slow)
    dispatcher = Dispatcher(kept, engine, make_producer(kept), print, owner="d1")
    new_run(engine, LocalStorage(settings.storage_dir), settings)
    assert dispatcher.dispatch() == 1
    assert dispatcher.expiry.is_alive()
    dispatcher.expiry_at = 0.0
    first = dispatcher.expiry
    dispatcher.dispatch()
    assert dispatcher.expiry is first  # one at a time
    gate.set()
    dispatcher.leave()
    assert not first.is_alive()


def test_the_dispatcher_deletes_some_at_a_time(settings, engine):
    for bases in range(8, 8 + EXPIRY_RUNS + 2):
        canceled(engine, settings, days=3, bases=bases)
    kept = replace(settings, keep_days=2)
    said: list[str] = []
    dispatcher = Dispatcher(kept, engine, make_producer(kept), said.append, owner="d1")
    round_of(dispatcher)
    assert len(left(engine)) == 2
    round_of(dispatcher)  # not before a minute has passed
    assert len(left(engine)) == 2
    dispatcher.expiry_at = 0.0
    round_of(dispatcher)
    assert left(engine) == set()
    assert said == []


def test_a_storage_that_refuses_keeps_no_message_from_being_sent(settings, engine, monkeypatch):
    canceled(engine, settings, days=3)
    kept = replace(settings, keep_days=2)
    said: list[str] = []

    def refuse(*_args, **_kwargs):
        raise PermissionError

    monkeypatch.setattr("app.storage.LocalStorage.delete_prefix", refuse)
    dispatcher = Dispatcher(kept, engine, make_producer(kept), said.append, owner="d1")
    assert round_of(dispatcher) == 0
    assert said == ["cannot delete files of a run whose time is over: PermissionError"]
