"""Leases: claimed once, renewed, lost, given up; the order of the work."""

import threading
import time
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from annotations.types import Span
from app.claims import ClaimedShard
from app.config import Settings
from app.database import reading, transaction
from app.dispatch import (
    Due,
    due,
    fail_exhausted,
    heartbeat,
    live_workers,
    release,
    retire,
)
from app.models import Computation, Run, Shard
from app.runs import cancel_run, delete_run
from app.shards import claim, fail, finish, give_back, renew
from app.storage import LocalStorage, StoredFile
from tests.app.conftest import new_run, take

LONG = b">x\n" + b"ACGTACGTAC" * 250 + b"\n"
"""2,500 bases: with shards of 1,000 these are encode shards 1 to 3 and merge 4."""

FILES = {"peaks.parquet": StoredFile("k", 1, "0" * 64)}


@pytest.fixture
def run_id(engine: Engine, storage: LocalStorage, settings: Settings) -> str:
    return new_run(engine, storage, settings, fasta=LONG)


def state_of(engine: Engine, shard_id: int) -> str:
    with reading(engine) as session:
        return session.get_one(Shard, shard_id).state


def computation_of(engine: Engine) -> Computation:
    with reading(engine) as session:
        return session.query(Computation).one()


def end_leases(engine: Engine) -> None:
    """As if all leases had run out."""
    with transaction(engine) as session:
        session.execute(text("UPDATE shards SET lease_until = 1 WHERE state = 'RUNNING'"))


def finished(engine: Engine, claimed: ClaimedShard) -> bool:
    with transaction(engine) as session:
        return finish(session, claimed, FILES)


def renewed(engine: Engine, claimed: ClaimedShard, settings: Settings, bases: int = 0) -> bool:
    with transaction(engine) as session:
        return renew(session, claimed, settings, bases_done=bases)


def failed(
    engine: Engine, claimed: ClaimedShard, settings: Settings, *, retryable: bool = True
) -> bool:
    with transaction(engine) as session:
        return fail(
            session,
            claimed,
            code="tool-error",
            message="it broke",
            retryable=retryable,
            settings=settings,
        )


def all_due(engine: Engine, settings: Settings, limit: int | None = 100) -> list[int]:
    with transaction(engine) as session:
        return [item.shard_id for item in due(session, settings, limit=limit)]


def test_a_claim_tells_all_there_is_to_know(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    claimed = take(engine, settings, 2)
    assert (claimed.kind, claimed.position, claimed.attempt) == ("encode", 1, 1)
    assert claimed.spans == (Span(0, 1000, 2000),)
    assert (claimed.bases, claimed.lengths) == (1000, (2500,))
    assert claimed.dictionary_id == claimed.options.dictionary == "toy-sae"
    assert set(claimed.inputs) == {"sequences.fa"}
    assert claimed.prefix.startswith(f"computations/{claimed.computation_id}/shards/1-")
    computation = computation_of(engine)
    assert (computation.state, computation.started_at is not None) == ("INITIALIZING", True)


def test_a_shard_is_claimed_by_one_of_two(run_id: str, engine: Engine, settings: Settings) -> None:
    won: list[ClaimedShard] = []
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        with transaction(engine) as session:
            claimed = claim(session, 1, name, settings)
        if claimed is not None:
            won.append(claimed)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0].attempt == 1


