"""Files and texts as answers that browsers of genomes read in parts.

Flask's `send_file` is not used: under gunicorn it reads a file from its first byte for every
range, calls `.gz` a content encoding, and makes its ETag of the time of the file.

    HEAD, ranges (one at a time), If-Range, If-None-Match, If-Modified-Since
    ETag: SHA-256 of the content; Last-Modified: when the file was written
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Final

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import wrap_file

from annotations.errors import StorageError
from app.file_cache import HeldFile

CHUNK: Final = 1 << 18
"""Bytes of a part that are in memory at once."""


class _Part:
    """Some bytes of an open file, a chunk at a time; a WSGI server closes it."""

    def __init__(self, file: IO[bytes], start: int, stop: int) -> None:
        self._file, self._start, self._stop = file, start, stop

    def __iter__(self) -> Iterator[bytes]:
        place = self._start
        while place < self._stop:
            data = os.pread(self._file.fileno(), min(CHUNK, self._stop - place), place)
            if not data:
                raise StorageError("a file was cut while it was sent")
            place += len(data)
            yield data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def send_path(path: Path, *, content_type: str, name: str) -> Response:
    """Send a file, or the part of it that the request asks for.

    Parameters
    ----------
    path : Path
        A file that does not change while it is sent.
    content_type : str
        Sent as it is; nothing is guessed from the name.
    name : str
        What a program that saves the file should call it.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise StorageError(f"{path.name} is missing from the storage") from None
    found = os.fstat(file.fileno())
    return _send(file, content_type, name, _sha256(path, found.st_mtime_ns, found.st_size))


def send_held(held: HeldFile, *, content_type: str, name: str) -> Response:
    """Send a file of the cache, as `send_path` sends one; it is closed when all is sent."""
    return _send(held.file, content_type, name, held.sha256)


def _send(file: IO[bytes], content_type: str, name: str, sha256: str) -> Response:
    """An open file as an answer, which closes it."""
    found = os.fstat(file.fileno())
    answer = _head(content_type, name, sha256, found.st_mtime)
    try:
        _make_conditional(answer, found.st_size)
    except RequestedRangeNotSatisfiable:
        file.close()
        raise
    if request.method == "HEAD" or answer.status_code not in {200, 206}:
        file.close()
        return answer
    if answer.status_code == 206:
        start, stop = answer.content_range.start or 0, answer.content_range.stop or 0
        answer.response = _Part(file, start, stop)
    else:
        answer.response = wrap_file(request.environ, file, CHUNK)
    answer.direct_passthrough = True
    return answer


def send_text(text: str, *, content_type: str, name: str, modified: float) -> Response:
    """Send a text that is made for each request, as `send_path` sends a file.

    Parameters
    ----------
    text : str
        The whole of it.
    content_type, name : str
        As `send_path` takes them.
    modified : float
        Seconds since 1970 UTC: when what it says became true.
    """
    return send_data(text.encode(), content_type=content_type, name=name, modified=modified)


def send_data(data: bytes, *, content_type: str, name: str, modified: float) -> Response:
    """Send bytes that are made for each request; parameters as of `send_text`."""
    answer = _head(content_type, name, hashlib.sha256(data).hexdigest(), modified)
    _make_conditional(answer, len(data))
    if request.method == "HEAD" or answer.status_code not in {200, 206}:
        return answer
    if answer.status_code == 206:
        data = data[answer.content_range.start : answer.content_range.stop]
    answer.set_data(data)
    return answer


def _head(content_type: str, name: str, sha256: str, modified: float) -> Response:
    answer = Response(content_type=content_type)
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    answer.headers["Content-Disposition"] = f'inline; filename="{safe}"'
    # a link may be revoked and a run deleted: ask each time, the ETag makes it cheap
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.set_etag(sha256)
    answer.last_modified = datetime.fromtimestamp(modified, UTC)
    return answer


def _make_conditional(answer: Response, size: int) -> None:
    """Turn an answer into a 206, 304 or 416 where the request's headers ask for that."""
    answer.content_length = size
    wanted = request.range
    # RFC 9110: what is not understood is ignored; no browser of genomes asks for several ranges
    one = wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1
    answer.make_conditional(
        request.environ, accept_ranges="bytes" if one else False, complete_length=size
    )
    answer.headers["Accept-Ranges"] = "bytes"


@lru_cache(maxsize=4096)
def _sha256(path: Path, modified_ns: int, size: int) -> str:
    """SHA-256 of a file as it is; the other arguments say which version of it."""
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
