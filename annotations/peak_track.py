"""Peaks as a bigBed: what fires, what it is known for and how surely, a row for each peak.

    peaks, features --peak_rows--> rows of BED9 and more --write_peaks_bigbed--> .bb

The color says the strongest evidence that there is for the feature row's motif, in colors that
are told apart with any kind of color vision (Okabe and Ito 2008, "Color Universal Design").
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.bigbed import write_bigbed
from annotations.evidence import EVIDENCE
from annotations.peaks import TOP_PEAKS_SCHEMA
from annotations.tables import check_columns, column, text_of
from annotations.tracks import peak_scores

UNKNOWN: Final = "unknown"
LABELLED: Final = "labelled"

COLORS: Final[dict[str, tuple[int, int, int]]] = {
    UNKNOWN: (120, 120, 120),
    LABELLED: (204, 121, 167),
    "enriched": (86, 180, 233),
    "centred": (0, 114, 178),
    "similar": (0, 158, 115),
    "predictive": (230, 159, 0),
    "causal": (213, 94, 0),
}
"""Color by the strongest evidence of a match, the last that holds of `EVIDENCE`; `labelled` is a
row that is known for something else than a motif, `unknown` one that nothing is known of."""

COLOR_WORDS: Final[dict[str, str]] = {
    UNKNOWN: "nothing is known of the feature row",
    LABELLED: "the feature row has a label, and no motif",
    "enriched": "a motif is enriched at its peaks",
    "centred": "and keeps a distance to the peak",
    "similar": "and is the motif that the peaks themselves share",
    "predictive": "and holds on contigs that discovery did not see",
    "causal": "and breaking or adding the motif changes the activation",
}
"""What each color means, for people."""

STANDARD_FIELDS: Final = 9
"""Fields of BED before those of our own."""

AUTOSQL: Final = """table saetrackPeaks
"Top peaks of sparse-autoencoder features; one base each"
(
string chrom;        "Sequence"
uint   chromStart;   "Position of the peak, 0-based"
uint   chromEnd;     "Position + 1"
string name;         "Feature and the strand it was read on, as F374-"
uint   score;        "Activation as a share of the feature's largest, 0 to 1000"
char[1] strand;      "Strand that was read"
uint   thickStart;   "Position"
uint   thickEnd;     "Position + 1"
uint   reserved;     "Color: strongest evidence for the motif"
uint   feature;      "Index of the feature in its dictionary"
float  activation;   "Activation at the peak"
uint   rank;         "Rank of the peak among those of the feature row"
string label;        "What the dictionary's atlas calls the feature row"
string tf;           "Transcription factor whose motif the feature row matches"
string q;            "q of that match, or ."
string evidence;     "Kinds of evidence for the match"
string source;       "run: tested on these sequences; atlas: known of the dictionary"
string motif;        "Motif that stands at this peak"
string gene;         "Gene that stands at this peak"
)
"""
"""Description of the fields."""

_KNOWN: Final[dict[str, tuple[str, str]]] = {
    "tf": ("match_motif_name", "label_motif_name"),
    "q": ("match_q", "label_motif_q"),
    "evidence": ("match_evidence", "label_motif_evidence"),
}
"""Columns of the table of features: of the run's own test, and of the atlas."""


def write_peaks_bigbed(
    peaks: pa.Table, features: pa.Table, names: Sequence[str], lengths: Sequence[int], path: Path
) -> None:
    """Write peaks as bigBed with an index by name (``F374-``), whole or not at all.

    Parameters
    ----------
    peaks, features : Table
        As `peak_rows` takes them.
    names, lengths : sequences
        Of all contigs of the submission, in order.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    FormatError
        If a table lacks a column.
    CoordinateError
        If a peak is outside its contig.
    """
    write_bigbed(
        path,
        peak_rows(peaks, features),
        names,
        lengths,
        autosql=AUTOSQL,
        standard_fields=STANDARD_FIELDS,
        index="name",
    )


