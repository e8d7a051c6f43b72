"""Files of computations, by key, behind one small interface.

A key is a relative path such as ``computations/3f.../result/peaks.parquet``. Files are
written once: a file appears whole or not at all, and is never changed.
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from annotations.activation_parts import read_ranges
from annotations.errors import LostFileError, OptionError, StorageError
from app.config import Settings

KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+-]*(/[A-Za-z0-9_-][A-Za-z0-9._+-]*)*", re.ASCII)
"""What a key looks like: no part is empty or starts with a dot."""

MAX_KEY = 500
"""Most characters of a key."""

CHUNK = 1 << 20
"""Bytes copied at once."""

DELETE_ROUNDS = 3
"""Times a folder is deleted that others may still be writing to."""


class StoredFile(NamedTuple):
    """What a manifest says of a file."""

    key: str
    bytes: int
    sha256: str
    """In lower-case hexadecimal."""

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return self._asdict()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StoredFile":
        """The file that `to_json` described."""
        return cls(str(values["key"]), int(values["bytes"]), str(values["sha256"]))


Manifest = dict[str, StoredFile]
"""Stored files by their name for readers, such as ``peaks.parquet``."""


def manifest_to_json(manifest: Mapping[str, StoredFile]) -> dict[str, Any]:
    """A manifest as JSON values."""
    return {name: file.to_json() for name, file in manifest.items()}


def manifest_from_json(values: Mapping[str, Any]) -> Manifest:
    """The manifest that `manifest_to_json` described."""
    return {name: StoredFile.from_json(file) for name, file in values.items()}


class Storage(Protocol):
    """Where the files of computations are."""

    def put_file(self, key: str, source: Path) -> StoredFile:
        """Store a copy of a file under a key; a file that is already there stays as it is."""

    def exists(self, key: str) -> bool:
        """Whether there is a file under a key."""

    def list(self, prefix: str, *, older_than: float = 0.0) -> Iterator[str]:
        """Keys under a folder, sorted; those last written so many seconds ago or earlier."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files; one that is not there is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete everything under a folder; nothing happens if there is nothing."""

    def local_path(self, file: StoredFile) -> Path:
        """A local file with a stored file's content, its hash checked."""

    def read_ranges(self, file: StoredFile, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Ranges [start, end) of the bytes of a stored file, its content not checked.

        For files whose parts can be checked alone: those of `annotations.activation_parts`.
        """

    def problem(self) -> str | None:
        """What keeps the storage from being used; None if nothing does."""


class LocalStorage:
    """Files under one folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which is made if it is not there.

        Parameters
        ----------
        root : Path
            Absolute path.

        Raises
        ------
        OptionError
            If the path is relative.
        """
        if not root.is_absolute():
            raise OptionError(f"the folder of stored files must be an absolute path, got {root}")
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._checked: set[tuple[StoredFile, int]] = set()

    def path(self, key: str) -> Path:
        """Where the file of a key is.

        Raises
        ------
        StorageError
            If the key is not well formed or leads out of the storage.
        """
        check_key(key)
        path = (self._root / key).resolve()
        # a link inside the storage could still lead out of it
        if not path.is_relative_to(self._root):
            raise StorageError(f"{key!r} leads out of the storage")
        return path

    def put_file(self, key: str, source: Path) -> StoredFile:
        """Store a copy of a file under a key; a file that is already there stays as it is.

        Parameters
        ----------
        key : str
            Where to.
        source : Path
            Local file; it may be deleted afterwards.

        Returns
        -------
        file : StoredFile
            What is now stored under the key.

        Raises
        ------
        StorageError
            If the key is not well formed, or another content is already stored under it.
        OSError
            If the disk is full or the source cannot be read; nothing is left behind.
        """
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            with source.open("rb") as reader, partial.open("xb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK)
                writer.flush()
                os.fsync(writer.fileno())
            file = describe_file(key, partial)
            try:
                os.link(partial, target)
            except FileExistsError:
                if describe_file(key, target) != file:
                    raise StorageError(
                        f"{key} is already stored with another content; stored files never change"
                    ) from None
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return file

    def exists(self, key: str) -> bool:
        """Whether there is a file under a key."""
        return self.path(key).is_file()

    def list(self, prefix: str, *, older_than: float = 0.0) -> Iterator[str]:
        """Keys under a folder, sorted; those last written so many seconds ago or earlier.

        Files that are being written are left out.
        """
        latest = time.time() - older_than
        # others delete at the same time: what is gone is left out
        for path in sorted(
            Path(folder) / name for folder, _, names in os.walk(self.path(prefix)) for name in names
        ):
            if path.name.startswith("."):
                continue
            try:
                old = not older_than or path.stat().st_mtime <= latest
            except FileNotFoundError:
                continue
            if old:
                yield path.relative_to(self._root).as_posix()

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files and the folders that are empty then; one that is not there is no error."""
        for key in keys:
            path = self.path(key)
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def delete_prefix(self, prefix: str) -> None:
        """Delete everything under a folder; nothing happens if there is nothing.

        Raises
        ------
        OSError
            If something there cannot be deleted.
        """
        folder = self.path(prefix)
        # a worker may delete or write there at the same time: one file that is gone, or one
        # that is new, must not leave the others behind
        for _ in range(DELETE_ROUNDS):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                return
        shutil.rmtree(folder)

    def local_path(self, file: StoredFile) -> Path:
        """The stored file itself, its size checked, and its hash when it is first asked for.

        Raises
        ------
        LostFileError
            If it is missing.
        StorageError
            If its size or hash are not those of its manifest.
        """
        path = self.path(file.key)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise lost(file.key) from None
        if found.st_size != file.bytes:
            raise StorageError(f"{file.key} has {found.st_size} bytes and should have {file.bytes}")
        if (file, found.st_mtime_ns) not in self._checked:
            verify(path, file)
            self._checked.add((file, found.st_mtime_ns))
        return path

    def read_ranges(self, file: StoredFile, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Ranges [start, end) of the bytes of a stored file, its content not checked.

        Raises
        ------
        LostFileError
            If it is missing.
        StorageError
            If it cannot be read, or ends before.
        """
        path = self.path(file.key)
        if not path.is_file():
            raise lost(file.key)
        return read_ranges(path, ranges)

    def problem(self) -> str | None:
        """What keeps the storage from being used; None if nothing does."""
        if not os.access(self._root, os.W_OK | os.X_OK):
            return f"the folder {self._root.name} of the data folder cannot be written"
        return None


def open_storage(settings: Settings, *, patience: float = 180.0) -> Storage:
    """The storage of an installation.

    Parameters
    ----------
    settings : Settings
        Says where it is.
    patience : float
        Seconds that a request to an object store is repeated for while it refuses.

    Raises
    ------
    OptionError
        If `Settings.storage_url` is not one.
    """
    if not settings.storage_url:
        return LocalStorage(settings.storage_dir)
    from app.object_storage import ObjectStorage

    return ObjectStorage(
        settings.storage_url,
        settings.cache_dir / "copies",
        copies_bytes=settings.copies_bytes,
        patience=patience,
    )


class StoredPaths(Mapping[str, Path]):
    """Local files of a manifest by name, each fetched when it is asked for."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage, self._manifest = storage, manifest

    def __getitem__(self, name: str) -> Path:
        return self._storage.local_path(self._manifest[name])

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Ranges of bytes of one, without a local copy; see `Storage.read_ranges`."""
        return self._storage.read_ranges(self._manifest[name], ranges)

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest)

    def __len__(self) -> int:
        return len(self._manifest)


def check_key(key: str) -> None:
    """Refuse what is no key.

    Raises
    ------
    StorageError
        If the key is not well formed.
    """
    if len(key) > MAX_KEY or not KEY.fullmatch(key):
        raise StorageError(
            f"{key[:80]!r} is not a key: parts of letters, digits, '.', '_', '+' and '-', "
            "joined by '/', none empty or starting with a dot"
        )


def lost(key: str) -> LostFileError:
    """The error of a file that a row names and that is not there."""
    return LostFileError(
        f"{key} is missing from the storage: it was deleted there; submit the same sequences with "
        "the same options again, which computes what is lost"
    )


def verify(path: Path, file: StoredFile) -> None:
    """Make sure that a local file has the content its manifest says.

    Raises
    ------
    StorageError
        If its size or hash differ.
    """
    found = describe_file(file.key, path)
    if found != file:
        raise StorageError(
            f"{file.key} is altered: its sha256 is {found.sha256} and should be {file.sha256}"
        )


def describe_file(key: str, path: Path) -> StoredFile:
    """Size and hash of a file."""
    with path.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
    return StoredFile(key, path.stat().st_size, digest)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
