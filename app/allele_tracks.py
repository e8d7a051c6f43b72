"""The tracks of a hub for a run that compares alleles: beside each signal its alternative and the
difference, at coordinates of the reference alleles.

Letters are asked for (igv.js dynseq, UCSC `logo on`): the records are short, and what a change does
to a site is read base by base.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow.compute as pc

from annotations.hub import Track
from app.alleles import EFFECTS, alleles_of, largest_changes
from app.catalog import Result
from app.feature_rows import FeatureRow

MARGIN: Final = 25
"""Bases on each side of a change where browsers open: there is room for letters."""


def with_alleles(
    result: Result, rows: Sequence[FeatureRow], tracks: Sequence[Track]
) -> list[Track]:
    """The tracks of feature rows with those of their alternative alleles.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    rows : sequence of FeatureRow
        Those that are drawn.
    tracks : sequence of Track
        As `app.run_hub` makes them for a run without alleles.

    Returns
    -------
    tracks : list of Track
        Each signal is followed by its alternative and the difference, on axes that can be compared:
        the signal's, and one about 0 that holds the largest change of the row.
    """
    changes = {f"features/{row.word}/": size for row, size in largest_changes(result, rows).items()}
    found: list[Track] = []
    for track in tracks:
        if track.kind != "signal":
            found.append(track)
            continue
        folder = track.url.removesuffix("signal.bw")
        found.append(track._replace(letters=True, short_label=f"ref {track.short_label}"))
        found.append(
            track._replace(
                name=f"{track.name}_alternative",
                kind="alternative",
                url=f"{folder}alternative.bw",
                short_label=f"alt {track.short_label}",
                long_label=f"Alternative allele: {track.long_label}",
                letters=True,
            )
        )
        found.append(
            track._replace(
                name=f"{track.name}_difference",
                kind="difference",
                url=f"{folder}difference.bw",
                short_label=f"alt-ref {track.short_label}",
                long_label=f"Alternative minus reference: {track.long_label}",
                most=changes[folder] or track.most,
                letters=True,
            )
        )
    return found


def changed_locus(result: Result, rows: Sequence[FeatureRow]) -> str:
    """Around the change that moves the first feature row most; else around the first change.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    rows : sequence of FeatureRow
        Those that are drawn; may be empty.

    Returns
    -------
    locus : str
        On a reference record, 1-based.
    """
    pairs = alleles_of(result).pairs
    pair = pairs[0]
    if rows:
        table = result.table(EFFECTS, filters=rows[0].lines, columns=["pair", "change"])
        if table.num_rows:
            size = pc.abs(table["change"]).to_numpy()
            pair = pairs[table["pair"][int(size.argmax())].as_py()]
    start = max(0, pair.change.start - MARGIN)
    end = min(result.lengths[pair.reference], pair.change.end + MARGIN)
    return f"{result.names[pair.reference]}:{start + 1}-{end}"
