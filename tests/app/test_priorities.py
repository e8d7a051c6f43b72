"""Small runs before long ones, and a share for long ones; runs over regions by what they read."""

from collections import deque
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, func, select, update

from annotations.cards import find_cards
from annotations.genome_folder import add_genome
from annotations.genome_parts import PartRequest
from annotations.options import RunOptions
from app.broker import queue_name
from app.config import Settings
from app.database import reading, transaction
from app.dispatch import due, heartbeat, is_starved
from app.estimates import estimate
from app.models import Computation, Run, Shard
from app.shards import claim, finish
from app.storage import LocalStorage
from app.submissions import create_run
from tests.app.conftest import new_run

MODEL = "1" * 16
LONG = b">a\n" + b"ACGT" * 5000 + b"\n"
"""Twenty shards and a merge."""

SMALL_SECONDS, LONG_SECONDS = 5.0, 30.0
"""What a shard of either takes."""

STEPS = 2
"""Looks of the dispatcher while a shard is done."""


@pytest.fixture
def few(settings: Settings) -> Settings:
    """Runs of up to a thousand bases are small; a lease outlasts the simulated time."""
    return replace(settings, urgent_bases=1000, lease_seconds=80_000)


class Served(NamedTuple):
    """A shard that the simulated worker did."""

    shard_id: int
    is_small: bool
    start: float
    seconds: float


class Simulation:
    """One worker that reads the queues in the order of their names, as with Redis.

    Time passes by having all that was noted lie longer ago.
    """

    def __init__(self, engine: Engine, storage: LocalStorage, settings: Settings) -> None:
        self.engine, self.storage, self.settings = engine, storage, settings
        self.queues: dict[str, deque[int]] = {
            queue_name(MODEL, urgent=urgent): deque() for urgent in (True, False)
        }
        self.clock = 0.0
        self.served: list[Served] = []
        self.submitted: dict[str, float] = {}
        with transaction(engine) as session:
            heartbeat(session, "w", queues=[MODEL], models=[])

    def submit(self, fasta: bytes) -> str:
        run_id = new_run(self.engine, self.storage, self.settings, fasta=fasta)
        self.submitted[run_id] = self.clock
        return run_id

    def small(self) -> str:
        """A run that differs from all others."""
        number = len(self.submitted)
        letters = "".join("ACGT"[number >> shift & 3] for shift in range(0, 20, 2))
        return self.submit(f">s\n{letters * 4}\n".encode())

    def waiting_small(self) -> int:
        with reading(self.engine) as session:
            few = Computation.read_bases <= self.settings.urgent_bases
            unended = Computation.state.in_(("QUEUED", "INITIALIZING", "RUNNING"))
            query = select(func.count()).select_from(Computation).where(few, unended)
            return int(session.scalar(query) or 0)

    def dispatch(self) -> None:
        with transaction(self.engine) as session:
            for item in due(session, self.settings):
                self.queues[item.queue].append(item.shard_id)

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        with transaction(self.engine) as session:
            for column in (Shard.published_at, Shard.started_at, Shard.finished_at):
                session.execute(update(Shard).values({column.key: column - seconds}))

    def work(self) -> None:
        """One message, from the first queue that has any; a second passes where there is none."""
        self.dispatch()
        waiting = next(
            (self.queues[name] for name in sorted(self.queues) if self.queues[name]), None
        )
        if waiting is None:
            self.pass_time(1.0)
            return
        with transaction(self.engine) as session:
            claimed = claim(session, waiting.popleft(), "w", self.settings)
        if claimed is None:  # a message that was sent twice
            return
        is_small = sum(claimed.lengths) <= self.settings.urgent_bases
        seconds = SMALL_SECONDS if is_small else LONG_SECONDS
        self.served.append(Served(claimed.id, is_small, self.clock, seconds))
        for _ in range(STEPS):
            self.pass_time(seconds / STEPS)
            self.dispatch()
        with transaction(self.engine) as session:
            assert finish(session, claimed, {})

    def started(self, run_id: str) -> float:
        """When the first shard of a run was begun, after it was submitted."""
        with reading(self.engine) as session:
            computation = session.get_one(Run, run_id).computation_id
            ids = set(session.scalars(select(Shard.id).where(Shard.computation_id == computation)))
        return (
            min(each.start for each in self.served if each.shard_id in ids) - self.submitted[run_id]
        )


def stream(simulation: Simulation, seconds: float) -> None:
    """Small runs that come so fast that two wait at any time."""
    end = simulation.clock + seconds
    while simulation.clock < end:
        while simulation.waiting_small() < 3:
            simulation.small()
        simulation.work()


