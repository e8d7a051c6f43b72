"""Files that are made when they are first asked for, and kept until there is no room for them.

    open(folder, name, make)   the file, made once however many ask for it at the same time
    more than most_bytes       those that nobody has asked for the longest are removed

Several processes may use one folder. Whoever makes a file holds a lock of the system on the lock
file beside it, and whoever reads one holds a shared lock on the file itself: a process that is
killed holds none. A file is only removed when nobody reads it.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from annotations.errors import BusyError
from annotations.tables import replacing

WAIT_SECONDS: Final = 60.0
"""How long one waits for a file that another makes."""

MAX_WAITING: Final = 8
"""Most threads of a process that wait so: the others must be left to answer."""

USE_SECONDS: Final = 60.0
"""Uses of a file closer to each other than this count as one."""

SUM_ENDING: Final = ".sha256"
"""Ending of the small file that holds the SHA-256 of the one beside it."""

_LOOK_SECONDS: Final = 0.05
_SHARE: Final = 100
"""After a hundredth of all bytes was written, it is looked what there is: each process may be over
by as much."""


class HeldFile(NamedTuple):
    """A file of the cache, which stays until it is closed."""

    file: IO[bytes]
    """Open for reading."""
    path: Path
    sha256: str
    """Of the content, in hexadecimal."""


class FileCache:
    """A folder of files that can be made again, `most_bytes` in all, about."""

    def __init__(self, root: Path, *, most_bytes: int) -> None:
        """Use a folder, which need not be there yet."""
        self._root, self._most_bytes = root, most_bytes
        self._written: float = most_bytes
        """Bytes since the folder was looked through; at first it must be."""
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    def open(self, folder: str, name: str, make: Callable[[Path], None]) -> HeldFile:
        """A file, made where it is not there.

        Parameters
        ----------
        folder : str
            Below the cache's own.
        name : str
            In that folder; what it is called says all that it depends on.
        make : callable
            Writes the file, whole or not at all.

        Returns
        -------
        held : HeldFile
            To be closed.

        Raises
        ------
        BusyError
            If another makes it for longer than `WAIT_SECONDS`, or too many wait already.
        """
        path = self._root / folder / name
        while True:
            held = _hold(path)
            if held is not None:
                return held
            self._make(path, make)

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone(path.with_name(f".{path.name}.lock"), path.name):
            if path.is_file():
                return
            # nobody else writes it now: what a killed maker began is of no use
            for left in path.parent.glob(f".{path.name}.*.tmp"):
                left.unlink(missing_ok=True)
            make(path)
            stored_sha256(path)
            size = path.stat().st_size
        self._written += size
        if self._written * _SHARE >= self._most_bytes:
            self._written = 0
            self._shrink(keep=path)

    @contextmanager
    def _alone(self, lock: Path, name: str) -> Iterator[None]:
        """Hold a lock, in this process and in all others of the folder."""
        file = _try_lock(lock)
        if file is None:
            if not self._waiting.acquire(blocking=False):
                raise BusyError(f"{name} is being made, and many wait for it", seconds=2)
            try:
                file = _wait_for(lock)
            finally:
                self._waiting.release()
        if file is None:
            raise BusyError(f"{name} is still being made; ask again", seconds=10)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            file.close()

    def _shrink(self, *, keep: Path) -> None:
        """Remove what was not asked for the longest, until the rest is within the bound."""
        found = []
        for path in self._root.glob("*/[!.]*"):
            try:
                said = path.stat()
            except FileNotFoundError:  # another process removed it
                continue
            if path.suffix != SUM_ENDING:
                found.append((said.st_atime, said.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most_bytes:
                return
            if path != keep and _remove(path):
                total -= size


def stored_sha256(path: Path) -> str:
    """SHA-256 of a file of the cache, kept beside it.

    Parameters
    ----------
    path : Path
        A file that is written once.
    """
    beside = path.with_name(path.name + SUM_ENDING)
    try:
        known = beside.read_text(encoding="ascii")
    except FileNotFoundError:
        known = ""
    if len(known) == 64:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with replacing(beside) as temporary:
        temporary.write_text(digest, encoding="ascii")
    return digest


def _hold(path: Path) -> HeldFile | None:
    """A file, open and not to be removed; None where there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        said = os.fstat(file.fileno())
        if not said.st_nlink:  # it was removed between the two
            file.close()
            return None
        if time.time() - said.st_atime > USE_SECONDS:
            os.utime(file.fileno(), ns=(time.time_ns(), said.st_mtime_ns))
        return HeldFile(file, path, stored_sha256(path))
    except BaseException:
        file.close()
        raise


def _remove(path: Path) -> bool:
    """Remove a file that nobody reads; whether it was so."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.with_name(path.name + SUM_ENDING).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


def _try_lock(path: Path) -> IO[bytes] | None:
    """The lock, if nobody holds it."""
    while True:
        file = path.open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever held it before may have removed the file that was opened here
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
            file.close()
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            file.close()


def _wait_for(path: Path) -> IO[bytes] | None:
    """The lock, once whoever holds it has gone; None after `WAIT_SECONDS`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        file = _try_lock(path)
        if file is not None:
            return file
    return None
