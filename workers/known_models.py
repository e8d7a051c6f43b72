"""Official weights that are known here: where they are, and what to run (`models.toml`).

Data alone: nothing is fetched. Sizes, licences and file names are those of the
repositories where they were read, and marked where they were not.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from annotations.errors import FormatError

MODELS_FILE = Path(__file__).parent / "models.toml"


@dataclass(frozen=True, kw_only=True)
class Release:
    """Weights somebody published."""

    name: str
    """As published."""
    kind: str
    """"model" or "dictionary"."""
    title: str
    """One line for people."""
    repository: str
    """Where its files are."""
    files: tuple[str, ...]
    """What to fetch."""
    licence: str
    """As its repository states it."""
    runs: bool
    """Whether it is computed rightly here."""
    run: str
    """What to type once it is fetched."""
    gigabytes: float | None = None
    """Of its files, about."""
    parameters: int | None = None
    """Numbers in its weights."""
    window: int | None = None
    """Most bases in a window."""
    note: str | None = None
    """What else to know."""
    needs: Mapping[str, Any] | None = None
    """For a dictionary: the model it reads and the block after which it does."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What was published of features, by index; not checked."""


@lru_cache(maxsize=4)
def known_releases(path: Path = MODELS_FILE) -> tuple[Release, ...]:
    """Every release of a file.

    Parameters
    ----------
    path : Path
        As `models.toml`.

    Returns
    -------
    releases : tuple of Release
        In the file's order.

    Raises
    ------
    FormatError
        If an entry has an unknown key or lacks one.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["release"]
    known = {entry.name for entry in fields(Release)}
    releases = []
    for entry in entries:
        if not entry.keys() <= known:
            raise FormatError(
                f"{path.name} has unknown keys ({', '.join(sorted(entry.keys() - known))}) in "
                f"{entry.get('name')!r}; allowed are {', '.join(sorted(known))}"
            )
        try:
            releases.append(Release(**{**entry, "files": tuple(entry["files"])}))
        except (TypeError, KeyError) as error:
            raise FormatError(f"{path.name}, entry {entry.get('name')!r}: {error}") from error
    return tuple(releases)


def known_release(name: str) -> Release | None:
    """The release of a name, or of the name of one of its files; None if it is not known.

    Examples
    --------
    >>> release = known_release("sae-layer26-mixed-expansion_8-k_64.pt")
    >>> release.needs["model"]
    'evo2_7b_262k'
    """
    for release in known_releases():
        if name == release.name or (release.name in name and name in release.files):
            return release
    return None
