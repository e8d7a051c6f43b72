"""What a feature's page shows of each strand besides the tables: pictures, colours, states.

Everything is added to the rows that `app.feature_views.feature_view` gives; what could not be made
is None or empty, and the page says why.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import numpy as np

from annotations.errors import UnknownNameError
from annotations.feature_examples import FLANK, STEPS
from annotations.jaspar import Motif, MotifCatalogue, find_matrix, load_motifs
from annotations.run_motifs import catalogue_of
from annotations.types import Strand
from app import catalog
from app.atlases import IndexedAtlas
from app.catalog import Result
from app.feature_pictures import (
    Positions,
    gc_background,
    lay_over,
    motif_positions,
)
from app.feature_views import own_motif
from app.figure_data import background_of_file
from app.web.asked import logo_address
from app.web.in_run import (
    RANGE_WORDS,
    active_bases,
    bases_about,
    colour_sequence,
    examples,
    histogram,
)

SHOWN_PEAKS: Final = 10
"""Top peaks of a feature row in a run on its page."""

SCANNED_PEAKS: Final = 500
"""Most peaks of a run in which a motif is looked for."""

SCANNED_FLANK: Final = 50
"""Bases on each side of a peak of a run in which a motif is looked for: the window of the test."""

FIGURE_FLANK: Final = 60
"""Bases on each side of the top peak in its figure: few enough that letters are drawn."""

DRAWN_PLACES: Final = 5
"""Least peaks with the motif for a histogram of its places: fewer are told in a sentence."""

BARS_WIDTH: Final = 300
"""Units across of the drawing of a histogram."""


def add_atlas_parts(row: dict[str, Any], atlas: IndexedAtlas, base: str, index: int) -> None:
    """Add to a row what its atlas lets a page draw.

    Parameters
    ----------
    row : dict
        Of `app.feature_views.feature_view`.
    atlas : IndexedAtlas
    base : str
        Address of the feature in the REST interface.
    index : int
        The feature.
    """
    sign = quote(row["strand"], safe="")
    known = atlas.atlas
    row["state"] = _state(row, atlas)
    row["own_logo"] = f"{base}/logo.svg?strand={sign}" if row["has_motif"] else None
    for match in row["matches"]:
        match["logo"] = logo_address(match["matrix_id"], known.taxon, known.release)
    for each in row["examples"]:
        each["parts"], each["said"] = _coloured(each)
    row["by_range"] = [
        (words, [each for each in row["examples"] if each["range"] == part])
        for part, words in enumerate(RANGE_WORDS, start=1)
    ]
    ranked = sorted((each["rank"], each["value"]) for each in row["examples"])
    row["ranked"] = rank_plot(ranked) if len(ranked) > 1 else None
    best = row["matches"][0] if row["matches"] else None
    row["overlay"] = row["positions"] = None
    if best is None or best["logo"] is None:
        return
    motif = _matrix(load_motifs(known.taxon, known.release), best["matrix_id"])
    if motif is None:
        return
    own = own_motif(atlas, index, row["strand"])
    if own is not None:
        laid = lay_over(own, motif, best["offset"])
        row["overlay"] = {"address": f"{base}/aligned.svg?strand={sign}", **laid._asdict()}
    windows = [each["sequence"] for each in row["examples"]]
    # an atlas of earlier versions may hold shorter ones
    windows = [text for text in windows if len(text) == 2 * FLANK + 1]
    if windows:
        found = motif_positions(windows, motif, gc_background(best["gc"] or 0.5))
        row["positions"] = chart(found, motif)


def add_run_parts(
    rows: Sequence[dict[str, Any]], result: Result, index: int, atlas: IndexedAtlas | None
) -> None:
    """Put beside each row of a feature what it did in a run."""
    own = catalog.feature(result, index)
    read = {row["strand"]: row for row in own["strands"]}
    for row in rows:
        strand: Strand = row["strand"]
        active = active_bases(result, index, strand)
        peaks = [peak for peak in own["peaks"] if peak["strand"] == strand]
        matches = [match for match in own["matches"] if match["strand"] == strand]
        motif = _motif_of(result, atlas, [*matches, *row["matches"]])
        row["in_run"] = {
            "read": not (strand == "-" and result.options.strands == "forward"),
            "statistics": read.get(strand),
            "peaks": peaks[:SHOWN_PEAKS],
            "matches": matches,
            "examples": examples(result, index, strand, active),
            "histogram": histogram(active),
            "figure": _figure(result, peaks[0], f"{index}{strand}", motif) if peaks else None,
            "positions": None if motif is None else _positions(result, peaks, strand, motif),
        }


def chart(found: Positions, motif: Motif) -> dict[str, Any]:
    """The bars of a histogram of places as a template draws them."""
    most = int(found.counts.max(initial=0))
    wide = BARS_WIDTH / max(1, len(found.counts))
    bars = [
        {
            "offset": int(offset),
            "peaks": int(count),
            "share": int(count) / most if most else 0.0,
            "x": round(at * wide, 2),
        }
        for at, (offset, count) in enumerate(zip(found.offsets, found.counts, strict=True))
    ]
    top = max(bars, key=lambda bar: (bar["peaks"], -abs(bar["offset"]))) if most else None
    zero = next((bar["x"] + wide / 2 for bar in bars if bar["offset"] == 0), None)
    return {
        "loci": found.loci,
        "with_motif": found.with_motif,
        "drawn": found.with_motif >= DRAWN_PLACES,
        "bars": bars,
        "wide": round(max(wide - 0.4, 0.4), 2),
        "top": top,
        "zero": zero,
        "low": bars[0]["offset"] if bars else 0,
        "high": bars[-1]["offset"] if bars else 0,
        "name": motif.name,
        "matrix_id": motif.matrix_id,
    }


def rank_plot(ranked: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Some peaks of a row by their ranks, as a template draws them.

    Parameters
    ----------
    ranked : sequence of (rank, activation)
        Two or more, ascending in rank, of different ranks.
    """
    last, top = ranked[-1][0], ranked[0][1]
    points = [
        {
            "rank": rank,
            "value": value,
            "x": round(BARS_WIDTH * (rank - 1) / (last - 1), 2),
            "y": round(90 - 85 * value / top, 2),
        }
        for rank, value in ranked
    ]
    return {"points": points, "peaks": last, "top": top}


