"""Files of computations in an S3-compatible object store, with copies of what is read on this
machine.

A copy has the path of its key under a folder, and its content is checked while it comes. Those
that nobody has used for the longest leave when there are too many.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import S3Store

from annotations.errors import OptionError, StorageError, UnavailableError
from app.storage import CHUNK, LocalStorage, StoredFile, check_key, describe_file, lost

log = logging.getLogger(__name__)

SINGLE_PUT_BYTES: Final = 32 << 20
"""Up to this size a file is stored by one request, which fails if the key is taken."""

PART_BYTES: Final = 16 << 20
"""Bytes of a part of a larger file; an object has at most 10,000 parts."""

PARTS_AT_ONCE: Final = 2
"""Parts of a file that are on their way, and in memory, at once."""

COALESCED_BYTES: Final = 128 << 10
"""Ranges so close to each other are one request: to read as much takes less than to ask again."""

KEPT_SECONDS: Final = 6 * 3600.0
"""A copy that was used so lately is not deleted: a merge may be at it."""

SCHEME: Final = "s3://"


class ObjectStorage:
    """Files in a bucket of an object store."""

    def __init__(
        self, url: str, copies: Path, *, copies_bytes: int, patience: float = 180.0
    ) -> None:
        """Use a bucket.

        Parameters
        ----------
        url : str
            ``s3://bucket`` or ``s3://bucket/folder``. Address and keys of the service are those
            of the usual variables: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY.
        copies : Path
            Folder of local copies; made if it is not there.
        copies_bytes : int
            About how many bytes of copies are kept.
        patience : float
            Seconds that a request is repeated for while the store refuses.

        Raises
        ------
        OptionError
            If the URL names no bucket.
        """
        bucket, _, folder = url.removeprefix(SCHEME).partition("/")
        if not url.startswith(SCHEME) or not bucket:
            raise OptionError(
                f"SAETRACK_STORAGE_URL must be s3://bucket or s3://bucket/folder, got {url!r}"
            )
        endpoint = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", ""))
        wait = timedelta(seconds=patience)
        self._store = S3Store(
            bucket,
            prefix=folder.strip("/") or None,
            region=os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")),
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(minutes=10),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": wait,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=200),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
        )
        self._copies = LocalStorage(copies)
        self._copies_bytes = copies_bytes
        self._coming: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def put_file(self, key: str, source: Path) -> StoredFile:
        """Store a copy of a file under a key; a file that is already there stays as it is.

        Raises
        ------
        StorageError
            If the key is not well formed, or another content is already stored under it.
        UnavailableError
            If the store refuses for longer than our patience.
        OSError
            If the source cannot be read.
        """
        check_key(key)
        file = describe_file(key, source)
        with _translated(key):
            try:
                if file.bytes <= SINGLE_PUT_BYTES:
                    content = source.read_bytes()
                    obstore.put(self._store, key, content, mode="create", use_multipart=False)
                elif self.exists(key):
                    raise AlreadyExistsError
                else:
                    # keys of large files hold a claim's own token: nobody else writes them
                    obstore.put(
                        self._store,
                        key,
                        source,
                        chunk_size=max(PART_BYTES, file.bytes // 9_000),
                        max_concurrency=PARTS_AT_ONCE,
                    )
            except AlreadyExistsError:
                if self._stored(key) != file:
                    raise StorageError(
                        f"{key} is already stored with another content; stored files never change"
                    ) from None
        return file

    def exists(self, key: str) -> bool:
        """Whether there is a file under a key."""
        check_key(key)
        with _translated(key):
            try:
                obstore.head(self._store, key)
            except (NotFoundError, FileNotFoundError):
                return False
        return True

    def list(self, prefix: str, *, older_than: float = 0.0) -> Iterator[str]:
        """Keys under a folder, sorted; those last written so many seconds ago or earlier."""
        check_key(prefix)
        limit = datetime.now(UTC) - timedelta(seconds=older_than)
        with _translated(prefix):
            found = [
                entry["path"]
                for page in obstore.list(self._store, prefix=f"{prefix}/")
                for entry in page
                if not older_than or entry["last_modified"] <= limit
            ]
        yield from sorted(found)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files; one that is not there is no error."""
        for key in keys:
            check_key(key)
        with _translated("the files to delete"):
            for low in range(0, len(keys), 1000):
                obstore.delete(self._store, list(keys[low : low + 1000]))
        self._copies.delete(keys)

    def delete_prefix(self, prefix: str) -> None:
        """Delete everything under a folder; nothing happens if there is nothing."""
        self.delete(list(self.list(prefix)))
        self._copies.delete_prefix(prefix)

    def local_path(self, file: StoredFile) -> Path:
        """A copy of a stored file on this machine, its content checked.

        Raises
        ------
        LostFileError
            If it is missing.
        StorageError
            If its size or hash are not those of the manifest.
        UnavailableError
            If the store refuses for longer than our patience.
        """
        path = self._copies.path(file.key)
        with self._guard:
            lock = self._coming.setdefault(file.key, threading.Lock())
        with lock:
            if not path.is_file() or path.stat().st_size != file.bytes:
                self._make_room(file.bytes)
                self._fetch(file, path)
            # the time of its content stays: answers name it
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        with self._guard:
            self._coming.pop(file.key, None)
        return path

    def read_ranges(self, file: StoredFile, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Ranges [start, end) of the bytes of a stored file, its content not checked.

        They are asked for at the same time, and nothing of them is kept on this machine.

        Raises
        ------
        LostFileError
            If it is missing.
        StorageError
            If it ends before.
        UnavailableError
            If the store refuses for longer than our patience.
        """
        starts, ends = zip(*ranges, strict=True)
        with _translated(file.key):
            try:
                found = obstore.get_ranges(
                    self._store, file.key, starts=starts, ends=ends, coalesce=COALESCED_BYTES
                )
            except (NotFoundError, FileNotFoundError):
                raise lost(file.key) from None
        pieces = [bytes(piece) for piece in found]
        for piece, (start, end) in zip(pieces, ranges, strict=True):
            if len(piece) != end - start:
                raise StorageError(f"{file.key} is cut: it ends before byte {end:,}")
        return pieces

    def problem(self) -> str | None:
        """What keeps the store from being used; None if nothing does."""
        try:
            obstore.list_with_delimiter(self._store, prefix="computations/none/")
        except (BaseError, OSError):
            log.exception("the object store does not answer")
            return "the object store does not answer"
        return None

    def _fetch(self, file: StoredFile, path: Path) -> None:
        """Copy a file here, a chunk in memory at a time."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        digest = hashlib.sha256()
        try:
            with _translated(file.key), partial.open("wb") as writer:
                try:
                    answer = obstore.get(self._store, file.key)
                except (NotFoundError, FileNotFoundError):
                    raise lost(file.key) from None
                written = answer.meta["last_modified"].timestamp()
                for chunk in answer.stream(min_chunk_size=CHUNK):
                    writer.write(chunk)
                    digest.update(chunk)
            os.utime(partial, (time.time(), written))
            found = StoredFile(file.key, partial.stat().st_size, digest.hexdigest())
            if found != file:
                raise StorageError(
                    f"{file.key} is altered: it has {found.bytes} bytes, sha256 {found.sha256}, "
                    f"and should have {file.bytes} bytes, sha256 {file.sha256}"
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _stored(self, key: str) -> StoredFile:
        """Size and hash of what is stored under a key."""
        digest, size = hashlib.sha256(), 0
        for chunk in obstore.get(self._store, key).stream(min_chunk_size=CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return StoredFile(key, size, digest.hexdigest())

    def _make_room(self, needed: int) -> None:
        """Delete the copies that nobody has used for the longest, as far as there are too many."""
        found = []
        root = self._copies.path("computations").parent
        for path in (Path(at) / name for at, _, names in os.walk(root) for name in names):
            # others delete at the same time
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_atime, status.st_size, path))
        total = needed + sum(size for _, size, _ in found)
        latest = time.time() - KEPT_SECONDS
        for used, size, path in sorted(found):
            if total <= self._copies_bytes or used > latest:
                return
            path.unlink(missing_ok=True)
            total -= size


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Errors of the object store as ours; they name no address."""
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise StorageError(f"{key} is missing from the storage") from None
    except AlreadyExistsError:
        raise
    except BaseError as error:
        log.warning("object store: %s: %s", type(error).__name__, error)
        raise UnavailableError(
            f"the object store did not take or give {key} ({type(error).__name__}); its log and "
            "that of this server say why"
        ) from error
