"""PostgreSQL: the tables, the rules of shards, and transactions that meet."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from annotations.errors import QuotaError, StateError
from app.analyses import create_analysis
from app.analysis_leases import claim_analysis, fail_exhausted_analyses, finish_analysis
from app.config import Settings
from app.database import (
    alembic_config,
    check_schema,
    database_time,
    glance,
    insist,
    is_away,
    make_engine,
    migrating,
    reading,
    take_turns,
    transaction,
    upgrade,
)
from app.dispatch import due, fail_exhausted, heartbeat, leave_job, release, take_job
from app.leftovers import find_leftovers
from app.models import Analysis, Base, Computation, Run, Shard
from app.postgresql import OneTripConnection
from app.rates import check_quota
from app.runs import cancel_run, delete_run
from app.shards import claim, finish, renew
from app.storage import LocalStorage
from tests.app.conftest import new_run
from tests.servers import Postgres

# pg8000 leaves the socket of a refused connection to the collector of garbage
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

LONG = b">a\n" + b"ACGT" * 5000 + b"\n"
"""Twenty shards."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def here(server: Postgres, settings: Settings) -> Iterator[Engine]:
    """A database of its own for each test; `settings` still names the SQLite one."""
    url = server.create(f"t{time.time_ns()}")
    engine = make_engine(Settings(data_dir=settings.data_dir, database_url=url))
    upgrade(engine)
    yield engine
    engine.dispose()


def test_an_empty_database_is_brought_to_the_models(here: Engine) -> None:
    with here.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    check_schema(here)


def test_the_last_version_can_be_left_and_reached_again_with_rows(
    here: Engine, storage: LocalStorage, settings: Settings
) -> None:
    new_run(here, storage, settings)
    with migrating(here) as connection:
        command.downgrade(alembic_config(connection), "0005")
    with pytest.raises(StateError, match=r"is at version 0005.*saetrack migrate"):
        check_schema(here)
    upgrade(here)
    with reading(here) as session:
        assert session.scalar(select(Computation.queue)) == "1" * 16


def test_upgrading_at_once_is_harmless(server: Postgres, settings: Settings) -> None:
    url = server.create(f"u{time.time_ns()}")
    engines = [
        make_engine(Settings(data_dir=settings.data_dir, database_url=url)) for _ in range(3)
    ]
    in_threads([lambda engine=engine: upgrade(engine) for engine in engines])
    check_schema(engines[0])
    for engine in engines:
        engine.dispose()


def test_the_clock_is_the_servers_and_finer_than_a_second(here: Engine) -> None:
    with reading(here) as session:
        first = database_time(session)
        time.sleep(0.02)
        assert 0.01 < database_time(session) - first < 5
        assert abs(first - time.time()) < 5


def in_threads(calls: list[Callable[[], object]]) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return failures


def test_of_many_workers_each_shard_has_one(
    here: Engine, storage: LocalStorage, settings: Settings
) -> None:
    new_run(here, storage, settings, fasta=LONG)
    with reading(here) as session:
        shards = list(session.scalars(select(Shard.id).where(Shard.kind == "encode")))
    won: list[tuple[int, int]] = []

    def work(worker: int) -> None:
        for shard_id in shards:
            with transaction(here) as session:
                if claim(session, shard_id, f"w{worker}", settings) is not None:
                    won.append((shard_id, worker))

    in_threads([lambda worker=worker: work(worker) for worker in range(8)])
    assert sorted(shard_id for shard_id, _ in won) == shards
    with reading(here) as session:
        assert set(session.scalars(select(Shard.attempts).where(Shard.kind == "encode"))) == {1}


