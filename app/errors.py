"""One body for every error: an RFC 9457 problem document.

    {"type", "title", "status", "detail", "instance", "errors", "state"}

All members are always there. `type` is stable and for programs, `detail` is for people.
The text of an unexpected exception never leaves the server: the answer carries the
request's id, under which the log has the rest.
"""

import errno
import json
import logging
import re
from collections.abc import Sequence

from flask import Flask, Response, g, request
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from annotations.errors import (
    AmbiguousNameError,
    BusyError,
    CoordinateError,
    FormatError,
    LimitError,
    LostFileError,
    OptionError,
    QuotaError,
    SaetrackError,
    StateError,
    UnavailableError,
    UnknownNameError,
)
from app.database import is_away

logger = logging.getLogger(__name__)

AWAY_SECONDS = 5
"""When to try again what the database or the storage was away for."""

CONTENT_TYPE = "application/problem+json"

TYPE_PREFIX = "urn:saetrack:problem:"
"""What every `type` starts with; the rest is the error's `code`."""

STATUS: dict[type[SaetrackError], int] = {
    OptionError: 400,
    UnknownNameError: 404,
    StateError: 409,
    LimitError: 413,
    QuotaError: 429,
    UnavailableError: 503,
    LostFileError: 409,
    FormatError: 422,
    CoordinateError: 422,
    BusyError: 503,
}
"""HTTP status of the errors a caller can cure; any other is ours, and 500."""

HTTP_DETAILS = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; the Allow header lists those it takes",
    415: "this address does not take a body of this content type",
}
"""What to say where the framework has only a standard sentence."""


SAID = {
    "extra_forbidden": "there is no such parameter",
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "json_invalid": "must be a JSON object",
}
"""What to say where the checker of parameters speaks of its own things, by its name of the case."""


class RunStateError(StateError):
    """A run is not in the state that a request needs; tells the state."""

    def __init__(self, message: str, state: str) -> None:
        """Say what is wrong, and the run's state."""
        super().__init__(message)
        self.state = state


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[dict[str, str]] = (),
    state: str | None = None,
) -> Response:
    """A problem document as a response.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Kind of the problem, in kebab case.
    detail : str
        What is wrong and the way out, for people; never holds sequence.
    errors : sequence of dict
        Where the input is wrong: `location` and `message` of each place.
    state : str, optional
        State of the run, where that is what is in the way.
    """
    body = {
        "type": TYPE_PREFIX + code,
        "title": HTTP_STATUS_CODES.get(status, "Unknown"),
        "status": status,
        "detail": detail,
        "instance": f"urn:saetrack:request:{g.get('request_id', 'none')}",
        "errors": list(errors),
        "state": state,
    }
    return Response(json.dumps(body), status=status, content_type=CONTENT_TYPE)


def validation_problem(error: ValidationError) -> Response:
    """The answer to parameters that do not fit their schema."""
    places = [
        {
            "location": ".".join(map(str, item["loc"])) or "request",
            # the library's sentences begin so, and would be about "input"
            "message": SAID.get(item["type"], item["msg"].replace("Input should be", "must be")),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    said = "; ".join(f"{place['location'][:80]}: {place['message']}" for place in places)
    return problem(400, OptionError.code, said, errors=places)


def register(app: Flask) -> None:
    """Have every error of an application answered by a problem document."""
    app.register_error_handler(SaetrackError, _on_own)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(Exception, _on_bug)


def _on_own(error: SaetrackError) -> Response:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status == 500:
        return _on_bug(error)
    candidates = error.candidates if isinstance(error, AmbiguousNameError) else ()
    places = [
        {"location": "name", "message": ": ".join(filter(None, (each.name, each.meaning)))}
        for each in candidates
    ]
    state = getattr(error, "state", None)
    answer = problem(status, error.code, str(error), errors=places, state=state)
    if isinstance(error, QuotaError | BusyError):
        answer.headers["Retry-After"] = str(error.seconds)
    if isinstance(error, UnavailableError):
        answer.headers["Retry-After"] = str(AWAY_SECONDS)
    return answer


def _on_http(error: HTTPException) -> Response:
    status = error.code or 500
    code = re.sub(r"[^a-z]+", "-", HTTP_STATUS_CODES.get(status, "error").lower()).strip("-")
    said = error.description or ""
    if said == type(error).description:
        said = HTTP_DETAILS.get(status, said)
    detail = re.sub(r"\s+", " ", said)
    answer = problem(status, code, detail)
    # a 405 without its Allow header, or a 416 without Content-Range, says half of it
    for name, value in error.get_headers(request.environ):
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _on_bug(error: Exception) -> Response:
    if _is_disk_full(error):
        logger.error("no space left (request %s)", g.get("request_id", "none"))
        return problem(507, "insufficient-storage", "the server's disk is full; nothing was stored")
    if isinstance(error, (DBAPIError, TimeoutError)) and is_away(error):
        logger.error("the database is away (request %s)", g.get("request_id", "none"))
        answer = problem(503, "database-away", "the database does not answer; try again in a while")
        answer.headers["Retry-After"] = str(AWAY_SECONDS)
        return answer
    logger.error("request %s failed", g.get("request_id", "none"), exc_info=error)
    return problem(
        500,
        "internal-server-error",
        "the server failed to answer; this is not your fault. The instance names the request "
        "in the server's log",
    )


def _is_disk_full(error: Exception) -> bool:
    """Whether the disk is full, as the file system or SQLite says it."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return isinstance(error, OperationalError) and "disk is full" in str(error.orig)
