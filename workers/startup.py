"""What `saetrack serve` sees to before it starts anything: one server, fit to run, and tidy."""

import fcntl
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from annotations.cards import Cards, find_cards
from annotations.errors import StateError
from app.config import Settings
from workers.device import choose_device


@contextmanager
def only_server(settings: Settings) -> Iterator[None]:
    """Hold the data folder while the block runs; the lock ends with the process, however it ends.

    Raises
    ------
    StateError
        If another server holds it.
    """
    with (settings.data_dir / "serve.lock").open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"another `saetrack serve` uses {settings.data_dir}; stop it, or name another "
                "folder with --data-dir. `saetrack worker` adds a worker to it"
            ) from None
        yield


def check_installation(settings: Settings) -> Cards:
    """The models of the installation, after a check that a worker could start.

    Raises
    ------
    OptionError
        If a models folder or the device is not there.
    FormatError
        If a card is not valid.
    """
    choose_device(settings.device)
    return find_cards(settings.model_roots)


def scratch_folder(settings: Settings, worker: str) -> Path:
    """Folder of what a worker is at work on."""
    return settings.cache_dir / "work" / worker


def clear_scratch(settings: Settings, *, living: Collection[str]) -> None:
    """Delete what workers that have died were at work on."""
    for folder in (settings.cache_dir / "work").glob("*"):
        if folder.name not in living:
            shutil.rmtree(folder, ignore_errors=True)


def clear_uploads(settings: Settings) -> None:
    """Delete what a web process that has died was reading; no web process may be running."""
    for path in settings.upload_dir.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
