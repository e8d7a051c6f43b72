"""Some features of a dictionary, named by whoever asks: a list that is kept in an address.

"374-,153+" --named_rows--> rows --named_features(Source)--> Listing
"""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.errors import OptionError
from annotations.types import STRAND_SIGNS
from app import catalog
from app.answers import RUN_COLUMNS, Listing, Source
from app.feature_rows import parse_row
from app.selection import Page

MAX_NAMED: Final = 100
"""Most feature rows of a list."""

LABEL_COLUMNS: Final = ("label", "motif_name", "motif_id", "motif_q", "concept", "group")
"""What an atlas tells of each."""


def named_rows(text: str, n_features: int) -> list[int]:
    """Feature rows that are named.

    Parameters
    ----------
    text : str
        Such as ``374-,153+``; a feature without a sign stands for both strands.
    n_features : int
        Features of the dictionary.

    Returns
    -------
    rows : list of int
        ``2 * feature + (strand < 0)``, each once, in their order; none for an empty text.

    Raises
    ------
    OptionError
        If there are more than `MAX_NAMED`.
    UnknownNameError
        If there is no such feature.

    Examples
    --------
    >>> named_rows("3-, 1", 10)
    [7, 2, 3]
    """
    rows: list[int] = []
    # a space that is a plus is part of the word: only the one after a comma is blank
    for word in (part.lstrip() for part in text.split(",")):
        if not word:
            continue
        row = parse_row(word, n_features)
        signs = ("+", "-") if row.strand == "either" else (row.strand,)
        rows += [2 * row.feature + (sign == "-") for sign in signs]
    rows = list(dict.fromkeys(rows))
    if len(rows) > MAX_NAMED:
        raise OptionError(
            f"a list has at most {MAX_NAMED} feature rows, got {len(rows)}; a feature without a "
            "sign counts for both strands"
        )
    return rows


def named_features(source: Source, rows: list[int]) -> Listing:
    """What is known of some feature rows.

    Parameters
    ----------
    source : Source
        Its atlas tells labels, motifs and groups; with a result, what the rows did in that run.
    rows : list of int
        As from `named_rows`.

    Returns
    -------
    listing : Listing
        A row each, in their order: feature, strand, `LABEL_COLUMNS`, `logo`, and ``run_...``;
        null where it is unknown.
    """
    wanted = np.array(rows, np.int64)
    atlas = source.atlas
    columns: dict[str, pa.Array] = {
        "feature": pa.array((wanted // 2).astype(np.uint32)),
        "strand": pa.array(np.where(wanted % 2, STRAND_SIGNS["-"], STRAND_SIGNS["+"]), pa.int8()),
    }
    if atlas is None:
        columns |= {name: pa.nulls(len(rows), pa.string()) for name in LABEL_COLUMNS}
    else:
        known = atlas.labels.beside(wanted, LABEL_COLUMNS)
        columns |= dict(zip(LABEL_COLUMNS, known, strict=True))
    columns["logo"] = pa.array([_logo(source, row) for row in rows], pa.string())
    columns |= _in_run(source, wanted)
    head = {
        "dictionary": source.dictionary,
        "known_from": None if atlas is None else atlas.atlas.about.genome,
    }
    return Listing("features", Page(pa.table(columns), len(rows), None), head)


def _in_run(source: Source, rows: NDArray[np.int64]) -> dict[str, pa.Array]:
    """What rows did in the run of a source; null without one."""
    names = [f"run_{name}" for name in RUN_COLUMNS]
    if source.result is None:
        return {name: pa.nulls(len(rows), pa.float64()) for name in names}
    did = catalog.features_beside(source.result, rows, RUN_COLUMNS)
    return dict(zip(names, did, strict=True))


def _logo(source: Source, row: int) -> str | None:
    """Address of the logo of a row's own peaks, where the atlas has one."""
    if source.atlas is None or not source.atlas.row_motifs.of(row).num_rows:
        return None
    sign = "-" if row % 2 else "%2B"
    return f"/v1/features/{source.dictionary}/{row // 2}/logo.svg?strand={sign}"