def test_finishing_dispatching_and_canceling_at_once_never_wait_for_each_other(
    here: Engine, storage: LocalStorage, settings: Settings
) -> None:
    """Rows are locked in one order: on PostgreSQL two orders would end as a deadlock."""
    with transaction(here) as session:
        heartbeat(session, "w", queues=["1" * 16], models=["toy-sae"])
    for round_ in range(5):
        run_id = new_run(here, storage, settings, fasta=LONG, seed=round_)
        with reading(here) as session:
            run = session.get_one(Run, run_id)
            found = select(Shard.id).where(Shard.computation_id == run.computation_id)
            shards = list(session.scalars(found))
        start = threading.Barrier(6)

        def work(part: int, shards: list[int] = shards, start: threading.Barrier = start) -> None:
            start.wait()
            for shard_id in shards[part::3]:
                with transaction(here) as session:
                    claimed = claim(session, shard_id, f"w{part}", settings)
                if claimed is None:
                    continue
                with transaction(here) as session:
                    renew(session, claimed, settings, bases_done=10)
                with transaction(here) as session:
                    finish(session, claimed, {})

        def dispatch(start: threading.Barrier = start) -> None:
            start.wait()
            for _ in range(20):
                with transaction(here) as session:
                    fail_exhausted(session, settings)
                    due(session, settings, limit=100)

        def stop(run_id: str = run_id, start: threading.Barrier = start) -> None:
            start.wait()
            time.sleep(0.05)
            with transaction(here) as session:
                cancel_run(session, session.get_one(Run, run_id))
            with transaction(here) as session:
                release(session, "w1")

        in_threads([*(lambda part=part: work(part) for part in range(3)), dispatch, dispatch, stop])
        with reading(here) as session:
            computation = session.get_one(Run, run_id).computation
            states = set(session.scalars(select(Shard.state).where(Shard.id.in_(shards))))
        assert computation.state == "CANCELED"
        assert states <= {"COMPLETE", "CANCELED"}
        delete_run(here, storage, run_id, "local")


