"""Dispatch: queues of models, small runs first, who dispatches; estimates; files left behind."""

from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import InstrumentedAttribute

from app.config import Settings
from app.database import reading, transaction
from app.dispatch import describe_shard, due, heartbeat, leave_job, live_workers, take_job
from app.estimates import Estimate, estimate
from app.leftovers import find_leftovers
from app.models import Computation, Run, Shard
from app.shards import claim, finish, renew
from app.storage import LocalStorage
from tests.app.conftest import complete, new_run, take

MODEL = "1" * 16
LONG = b">a\n" + b"ACGT" * 2500 + b"\n"
SHORT = b">a\n" + b"ACGT" * 10 + b"\n"


@pytest.fixture
def few(settings: Settings) -> Settings:
    """Runs of up to a thousand bases are small."""
    return replace(settings, urgent_bases=1000)


def alive(engine: Engine, name: str, *queues: str) -> None:
    with transaction(engine) as session:
        heartbeat(session, name, queues=queues, models=[])


def sent(engine: Engine, settings: Settings) -> list[tuple[int, str]]:
    with transaction(engine) as session:
        return [tuple(item) for item in due(session, settings)]


def test_a_small_run_has_messages_though_a_long_one_was_there_first(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    alive(engine, "w", MODEL)
    new_run(engine, storage, few, fasta=LONG)
    assert sent(engine, few) == [(1, f"saetrack.long.{MODEL}"), (2, f"saetrack.long.{MODEL}")]
    new_run(engine, storage, few, fasta=SHORT)
    with reading(engine) as session:
        shard = session.scalars(select(Shard.id).order_by(Shard.id.desc()).limit(2)).all()[-1]
    assert sent(engine, few) == [(shard, f"saetrack.fast.{MODEL}")]
    # redis reads the queues in the order of their names
    assert f"saetrack.fast.{MODEL}" < f"saetrack.long.{MODEL}"


def test_more_workers_have_more_messages_in_flight(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    new_run(engine, storage, few, fasta=LONG)
    assert len(sent(engine, few)) == 2
    alive(engine, "a", MODEL)
    alive(engine, "b", MODEL, "other")
    alive(engine, "c", "other")
    assert len(sent(engine, few)) == 2
    with reading(engine) as session:
        assert [each.id for each in live_workers(session, few)] == ["a", "b", "c"]


def test_one_owner_has_a_job_at_a_time(engine: Engine) -> None:
    def take_it(owner: str, seconds: float = 60) -> bool:
        with transaction(engine) as session:
            return take_job(session, "dispatch", owner, seconds)

    assert take_it("a")
    assert take_it("a")
    assert not take_it("b")
    with transaction(engine) as session:
        leave_job(session, "dispatch", "b")
    assert not take_it("b")
    with transaction(engine) as session:
        leave_job(session, "dispatch", "a")
    assert take_it("b")
    with transaction(engine) as session:
        session.execute(text("UPDATE leases SET until = 0"))
    assert take_it("a")


def test_what_was_noted_before_the_clock_was_set_back_does_not_wait_for_it(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    def ahead(*columns: InstrumentedAttribute[float | None]) -> None:
        with transaction(engine) as session:
            for column in columns:
                session.execute(update(column.class_).values({column.key: column + 3600}))

    alive(engine, "w", MODEL)
    new_run(engine, storage, few, fasta=LONG)
    first, second = [shard_id for shard_id, _ in sent(engine, few)]
    held = take(engine, few, first)
    ahead(Shard.published_at, Shard.lease_until)
    # the lease has an hour and is thirty seconds long; whoever works on renews it in time
    with transaction(engine) as session:
        assert renew(session, held, few)
        assert claim(session, first, "other", few) is None
    ahead(Shard.lease_until)
    taken = take(engine, few, first, "other")
    with transaction(engine) as session:
        assert not finish(session, held, {})
        assert finish(session, taken, {})
    # a message that is sent in an hour is sent again now
    assert second in [shard_id for shard_id, _ in sent(engine, few)]
    with transaction(engine) as session:
        assert [each.id for each in live_workers(session, few)] == ["w"]
        assert take_job(session, "dispatch", "a", 5.0)
        session.execute(text("UPDATE leases SET until = until + 3600"))
        session.execute(text("UPDATE workers SET seen_at = seen_at + 3600"))
        assert live_workers(session, few) == []
        assert take_job(session, "dispatch", "b", 5.0)


def test_a_shard_is_named_by_its_bases() -> None:
    one = Shard(kind="encode", position=4, spans=[[0, 1000, 2000]])
    assert describe_shard(one) == "shard 4 (contig 1, bases 1001-2000)"
    more = Shard(kind="encode", position=0, spans=[[2, 0, 300], [3, 0, 100]])
    assert describe_shard(more) == "shard 0 (contig 3, bases 1-300 and 1 more)"
    assert describe_shard(Shard(kind="merge", position=9, spans=[])) == "the merge"


def expected(engine: Engine, settings: Settings, run_id: str) -> Estimate:
    with reading(engine) as session:
        return estimate(session, session.get_one(Run, run_id).computation, settings)


def measured(engine: Engine, shard_ids: list[int], seconds: float) -> None:
    """Give complete shards a length in time."""
    with transaction(engine) as session:
        session.execute(
            update(Shard)
            .where(Shard.id.in_(shard_ids))
            .values(state="COMPLETE", started_at=100.0, finished_at=100.0 + seconds)
            .values(bases_done=Shard.bases)
        )


def test_an_estimate_needs_a_worker_and_a_measurement(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    run_id = new_run(engine, storage, few, fasta=LONG)
    assert expected(engine, few, run_id) == Estimate(0, None, None)
    alive(engine, "w", "other model")
    assert expected(engine, few, run_id) == Estimate(0, None, None)
    alive(engine, "a", MODEL)
    assert expected(engine, few, run_id) == Estimate(1, None, None)


def test_an_estimate_is_what_is_left_at_the_rate_of_its_own_shards(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    run_id = new_run(engine, storage, few, fasta=LONG)
    alive(engine, "a", MODEL)
    with reading(engine) as session:
        shards = session.scalars(select(Shard).order_by(Shard.id)).all()
    measured(engine, [shards[0].id, shards[1].id], 4.0)
    rate = (shards[0].bases + shards[1].bases) / 8.0
    left = 10_000 - shards[0].bases - shards[1].bases
    found = expected(engine, few, run_id)
    assert (found.workers, found.basis) == (1, "this run")
    assert found.seconds == pytest.approx(left / rate, abs=0.06)
    alive(engine, "b", MODEL)
    assert expected(engine, few, run_id).seconds == pytest.approx(left / rate / 2, abs=0.06)
    # a small run goes before it, another long one takes turns with it
    new_run(engine, storage, few, fasta=SHORT)
    with_small = expected(engine, few, run_id).seconds
    assert with_small == pytest.approx((left + 40) / rate / 2, abs=0.06)
    new_run(engine, storage, few, fasta=LONG, seed=1)
    with_long = expected(engine, few, run_id).seconds
    assert with_long == pytest.approx((left + 40 + left) / rate / 2, abs=0.06)


def test_a_run_that_nobody_can_work_on_says_so(
    client: FlaskClient, engine: Engine, settings: Settings
) -> None:
    answer = client.post("/v1/runs", data=LONG, content_type="text/x-fasta")
    assert answer.status_code == 202
    assert answer.json["estimate"] == {"workers": 0, "seconds": None, "basis": None}
    assert answer.json["notice"].startswith("no worker that has the model of toy-sae is alive")
    alive(engine, "w", MODEL)
    again = client.get(f"/v1/runs/{answer.json['id']}").json
    assert (again["notice"], again["estimate"]["workers"]) == (None, 1)


def test_a_complete_run_has_no_estimate(client: FlaskClient, finished: str) -> None:
    view = client.get(f"/v1/runs/{finished}").json
    assert (view["estimate"], view["notice"]) == (None, None)


def test_files_that_nothing_points_to_are_found_and_no_others(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    new_run(engine, storage, settings)
    claimed = take(engine, settings, 1)
    source = tmp_path / "x"
    source.write_bytes(b"x")
    assert find_leftovers(engine, storage, older_than=0) == []
    # a worker was killed between storing and handing in; a web process before the row
    storage.put_file(f"{claimed.prefix}/peaks.parquet", source)
    storage.put_file("computations/nobody/input/sequences.fa", source)
    storage.put_file("analyses/nobody/input/foreground.parquet", source)
    lost = [
        "analyses/nobody/input/foreground.parquet",
        f"{claimed.prefix}/peaks.parquet",
        "computations/nobody/input/sequences.fa",
    ]
    assert sorted(find_leftovers(engine, storage, older_than=0)) == sorted(lost)
    assert find_leftovers(engine, storage, older_than=60) == []
    storage.delete(lost)
    assert find_leftovers(engine, storage, older_than=0) == []
    assert not (settings.storage_dir / "computations" / "nobody").exists()


def test_files_of_shards_are_left_behind_once_the_run_is_complete(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results")
    source = tmp_path / "x"
    source.write_bytes(b"x")
    with transaction(engine) as session:
        computation = session.scalars(select(Computation)).one()
        shard = session.scalars(select(Shard).where(Shard.kind == "encode")).first()
        assert shard is not None
        key = f"{computation.prefix}/shards/0-f/peaks.parquet"
        file = storage.put_file(key, source)
        shard.results = {"peaks.parquet": file.to_json()}
        computation.state = "RUNNING"
    assert find_leftovers(engine, storage, older_than=0) == []
    with transaction(engine) as session:
        session.execute(text("UPDATE computations SET state = 'COMPLETE'"))
    assert find_leftovers(engine, storage, older_than=0) == [key]
