"""Questions to a run that compares alleles: its pairs, what changed in them, and their tracks.

    alleles.json, allele_effects.parquet --pairs_listing--> each pair and what it changed most
                                         --changed_features--> feature rows of one pair, ranked
                                         --changed_in_all--> feature rows over all pairs
    activations.parquet --track_file--> bigWig at the reference's coordinates

Places of pairs and changes are told twice: in the record of the reference allele, where tracks and
browsers see them, and in the contig that it was cut out of. All are 0-based and half-open.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotations.activations import read_feature
from annotations.allele_controls import REACH
from annotations.allele_effects import SUMMED, summaries
from annotations.allele_tracks import AlleleTrack, write_allele_track
from annotations.alleles import AllelePair, Alleles, alleles_record, read_alleles
from annotations.errors import OptionError, StateError, UnknownNameError
from annotations.types import STRAND_SIGNS
from app import catalog, expectation
from app.answers import Listing
from app.catalog import Result
from app.feature_rows import FeatureRow
from app.selection import Choice, feature_rows, page_of

EFFECTS: Final = "allele_effects"
"""The table of effects among the results, without its ending."""

SORTS: Final = ("file", "change", "ratio")
"""Orders of pairs: that of the VCF file, the largest change first, or the largest absolute
log2 ratio of what the model expects."""

LABELS: Final = ("label", "match_motif_name", "label_motif_name")
"""What is told of a feature beside its change: columns of the table of features."""

NOTE: Final = (
    "Measured on the two sequences; no test: there is no p-value. Differences are alternative "
    "minus reference, position by position in the reference; deleted bases count as silent in the "
    "alternative, inserted ones to the base on their left."
)
"""What stands beside every table of changes."""

RATIO_NOTE: Final = (
    "log2_ratio is log2 p(alternative) / p(reference) at the base that is replaced, {sides}: below "
    "0 where the model expects the reference more; null for what is no substitution of one base."
)
"""What is said besides where the run has an expectation."""

SHIFTED: Final = (
    "Behind an insertion or deletion the windows in which the model reads begin at other bases of "
    "the alternative than of the reference: in records longer than one window of the dictionary, "
    "and where the model looks farther back than the dictionary's context, bases near the borders "
    "of windows may differ for that reason alone."
)
"""What is said besides where the two records of a pair differ in length."""


def note_of(alleles: Alleles) -> str:
    """What stands beside a table of changes of these pairs."""
    maps = [pair.map for pair in alleles.pairs]
    shifted = any(each.reference_length != each.alternative_length for each in maps)
    note = f"{NOTE} {SHIFTED}" if shifted else NOTE
    if not alleles.controls:
        return note
    return (
        f"{note} controls_as_large is how many of {len(alleles.controls)} random substitutions "
        f"within {REACH} bases change the feature as much at a base; it is not corrected for the "
        "number of features."
    )


def alleles_of(result: Result) -> Alleles:
    """The pairs of a run.

    Raises
    ------
    StateError
        If the run compares none.
    """
    if result.alleles is None:
        raise StateError(
            "this run compares no alleles; submit the sequences with variants (a VCF file) or "
            "alleles (REFERENCE,ALTERNATIVE, two of their records)"
        )
    return read_alleles(result.alleles)


def pair_of(alleles: Alleles, text: str) -> int:
    """The index of the pair of an address, which counts from 0.

    Raises
    ------
    UnknownNameError
        If there is no such pair.
    """
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(alleles.pairs):
        return int(text)
    raise UnknownNameError(
        f"there is no pair {text[:20]!r}: the pairs of this run are numbered 0 to "
        f"{len(alleles.pairs) - 1}"
    )


def pairs_listing(result: Result, choice: Choice) -> Listing:
    """The pairs of a run, each with the feature row that it changed most.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    choice : Choice
        The page and the order, one of `SORTS`.

    Raises
    ------
    OptionError
        If the order or the page is not one of ours.
    StateError
        If the run compares none, or is asked for ratios and has none.
    """
    if choice.sort not in SORTS:
        raise OptionError(f"sort must be one of {', '.join(SORTS)}, got {choice.sort[:40]!r}")
    alleles = alleles_of(result)
    best = summaries(result.table(EFFECTS, columns=list(SUMMED)), alleles.pairs)
    found = expectation.ratios(result)
    if found is None and choice.sort == "ratio":
        raise StateError(expectation.NO_EXPECTATION)
    ratios = found or {}
    rows = [
        {
            **_pair_row(number, pair, result),
            **own,
            **_in_contig(pair, own["position"]),
            "log2_ratio": ratios.get(number),
        }
        for number, (pair, own) in enumerate(zip(alleles.pairs, best, strict=True))
    ]
    table = pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)
    if choice.sort != "file":
        by = table["change" if choice.sort == "change" else "log2_ratio"]
        size = pc.fill_null(pc.abs(by), -1.0).to_numpy()
        table = table.take(pa.array(np.argsort(-size, kind="stable")))
    page = page_of(table, choice)
    table = _labelled(result, page.table)
    note = note_of(alleles)
    if found is not None:
        note = f"{note} {RATIO_NOTE.format(sides=expectation.said_sides(result))}"
    head = {**alleles_record(alleles), "expectation": found is not None, "note": note}
    return Listing("alleles", page._replace(table=table), head)


def changed_features(result: Result, number: str, choice: Choice) -> Listing:
    """The feature rows that differ between the alleles of a pair, the largest change first.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    number : str
        The pair, as an address has it.
    choice : Choice
        The page, perhaps a strand; sorted by "specific" or the largest change.

    Raises
    ------
    OptionError
        If the order needs controls and there are none.
    UnknownNameError
        If there is no such pair.
    StateError
        If the run compares none.
    """
    alleles = alleles_of(result)
    index = pair_of(alleles, number)
    pair = alleles.pairs[index]
    table = result.table(EFFECTS, filters=pc.field("pair") == index)
    order = [("rank", "ascending")]
    if choice.sort == "specific":
        if not alleles.controls:
            raise OptionError(
                "sort=specific needs controls, and this run has none; submit it with controls=19"
            )
        order.insert(0, ("controls_as_large", "ascending"))
    page = page_of(table.sort_by(order).drop_columns(["pair"]), choice)
    found = _labelled(result, page.table)
    places = [_in_contig(pair, place)["contig_position"] for place in found["position"].to_pylist()]
    found = found.append_column("contig_position", pa.array(places, pa.int64()))
    head = {
        "pair": _pair_row(index, pair, result),
        "controls": len(alleles.controls),
        "note": note_of(alleles),
    }
    return Listing("features", page._replace(table=found), head)


def changed_in_all(result: Result, choice: Choice) -> Listing:
    """The feature rows that differ in any pair, those that change in most pairs first.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    choice : Choice
        The page, and perhaps a strand.

    Returns
    -------
    listing : Listing
        `pairs` is in how many pairs a row changed, `mean_change` its mean absolute change over
        these, `change` the largest with its sign, and `pair` where that is.
    """
    alleles = alleles_of(result)
    effects = result.table(EFFECTS)
    size = pc.abs(effects["change"])
    sums = effects.append_column("size", size).group_by(["feature", "strand"])
    table = sums.aggregate([("size", "count"), ("size", "mean"), ("size", "max")])
    order = effects.take(pa.array(np.argsort(-size.to_numpy(), kind="stable")))
    rows, first = np.unique(feature_rows(order), return_index=True)
    at = first[np.searchsorted(rows, feature_rows(table))]
    largest = order.take(pa.array(at))
    table = pa.table(
        {
            "feature": table["feature"],
            "strand": table["strand"],
            "pairs": table["size_count"],
            "mean_change": table["size_mean"],
            "change": largest["change"],
            "pair": largest["pair"],
            "size": table["size_max"],
        }
    )
    table = table.sort_by(
        [
            ("pairs", "descending"),
            ("size", "descending"),
            ("feature", "ascending"),
            ("strand", "descending"),
        ]
    ).drop_columns(["size"])
    page = page_of(table, choice)
    named = page.table
    names = pa.array(
        [alleles.pairs[index].name for index in named["pair"].to_pylist()], pa.string()
    )
    named = _labelled(result, named.append_column("pair_name", names))
    return Listing(
        "features", page._replace(table=named), {"pairs": len(alleles.pairs), "note": NOTE}
    )


def track_file(result: Result, path: Path, *, row: FeatureRow, track: AlleleTrack) -> None:
    """Write a track of the alternative alleles of a feature row as bigWig.

    Parameters
    ----------
    result : Result
        Of a run that compares alleles.
    path : Path
        Made or replaced; its folder exists.
    row : FeatureRow
        One that is nowhere active gives a track of 0.
    track : {"alternative", "difference"}
        As `annotations.allele_tracks.write_allele_track` takes it.

    Raises
    ------
    StateError
        If the run compares no alleles.
    OptionError
        If the strand was not read.
    """
    alleles = alleles_of(result)
    if row.strand == "-" and result.options.strands == "forward":
        raise OptionError("this run read the forward strand only; ask for strand + or either")
    write_allele_track(
        path,
        read_feature(result.activations, row.feature),
        alleles,
        result.names,
        result.lengths,
        track=track,
        strand=row.strand,
    )


def largest_changes(result: Result, rows: Sequence[FeatureRow]) -> dict[FeatureRow, float]:
    """The largest absolute change of each of some feature rows in any pair; 0 for none.

    For both strands it is the larger of the two.
    """
    features = pa.array(sorted({row.feature for row in rows}), pa.uint32())
    table = result.table(
        EFFECTS,
        filters=pc.field("feature").isin(features),
        columns=["feature", "strand", "change"],
    )
    largest: dict[tuple[int, int], float] = {}
    for found in table.to_pylist():
        key = found["feature"], found["strand"]
        largest[key] = max(largest.get(key, 0.0), abs(found["change"]))
    return {
        row: max(
            largest.get((row.feature, sign), 0.0)
            for sign in ((1, -1) if row.one_strand is None else (STRAND_SIGNS[row.one_strand],))
        )
        for row in rows
    }


PAIRS_SCHEMA: Final = pa.schema(
    [
        ("pair", pa.int64()),
        ("name", pa.string()),
        ("id", pa.string()),
        ("contig", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("reference_record", pa.string()),
        ("alternative_record", pa.string()),
        ("record_start", pa.int64()),
        ("record_end", pa.int64()),
        ("changed", pa.int64()),
        ("feature", pa.uint32()),
        ("strand", pa.int8()),
        ("change", pa.float32()),
        ("reference_max", pa.float32()),
        ("alternative_max", pa.float32()),
        ("contig_position", pa.int64()),
        ("log2_ratio", pa.float32()),
    ]
)
"""Columns of the list of pairs. `start` and `end` are the changed bases of the reference in
`contig`, `record_start` and `record_end` the same in `reference_record`."""


def _pair_row(number: int, pair: AllelePair, result: Result) -> dict[str, Any]:
    return {
        "pair": number,
        "name": pair.name,
        "id": pair.id,
        "contig": pair.contig,
        "start": pair.offset + pair.change.start,
        "end": pair.offset + pair.change.end,
        "reference_record": result.names[pair.reference],
        "alternative_record": result.names[pair.alternative],
        "record_start": pair.change.start,
        "record_end": pair.change.end,
    }


def _in_contig(pair: AllelePair, position: Any) -> dict[str, int | None]:
    return {"contig_position": None if position is None else pair.offset + position}


def _labelled(result: Result, table: pa.Table) -> pa.Table:
    """The table with what is known of each feature row; null where nothing is."""
    valid = table["feature"].is_valid().to_numpy()
    known = np.flatnonzero(valid)
    rows = feature_rows(table.filter(pa.array(valid)))
    place = np.full(table.num_rows, -1, dtype=np.int64)
    place[known] = np.arange(len(known))
    index = pa.array(place, mask=~valid)
    for name, values in zip(LABELS, catalog.features_beside(result, rows, LABELS), strict=True):
        table = table.append_column(name, values.take(index))
    return table
