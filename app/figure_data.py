"""What a figure of a region shows, from the files of a result.

Result, region, feature rows --region_data--> app.figures.Region
bases, a motif               --motif_sites--> places where it stands
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activations import from_stretches, read_feature
from annotations.errors import CoordinateError, OptionError, UnknownNameError
from annotations.gene_track import gene_models
from annotations.jaspar import Motif, resolve_tf
from annotations.motif_scan import MILLIBITS, background_of_counts, log_odds, motif_thresholds
from annotations.peak_track import UNKNOWN, strongest
from annotations.pieces import PieceFile, has_pieces
from annotations.run_motifs import catalogue_of
from annotations.sequence_files import StoredBases
from annotations.sequences import encode_bases
from annotations.tracks import signal_runs
from annotations.types import STRAND_SIGNS, Span
from annotations.unread import unread
from app import catalog, figures
from app.catalog import Result
from app.expectation import has_expectation, letters_in, said_sides
from app.feature_rows import FeatureRow
from app.figure_genes import MAX_GENES, Gene
from app.figure_runs import Runs
from app.figures import MAX_LETTERS, Peak, Region, Signal, Site

MAX_ROWS: Final = 20
"""Most feature rows of a figure."""
MAX_MOTIFS: Final = 6
"""Most motifs of a figure."""
MAX_SCANNED: Final = 200_000
"""Longest region in which motifs are looked for."""


_KNOWN: Final = ("feature", "strand", "label", "match_q", "match_evidence", "label_motif_evidence")


def parse_region(text: str, names: Sequence[str], lengths: Sequence[int]) -> Span:
    """A region as people and browsers write it.

    Parameters
    ----------
    text : str
        ``chrI:201,000-203,000``, 1-based with both ends in it, or the name of a contig alone. An
        end past the contig's is taken for its end, as browsers do.
    names, lengths : sequences
        Of all contigs, in order.

    Returns
    -------
    span : Span

    Raises
    ------
    UnknownNameError
        If there is no such contig; tells near names.
    CoordinateError
        If the region is not inside it.

    Examples
    --------
    >>> parse_region("c1:11-1,020", ["c1"], [1000]), parse_region("c1", ["c1"], [1000])
    (Span(contig=0, start=10, end=1000), Span(contig=0, start=0, end=1000))
    """
    text = text.strip()
    if text in names:
        at = list(names).index(text)
        return Span(at, 0, lengths[at])
    name, _, range_text = text.rpartition(":")
    first, dash, last = range_text.replace(",", "").partition("-")
    if name not in names:
        asked = name or text
        near = get_close_matches(asked, names, n=3, cutoff=0.5) if len(names) <= 10_000 else []
        near = near or list(names[:3])
        hint = f"; there are: {', '.join(near)}{', ...' if len(names) > len(near) else ''}"
        raise UnknownNameError(
            f"there is no sequence {asked[:60]!r} here{hint}; a region is a name or "
            f"name:start-end, such as {near[0][:60]}:1-2000"
        )
    at = list(names).index(name)
    numbers = [part.strip() for part in (first, last)]
    if not dash or not all(part.isascii() and part.isdigit() for part in numbers):
        raise CoordinateError(
            f"a region is a name or name:start-end, such as {name[:60]}:1-2000; got {text[:80]!r}"
        )
    start, end = int(numbers[0]) - 1, min(int(numbers[1]), lengths[at])
    if not 0 <= start < end:
        raise CoordinateError(
            f"the region {text[:80]!r} is not inside {name[:60]} of {lengths[at]:,} bases, or "
            "ends before it starts; positions are 1-based"
        )
    return Span(at, start, end)


def region_data(
    result: Result,
    span: Span,
    rows: Sequence[FeatureRow],
    *,
    motifs: str | None = None,
    expected: bool = False,
) -> Region:
    """What a figure shows.

    Parameters
    ----------
    result : Result
        The files.
    span : Span
        As from `parse_region`.
    rows : sequence of FeatureRow
        In the order of their panels; at most `MAX_ROWS`.
    motifs : str, optional
        Transcription factors or matrices separated by commas, whose places are drawn.
    expected : bool
        Whether what the language model expects of each base stands above the features.

    Returns
    -------
    region : Region

    Raises
    ------
    OptionError
        If there are too many rows or motifs, or the region is too long to look for motifs in or
        to draw what is expected in.
    StateError
        If what is expected is asked for and the run has no expectation.
    UnknownNameError
        If a motif is unknown.
    """
    if len(rows) > MAX_ROWS:
        raise OptionError(f"a figure has at most {MAX_ROWS} feature rows, got {len(rows)}")
    contig, start, end = span
    name = result.names[contig]
    short = end - start <= MAX_LETTERS
    return Region(
        contig=name,
        start=start,
        end=end,
        signals=[*([_expected(result, span)] if expected else []), *_signals(result, span, rows)],
        genes=None if result.genes is None else _genes(result, span),
        motifs=[] if not motifs else _motif_lines(result, span, motifs),
        bases=_bases(result, span) if short and result.sequences is not None else None,
        metadata=json.dumps(_about(result, span, rows), sort_keys=True, ensure_ascii=False),
        unread=unread(span, result.spans),
    )


def motif_sites(
    codes: NDArray[np.uint8], motif: Motif, background: NDArray[np.float64], *, start: int = 0
) -> list[Site]:
    """Places where a motif scores at least its threshold, on either strand.

    The same places as `annotations.motif_scan.scan` finds; that one is made for genomes and
    compiles itself first.

    Parameters
    ----------
    codes : ndarray of uint8
        Base codes; a place that touches a code above 3 is none.
    motif : Motif
    background : ndarray of float64, shape (4,)
        Of the sequences that the motif was tested on.
    start : int
        Position of the first code.

    Returns
    -------
    sites : list of Site
        Sorted by start, + before -.
    """
    limit = motif_thresholds([motif], background).score[0]
    width = motif.width
    if not np.isfinite(limit) or len(codes) < width:
        return []
    matrix = np.vstack([log_odds(motif.counts, background), np.zeros(width, dtype=np.int64)])
    windows = np.lib.stride_tricks.sliding_window_view(codes, width)
    known = (windows < 4).all(axis=1)
    found = []
    # the reverse complement of the bases, or of the matrix: the same
    turned = np.vstack([matrix[3::-1, ::-1], matrix[4:]])
    for strand, each in ((1, matrix), (-1, turned)):
        score = each[windows, np.arange(width)].sum(axis=1)
        for at in np.flatnonzero(known & (score >= round(limit * MILLIBITS))).tolist():
            found.append(Site(start + at, start + at + width, strand))
    return sorted(found, key=lambda site: (site.start, -site.strand))


@lru_cache(maxsize=64)
def background_of_file(path: Path) -> NDArray[np.float64]:
    """Frequencies of A, C, G, T in both strands of the stored sequences of a run, shape (4,).

    Parameters
    ----------
    path : Path
        `app.catalog.Result.sequences`, which never change.
    """
    counts = np.zeros(256, dtype=np.float64)
    if has_pieces(path):
        with PieceFile(path) as source:
            for name in source.names:
                for piece in source.pieces(name):
                    bases = np.frombuffer(source.fetch(name, piece.start, piece.end), np.uint8)
                    counts += np.bincount(bases, minlength=256)
        return background_of_counts(counts[[ord(base) for base in "ACGT"]])
    with path.open("rb") as file:
        # its records are named by numbers: every letter is a base
        while block := file.read(1 << 22):
            counts += np.bincount(np.frombuffer(block, np.uint8), minlength=256)
    return background_of_counts(counts[[ord(base) for base in "ACGT"]])


def one_motif(result: Result, name: str) -> Motif:
    """The motif of a factor or matrix; the first, where the factor has several.

    Raises
    ------
    UnknownNameError
        If there is none, or the run looked for none.
    """
    catalogue = catalogue_of(result.options, result.motifs)
    if catalogue is None:
        raise UnknownNameError(
            f"no motif {name[:40]!r}: this run looked for none; submit it again with a taxon"
        )
    return resolve_tf(catalogue, name).motifs[0]


def _expected(result: Result, span: Span) -> Signal:
    """The panel of what the language model expects: letters, or bits where bases are many."""
    if span.length > MAX_SCANNED:
        raise OptionError(
            f"what the model expects is drawn over at most {MAX_SCANNED:,} bases; leave it out or "
            "give a smaller region"
        )
    if has_expectation(result) and result.sequences is None:
        raise OptionError(
            "what the model expects needs the sequences, which are not here: give them too, or "
            "leave it out"
        )
    stacks = letters_in(result, span)
    bits = stacks.sum(axis=1)
    place = np.flatnonzero(bits > 0)
    start = span.start + place
    return Signal(
        name="expected",
        label=f"bits over the composition, {said_sides(result)}",
        runs=Runs(start, start + 1, bits[place].astype(np.float32)),
        stacks=stacks,
    )


def _motif_lines(result: Result, span: Span, text: str) -> list[figures.Motif]:
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not 0 < len(names) <= MAX_MOTIFS:
        raise OptionError(f"motifs must name 1 to {MAX_MOTIFS} motifs, got {len(names)}")
    if span.end - span.start > MAX_SCANNED:
        raise OptionError(
            f"motifs are looked for in at most {MAX_SCANNED:,} bases; leave them out or give a "
            "smaller region"
        )
    if result.sequences is None:
        raise OptionError(
            "motifs need the sequences, which are not here: give them too, or leave motifs out"
        )
    lines = []
    chosen = {motif.matrix_id: motif for motif in (one_motif(result, name) for name in names)}
    for motif in chosen.values():
        # a motif may stand across the edge of the region
        reach = motif.width - 1
        low = max(0, span.start - reach)
        wide = Span(span.contig, low, min(result.lengths[span.contig], span.end + reach))
        codes = encode_bases(_bases(result, wide).encode())
        sites = motif_sites(codes, motif, background_of_file(result.sequences), start=low)
        lines.append(figures.Motif(f"{motif.name} {motif.matrix_id}", sites))
    return lines


def _bases(result: Result, span: Span) -> str:
    """Bases of a span, in the sense of the contig."""
    if result.sequences is None:
        raise OptionError("the sequences of this run are not stored here")
    found = StoredBases(result.sequences, result.lengths).fetch(*span)
    return found.decode("ascii").upper()


def _signals(result: Result, span: Span, rows: Sequence[FeatureRow]) -> list[Signal]:
    """Panels of some rows; each table is read once for all of them."""
    if not rows:
        return []
    own = pc.field("feature").isin(sorted({row.feature for row in rows}))
    here = (
        (pc.field("contig") == span.contig)
        & (pc.field("position") >= span.start)
        & (pc.field("position") < span.end)
    )
    columns = ["feature", "strand", "position"]
    known = result.table("features", filters=own, columns=list(_KNOWN)).to_pylist()
    peaks = result.table("peaks", filters=own & here, columns=columns)
    placed = peaks.sort_by("position").to_pylist()
    return [_signal(result, span, row, known, placed) for row in rows]


def _signal(
    result: Result,
    span: Span,
    row: FeatureRow,
    known: Sequence[Mapping[str, Any]],
    peaks: Sequence[Mapping[str, Any]],
) -> Signal:
    sign = None if row.one_strand is None else STRAND_SIGNS[row.one_strand]
    own = [each for each in known if _is_of(each, row.feature, sign)]
    evidence = {each["strand"]: _evidence(each) for each in own}
    labels = dict.fromkeys(each["label"] for each in own if each["label"])
    read = result.options.strands == "both" or row.one_strand != "-"
    return Signal(
        name=row.text,
        label="; ".join(labels),
        runs=_runs(result, span, row.feature, sign),
        peaks=[
            Peak(peak["position"], evidence.get(peak["strand"], UNKNOWN))
            for peak in peaks
            if _is_of(peak, row.feature, sign)
        ],
        note="" if read else "not computed: the run read the forward strand only",
    )


def _is_of(row: Mapping[str, Any], feature: int, sign: int | None) -> bool:
    """Whether a row of a table is one of a feature, on a strand or on either."""
    return row["feature"] == feature and sign in {None, row["strand"]}


def _evidence(row: Mapping[str, Any]) -> str:
    """The strongest evidence for a feature row: of the run where it made a test, as in bigBed."""
    own = row["match_q"] is not None
    return strongest(row["match_evidence" if own else "label_motif_evidence"], row["label"])


def _runs(result: Result, span: Span, feature: int, sign: int | None) -> Runs:
    table = read_feature(result.activations, feature, sign, span.contig)
    ends = pc.add(table["start"], pc.list_value_length(table["values"]))
    near = pc.and_(pc.less(table["start"], span.end), pc.greater(ends, span.start))
    active = from_stretches(table.filter(near))
    runs = signal_runs(active, result.lengths[span.contig])
    inside = (runs.value > 0) & (runs.end > span.start) & (runs.start < span.end)
    return Runs(runs.start[inside], runs.end[inside], runs.value[inside])


def _genes(result: Result, span: Span) -> list[Gene]:
    """Transcripts that touch a span; as blocks alone where they are too many to be drawn."""
    parts = pq.read_table(result.genes, filters=pc.field("contig") == span.contig)
    near = pc.and_(pc.less(parts["start"], span.end), pc.greater(parts["end"], span.start))
    touching = parts.filter(near)
    keys = touching.group_by(["name", "transcript", "strand"]).aggregate([])
    if keys.num_rows > 2 * MAX_GENES:
        whole = (span.start, span.end)
        return [Gene(name, 0, (whole,)) for name in keys["name"].to_pylist()]
    own = parts.filter(pc.is_in(parts["name"], value_set=touching["name"].combine_chunks()))
    found = []
    for item in gene_models(own).to_pylist():
        if item["end"] <= span.start or item["start"] >= span.end:
            continue
        sizes, firsts = (
            [int(number) for number in item[name].split(",") if number]
            for name in ("blockSizes", "chromStarts")
        )
        blocks = tuple(
            (item["start"] + first, item["start"] + first + size)
            for first, size in zip(firsts, sizes, strict=True)
        )
        coding = item["thickEnd"] > item["thickStart"]
        found.append(
            Gene(
                "" if item["name"] == "." else item["name"],
                {"+": 1, "-": -1}.get(item["strand"], 0),
                blocks,
                (item["thickStart"], item["thickEnd"]) if coding else None,
            )
        )
    return found


def _about(result: Result, span: Span, rows: Sequence[FeatureRow]) -> dict[str, Any]:
    """Who made the figure's data from what."""
    record = catalog.named_provenance(result)
    found = record.get("contigs") or []
    return {
        "made_by": f"saetrack {metadata.version('saetrack')}",
        "contig": found[span.contig] if span.contig < len(found) else None,
        "region": {
            "contig": result.names[span.contig],
            "start": span.start,
            "end": span.end,
            "coordinate_system": "0-based, half-open",
        },
        "features": [row.text for row in rows],
        "dictionary": {"id": result.options.dictionary, "sha256": result.dictionary_sha256},
        "atlas": record.get("atlas"),
        "motif_test": catalog.motif_test(result),
    }