def _state(row: Mapping[str, Any], atlas: IndexedAtlas) -> str:
    """Whether anything is known of a row: "known", "unknown", or "dead" where it never fires.

    An atlas has examples of every row that has a peak; one without any tells nothing of that.
    """
    if row["label"] is not None or row["matches"] or row["concepts"]:
        return "known"
    if not row["examples"] and atlas.atlas.examples.num_rows:
        return "dead"
    return "unknown"


def _coloured(example: Mapping[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """The sequence of an example in parts of one colour, and in words."""
    letters, values = example["sequence"], example["values"]
    if values is None or len(values) != len(letters):
        silent = np.zeros(len(letters), dtype=np.float32)
        return colour_sequence(letters, silent, 1.0), letters
    found = colour_sequence(letters, np.array(values, dtype=np.float32), float(STEPS))
    fires = sum(value > 0 for value in values)
    return found, f"{letters}, active at {fires} of {len(letters)} bases"


def _motif_of(
    result: Result, atlas: IndexedAtlas | None, matches: Sequence[Mapping[str, Any]]
) -> Motif | None:
    """The matrix of the first of some matches, of the run's motifs or the atlas'."""
    catalogues = [catalogue_of(result.options, result.motifs)]
    if atlas is not None:
        catalogues.append(load_motifs(atlas.atlas.taxon, atlas.atlas.release))
    for match in matches[:1]:
        found = (_matrix(each, match["matrix_id"]) for each in catalogues if each is not None)
        return next((motif for motif in found if motif is not None), None)
    return None


def _matrix(catalogue: MotifCatalogue, matrix_id: str) -> Motif | None:
    """A matrix of a catalogue; None where it has none of this id."""
    try:
        return find_matrix(catalogue, matrix_id)
    except UnknownNameError:  # of another catalogue, or of another release
        return None


def _positions(
    result: Result, peaks: Sequence[Mapping[str, Any]], strand: Strand, motif: Motif
) -> dict[str, Any] | None:
    """Where a motif stands about the top peaks of a row in a run."""
    if result.sequences is None or not peaks:
        return None
    contigs = {name: at for at, name in enumerate(result.names)}
    loci = [(contigs[peak["contig"]], peak["position"]) for peak in peaks[:SCANNED_PEAKS]]
    windows = bases_about(result, loci, strand, SCANNED_FLANK)
    return chart(motif_positions(windows, motif, background_of_file(result.sequences)), motif)


def _figure(result: Result, peak: Mapping[str, Any], row: str, motif: Motif | None) -> str:
    """What asks for the figure of a peak: the query of its address."""
    length = result.lengths[list(result.names).index(peak["contig"])]
    start = max(0, peak["position"] - FIGURE_FLANK)
    end = min(length, peak["position"] + FIGURE_FLANK + 1)
    asked = {"region": f"{peak['contig']}:{start + 1}-{end}", "features": row}
    if motif is not None and result.sequences is not None:
        own = catalogue_of(result.options, result.motifs)
        if own is not None and any(each.matrix_id == motif.matrix_id for each in own.motifs):
            asked["motifs"] = motif.matrix_id
    return urlencode(asked)
