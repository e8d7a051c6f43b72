"""One feature of a dictionary: what it is known for, on what evidence, beside which controls."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.errors import StateError
from annotations.match_table import MATCHES_SCHEMA
from annotations.types import STRAND_SIGNS, Strand
from app import catalog
from app.answers import RUN_COLUMNS, Listing, Source, baselines_of
from app.atlases import IndexedAtlas
from app.selection import (
    CONCEPT_SORTS,
    MATCH_SORTS,
    Choice,
    choose_concepts,
    choose_matches,
    feature_rows,
    json_rows,
)

GROUP_MEMBERS: Final = 50
"""Most members of a group that a view names; `group_size` counts all."""

_EVIDENCE_COLUMNS: Final = ("feature", "strand", "label", "group")


def feature_view(source: Source, index: int, *, strand: Strand | None = None) -> dict[str, Any]:
    """All that an atlas knows of a feature.

    Parameters
    ----------
    source : Source
        Its atlas answers; with a result, what the feature did in that run stands beside.
    index : int
        As `app.catalog.parse_feature` gives it.
    strand : {"+", "-"}, optional
        Only this one.

    Returns
    -------
    view : dict
        JSON values: `dictionary`, `feature`, `known` (False: the atlas says nothing of it on
        either strand), `atlas`, `rows`, one for each strand, and `baselines`: what controls
        reach for its motifs and concepts. A row has `strand`, `label`, the `evidence` that made
        the label, `group` with its members, `matches`, `concepts`, `examples`, `neighbours`,
        `has_motif` (whether it has a motif of its own to draw) and `run`.

    Raises
    ------
    StateError
        If the dictionary has no atlas.
    """
    atlas = source.atlas
    if atlas is None:
        raise StateError(
            f"dictionary {source.dictionary!r} has no atlas, so that nothing is known of its "
            "features; `saetrack atlas build` makes one, `saetrack atlas import` takes another's"
        )
    strands: tuple[Strand, ...] = ("+", "-") if strand is None else (strand,)
    rows = [_row_view(source, atlas, index, each) for each in strands]
    what = {match["matrix_id"] for row in rows for match in row["matches"]}
    what |= {concept["concept"] for row in rows for concept in row["concepts"]}
    return {
        "dictionary": source.dictionary,
        "feature": index,
        "known": any(row["label"] is not None or row["matches"] or row["concepts"] for row in rows),
        "atlas": atlas.brief(),
        "rows": rows,
        "baselines": baselines_of(atlas, sorted(what)),
    }


def _row_view(source: Source, atlas: IndexedAtlas, index: int, strand: Strand) -> dict[str, Any]:
    """What is known of a feature on one strand."""
    row = 2 * index + (STRAND_SIGNS[strand] < 0)
    labels = json_rows(atlas.labels.of(row))
    known: Mapping[str, Any] = labels[0] if labels else {}
    matches = choose_matches(atlas.matches.of(row), Choice(sort=next(iter(MATCH_SORTS))))
    concepts = choose_concepts(atlas.concepts.of(row), Choice(sort=next(iter(CONCEPT_SORTS))))
    return {
        "strand": strand,
        "label": known.get("label"),
        "evidence": {k: v for k, v in known.items() if k not in _EVIDENCE_COLUMNS},
        "group": _group(atlas, known.get("group")),
        "has_motif": atlas.row_motifs.of(row).num_rows > 0,
        "matches": json_rows(matches.table),
        "concepts": json_rows(concepts.table),
        "examples": _without_row(json_rows(atlas.examples.of(row))),
        "neighbours": _neighbours(atlas, row),
        "run": _in_run(source, row),
    }


def _group(atlas: IndexedAtlas, number: int | None) -> dict[str, Any] | None:
    """The features that fire together with one, itself among them; None if it is alone."""
    if number is None:
        return None
    labels = atlas.labels.table
    own = labels.filter(pc.equal(labels["group"], number))
    members = own.select(["feature", "strand", "label"]).slice(0, GROUP_MEMBERS)
    return {"group": number, "size": own.num_rows, "members": json_rows(members)}


def _neighbours(atlas: IndexedAtlas, row: int) -> list[dict[str, Any]]:
    """Feature rows whose activations go with this one's, with their labels."""
    own = atlas.neighbours.of(row)
    others = pa.table({"feature": own["other_feature"], "strand": own["other_strand"]})
    (labels,) = atlas.labels.beside(feature_rows(others), ["label"])
    return _without_row(json_rows(own.append_column("other_label", labels)))


def _in_run(source: Source, row: int) -> dict[str, Any] | None:
    """What a feature row did in a run; None without a run."""
    if source.result is None:
        return None
    did = catalog.features_beside(source.result, np.array([row]), RUN_COLUMNS)
    return {name: values[0].as_py() for name, values in zip(RUN_COLUMNS, did, strict=True)}


def _without_row(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the feature and strand that all of them share."""
    return [{k: v for k, v in row.items() if k not in {"feature", "strand"}} for row in rows]


class OwnMotif(NamedTuple):
    """What the bases at a feature row's peaks have in common."""

    counts: NDArray[np.int32]
    """Shape (4, width): A, C, G, T."""
    offset: int
    """Of the first column from the peak, in the sense of the pass."""


def own_motif(atlas: IndexedAtlas, index: int, strand: Strand) -> OwnMotif | None:
    """The motif of a feature's own aligned peaks; None where the atlas has none."""
    columns = atlas.row_motifs.of(2 * index + (STRAND_SIGNS[strand] < 0))
    if not columns.num_rows:
        return None
    counts = np.stack([columns[base].to_numpy() for base in "ACGT"])
    return OwnMotif(counts, int(columns["offset"][0].as_py()))


def feature_matches(source: Source, index: int, *, strand: Strand | None = None) -> Listing:
    """The motif matches of a feature alone, for a file."""
    table = MATCHES_SCHEMA.empty_table()
    if source.atlas is not None:
        table = source.atlas.matches.of_feature(index)
    return Listing("matches", choose_matches(table, Choice(strand=strand)), {"feature": index})