def peak_rows(peaks: pa.Table, features: pa.Table) -> pa.Table:
    """The fields of the lines of a peak track.

    Parameters
    ----------
    peaks : Table
        `annotations.peaks.TOP_PEAKS_SCHEMA` with motif_name and gene_name.
    features : Table
        Of the same result: feature, strand, label, and what matches it (`match_...` of the run,
        `label_motif_...` of the atlas). A feature row that is missing is an unknown one.

    Returns
    -------
    rows : Table
        The fields of `AUTOSQL` in their order, `contig` as an index; a dot where nothing is known.

    Raises
    ------
    FormatError
        If the peaks lack a column.
    """
    check_columns(peaks, TOP_PEAKS_SCHEMA, what="a table of peaks")
    at = _places(peaks, features)
    label = features["label"].take(at)
    own = features["match_q"].take(at).is_valid()
    known = {
        name: pc.if_else(own, features[run].take(at), features[atlas].take(at))
        for name, (run, atlas) in _KNOWN.items()
    }
    source = pc.if_else(own, "run", pc.if_else(known["q"].is_valid(), "atlas", "."))
    position = peaks["position"]
    end = pc.add(position, 1)
    feature, strand = text_of(peaks["feature"]), text_of(peaks["strand"], name="strand")
    return pa.table(
        {
            "contig": peaks["contig"],
            "start": position,
            "end": end,
            "name": pc.binary_join_element_wise("F", feature, strand, ""),
            "score": pa.chunked_array([peak_scores(peaks)]),
            "strand": strand,
            "thickStart": position,
            "thickEnd": end,
            "reserved": _colors(known["evidence"], label),
            "feature": peaks["feature"],
            "activation": peaks["value"],
            "rank": peaks["rank"],
            "label": _or_dot(label),
            "tf": _or_dot(known["tf"]),
            "q": _or_dot(known["q"]),
            "evidence": _or_dot(known["evidence"]),
            "source": source,
            "motif": _or_dot(peaks["motif_name"]),
            "gene": _or_dot(peaks["gene_name"]),
        }
    )


def strongest(evidence: str | None, label: str | None) -> str:
    """The name of the color of a feature row.

    Examples
    --------
    >>> strongest("enriched;centred", "REB1 motif"), strongest("", "exon"), strongest(None, None)
    ('centred', 'labelled', 'unknown')
    """
    holding = [kind for kind in EVIDENCE if kind in (evidence or "")]
    if holding:
        return holding[-1]
    return LABELLED if label else UNKNOWN


def _places(peaks: pa.Table, features: pa.Table) -> pa.Array:
    """Row of the table of features of each peak; null for none."""
    rows, wanted = _feature_rows(features), _feature_rows(peaks)
    order = np.argsort(rows, kind="stable")
    at = np.searchsorted(rows[order], wanted)
    inside = np.minimum(at, max(0, len(rows) - 1))
    place = order[inside] if len(rows) else np.zeros(len(wanted), np.int64)
    missing = rows[place] != wanted if len(rows) else np.ones(len(wanted), dtype=bool)
    return pa.array(place, mask=missing)


def _feature_rows(table: pa.Table) -> NDArray[np.int64]:
    return 2 * column(table, "feature").astype(np.int64) + (column(table, "strand") < 0)


def _colors(evidence: pa.ChunkedArray, label: pa.ChunkedArray) -> pa.ChunkedArray:
    pairs = pa.table({"evidence": evidence, "label": label.is_valid()})
    # few different pairs, many peaks
    key = pc.binary_join_element_wise(
        evidence.fill_null(""), pairs["label"].cast(pa.string()), "|"
    ).combine_chunks()
    codes = key.dictionary_encode()
    spelled = []
    for text in codes.dictionary.to_pylist():
        kinds, _, labelled = text.partition("|")
        color = COLORS[strongest(kinds, "label" if labelled == "true" else None)]
        spelled.append(",".join(map(str, color)))
    return pa.chunked_array([pa.array(spelled, pa.string()).take(codes.indices)])


def _or_dot(values: pa.ChunkedArray) -> pa.ChunkedArray:
    text = text_of(values)
    return pc.if_else(pc.equal(text, ""), ".", text)
