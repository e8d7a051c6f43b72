"""The body of a submission, taken whole or refused.

A body of unknown length (chunked) is read to its end and counted here: the
framework's own limit cuts such a body without a word.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import IO, BinaryIO, NamedTuple, cast

from flask import Request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import (
    ClientDisconnected,
    LengthRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from annotations.errors import FormatError, LimitError, OptionError
from app.api import services
from app.config import Settings

RAW_TYPES = (
    "application/octet-stream",
    "text/plain",
    "text/x-fasta",
    "application/x-fasta",
    "application/fasta",
    "text/x-genbank",
    "application/x-genbank",
    "application/gzip",
    "application/x-gzip",
)
"""Content types of a raw body; what it holds is told from its content."""

FORM_TYPE = "multipart/form-data"
FORM_FILES = ("file", "genes", "motifs_file", "variants", "regions")
GENOME_FIELD = "genome"
"""A form that names a registered genome needs no file."""

FORM_OVERHEAD = 1_000_000
"""Bytes that the fields and borders of a form may take besides its files."""

CHUNK = 1 << 20


class UploadRequest(Request):
    """A request whose uploaded files wait in the data folder, not in memory or in /tmp."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        folder = services().settings.upload_dir
        spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `received`
        self.spools.append(spool)
        return spool

    @cached_property
    def spools(self) -> list[IO[bytes]]:
        """Files opened for the parts of a form; a form that is refused leaves some open."""
        return []


class Upload(NamedTuple):
    """What was sent."""

    sequences: BinaryIO | None
    """None where a form names a registered genome instead, or a raw body is empty."""
    filename: str | None
    genes: BinaryIO | None
    genes_filename: str | None
    motifs: BinaryIO | None
    motifs_filename: str | None
    fields: dict[str, str]
    """Fields of the form; empty for a raw body."""
    variants: BinaryIO | None = None
    """VCF of the sequences."""
    regions: BinaryIO | None = None
    """BED of a registered genome."""
    regions_filename: str | None = None


