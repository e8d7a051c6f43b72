"""What the igv.js of a run's page is told: the run's own sequence, genes, chosen features.

Nothing is asked of anyone else: igv.js would ask its makers' servers for genomes and for the
places of names unless it is told not to.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import pyarrow.compute as pc

from annotations.errors import OptionError
from annotations.types import STRAND_SIGNS
from app.alleles import largest_changes
from app.catalog import Result
from app.expectation import COLOR, EXPECTATION_FILES, ExpectationFile, has_expectation
from app.feature_rows import SIGNAL_COLORS, FeatureRow, chosen_rows, parse_rows

LISTED_CONTIGS: Final = 200
"""Most sequences whose names are offered for a jump."""

SHOWN: Final = 4
"""Features that are drawn where none are chosen."""

MAX_DRAWN: Final = 20
"""Most features drawn at once on a page."""

MARGIN: Final = 400
"""Bases on each side of the peak where the browser opens."""

_LOCUS: Final = re.compile(r"[^\s\"'<>&]{1,200}", re.ASCII)


def chosen_features(
    result: Result, features: str | None, locus: str | None
) -> tuple[list[FeatureRow], str]:
    """The features of an address, and where the browser opens.

    Parameters
    ----------
    result : Result
        Of the run.
    features : str, optional
        Such as ``374-,153+``; empty for none, the most telling ones by default.
    locus : str, optional
        Such as ``chr1:100-2000``, 1-based; the top peak of the first feature by default.

    Raises
    ------
    OptionError
        If there are more than `MAX_DRAWN`, or the locus is no place.
    UnknownNameError
        If there is no such feature.
    """
    if features is None:
        try:
            rows = chosen_rows(result, features=None, tf=None, limit=SHOWN)
        except OptionError:  # nothing is active anywhere
            rows = []
    else:
        rows = parse_rows(features, result.n_features) if features.strip(", ") else []
    if len(rows) > MAX_DRAWN:
        raise OptionError(f"at most {MAX_DRAWN} features are drawn at once, got {len(rows)}")
    if not locus:
        return rows, opening_locus(result, rows)
    if not _LOCUS.fullmatch(locus):
        raise OptionError("locus must be a name or name:start-end, such as chr1:1-2000")
    return rows, locus


def opening_locus(result: Result, rows: Sequence[FeatureRow]) -> str:
    """The surroundings of the top peak of the first feature; the first sequence without one."""
    if rows:
        own = pc.field("feature") == rows[0].feature
        if rows[0].one_strand is not None:
            own = own & (pc.field("strand") == STRAND_SIGNS[rows[0].one_strand])
        peaks = result.table("peaks", filters=own, columns=["contig", "position", "value"])
        if peaks.num_rows:
            top = peaks.sort_by([("value", "descending")]).slice(0, 1).to_pylist()[0]
            length = result.lengths[top["contig"]]
            start = max(0, top["position"] - MARGIN)
            end = min(length, top["position"] + MARGIN + 1)
            return f"{result.names[top['contig']]}:{start + 1}-{end}"
    return f"{result.names[0]}:1-{min(result.lengths[0], 2 * MARGIN)}"


def browser_config(
    result: Result, run_id: str, title: str, rows: Sequence[FeatureRow], locus: str
) -> dict[str, Any]:
    """The configuration of igv.js as JSON values.

    Parameters
    ----------
    result : Result
        Of the run.
    run_id, title : str
        The run's id and what it is called.
    rows : sequence of FeatureRow
        What is drawn.
    locus : str
        Where it opens, 1-based.
    """
    base = f"/v1/runs/{quote(run_id, safe='')}"
    tracks: list[dict[str, Any]] = []
    if result.genes is not None:
        tracks.append(
            {
                "name": "Genes",
                "type": "annotation",
                "format": "bed",
                "url": f"{base}/genes.bed",
                "indexed": False,
                "displayMode": "EXPANDED",
                "height": 70,
                "color": "rgb(70, 80, 95)",
                "visibilityWindow": -1,
                "order": 1,
            }
        )
    if has_expectation(result):
        tracks += [
            expectation_track(base, name, file, place)
            for place, (name, file) in enumerate(EXPECTATION_FILES.items())
        ]
    changes = {} if result.alleles is None else largest_changes(result, rows)
    for at, row in enumerate(rows):
        own = feature_track(base, row, at)
        tracks += [own] if result.alleles is None else allele_tracks(own, changes[row])
    return {
        "loadDefaultGenomes": False,
        "search": False,
        "showTrackLabels": True,
        "showSVGButton": True,
        # a choice of every contig would be slow where there are very many
        "showChromosomeWidget": len(result.names) <= LISTED_CONTIGS,
        "reference": {
            "id": title[:40],
            "name": title,
            "twoBitURL": f"{base}/sequence.2bit",
            "chromSizesURL": f"{base}/chrom.sizes",
            "wholeGenomeView": False,
        },
        "locus": locus,
        "tracks": tracks,
        # for run.js: a feature that is drawn later comes with the same tracks
        "alleles": result.alleles is not None,
    }


def feature_track(base: str, row: FeatureRow, at: int) -> dict[str, Any]:
    """The signal of a feature row as a track of igv.js.

    Parameters
    ----------
    base : str
        Address of the run.
    row : FeatureRow
        The feature, on one strand or both.
    at : int
        Its place among the others, which decides the color.
    """
    red, green, blue = SIGNAL_COLORS[at % len(SIGNAL_COLORS)]
    return {
        "name": f"feature {row.text}",
        "id": f"feature-{row.text}",
        "type": "wig",
        "format": "bigwig",
        "url": f"{base}/features/{row.feature}/signal.bw?strand={quote(row.strand, safe='')}",
        "color": f"rgb({red}, {green}, {blue})",
        "min": 0,
        "autoscale": True,
        "height": 60,
        "order": 10 + at,
    }


def expectation_track(base: str, name: str, file: ExpectationFile, place: int) -> dict[str, Any]:
    """A track of what the model expects, for igv.js.

    Parameters
    ----------
    base : str
        Address of the run.
    name : str
        Of the file, one of `app.expectation.EXPECTATION_FILES`.
    file : ExpectationFile
    place : int
        Among those tracks.
    """
    red, green, blue = COLOR
    track = {
        "name": file.short_label,
        "id": name.removesuffix(".bw"),
        "type": "wig",
        "format": "bigwig",
        "url": f"{base}/{name}",
        "color": f"rgb({red}, {green}, {blue})",
        "autoscale": True,
        "height": 60,
        "order": 2 + place,
    }
    if file.track == "letters":
        track["graphType"] = "dynseq"
    return track if file.track == "observed" else track | {"min": 0}


def allele_tracks(signal: dict[str, Any], change: float) -> list[dict[str, Any]]:
    """The signal of the reference alleles with that of the alternatives and the difference.

    Parameters
    ----------
    signal : dict
        As `feature_track` makes it.
    change : float
        Largest absolute change of the feature row in any pair; the axis of the difference holds it
        on both sides of 0.

    Returns
    -------
    tracks : list of dict
        Drawn as letters as high as their values, where igv.js has room; the difference about 0.
    """
    # reference and alternative on one axis
    letters = {**signal, "graphType": "dynseq", "autoscaleGroup": signal["id"]}
    order = 10 * signal["order"]
    tracks = [{**letters, "order": order}]
    for place, (kind, said) in enumerate((("alternative", "alt"), ("difference", "alt - ref")), 1):
        track = {
            **letters,
            "name": f"{signal['name']} {said}",
            "id": f"{signal['id']}-{kind}",
            "url": signal["url"].replace("/signal.bw", f"/{kind}.bw"),
            "order": order + place,
        }
        if kind == "difference":
            del track["min"], track["autoscaleGroup"]
            if change:
                track |= {"min": -change, "max": change, "autoscale": False}
        tracks.append(track)
    return tracks