def test_a_steady_stream_of_small_runs_leaves_a_long_one_its_share(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    simulation = Simulation(engine, storage, few)
    simulation.submit(LONG)
    stream(simulation, 500.0)
    long_ones = [each for each in simulation.served if not each.is_small]
    share = sum(each.seconds for each in long_ones) / simulation.clock
    # a fifth is what it is to have; a message counts as not acted on after 20 s only
    assert 0.15 < share < 0.25
    gaps = [later.start - one.start for one, later in pairwise(long_ones)]
    assert max(gaps) < LONG_SECONDS / few.long_share + few.republish_seconds + 2 * LONG_SECONDS
    # a small run waits for those before it, and for one long shard at most
    waits = sorted(simulation.started(run_id) for run_id in list(simulation.submitted)[1:-4])
    assert waits[-1] <= LONG_SECONDS + 6 * SMALL_SECONDS
    assert waits[len(waits) // 2] <= 6 * SMALL_SECONDS


def test_without_a_share_the_stream_goes_first_for_ever(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    simulation = Simulation(engine, storage, replace(few, long_share=0.0))
    simulation.submit(LONG)
    stream(simulation, 200.0)
    assert all(each.is_small for each in simulation.served)


def test_a_single_small_run_goes_before_all_that_waits_of_a_long_one(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    simulation = Simulation(engine, storage, few)
    simulation.submit(LONG)
    while len(simulation.served) < 3:
        simulation.work()
    small = simulation.small()
    while len(simulation.served) < 7:
        simulation.work()
    assert simulation.started(small) == 0.0
    assert [each.is_small for each in simulation.served] == [False] * 3 + [True] * 2 + [False] * 2
    # none of the long run's messages was sent with the small ones: it starved of nothing
    assert not simulation.queues[queue_name(MODEL, urgent=True)]


def test_many_workers_have_long_shards_start_more_often(
    engine: Engine, storage: LocalStorage, few: Settings
) -> None:
    simulation = Simulation(engine, storage, few)
    simulation.submit(LONG)

    def starved(workers: int) -> bool:
        with reading(engine) as session:
            return is_starved(session, few, MODEL, workers=workers)

    assert not starved(0)
    assert starved(1)  # none has ever started
    simulation.work()
    assert not starved(1)
    simulation.pass_time(20.0)  # a shard of 30 s each 30 / (0.2 * 8) = 18.75 s
    assert starved(8)
    assert not starved(1)
    simulation.pass_time(101.0)
    assert starved(1)
    with transaction(engine) as session:
        waiting = session.scalars(select(Shard.id).where(Shard.state == "QUEUED").limit(1)).one()
        assert claim(session, waiting, "x", few) is not None
    simulation.pass_time(200.0)
    assert not starved(5)  # one of five is at a long one
    assert starved(6)


@pytest.fixture
def genome(settings: Settings, few: Settings, tmp_path: Path) -> Settings:
    """A registered genome of 20,000 bases."""
    path = tmp_path / "g.fa"
    path.write_bytes(b">chr\n" + b"ACGTTGCA" * 2500 + b"\n")
    add_genome(few.genomes_dir, "g", path)
    return few


def of_regions(engine: Engine, storage: LocalStorage, settings: Settings, bed: bytes) -> str:
    created = create_run(
        engine,
        storage,
        find_cards(settings.models_dirs),
        part=PartRequest(genome="g", regions=BytesIO(bed)),
        options=RunOptions.from_json({"dictionary": "toy-sae", "taxon": "fungi"}),
        owner="local",
        settings=settings,
    )
    return created.run_id


SCATTERED = b"".join(b"chr\t%d\t%d\n" % (at, at + 1) for at in range(500, 19_500, 500))
"""38 single bases: each reads whole windows of 8 bases around 50 more, and 8 on each side."""


def test_a_run_over_regions_is_as_long_as_what_it_reads(
    engine: Engine, storage: LocalStorage, genome: Settings
) -> None:
    run_id = of_regions(engine, storage, genome, SCATTERED)
    with reading(engine) as session:
        run = session.get_one(Run, run_id)
        read = run.options["regions"]["read_bases"]
        assert (run.computation.bases, run.computation.read_bases) == (38, read)
        assert read > 38 * 50
        encode = [shard for shard in run.computation.shards if shard.kind == "encode"]
        assert sum(shard.bases for shard in encode) == 38
        # windows that no two shards share
        assert sum(shard.read_bases for shard in encode) == read
    with transaction(engine) as session:
        heartbeat(session, "w", queues=[MODEL], models=[])
        queues = {item.queue for item in due(session, genome)}
    # 38 bases are few, and what is read for them is not
    assert queues == {queue_name(MODEL, urgent=False)}
    with transaction(engine) as session:
        few_read = replace(genome, urgent_bases=read)
        session.execute(update(Shard).values(published_at=None))
        queues = {item.queue for item in due(session, few_read)}
    assert queues == {queue_name(MODEL, urgent=True)}


def test_an_estimate_goes_by_what_is_read(
    engine: Engine, storage: LocalStorage, genome: Settings
) -> None:
    whole = new_run(engine, storage, genome, fasta=LONG)
    with transaction(engine) as session:
        heartbeat(session, "w", queues=[MODEL], models=[])
        session.execute(
            update(Shard).values(
                state="COMPLETE", bases_done=Shard.bases, started_at=100.0, finished_at=110.0
            )
        )
        session.execute(update(Computation).values(state="COMPLETE"))
        rate = session.scalar(select(func.avg(Shard.bases)).where(Shard.kind == "encode")) / 10.0
    run_id = of_regions(engine, storage, genome, SCATTERED)
    with reading(engine) as session:
        computation = session.get_one(Run, run_id).computation
        merging = computation.bases / (20_000 / 10.0)
        found = estimate(session, computation, genome)
        read = computation.read_bases
    assert whole
    assert found.basis == "other runs"
    assert found.seconds == pytest.approx(read / rate + merging, abs=0.06)
    with transaction(engine) as session:
        first = session.scalars(
            select(Shard)
            .where(Shard.computation_id == computation.id, Shard.kind == "encode")
            .order_by(Shard.position)
        ).first()
        assert first is not None
        # half of its bases: half of what is read for it
        first.state, first.bases_done = "RUNNING", first.bases // 2
        left = read - first.bases_done * first.read_bases // first.bases
    with reading(engine) as session:
        found = estimate(session, session.get_one(Run, run_id).computation, genome)
    assert found.seconds == pytest.approx(left / rate + merging, abs=0.06)
