"""The cards of the models folders, read again only where a file has changed."""

from collections.abc import Sequence
from pathlib import Path

from annotations.cards import DICTIONARY_FILE, MODEL_FILE, Cards, find_cards

Seen = tuple[tuple[Path, int, int, int], ...]
"""Files with their inode, time and size; folders that are there with zeros."""


class KnownCards:
    """The cards as they were last read."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: tuple[tuple[Path, ...], Seen, Cards] | None = None

    def of(self, roots: Sequence[Path]) -> Cards:
        """The cards below some folders, as `annotations.cards.find_cards` finds them.

        Raises
        ------
        OptionError, FormatError
            As `find_cards`.
        """
        seen = _look(roots)
        known = self._known
        if known is None or known[:2] != (tuple(roots), seen):
            known = self._known = (tuple(roots), seen, find_cards(roots))
        return known[2]


def _look(roots: Sequence[Path]) -> Seen:
    """What tells whether cards have changed; folders that are missing have none."""
    found = []
    for root in roots:
        found += [(root, 0, 0, 0)] if root.is_dir() else []
        paths = [*root.glob(f"*/{MODEL_FILE}"), *root.glob(f"*/*/{DICTIONARY_FILE}")]
        for path in sorted(paths):
            try:
                said = path.stat()
            except OSError:  # removed since it was listed
                continue
            found.append((path, said.st_ino, said.st_mtime_ns, said.st_size))
    return tuple(found)
