"""What two alleles of a sequence change in the features: per base and per feature row.

    activations of all records + Alleles --allele_effects--> EFFECTS_SCHEMA
    of one feature row, a pair           --values_of_pair--> both alleles at reference coordinates

Differences are alternative minus reference, in coordinates of the reference record; the rule for
inserted and deleted bases is that of `annotations.allele_maps`. Sums and maxima are over the bases
that can differ (see `Alleles.one_sided`), each allele on its own bases, so that an inserted base
counts in full.

This is a measurement on two sequences, not a test: it has no p-value. Controls (random
substitutions nearby) say how often any change of a base moves a feature row as far.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activations import stretch_groups
from annotations.active_bases import Activations, concatenate, row_index, select
from annotations.alleles import AllelePair, Alleles
from annotations.errors import CoordinateError
from annotations.stretches import from_stretches
from annotations.tables import column

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

EFFECTS_SCHEMA: Final = pa.schema(
    [
        pa.field("pair", pa.uint32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("reference_max", pa.float32(), nullable=False),
        pa.field("alternative_max", pa.float32(), nullable=False),
        pa.field("max_difference", pa.float32(), nullable=False),
        pa.field("reference_sum", pa.float32(), nullable=False),
        pa.field("alternative_sum", pa.float32(), nullable=False),
        pa.field("sum_difference", pa.float32(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("change", pa.float32(), nullable=False),
        pa.field("controls_as_large", pa.int32()),
    ]
)
"""A row for each pair and feature row that changed, sorted by pair and rank. `change` is the
largest change at one base, with its sign, and `position` that base of the reference record;
`controls_as_large` is how many of the pair's controls change the row as much at a base, null where
there are none."""

ROUNDING: Final = 2.0**-9
"""Changes up to this share of the larger value are rounding: values are stored with a relative
error of 2**-11, and the two records are computed in different places of a batch."""


def allele_effects(path: Path, alleles: Alleles) -> pa.Table:
    """How each feature row differs between the two alleles of each pair.

    Parameters
    ----------
    path : Path
        Activations of all records, as `annotations.activations.merge_stretches` wrote them.
    alleles : Alleles
        The pairs.

    Returns
    -------
    table : Table of EFFECTS_SCHEMA
        Rank 1 is the feature row with the largest absolute change at a base of the pair. Feature
        rows without a change above `ROUNDING` are left out.

    Raises
    ------
    StorageError
        If the file is missing or cut.
    CoordinateError
        If an activation lies outside its allele.
    """
    found = _of_pairs(path, alleles)
    if alleles.controls:
        as_large = pa.array(_as_large(path, alleles, found), pa.int32())
        at = EFFECTS_SCHEMA.get_field_index("controls_as_large")
        found = found.set_column(at, EFFECTS_SCHEMA.field(at), as_large)
    pair, change = column(found, "pair"), column(found, "change")
    row = row_index(column(found, "feature"), column(found, "strand"))
    order = np.lexsort((row, -np.abs(change), pair))
    rank = np.arange(len(order)) - np.searchsorted(pair[order], pair[order]) + 1
    at = EFFECTS_SCHEMA.get_field_index("rank")
    found = found.take(pa.array(order))
    return found.set_column(at, EFFECTS_SCHEMA.field(at), pa.array(rank.astype(np.int32)))


def _of_pairs(path: Path, alleles: Alleles) -> pa.Table:
    """The effects of all pairs, in the order of the feature rows; without ranks and controls."""
    blocks, layout = whole_features(stretch_groups(path)), _layout(alleles)
    return pa.concat_tables(
        [EFFECTS_SCHEMA.empty_table(), *(_effects(block, alleles, layout) for block in blocks)]
    )


def _as_large(path: Path, alleles: Alleles, found: pa.Table) -> Ints:
    """In how many rounds of controls each row of a table changes as much at a base."""
    count = np.zeros(found.num_rows, dtype=np.int64)
    wanted, size = _keys(found, alleles), np.abs(column(found, "change"))
    for pairs in alleles.controls:
        control = _of_pairs(path, alleles._replace(pairs=pairs, controls=()))
        keys, change = _keys(control, alleles), np.abs(column(control, "change"))
        order = np.argsort(keys)
        at = np.minimum(np.searchsorted(keys[order], wanted), max(0, len(keys) - 1))
        if len(keys):
            count += (keys[order][at] == wanted) & (change[order][at] >= size)
    return count


def _keys(table: pa.Table, alleles: Alleles) -> Ints:
    """A number for each pair and feature row."""
    row = row_index(column(table, "feature"), column(table, "strand")).astype(np.int64)
    return np.asarray(row * len(alleles.pairs) + column(table, "pair"), dtype=np.int64)


def values_of_pair(active: Activations, pair: AllelePair) -> Floats:
    """Activations of both alleles at every base of the reference record.

    Parameters
    ----------
    active : Activations
        Of one feature, on one strand or both; of both, the larger value of each allele counts.
    pair : AllelePair
        The two records.

    Returns
    -------
    values : ndarray of float32, shape (2, bases of the reference record)
        Reference, alternative; 0 where silent.

    Raises
    ------
    CoordinateError
        If an activation lies outside its allele.
    """
    values = np.zeros((2, pair.map.reference_length), dtype=np.float32)
    for side, contig in enumerate((pair.reference, pair.alternative)):
        own = select(active, active.contig == contig)
        np.maximum.at(
            values[side], _lifted(own.position, pair) if side else own.position, own.value
        )
    return values


def whole_features(groups: Iterable[pa.Table]) -> Iterator[Activations]:
    """The active bases of sorted tables of stretches, cut between features only."""
    waiting: list[Activations] = []
    for table in groups:
        active = from_stretches(table)
        begins = active.feature < active.feature[-1]
        if begins.any() or (waiting and waiting[-1].feature[-1] != active.feature[-1]):
            yield concatenate([*waiting, select(active, begins)])
            waiting = []
        waiting.append(select(active, ~begins))
    if waiting:
        yield concatenate(waiting)


class _Layout(NamedTuple):
    """What each record is, by its index; records beyond the arrays belong to no pair."""

    pair: Ints
    """Index of the pair; -1 for none."""
    side: Ints
    """1 for an alternative."""
    first: Ints
    """On "+", the first base that can differ."""
    past: Ints
    """On "-", one past the last base that can differ."""
    length: Ints
    """Bases of the record."""


def _effects(active: Activations, alleles: Alleles, layout: _Layout) -> pa.Table:
    """The effects on some features, all of whose active bases are given; without ranks."""
    active = _differing(active, layout)
    if not len(active.value):
        return EFFECTS_SCHEMA.empty_table()
    pair, side = layout.pair[active.contig], layout.side[active.contig]
    place = _in_reference(active, alleles, side)
    row = row_index(active.feature, active.strand).astype(np.int64)
    cells, cell = np.unique(row * len(alleles.pairs) + pair, return_inverse=True)
    # sums and maxima on each allele's own bases
    sums = np.zeros((2, len(cells)), dtype=np.float64)
    np.add.at(sums, (side, cell), active.value)
    maxima = np.zeros((2, len(cells)), dtype=np.float32)
    np.maximum.at(maxima, (side, cell), active.value)
    # the largest change at a base, in coordinates of the reference
    width = int(place.max()) + 1
    loci, locus = np.unique(cell * width + place, return_inverse=True)
    values = np.zeros((2, len(loci)), dtype=np.float32)
    np.maximum.at(values, (side, locus), active.value)
    difference = values[1] - values[0]
    larger = values.max(axis=0)
    difference[np.abs(difference) <= ROUNDING * larger] = 0
    order = np.lexsort((loci, -np.abs(difference), loci // width))
    best = order[np.searchsorted((loci // width)[order], np.arange(len(cells)))]
    changed = np.flatnonzero(difference[best] != 0)
    best = best[changed]
    pair, row = cells[changed] % len(alleles.pairs), cells[changed] // len(alleles.pairs)
    columns = {
        "pair": pair,
        "rank": np.zeros(len(changed)),
        "feature": row // 2,
        "strand": np.where(row % 2, -1, 1),
        "reference_max": maxima[0, changed],
        "alternative_max": maxima[1, changed],
        "max_difference": maxima[1, changed] - maxima[0, changed],
        "reference_sum": sums[0, changed],
        "alternative_sum": sums[1, changed],
        "sum_difference": sums[1, changed] - sums[0, changed],
        "position": loci[best] % width,
        "change": difference[best],
    }
    arrays = [
        pa.array(columns[field.name].astype(field.type.to_pandas_dtype()))
        for field in EFFECTS_SCHEMA
        if field.name in columns
    ]
    arrays.append(pa.nulls(len(changed), pa.int32()))
    return pa.Table.from_arrays(arrays, schema=EFFECTS_SCHEMA)


def _layout(alleles: Alleles) -> _Layout:
    records = 1 + max(max(pair.reference, pair.alternative) for pair in alleles.pairs)
    layout = _Layout(*(np.full(records, fill, dtype=np.int64) for fill in (-1, 0, 0, 0, 0)))
    for index, pair in enumerate(alleles.pairs):
        for side, record in enumerate((pair.reference, pair.alternative)):
            length = pair.map.alternative_length if side else pair.map.reference_length
            first, past = changing_bases(pair, side) if alleles.one_sided else (0, length)
            layout.length[record] = length
            layout.pair[record], layout.side[record] = index, side
            layout.first[record], layout.past[record] = first, past
    return layout


def changing_bases(pair: AllelePair, side: int) -> tuple[int, int]:
    """First base of the change and one past its last, in an allele's own coordinates.

    Where `Alleles.one_sided`, nothing can differ left of the first on "+", nor from one past the
    last on "-". The base that inserted bases are counted to belongs to them on both passes.

    Parameters
    ----------
    pair : AllelePair
        The two records.
    side : {0, 1}
        The reference, the alternative.
    """
    change = pair.change
    first, past = change.start, change.end
    if change.alternative_start < change.alternative_end:
        ends = np.array([change.alternative_start, change.alternative_end - 1])
        left, right = pair.map.to_reference(ends).tolist()
        first, past = min(first, left), max(past, right + 1)
    # both records are equal, but for a shift, on either side of the change
    return first, past + side * (change.alternative_end - change.end)


def _differing(active: Activations, layout: _Layout) -> Activations:
    """The active bases that stand at or behind a change, in the sense of their pass."""
    active = select(active, active.contig < len(layout.pair))
    active = select(active, layout.pair[active.contig] >= 0)
    outside = np.flatnonzero(active.position >= layout.length[active.contig])
    if len(outside):
        raise _outside(int(active.position[outside[0]]))
    behind = np.where(
        active.strand > 0,
        active.position >= layout.first[active.contig],
        active.position < layout.past[active.contig],
    )
    return select(active, behind)


def _in_reference(active: Activations, alleles: Alleles, side: Ints) -> Ints:
    """Places of active bases in the reference records."""
    place = active.position.copy()
    # most variants replace single bases: their alternatives are not moved
    shifted = {
        pair.alternative: pair
        for pair in alleles.pairs
        if pair.map.blocks != ((0, 0, pair.map.alternative_length),)
    }
    moved = np.flatnonzero((side > 0) & np.isin(active.contig, list(shifted)))
    if len(moved):
        order = moved[np.argsort(active.contig[moved], kind="stable")]
        contigs, start = np.unique(active.contig[order], return_index=True)
        for contig, rows in zip(contigs.tolist(), np.split(order, start[1:]), strict=True):
            place[rows] = _lifted(active.position[rows], shifted[contig])
    return place


def _lifted(positions: Ints, pair: AllelePair) -> Ints:
    """Places in the reference record, after a check that they lie in the alternative."""
    if len(positions) and int(positions.max()) >= pair.map.alternative_length:
        raise _outside(int(positions.max()))
    return pair.map.to_reference(positions)


def _outside(position: int) -> CoordinateError:
    return CoordinateError(
        f"an activation at base {position} lies outside its allele: the activations are not those "
        "of these records"
    )


SUMMED: Final = (
    "pair",
    "rank",
    "feature",
    "strand",
    "change",
    "reference_max",
    "alternative_max",
    "position",
)
"""Columns that `summaries` looks at."""


def summaries(effects: pa.Table, pairs: Sequence[AllelePair]) -> list[dict[str, object]]:
    """What each pair changed most: `changed` feature rows and the first of them, or nulls.

    Parameters
    ----------
    effects : Table
        Columns `SUMMED` of what `allele_effects` returns.
    pairs : sequence of AllelePair
        All pairs.

    Returns
    -------
    rows : list of dict
        One for each pair, in order: `changed`, and `feature`, `strand` (a sign), `change`,
        `reference_max`, `alternative_max`, `position` of its first row.
    """
    counts = np.bincount(effects["pair"].to_numpy(), minlength=len(pairs))
    names = SUMMED[2:]
    first = effects.filter(pa.array(effects["rank"].to_numpy() == 1)).to_pylist()
    best = {row["pair"]: {name: row[name] for name in names} for row in first}
    nothing: dict[str, object] = dict.fromkeys(names)
    return [
        {"changed": int(count), **best.get(index, nothing)} for index, count in enumerate(counts)
    ]
