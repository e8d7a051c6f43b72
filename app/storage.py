"""Files of computations, by key, behind one small interface.

A key is a relative path such as ``computations/3f.../result/peaks.parquet``. Files are
written once: a file appears whole or not at all, and is never changed.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from annotations.errors import OptionError, StorageError

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

    def open(self, key: str) -> BinaryIO:
        """Read a file from its beginning."""

    def exists(self, key: str) -> bool:
        """Whether there is a file under a key."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a folder, sorted."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete everything under a folder; nothing happens if there is nothing."""

    def local_path(self, file: StoredFile) -> Path:
        """A local file with a stored file's content, checked for its size."""


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

    def path(self, key: str) -> Path:
        """Where the file of a key is.

        Raises
        ------
        StorageError
            If the key is not well formed or leads out of the storage.
        """
        if len(key) > MAX_KEY or not KEY.fullmatch(key):
            raise StorageError(
                f"{key[:80]!r} is not a key: parts of letters, digits, '.', '_', '+' and '-', "
                "joined by '/', none empty or starting with a dot"
            )
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
            file = _describe(key, partial)
            try:
                os.link(partial, target)
            except FileExistsError:
                if _describe(key, target) != file:
                    raise StorageError(
                        f"{key} is already stored with another content; stored files never change"
                    ) from None
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return file

    def open(self, key: str) -> BinaryIO:
        """Read a file from its beginning.

        Raises
        ------
        StorageError
            If there is no such file.
        """
        try:
            return self.path(key).open("rb")
        except FileNotFoundError:
            raise StorageError(f"{key} is missing from the storage") from None

    def exists(self, key: str) -> bool:
        """Whether there is a file under a key."""
        return self.path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a folder, sorted; files that are being written are left out."""
        paths = sorted(self.path(prefix).rglob("*"))
        for path in paths:
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._root).as_posix()

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
        """The stored file itself, checked for its size; `verify` checks its content.

        Raises
        ------
        StorageError
            If it is missing or has another size than its manifest says.
        """
        path = self.path(file.key)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise StorageError(f"{file.key} is missing from the storage") from None
        if size != file.bytes:
            raise StorageError(f"{file.key} has {size} bytes and should have {file.bytes}")
        return path


def verify(path: Path, file: StoredFile) -> None:
    """Make sure that a local file has the content its manifest says.

    Raises
    ------
    StorageError
        If its size or hash differ.
    """
    found = _describe(file.key, path)
    if found != file:
        raise StorageError(
            f"{file.key} is altered: its sha256 is {found.sha256} and should be {file.sha256}"
        )


def _describe(key: str, path: Path) -> StoredFile:
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