def test_a_lease_that_has_ended_goes_to_another_and_the_first_is_too_late(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    first = take(engine, settings, 1)
    end_leases(engine)
    # the same worker again: only the token tells the claims apart
    second = take(engine, settings, 1, owner=first.owner)
    assert second.attempt == 2
    assert second.prefix != first.prefix
    assert not renewed(engine, first, settings)
    assert not finished(engine, first)
    assert not failed(engine, first, settings)
    assert state_of(engine, 1) == "RUNNING"
    assert finished(engine, second)
    assert state_of(engine, 1) == "COMPLETE"


def test_a_lease_ends_by_the_clock_of_the_database(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    brief = replace(settings, lease_seconds=0.05)
    take(engine, brief, 1)
    threading.Event().wait(0.1)
    assert take(engine, settings, 1, owner="w2").attempt == 2
    with transaction(engine) as session:
        assert claim(session, 1, "w3", settings) is None


def test_a_lease_that_ended_unnoticed_may_be_renewed(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    claimed = take(engine, settings, 1)
    end_leases(engine)
    assert renewed(engine, claimed, settings)
    with transaction(engine) as session:
        assert claim(session, 1, "w2", settings) is None


def test_progress_is_kept_and_starts_the_run(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    claimed = take(engine, settings, 1)
    assert renewed(engine, claimed, settings)
    assert computation_of(engine).state == "INITIALIZING"
    assert renewed(engine, claimed, settings, bases=400)
    assert computation_of(engine).state == "RUNNING"
    assert renewed(engine, claimed, settings, bases=10**9)
    with reading(engine) as session:
        assert session.get_one(Shard, 1).bases_done == 1000


def test_the_merge_waits_for_every_shard(run_id: str, engine: Engine, settings: Settings) -> None:
    for shard_id in (1, 2, 3):
        with transaction(engine) as session:
            assert claim(session, 4, "w", settings) is None
        assert 4 not in all_due(engine, settings)
        assert finished(engine, take(engine, settings, shard_id))
    assert all_due(engine, settings) == [4]
    merge = take(engine, settings, 4)
    assert (merge.kind, merge.bases, merge.spans) == ("merge", 2500, ())
    assert merge.shard_results == (FILES, FILES, FILES)
    assert "/result/" in merge.prefix
    assert finished(engine, merge)
    computation = computation_of(engine)
    assert computation.state == "COMPLETE"
    assert computation.results == {"peaks.parquet": FILES["peaks.parquet"].to_json()}
    assert computation.finished_at is not None


def test_a_complete_shard_is_not_claimed_again(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    assert finished(engine, take(engine, settings, 1))
    with transaction(engine) as session:
        assert claim(session, 1, "w2", settings) is None


def test_a_failure_is_tried_again_then_fails_the_computation(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    for attempt in (1, 2, 3):
        claimed = take(engine, settings, 1)
        assert claimed.attempt == attempt
        assert failed(engine, claimed, settings)
        assert state_of(engine, 1) == ("QUEUED" if attempt < 3 else "FAILED")
    computation = computation_of(engine)
    assert (computation.state, computation.error_code) == ("EXECUTOR_ERROR", "tool-error")
    assert computation.error_message == "it broke"
    assert state_of(engine, 2) == "CANCELED"
    assert all_due(engine, settings) == []


def test_an_error_of_the_data_is_not_tried_again(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    other = take(engine, settings, 2, owner="w2")
    assert failed(engine, take(engine, settings, 1), settings, retryable=False)
    assert computation_of(engine).state == "EXECUTOR_ERROR"
    assert not renewed(engine, other, settings)


def test_a_shard_that_kills_its_worker_is_given_up(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    for _ in range(settings.max_attempts):
        take(engine, settings, 1)
        with transaction(engine) as session:
            assert fail_exhausted(session, settings) == []
        end_leases(engine)
    with transaction(engine) as session:
        assert claim(session, 1, "w", settings) is None
        assert fail_exhausted(session, settings) == [1]
        assert fail_exhausted(session, settings) == []
    computation = computation_of(engine)
    assert (computation.state, computation.error_code) == ("EXECUTOR_ERROR", "worker-lost")
    said = "shard 0 (contig 1, bases 1-1000) was given up after 3 attempts"
    assert said in str(computation.error_message)


def test_canceling_stops_the_work(run_id: str, engine: Engine, settings: Settings) -> None:
    claimed = take(engine, settings, 1)
    with transaction(engine) as session:
        cancel_run(session, session.get_one(Run, run_id))
    assert not renewed(engine, claimed, settings)
    assert not finished(engine, claimed)
    assert computation_of(engine).state == "CANCELED"
    assert all_due(engine, settings) == []
    with transaction(engine) as session:
        assert claim(session, 2, "w", settings) is None


def test_deleting_stops_the_work(
    run_id: str, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    claimed = take(engine, settings, 1)
    delete_run(engine, storage, run_id, "local")
    assert not renewed(engine, claimed, settings)
    assert not finished(engine, claimed)


def test_messages_are_sent_once_while_they_are_fresh(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    # nobody reports: two in flight, and no more until someone does
    assert all_due(engine, settings, limit=None) == [1, 2]
    assert all_due(engine, settings, limit=None) == []
    with transaction(engine) as session:
        session.execute(text("UPDATE shards SET published_at = 1 WHERE id < 3"))
        assert [item.shard_id for item in due(session, settings)] == [3]
        session.execute(text("UPDATE shards SET published_at = 1"))
        assert due(session, settings) == []
        heartbeat(session, "w", queues=["1111111111111111"], models=["toy-sae"])
        queue = "saetrack.fast.1111111111111111"
        assert due(session, settings) == [Due(1, queue), Due(2, queue)]


def test_two_messages_for_each_live_worker(run_id: str, engine: Engine, settings: Settings) -> None:
    with transaction(engine) as session:
        heartbeat(session, "w1", queues=["1111111111111111"], models=[])
        heartbeat(session, "w2", queues=["1111111111111111"], models=[])
        heartbeat(session, "w2", queues=["1111111111111111"], models=["toy-sae"])
        assert [each.id for each in live_workers(session, settings)] == ["w1", "w2"]
        assert len(due(session, settings)) == 3


def test_computations_take_turns(
    run_id: str, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    new_run(engine, storage, settings, fasta=LONG.replace(b"ACGT", b"TTTT"))
    assert all_due(engine, settings) == [1, 5, 2, 6, 3, 7]


def test_a_dead_workers_shards_go_on_at_once(
    run_id: str, engine: Engine, settings: Settings
) -> None:
    assert all_due(engine, settings) == [1, 2, 3]
    take(engine, settings, 1, owner="dead")
    take(engine, settings, 2, owner="alive")
    with transaction(engine) as session:
        assert release(session, "dead") == 1
    assert all_due(engine, settings) == [1]
    assert take(engine, settings, 1).attempt == 2


def test_a_worker_that_is_told_to_stop_spends_no_attempt(
    engine: Engine, settings: Settings, run_id: str
) -> None:
    for _ in range(settings.max_attempts + 2):
        claimed = take(engine, settings, 1)
        assert claimed.attempt == 1
        with transaction(engine) as session:
            assert renew(session, claimed, settings, bases_done=10)
            assert give_back(session, claimed)
        assert 1 in all_due(engine, settings)
    with reading(engine) as session:
        shard = session.get_one(Shard, 1)
        assert (shard.state, shard.attempts, shard.bases_done) == ("QUEUED", 0, 0)


def test_a_lost_shard_cannot_be_given_back(engine: Engine, settings: Settings, run_id: str) -> None:
    lost = take(engine, replace(settings, lease_seconds=0.05), 1)
    time.sleep(0.06)
    take(engine, settings, 1, "w2")
    with transaction(engine) as session:
        assert not give_back(session, lost)
    assert state_of(engine, 1) == "RUNNING"


@pytest.mark.parametrize(("stopped", "attempt"), [(True, 1), (False, 2)])
def test_an_attempt_counts_if_the_worker_died_by_itself(
    engine: Engine, settings: Settings, run_id: str, stopped: bool, attempt: int
) -> None:
    take(engine, settings, 1, "w1")
    with transaction(engine) as session:
        assert release(session, "w1", stopped=stopped) == 1
    assert take(engine, settings, 1, "w2").attempt == attempt


def test_workers_that_are_silent_or_retired_are_gone(engine: Engine, settings: Settings) -> None:
    with transaction(engine) as session:
        heartbeat(session, "w1", queues=["q"], models=[])
        heartbeat(session, "w2", queues=["q"], models=[])
        retire(session, "w1")
        assert [each.id for each in live_workers(session, settings)] == ["w2"]
        session.execute(text("UPDATE workers SET seen_at = seen_at - 1000"))
        assert live_workers(session, settings) == []