def test_of_submissions_at_once_no_more_wait_than_may(
    here: Engine, storage: LocalStorage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*given: Any) -> None:
        check_quota(*given)
        time.sleep(0.2)

    monkeypatch.setattr("app.submissions.check_quota", slowly)
    few = replace(settings, max_queued_runs=2)
    refused: list[QuotaError] = []
    start = threading.Barrier(6)

    def submit(number: int) -> None:
        start.wait()
        try:
            # some are of equal content and join
            new_run(here, storage, few, fasta=b">a\nACGTACGT" + b"ACGT" * (number // 2) + b"\n")
        except QuotaError as error:
            refused.append(error)

    in_threads([lambda number=number: submit(number) for number in range(6)])
    assert len(refused) == 4
    with reading(here) as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 2
    assert find_leftovers(here, storage, older_than=0) == []
    new_run(here, storage, few, owner="ada")


def test_whoever_waits_too_long_for_a_turn_is_told(
    here: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.TURN_SECONDS", 1)
    with transaction(here) as first:
        take_turns(first, "ada")
        with transaction(here) as other:
            take_turns(other, "bob")
        with pytest.raises(DBAPIError) as late, transaction(here) as second:
            take_turns(second, "ada")
    assert is_away(late.value)


def test_a_late_answer_is_not_overwritten_by_giving_up(
    here: Engine, storage: LocalStorage, settings: Settings
) -> None:
    run_id = new_run(here, storage, settings)
    asked = create_analysis(
        here,
        storage,
        run_id=run_id,
        owner="local",
        kind="causal_test",
        parameters={},
        settings=settings,
    )
    once = replace(settings, max_attempts=1)
    with transaction(here) as session:
        claimed = claim_analysis(session, asked, "w1", once)
        assert claimed is not None
        session.execute(text("UPDATE analyses SET lease_until = 1"))
    given_up: list[list[str]] = []

    def give_up() -> None:
        with transaction(here) as session:
            given_up.append(fail_exhausted_analyses(session, once))

    with transaction(here) as session:
        assert finish_analysis(session, claimed, {"p": 0.5})
        dispatcher = threading.Thread(target=give_up)
        dispatcher.start()
        time.sleep(0.5)  # it waits for the row
    dispatcher.join()
    assert given_up == [[]]
    with reading(here) as session:
        analysis = session.get_one(Analysis, asked)
        assert (analysis.state, analysis.result) == ("COMPLETE", {"p": 0.5})


def test_a_shard_is_due_in_one_of_two_dispatchers(
    here: Engine, storage: LocalStorage, settings: Settings
) -> None:
    new_run(here, storage, settings, fasta=LONG)
    sent: list[int] = []

    def dispatch() -> None:
        with transaction(here) as session:
            sent.extend(item.shard_id for item in due(session, settings, limit=5))
            time.sleep(0.1)

    in_threads([dispatch, dispatch])
    assert len(sent) == len(set(sent)) >= 5


def test_one_process_has_a_job_until_it_ends_or_leaves(here: Engine) -> None:
    def take(owner: str) -> bool:
        with transaction(here) as session:
            return take_job(session, "dispatch", owner, 60)

    taken = []
    in_threads([lambda name=name: taken.append(take(name)) for name in "abcd"])
    assert sorted(taken) == [False, False, False, True]
    with transaction(here) as session:
        session.execute(text("UPDATE leases SET until = until - 60"))
    assert take("e")
    assert not take("f")
    assert take("e")
    with transaction(here) as session:
        leave_job(session, "dispatch", "e")
    assert take("f")


def test_a_database_that_comes_back_is_waited_for(
    tmp_path: Path, server: Postgres, settings: Settings
) -> None:
    other = Postgres(tmp_path / "own")
    other.start()
    engine = make_engine(Settings(data_dir=settings.data_dir, database_url=other.url))
    upgrade(engine)
    other.kill()
    seen: list[float] = []

    def look() -> None:
        with transaction(engine) as session:
            seen.append(database_time(session))

    waiting = threading.Thread(target=insist, args=(look,), kwargs={"seconds": 60})
    waiting.start()
    time.sleep(1)
    assert seen == []
    # from this thread: the server dies with the thread that started it
    other.start()
    waiting.join()
    assert len(seen) == 1
    engine.dispose()
    other.kill()


def test_a_statement_that_is_wrong_is_not_tried_again(here: Engine) -> None:
    calls = []

    def wrong() -> None:
        calls.append(1)
        with transaction(here) as session:
            session.execute(text("SELECT nonsense"))

    with pytest.raises(Exception, match="nonsense"):
        insist(wrong, seconds=5)
    assert len(calls) == 1


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a connection waits for the server."""
    seen: list[int] = []
    wait = OneTripConnection.handle_messages

    def counted(self: OneTripConnection, context: Any) -> None:
        seen.append(1)
        wait(self, context)

    monkeypatch.setattr(OneTripConnection, "handle_messages", counted)
    return seen


def test_a_question_waits_once_and_a_change_three_times(here: Engine, trips: list[int]) -> None:
    ask = text("SELECT CAST(:a AS INTEGER) + 1, CAST(:b AS TEXT), '100%', NULL")
    for look in (glance, reading):
        with look(here) as reader:
            trips.clear()
            assert reader.execute(ask, {"a": 4, "b": "é\n"}).one() == (5, "é\n", "100%", None)
        assert len(trips) == 1
    trips.clear()
    with transaction(here) as session:
        session.execute(text("UPDATE leases SET owner = :owner"), {"owner": "a"})
    assert len(trips) == 3  # begin, change, commit


def test_a_change_after_a_question_is_a_transaction(here: Engine) -> None:
    with glance(here) as connection:
        connection.execute(text("SELECT 1"))

    def change_and_fail() -> None:
        with transaction(here) as session:
            assert take_job(session, "dispatch", "a", 5.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    with glance(here) as connection:
        assert connection.execute(text("SELECT count(*) FROM leases")).scalar() == 0


def test_a_refused_statement_leaves_a_usable_connection(here: Engine) -> None:
    with glance(here) as connection:
        for words, values, code in (
            ("SELECT CAST(:a AS INTEGER)", {"a": "x"}, "22P02"),
            ("SELECT nothing FROM leases WHERE name = :a", {"a": "x"}, "42703"),
        ):
            with pytest.raises(DBAPIError) as refused:
                connection.execute(text(words), values)
            assert refused.value.orig is not None
            assert refused.value.orig.args[0]["C"] == code
            assert connection.execute(text("SELECT :a"), {"a": "b"}).scalar() == "b"


def test_only_a_connection_that_was_idle_is_asked_whether_it_lives(
    here: Engine, trips: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> int:
        trips.clear()
        with glance(here) as connection:
            connection.execute(text("SELECT :a"), {"a": "b"})
        return len(trips)

    ask()
    assert ask() == 1
    monkeypatch.setattr("app.postgresql.IDLE_SECONDS", 0.0)
    assert ask() == 2
    # the server ends the connection: the next one that asks gets another
    with here.connect() as other, glance(here) as connection:
        theirs = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        connection.close()
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": theirs})
        other.rollback()
        with glance(here) as again:
            assert again.execute(text("SELECT pg_backend_pid()")).scalar() != theirs
