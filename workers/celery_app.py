"""A worker process: Celery delivers the ids of shards, `workers.tasks` does the work.

The worker runs one task at a time in its main thread (the ``solo`` pool): nothing is
forked after torch has started, and a process that dies takes one shard with it, which
the database gives to another.
"""

import logging
import os
import re
import socket
import threading
import uuid
import warnings
from collections.abc import Sequence

from celery import Celery
from celery.platforms import SecurityWarning
from celery.worker import state as celery_state
from sqlalchemy.exc import SQLAlchemyError

from annotations.cards import Cards, DictionaryCard
from annotations.errors import OptionError, UnknownNameError
from app.broker import broker_queues, celery_config, model_queue
from app.config import Settings
from app.database import check_schema, make_engine, transaction
from app.dispatch import heartbeat, retire
from app.storage import open_storage
from workers.analyses import AnalysisRunner
from workers.startup import check_installation
from workers.tasks import ShardRunner, register

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
"""A worker reports this often, or four times in `Settings.worker_seconds` if that is shorter."""


WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""What a worker may be called; a folder has its name."""


def worker_name() -> str:
    """A name no other worker has: machine, process and a random word."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def make_worker_app(runner: ShardRunner, settings: Settings) -> Celery:
    """The Celery application of a worker, which knows the two tasks.

    Parameters
    ----------
    runner : ShardRunner
        Does the work of shards, and keeps the opened dictionary for analyses too.
    settings : Settings
        Says where the broker is.

    Returns
    -------
    app : Celery
        Ready for ``app.Worker``.
    """
    app = Celery("saetrack", set_as_current=False)
    app.conf.update(celery_config(settings))
    if settings.broker_url == "filesystem://":
        # the same broker; kombu warns of a URL without a host, though files have none
        app.conf.broker_url = "filesystem://localhost"
    register(app, runner, AnalysisRunner(runner).run)
    return app


def stopping() -> bool:
    """Whether this process has been told to stop; the task at hand is then given up."""
    asked = (celery_state.should_stop, celery_state.should_terminate)
    # what is asked for is an exit code, and 0 is one: `0 in (None, False)` holds
    return any(value is not None and value is not False for value in asked)


def run_worker(settings: Settings, *, name: str | None = None, models: Sequence[str] = ()) -> int:
    """Work until told to stop.

    Parameters
    ----------
    settings : Settings
        The installation.
    name : str, optional
        Name of the worker, unique in the installation; made up by default.
    models : sequence of str
        Ids of the models to serve; by default all that are installed.

    Returns
    -------
    code : int
        Exit code of the process.

    Raises
    ------
    OptionError
        If the name, the device or a models folder is not allowed or not there.
    StateError
        If the database's schema is not this version's.
    """
    name = name or worker_name()
    if not WORKER_NAME.fullmatch(name):
        raise OptionError(
            f"a worker's name is 1 to 100 letters, digits, '.', '_' and '-', got {name[:100]!r}"
        )
    # Celery warns of root because of pickle; nothing but JSON is accepted here
    warnings.filterwarnings("ignore", category=SecurityWarning)
    settings.make_folders()
    engine = make_engine(settings)
    check_schema(engine)
    served = served_dictionaries(check_installation(settings), models)
    queues = sorted({model_queue(card.model_sha256) for card in served})
    runner = ShardRunner(
        settings=settings,
        engine=engine,
        storage=open_storage(settings),
        roots=settings.model_roots,
        name=name,
        stopping=stopping,
    )
    if len(served) == 1:
        # warm, and its canary checked, before the first message is taken
        runner.encoder(served[0])
    app = make_worker_app(runner, settings)
    ended = threading.Event()

    def report() -> None:
        """Tell the database that this worker lives, until the process ends."""
        while True:
            try:
                with transaction(engine) as session:
                    heartbeat(
                        session,
                        name,
                        queues=queues,
                        models=[card.id for card in served],
                        status=runner.status(),
                    )
            except SQLAlchemyError:
                log.exception("worker %s could not report; it tries again", name)
            if ended.wait(min(HEARTBEAT_SECONDS, settings.worker_seconds / 4)):
                return

    reporter = threading.Thread(target=report, name="heartbeat", daemon=True)
    reporter.start()
    try:
        worker = app.Worker(
            hostname=f"saetrack@{name}",
            pool="solo",
            concurrency=1,
            queues=broker_queues(queues),
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
        return int(worker.exitcode or 0)
    finally:
        ended.set()
        reporter.join(timeout=5)
        try:
            with transaction(engine) as session:
                retire(session, name)
        except SQLAlchemyError:
            log.exception("worker %s could not sign off", name)


def served_dictionaries(cards: Cards, models: Sequence[str]) -> list[DictionaryCard]:
    """The dictionaries of some models, or of all, by their ids.

    Raises
    ------
    UnknownNameError
        If a model is not installed or has no dictionary.
    """
    known = {card.model_id for card in cards.dictionaries.values()}
    for model in models:
        if model not in known:
            raise UnknownNameError(
                f"there is no model {model!r} with a dictionary here; there are: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
    wanted = set(models) or known
    found = sorted(cards.dictionaries.items())
    return [card for _, card in found if card.model_id in wanted]
