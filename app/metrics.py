"""What a monitor asks: how long the queue is and how old, how fast the work goes, what fails.

What concerns the work is read from the database when it is asked for, so that every web process
tells the same. Requests are counted by each process for itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, case, func, select

from app.config import Settings
from app.database import now, reading
from app.dispatch import live_workers
from app.models import ACTIVE_STATES, STATES, Computation, Run, Shard

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are counted by name: whoever asks may write any word, and each made a series."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Borders of the histogram of requests."""


OF_WORKERS: Final = (
    ("bases", "Bases whose activations it computed since it started.", CounterMetricFamily),
    ("shards", "Shards it completed since it started.", CounterMetricFamily),
    ("failures", "Attempts at shards that failed since it started.", CounterMetricFamily),
    ("gpu_bytes", "GPU memory it holds; workers on a CPU have none.", GaugeMetricFamily),
    ("gpu_total_bytes", "GPU memory that there is.", GaugeMetricFamily),
)
"""What workers say of themselves: the rate of `bases` is bases per second."""


class Metrics:
    """The metrics of a web process.

    Parameters
    ----------
    settings : Settings
        Say when a worker counts as gone.
    engine : Engine
        Where the work is.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Count nothing yet."""
        self._registry = CollectorRegistry()
        self._registry.register(WorkCollector(settings, engine))
        self._requests = Counter(
            "saetrack_http_requests",
            "Requests by route and status, of this web process.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "saetrack_http_request_seconds",
            "Time until an answer begins, of this web process.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by the pattern of its address, which holds no name and no token."""
        method = method if method in METHODS else "(other)"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class WorkCollector(Collector):
    """Runs, shards and workers, as the database has them now."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Ask nothing yet."""
        self._settings = settings
        self._engine = engine

    def describe(self) -> list[Metric]:
        """Nothing: to register must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the database."""
        state = case((Run.canceled_at.is_not(None), "CANCELED"), else_=Computation.state)
        failed = Computation.error_code.is_not(None)
        with reading(self._engine) as session:
            runs = session.execute(
                select(state, func.count()).select_from(Run).join(Computation).group_by(state)
            ).all()
            failures = session.execute(
                select(Computation.error_code, func.count())
                .where(failed)
                .group_by(Computation.error_code)
            ).all()
            shards = session.execute(
                select(Shard.kind, Shard.state, func.count())
                .join(Computation)
                .where(Computation.state.in_(sorted(ACTIVE_STATES)))
                .group_by(Shard.kind, Shard.state)
            ).all()
            waiting = session.scalar(
                select(func.max(now() - Computation.created_at)).where(
                    Computation.state == "QUEUED"
                )
            )
            bases = session.scalar(
                select(func.sum(Shard.bases - Shard.bases_done))
                .join(Computation)
                .where(
                    Shard.kind == "encode",
                    Shard.state.in_(["QUEUED", "RUNNING"]),
                    Computation.state.in_(sorted(ACTIVE_STATES)),
                )
            )
            workers = live_workers(session, self._settings)
        yield _gauge("saetrack_runs", "Runs by state.", ["state"], dict.fromkeys(STATES, 0), runs)
        yield _gauge("saetrack_failures", "Failed runs by kind of error.", ["code"], {}, failures)
        yield _gauge(
            "saetrack_shards",
            "Shards of runs that are on their way.",
            ["kind", "state"],
            {},
            [((kind, state), count) for kind, state, count in shards],
        )
        yield GaugeMetricFamily(
            "saetrack_queue_age_seconds",
            "Age of the oldest run that no worker has begun; 0 if there is none.",
            value=max(0.0, float(waiting or 0)),
        )
        yield GaugeMetricFamily(
            "saetrack_queue_bases",
            "Bases whose activations are still to be computed.",
            value=float(bases or 0),
        )
        yield GaugeMetricFamily(
            "saetrack_workers", "Workers that have reported lately.", value=len(workers)
        )
        for field, said, kind in OF_WORKERS:
            family = kind(f"saetrack_worker_{field}", said, labels=["worker"])
            for worker in workers:
                value = (worker.status or {}).get(field)
                if value is not None:
                    family.add_metric([worker.id], value)
            yield family


def _gauge(
    name: str,
    said: str,
    labels: Sequence[str],
    known: Mapping[str, int],
    rows: Iterable[tuple[Any, ...]],
) -> GaugeMetricFamily:
    """A gauge with a value for each row, and for what is known and has no row."""
    family = GaugeMetricFamily(name, said, labels=labels)
    values = {(key,): count for key, count in known.items()}
    for key, count in rows:
        values[key if isinstance(key, tuple) else (key,)] = count
    for words, count in values.items():
        family.add_metric(words, count)
    return family
