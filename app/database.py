"""Engine, transactions, the database's clock and migrations.

SQLite runs in WAL mode: readers never wait. A writing transaction takes the write
lock when it begins, so that it can never fail half-way because another one wrote.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    SQLColumnExpression,
    and_,
    create_engine,
    event,
    or_,
    select,
    text,
)
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    TimeoutError,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from annotations.errors import OptionError, StateError
from app.config import Settings

T = TypeVar("T")

Reader: TypeAlias = Session | Connection
"""What is asked questions: a session, or a connection of `glance`, which is quicker."""

MIGRATIONS = Path(__file__).resolve().parent / "migrations"

BUSY_SECONDS = 30
"""How long an SQLite transaction waits for another to end."""

SQLITE_CONNECTIONS = 20
"""Connections to an SQLite file that stay open: more than the threads of the web process, since
each further one is made and prepared anew for every use."""

POSTGRESQL = "postgresql+pg8000"
"""Dialect and driver of a URL that names no driver; another must be installed to be named."""

POSTGRESQL_CONNECTIONS = 8
"""Connections of a process to PostgreSQL that stay open; up to ten more for a while."""

RECONNECT_SECONDS = 90.0
"""How long work that is done waits for a database that went away."""

AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "08000", "08003", "08006", "53300"})
"""PostgreSQL's codes of a server that stops, crashed, starts, or has no connection left."""

DEADLOCK_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL's codes of a transaction that gave way to another."""

TURN_SECONDS = 10
"""How long a transaction waits for its turn."""

MIGRATION_LOCK = 7_243_650_117
"""Number of the PostgreSQL advisory lock that serialises migrations."""


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """Seconds since 1970 UTC by the clock of the database.

    Leases are compared in the database with this, so that a worker whose clock is
    wrong cannot take or keep what is not its own.
    """

    type = Float(53)
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **options: Any) -> str:
    """Sub-second time also on SQLite older than 3.42, which has no unixepoch('subsec')."""
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: Any, **options: Any) -> str:
    """Time of the statement, not of the transaction's begin."""
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def is_over(end: SQLColumnExpression[Any], within: float) -> ColumnElement[bool]:
    """Whether a time that was set `within` seconds ahead has come, by the database's clock.

    It has also come when it lies much further ahead: then the clock was set back, and what waits
    for that time would wait for as long as the clock was set back by.

    Parameters
    ----------
    end : column
        Seconds since 1970 UTC.
    within : float
        How far ahead it is set at most.
    """
    return or_(end < now(), end > now() + 2 * within)


def is_recent(
    when: SQLColumnExpression[Any], seconds: float | ColumnElement[float]
) -> ColumnElement[bool]:
    """Whether a time is less than so many seconds ago, by the database's clock.

    One that lies as far ahead is not: the clock was set back after it was noted.

    Parameters
    ----------
    when : column
        Seconds since 1970 UTC.
    seconds : float or column
        How long ago at most.
    """
    return and_(when > now() - seconds, when < now() + seconds)


def make_engine(settings: Settings) -> Engine:
    """Connections to the database of an installation.

    Parameters
    ----------
    settings : Settings
        Says where the database is; the folder of an SQLite file must exist.

    Returns
    -------
    engine : Engine
        For SQLite: WAL mode, foreign keys on, waits `BUSY_SECONDS` for a lock.

    Raises
    ------
    OptionError
        If the database URL is not understood or names neither SQLite nor PostgreSQL.
    """
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        raise OptionError(
            "SAETRACK_DATABASE_URL is not a database URL; write sqlite:////path/to/file.db or "
            "postgresql://user@host/database"
        ) from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        if url.drivername == backend:
            url = url.set(drivername=POSTGRESQL)
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=POSTGRESQL_CONNECTIONS,
            isolation_level="READ COMMITTED",
        )
        event.listen(engine, "handle_error", _notice_lost)
        # loaded here, for whoever has SQLite needs no driver of PostgreSQL
        from app.postgresql import prepare

        prepare(engine)
        return engine
    if backend != "sqlite":
        raise OptionError(f"SAETRACK_DATABASE_URL must name sqlite or postgresql, got {backend!r}")
    # errors are logged, and what users sent or were answered has no place in a log
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        hide_parameters=True,
        pool_size=SQLITE_CONNECTIONS,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _notice_lost(context: ExceptionContext) -> None:
    """Have the pool replace connections that a stopping server has ended with a word."""
    if _sqlstate(context.original_exception) in AWAY_STATES:
        context.is_disconnect = True


