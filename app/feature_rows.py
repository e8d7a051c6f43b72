"""Feature rows as addresses and people name them, and the choice of those to be drawn.

374, 374-, 374_minus --parse_row--> FeatureRow
Result --chosen_rows--> FeatureRows: named ones, the best of a factor, or the most telling
"""

from typing import Final, NamedTuple

import pyarrow.compute as pc

from annotations.errors import OptionError
from annotations.ranking import active_features
from annotations.tracks import SignalStrand
from annotations.types import STRAND_SIGNS, Strand
from app import catalog
from app.answers import Source, tf_features
from app.catalog import Result
from app.selection import Choice

SHOWN: Final = 10
"""Feature rows of a hub for which none are named."""

MAX_SHOWN: Final = 50
"""Most feature rows of a hub."""

STRAND_WORDS: Final[dict[SignalStrand, str]] = {"+": "plus", "-": "minus", "either": "either"}
"""Strands in the names of files and tracks, where signs do not survive every server."""

SIGNAL_COLORS: Final = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
"""Of signals in turn (Okabe and Ito 2008): told apart with any kind of color vision."""


class FeatureRow(NamedTuple):
    """A feature on one strand, or the larger of both."""

    feature: int
    strand: SignalStrand

    @property
    def word(self) -> str:
        """In the name of a file: ``374_minus``, or ``374`` for both strands."""
        if self.strand == "either":
            return str(self.feature)
        return f"{self.feature}_{STRAND_WORDS[self.strand]}"

    @property
    def text(self) -> str:
        """For people: ``374-``, or ``374`` for both strands."""
        return f"{self.feature}{'' if self.strand == 'either' else self.strand}"

    @property
    def one_strand(self) -> Strand | None:
        """The strand, or None for both."""
        return None if self.strand == "either" else self.strand

    @property
    def lines(self) -> pc.Expression:
        """The lines of a table with columns feature and strand that are of this row."""
        own = pc.field("feature") == self.feature
        if self.one_strand is None:
            return own
        return own & (pc.field("strand") == STRAND_SIGNS[self.one_strand])


def parse_row(text: str, n_features: int) -> FeatureRow:
    """A feature row as people and addresses write it.

    Parameters
    ----------
    text : str
        ``374``, ``374-``, ``374+`` (in a query string the plus arrives as a space),
        ``374_minus`` or ``374_plus``.
    n_features : int
        Features of the dictionary.

    Raises
    ------
    UnknownNameError
        If it is no feature of the dictionary.

    Examples
    --------
    >>> parse_row("374_minus", 500), parse_row("7", 500).text, parse_row("7 ", 500).text
    (FeatureRow(feature=374, strand='-'), '7', '7+')
    """
    feature, strand = catalog.parse_feature_row(text, n_features)
    return FeatureRow(feature, strand or "either")


def parse_rows(text: str, n_features: int) -> list[FeatureRow]:
    """Feature rows separated by commas, each once.

    Raises
    ------
    OptionError
        If there are more than `MAX_SHOWN`.
    UnknownNameError
        As `parse_row`.
    """
    # a space that is a plus is part of the word: only the one after a comma is blank
    words = [word.lstrip() for word in text.split(",")]
    rows = list(dict.fromkeys(parse_row(word, n_features) for word in words if word))
    if not 0 < len(rows) <= MAX_SHOWN:
        raise OptionError(
            f"features must name 1 to {MAX_SHOWN} feature rows, such as 374-,153+; got {len(rows)}"
        )
    return rows


def chosen_rows(
    result: Result, *, features: str | None, tf: str | None, limit: int = SHOWN
) -> list[FeatureRow]:
    """The feature rows of a hub.

    Parameters
    ----------
    result : Result
        The files.
    features : str, optional
        Named ones, as `parse_rows` takes them.
    tf : str, optional
        A transcription factor, whose best matches are taken.
    limit : int
        Most rows where they are not named.

    Returns
    -------
    rows : list of FeatureRow
        Without a choice the most telling ones (`annotations.ranking.telling_order`); none where
        no feature is active.

    Raises
    ------
    OptionError
        If both are given, or no feature matches the factor.
    UnknownNameError, StateError
        As `parse_rows` and `app.answers.tf_features`.
    """
    if features is not None and tf is not None:
        raise OptionError("give features or tf, not both")
    if features is not None:
        return parse_rows(features, result.n_features)
    if tf is not None:
        found = tf_features(Source.of_result(result), tf, Choice(max_q=0.05)).page.table
        if not found.num_rows:
            raise OptionError(
                f"no feature matches {tf[:40]!r} at q <= 0.05; "
                f"/v1/runs/.../tfs/{tf[:40]}/features tells the nearest"
            )
    else:
        found = active_features(result.table("features")).slice(0, limit)
    pairs = zip(found["feature"].to_pylist(), found["strand"].to_pylist(), strict=True)
    rows = [FeatureRow(feature, "+" if sign > 0 else "-") for feature, sign in pairs]
    return list(dict.fromkeys(rows))[:limit]