@contextmanager
def received(request: Request, settings: Settings) -> Iterator[Upload]:
    """Take the body of a submission.

    Parameters
    ----------
    request : Request
        A form with the files `file` (or a field `genome`) and perhaps `genes`, `motifs_file`,
        `variants` and `regions`, or the sequences as they are.
    settings : Settings
        The largest upload, and where it waits.

    Yields
    ------
    upload : Upload
        Its files are gone when the block ends.

    Raises
    ------
    LimitError
        If the body is too large.
    OptionError
        If a form has a file of another name, or none.
    FormatError
        If the client went away before the end of the body.
    HTTPException
        411 if the body's length cannot be known, 415 for another content type.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType(
            "send a gzip file as it is, without Content-Encoding: the file itself is what is read"
        )
    if request.mimetype == FORM_TYPE:
        try:
            yield _form(request, settings)
        finally:
            for part in request.spools if isinstance(request, UploadRequest) else ():
                part.close()
    elif request.mimetype in RAW_TYPES or not request.mimetype:
        with tempfile.TemporaryFile(dir=settings.upload_dir) as spool:
            length = _spool(request, spool, settings.max_upload_bytes)
            sequences = cast(BinaryIO, spool) if length else None
            yield Upload(sequences, None, None, None, None, None, {})
    else:
        raise UnsupportedMediaType(
            f"a submission is {FORM_TYPE} with a field 'file' (curl -F file=@genome.fa), or the "
            "file itself as one of "
            f"{', '.join(RAW_TYPES)} (curl --data-binary @genome.fa -H 'Content-Type: text/plain')"
        )


@contextmanager
def received_files(
    request: Request,
    settings: Settings,
    *,
    required: str,
    optional: Sequence[str],
    max_bytes: int | None = None,
) -> Iterator[tuple[dict[str, BinaryIO], dict[str, str]]]:
    """Take a form with files of given names.

    Parameters
    ----------
    request : Request
        A form.
    settings : Settings
        The largest upload, and where it waits.
    required : str
        The file that must be there.
    optional : sequence of str
        Files that may be.
    max_bytes : int, optional
        The largest upload; that of the settings by default.

    Yields
    ------
    files : dict of binary file
        By name; gone when the block ends.
    fields : dict of str
        The fields that are no files.

    Raises
    ------
    LimitError, OptionError, FormatError, HTTPException
        As `received`.
    """
    if request.mimetype != FORM_TYPE:
        raise UnsupportedMediaType(
            f"send a {FORM_TYPE} with a file in the field {required!r} (curl -F {required}=@FILE)"
        )
    try:
        parts = _parts(request, settings, required=required, optional=optional, max_bytes=max_bytes)
        yield (
            {name: cast(BinaryIO, file.stream) for name, file in parts.files.items()},
            parts.fields,
        )
    finally:
        for part in request.spools if isinstance(request, UploadRequest) else ():
            part.close()


class _Parts(NamedTuple):
    """What a form holds."""

    files: dict[str, FileStorage]
    fields: dict[str, str]


def _parts(
    request: Request,
    settings: Settings,
    *,
    required: str,
    optional: Sequence[str],
    instead: str | None = None,
    max_bytes: int | None = None,
) -> _Parts:
    """Files and fields of a form, each given once, and no file of another name.

    The field `instead` stands in for the required file.
    """
    if request.content_length is None and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("send the Content-Length of the form, or send it chunked")
    request.max_content_length = (max_bytes or settings.max_upload_bytes) + FORM_OVERHEAD
    try:
        files, form = request.files, request.form
    except ClientDisconnected:
        raise _cut() from None
    except RequestEntityTooLarge:
        raise _too_large(max_bytes or settings.max_upload_bytes) from None
    counts = [len(part) for _, part in files.lists()] + [len(part) for _, part in form.lists()]
    if max(counts, default=0) > 1:
        raise OptionError("each file and field of the form may be given once")
    names = (required, *optional)
    unknown = sorted(set(files) - set(names))
    if unknown:
        raise OptionError(
            f"a form has files in the fields {', '.join(map(repr, names))}, got one in "
            f"{', '.join(repr(name[:40]) for name in unknown)}"
        )
    if required not in files and (instead is None or instead not in form):
        hint = f" as a file, not as text: curl -F {required}=@..." if required in form else ""
        raise OptionError(f"the form must have a file in the field {required!r}{hint}")
    return _Parts(dict(files.items()), dict(form.items()))


def _spool(request: Request, spool: IO[bytes], limit: int) -> int:
    """Copy a raw body to a file, to its very end; how many bytes that were."""
    declared = request.content_length
    if declared is None and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return 0  # a request that says nothing of a body has none
    if declared is None and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("send the Content-Length of the body, or send it chunked")
    if declared is not None and declared > limit:
        raise _too_large(limit)
    # the framework would cut a chunked body at its limit; the limit is kept below
    request.max_content_length = None
    received_bytes = 0
    try:
        while piece := request.stream.read(CHUNK):
            received_bytes += len(piece)
            if received_bytes > limit:
                raise _too_large(limit)
            spool.write(piece)
    except ClientDisconnected:
        raise _cut() from None
    if declared is not None and received_bytes != declared:
        raise _cut()
    spool.seek(0)
    return received_bytes


def _form(request: Request, settings: Settings) -> Upload:
    """The files and fields of a submission."""
    required, *optional = FORM_FILES
    files, fields = _parts(
        request, settings, required=required, optional=optional, instead=GENOME_FIELD
    )
    streams = {name: cast(BinaryIO, file.stream) for name, file in files.items()}
    names = {name: file.filename for name, file in files.items()}
    return Upload(
        streams.get("file"),
        names.get("file"),
        streams.get("genes"),
        names.get("genes"),
        streams.get("motifs_file"),
        names.get("motifs_file"),
        fields,
        streams.get("variants"),
        streams.get("regions"),
        names.get("regions"),
    )


def _too_large(limit: int) -> LimitError:
    """The body is larger than allowed."""
    return LimitError(
        f"an upload may have {limit} bytes here; compress it with gzip, send fewer records, or "
        "raise SAETRACK_MAX_UPLOAD_BYTES"
    )


def _cut() -> FormatError:
    """The body ended early."""
    return FormatError("the upload ended before it was complete; send it again")
