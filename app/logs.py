"""Logs: lines for people, or one JSON object a line for programs.

A line holds ids: of the request, of the run or shard at work. It never holds sequence, a token,
or a name that a user gave.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

from app.config import Settings

OURS: Final = ("saetrack", "app", "workers", "annotations")
"""Loggers of the project; `saetrack.audit` and `saetrack.request` are the ones for programs."""

_TOKEN: Final = re.compile(r"\b(sht|stk|sts)_[A-Za-z0-9_-]*")
"""Share links, tokens and sessions, as `app.share_links` and `app.tokens` begin them."""

_OF_ADDRESSES: Final = ("gunicorn.error", "gunicorn.access")
"""Logs of the web server, which name addresses and have handlers of their own."""

_bound: ContextVar[Mapping[str, object]] = ContextVar("_bound", default={})  # noqa: B039 - never changed


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Every line that is logged in this block has these ids."""
    token = _bound.set({**_bound.get(), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


def said(logger: logging.Logger, event: str, **values: object) -> None:
    """Log an event with values of its own, at level INFO.

    Parameters
    ----------
    logger : Logger
        Where.
    event : str
        Its name.
    **values
        Numbers, ids and the like, as JSON knows them.
    """
    logger.info(event, extra={"values": values})


def without_tokens(text: str) -> str:
    """A text in which the tokens are cut after their prefix."""
    return _TOKEN.sub(r"\1_...", text)


class TokenFilter(logging.Filter):
    """Takes tokens out of messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without the tokens in it."""
        text = record.getMessage()
        if _TOKEN.search(text):
            record.msg, record.args = without_tokens(text), ()
        return True


def hide_tokens() -> None:
    """Keep tokens out of the web server's logs, however they are set up."""
    for name in _OF_ADDRESSES:
        log = logging.getLogger(name)
        if not any(isinstance(each, TokenFilter) for each in log.filters):
            log.addFilter(TokenFilter())


class _Bind(logging.Filter):
    """Gives a record the ids that are bound where it is made."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.bound = _bound.get()
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "bound", {}),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return without_tokens(json.dumps(entry, default=str, ensure_ascii=False))


class PlainLines(logging.Formatter):
    """Lines for people: time, level, message, and the values behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        values = {**getattr(record, "bound", {}), **getattr(record, "values", {})}
        text = " ".join(
            [when, record.levelname.lower(), record.getMessage()]
            + [f"{name}={value}" for name, value in values.items() if value is not None]
        )
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return without_tokens(text)


def set_up(settings: Settings, stream: TextIO | None = None) -> logging.Handler:
    """Have this process log as the settings say, to standard error.

    Parameters
    ----------
    settings : Settings
        `log_format` and `log_level`.
    stream : text stream, optional
        In the place of standard error.

    Returns
    -------
    handler : Handler
        The one of the root logger; any before it are taken away.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else PlainLines())
    handler.addFilter(_Bind())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())
    return handler