def _sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code of an error, as pg8000 gives it; "" if there is none."""
    values = error.args[0] if error is not None and error.args else None
    return str(values.get("C", "")) if isinstance(values, dict) else ""


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Settings of one SQLite connection; transactions are begun by `_begin_sqlite`."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # an accepted submission survives a power cut; there are few transactions, so it costs little
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once, unless the transaction only reads."""
    options = connection.get_execution_options()
    # of single statements SQLite makes transactions itself
    if not options.get("single", False):
        connection.exec_driver_sql("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session that may write: committed at the end, rolled back on an exception."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def insist(work: Callable[[], T], *, seconds: float = RECONNECT_SECONDS) -> T:
    """Do what takes a transaction, again and again while the database is away.

    Parameters
    ----------
    work : callable
        Its own transaction from beginning to end; harmless when it is done twice, since a
        connection may be lost after the commit.
    seconds : float
        For how long to try.

    Raises
    ------
    SQLAlchemyError
        What the last try raised.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except (DBAPIError, TimeoutError) as error:
            if time.monotonic() > end or not is_away(error):
                raise
        time.sleep(0.5)


def is_away(error: Exception) -> bool:
    """Whether a database error may pass: no connection, or a lock that another held too long."""
    if isinstance(error, DBAPIError):
        passing = _sqlstate(error.orig) in AWAY_STATES | DEADLOCK_STATES
        gone = isinstance(error, (InterfaceError, OperationalError))
        return error.connection_invalidated or passing or (gone and "full" not in str(error.orig))
    return isinstance(error, TimeoutError)


def take_turns(session: Session, owner: str) -> None:
    """Have transactions of one owner that count what there is, and add to it, come one by one.

    It is called before anything else is read or locked, so that no two wait for each other.

    Parameters
    ----------
    session : Session
        A writing transaction; on SQLite it is alone in any case.
    owner : str
        Whose.

    Raises
    ------
    DBAPIError
        If another had its turn for `TURN_SECONDS`.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL lock_timeout = '{TURN_SECONDS}s'"))
        words = {"owner": f"saetrack {owner}"}
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 0))"), words)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads and never waits for a writer.

    What it has read stays readable after its end.
    """
    with Session(engine.execution_options(reading=True), expire_on_commit=False) as session:
        yield session


@contextmanager
def glance(engine: Engine) -> Iterator[Connection]:
    """A connection for single questions, each of which sees the database as it is then.

    What is asked at every request is asked so: a session with a transaction of its own takes
    several times as long as the question.
    """
    with engine.connect() as connection:
        yield connection.execution_options(reading=True, single=True)


def database_time(session: Session) -> float:
    """Seconds since 1970 UTC by the clock of the database."""
    return float(session.scalars(select(now())).one())


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file.

    Parameters
    ----------
    connection : Connection, optional
        The connection migrations run on.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Bring the tables to this version, one process at a time.

    Parameters
    ----------
    engine : Engine
        As from `make_engine`.

    Raises
    ------
    StateError
        If the database was made by a newer version.
    """
    with migrating(engine) as connection:
        _refuse_newer(connection)
        command.upgrade(alembic_config(connection), "head")


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction that may change tables, while no other process does.

    SQLite changes a column by making a new table and dropping the old one. With foreign keys on,
    that would delete what points to its rows.

    Raises
    ------
    StateError
        If rows point to rows that are not there afterwards; then nothing is changed.
    """
    with _migration_lock(engine), engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # a pragma of the connection, which a transaction does not take
            _pragma(connection, "foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise StateError(
                        "the database holds rows that point to rows that are not there; nothing "
                        "was changed. Restore a backup"
                    )
        finally:
            if sqlite:
                _pragma(connection, "foreign_keys = ON")


def _pragma(connection: Connection, words: str) -> None:
    """Set a pragma outside of a transaction."""
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {words}")
    cursor.close()


def check_schema(engine: Engine) -> None:
    """Make sure that the tables are those of this version.

    Raises
    ------
    StateError
        If the database is newer than this version, or has not been upgraded to it.
    """
    with engine.execution_options(reading=True).connect() as connection:
        revision = _refuse_newer(connection)
        connection.rollback()
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision != head:
        raise StateError(
            f"the database is at version {revision or 'none'} and this saetrack needs {head}; "
            "`saetrack migrate` brings it up to date, as `saetrack serve` does with an SQLite file"
        )


def _refuse_newer(connection: Connection) -> str | None:
    """The database's revision, which must be one that this version knows."""
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {
        script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
    }
    if revision is not None and revision not in known:
        raise StateError(
            f"the database was made by a newer saetrack (its version {revision} is not among "
            f"{', '.join(sorted(known))}); install that version, or start with another data folder"
        )
    return revision


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Hold off other processes that want to migrate the same database."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": MIGRATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": MIGRATION_LOCK})
        return
    database = engine.url.database
    if not database or database == ":memory:":
        yield
        return
    with Path(f"{database}.migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
