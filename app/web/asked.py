"""What a page's address asks for: the source of an answer, filters, and links that keep them."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from annotations.errors import OptionError
from annotations.jaspar import RELEASES

MAX_TEXT: Final = 100
"""Most characters of a text in an address."""


class Filters(NamedTuple):
    """Filters of a list of matches."""

    max_q: float
    sort: str
    evidence: str
    group_by: str
    page: int


SORTS: Final[Mapping[str, str]] = {
    "q": "q",
    "effect": "effect",
    "held_out": "q on held-out sequence",
    "auroc": "AUROC",
    "causal": "causal p",
    "evidence": "kinds of evidence",
    "feature": "feature",
}
"""Orders of matches and how they are called."""

LIMITS: Final = ("0.05", "0.01", "0.001", "1")
"""Limits of q that a page offers."""

GROUPS: Final[Mapping[str, str]] = {
    "": "every match",
    "cluster": "one a cluster of motifs",
    "group": "one a group of features",
}
"""Groupings of matches and how they are called."""


def filters_of(asked: Mapping[str, str]) -> Filters:
    """The filters of an address.

    Raises
    ------
    OptionError
        If one has a value that is not offered.
    """
    return Filters(
        max_q=float(_one_of(asked, "max_q", LIMITS)),
        sort=_one_of(asked, "sort", tuple(SORTS)),
        evidence=_one_of(
            asked, "evidence", ("", "enriched", "centred", "similar", "predictive", "causal")
        ),
        group_by=_one_of(asked, "group_by", tuple(GROUPS)),
        page=page_of(asked),
    )


def page_of(asked: Mapping[str, str]) -> int:
    """The number of the page, from 1."""
    text = asked.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 10**6):
        raise OptionError(f"page must be a number from 1, got {text[:20]!r}")
    return int(text[:9])


def text_of(asked: Mapping[str, str], name: str) -> str | None:
    """A short text of an address; None where it is missing or empty.

    Raises
    ------
    OptionError
        If it is too long.
    """
    text = asked.get(name, "").strip()
    if len(text) > MAX_TEXT:
        raise OptionError(f"{name} must have at most {MAX_TEXT} characters, got {len(text)}")
    return text or None


def logo_address(matrix_id: str, taxon: str, release: str) -> str | None:
    """Where the logo of a matrix is; None for a user's own motif, which no route draws."""
    if release not in RELEASES:
        return None
    query = urlencode({"taxon": taxon, "release": release})
    return f"/v1/motifs/{quote(matrix_id, safe='')}/logo.svg?{query}"


def _one_of(asked: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """A value among those that are offered; the first by default."""
    value = asked.get(name, allowed[0])
    if value not in allowed:
        shown = ", ".join(word or "nothing" for word in allowed)
        raise OptionError(f"{name} must be one of {shown}, got {value[:20]!r}")
    return value
