"""Connections to PostgreSQL that wait for the server once for each statement.

pg8000 waits three times for a statement with parameters: until it is parsed, until it is described,
and until it is done; and it looks through its text for placeholders, a character at a time, each
time. Here all messages go together (the extended query of PostgreSQL's protocol, version 3), and
a text is looked through once. After each wait a thread has to get its turn from the others of its
process, which in a busy web process takes longer than the statement.
"""

import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

from pg8000.core import (
    BIND,
    DESCRIBE,
    EXECUTE_MSG,
    NULL_BYTE,
    PARSE,
    PORTAL,
    SYNC_MSG,
    Context,
    _flush,
    _write,
    make_params,
)
from pg8000.dbapi import convert_paramstyle
from pg8000.exceptions import DatabaseError
from pg8000.legacy import (
    Connection,
    Cursor,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    paramstyle,
)
from sqlalchemy import Connection as Link
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.exc import InvalidatePoolError

IDLE_SECONDS = 1.0
"""A connection that was used so lately is taken without asking whether it lives."""

TEXTS: Final = 1000
"""Statements whose numbered text is kept: more than this application has."""

ERRORS: Final[Mapping[object, type[Exception]]] = {"23505": IntegrityError, "28000": InterfaceError}
"""Exceptions by PostgreSQL's code of the error, as pg8000 chooses them."""

_COUNT: Final = struct.Struct("!H")
_NUMBER: Final = struct.Struct("!i")
_NULL: Final = _NUMBER.pack(-1)


class OneTripConnection(Connection):  # type: ignore[misc]
    """A connection as `pg8000.connect` makes it, of which each statement waits once."""

    def cursor(self) -> "OneTripCursor":
        """A cursor of this connection."""
        return OneTripCursor(self)

    def execute_unnamed(
        self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None
    ) -> Any:
        """Execute a statement whose parameters are numbered.

        Parameters
        ----------
        statement : str
            With ``$1``, ``$2``, ... for the parameters.
        vals : sequence
            The parameters.
        oids : sequence of int
            PostgreSQL's numbers of the types of parameters; empty for those it infers.
        stream : file, optional
            Of a COPY, which is left to the library.

        Returns
        -------
        context : pg8000.core.Context
            What the server answered.

        Raises
        ------
        InterfaceError
            If the connection is lost.
        DatabaseError
            If the server refuses the statement.
        """
        if stream is not None:
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        context, encoding = Context(statement), self._client_encoding
        types = b"".join(_NUMBER.pack(0 if oid == -1 else oid) for oid in oids)
        text = statement.encode(encoding) + NULL_BYTE
        params = make_params(self.py_types, vals)
        # of the unnamed portal and statement; no format is named, so that all is text
        bound = [NULL_BYTE, NULL_BYTE, _COUNT.pack(0), _COUNT.pack(len(params))]
        for value in params:
            data = None if value is None else value.encode(encoding)
            bound += [_NULL] if data is None else [_NUMBER.pack(len(data)), data]
        # nothing is sent before all can be
        self._send_message(PARSE, NULL_BYTE + text + _COUNT.pack(len(oids)) + types)
        self._send_message(BIND, b"".join([*bound, _COUNT.pack(0)]))
        self._send_message(DESCRIBE, PORTAL + NULL_BYTE)
        _write(self._sock, EXECUTE_MSG + SYNC_MSG)
        _flush(self._sock)
        self.handle_messages(context)
        return context


class OneTripCursor(Cursor):  # type: ignore[misc]
    """A cursor that looks through the text of a statement once."""

    def execute(self, operation: str, args: Any = (), stream: Any = None) -> "OneTripCursor":
        """Execute a statement; parameters as those of `pg8000.Cursor.execute`.

        Raises
        ------
        InterfaceError
            If the connection is lost.
        IntegrityError
            If a row of the same key is there.
        ProgrammingError
            If the server refuses the statement for another reason.
        """
        if not args or stream is not None or self._c is None:
            super().execute(operation, args, stream)
            return self
        connection: OneTripConnection = self._c
        try:
            if not connection._in_transaction and not connection.autocommit:
                connection.execute_simple("begin transaction")
            self._context = connection.execute_unnamed(_numbered(operation), vals=args)
        except DatabaseError as error:
            said = error.args[0]
            code = said.get("C") if isinstance(said, dict) else None
            raise ERRORS.get(code, ProgrammingError)(said) from None
        self._row_iter = iter(self._context.rows or [])
        return self


@lru_cache(maxsize=TEXTS)
def _numbered(operation: str) -> str:
    """The text of a statement with numbers for its placeholders."""
    return str(convert_paramstyle(paramstyle, operation, ())[0])


def prepare(engine: Engine) -> None:
    """Have an engine of PostgreSQL wait for the server as seldom as can be.

    Parameters
    ----------
    engine : Engine
        One of another driver than pg8000 only leaves out to ask whether connections live.
    """
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _check_idle)
    if engine.dialect.driver == "pg8000":
        event.listen(engine, "do_connect", _connect)
        event.listen(engine, "begin", _begin)


def _note_use(connection: Any, record: Any) -> None:
    """Remember when a connection was given back; a lost one has none."""
    if connection is not None:
        record.info["used"] = time.monotonic()


def _check_idle(connection: Any, record: Any, proxy: Any) -> None:
    """Have the pool replace connections that nobody used for a while, if the server has gone.

    Asked each time, it would double the statements of most requests.
    """
    if time.monotonic() - record.info.get("used", time.monotonic()) < IDLE_SECONDS:
        return
    try:
        connection.cursor().execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise InvalidatePoolError from error


def _connect(dialect: Dialect, record: Any, args: Any, words: Any) -> OneTripConnection:
    """A connection that waits once for each statement."""
    return OneTripConnection(*args, **words)


def _begin(link: Link) -> None:
    """Begin no transaction to read: each statement sees what is committed then in any case."""
    reading = link.get_execution_options().get("reading", False)
    cast(Any, link.connection.dbapi_connection).autocommit = bool(reading)
