"""From the result of a run over a reference genome to the atlas of its dictionary.

    matches, concepts        --best_matches, best_concepts-->  the rows worth keeping
    activations, sequences   --examples, neighbours, groups, the rows' own motifs
    all of it                --fitted-->  an atlas of at most so many bytes

Everything but the held-out figures is made of the contigs of discovery alone, the examples too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activation_parts import folder_activations
from annotations.activations import window_maxima
from annotations.atlas import (
    ROW_MOTIFS_SCHEMA,
    Atlas,
    AtlasCard,
    pack,
    read_table,
    rounded,
)
from annotations.baselines import BASELINES_SCHEMA, best_rows, gc_rows
from annotations.concept_tracks import gene_tracks
from annotations.errors import FormatError, LimitError
from annotations.evidence import with_evidence
from annotations.feature_examples import RANGES, Sampled, examples_table, sample_peaks
from annotations.feature_groups import correlations, groups
from annotations.genome_folder import Reference
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.intervals import overlaps
from annotations.labels import gene_parts
from annotations.match_table import MATCHES_SCHEMA
from annotations.motif_catalogue import USER
from annotations.motif_similarity import RowMotifs, row_motifs
from annotations.motif_windows import background_windows
from annotations.naming import best_labels
from annotations.provenance import read_provenance
from annotations.sequences import contigs, encode_bases
from annotations.significance import SIGNIFICANT_Q
from annotations.tables import column
from annotations.types import Contig


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How much of each feature row an atlas keeps."""

    matches: int = 10
    """Matches of a row: those with the most kinds of evidence, then the smallest q."""
    concepts: int = 5
    """Concepts of a row, by effect; the 25 best rows of each concept are kept besides."""
    examples: int = 5
    """Examples of a row in each range of activation."""
    neighbours: int = 5
    """Neighbours of a row."""


LEVELS: Final = (
    Kept(),
    Kept(matches=10, concepts=4, examples=3, neighbours=5),
    Kept(matches=8, concepts=3, examples=2, neighbours=4),
    Kept(matches=6, concepts=2, examples=1, neighbours=3),
    Kept(matches=4, concepts=1, examples=1, neighbours=1),
)
"""What is kept, the most first: an atlas takes the first level at which it fits its size."""

ROWS_PER_CONCEPT: Final = 25
"""Feature rows of each concept that are kept whatever the level, by AUPRC on discovery contigs."""


def build_atlas(
    result: Path,
    reference: Reference,
    *,
    genome: str,
    max_bytes: int,
    baselines: Sequence[Path] = (),
    causal: pa.Table | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Atlas:
    """Make the atlas of a dictionary from its run over a reference genome.

    Parameters
    ----------
    result : Path
        Folder that `workers.merge.merge` wrote.
    reference : Reference
        The sequences of the run and their genes.
    genome : str
        What was read, in words.
    max_bytes : int
        Largest atlas; less is kept of each feature until it fits.
    baselines : sequence of Path
        Folders of runs of baseline dictionaries over the same sequences.
    causal : Table, optional
        Columns feature, strand, matrix_id, causal_effect, causal_q of tested matches.
    on_stage : callable
        Told the name of each step; may raise to stop the work.

    Returns
    -------
    Atlas
        In memory; `annotations.atlas.write_atlas` writes it.

    Raises
    ------
    StorageError, FormatError
        If the result is incomplete, of other sequences, or made without JASPAR's motifs.
    LimitError
        If it does not fit `max_bytes` at the tightest of `LEVELS`.
    """
    provenance = read_provenance(result / "provenance.json")
    dictionary, test = provenance.get("dictionary"), provenance.get("motif_test")
    if not isinstance(dictionary, dict) or not isinstance(test, dict):
        raise FormatError(
            f"{result / 'provenance.json'} names no dictionary or no motif test; an atlas is made "
            "from the folder of a complete run"
        )
    release, taxon = test.get("release"), test.get("taxon")
    if not isinstance(release, str) or not isinstance(taxon, str) or release == USER:
        raise FormatError(
            "an atlas needs a run that looked for motifs of JASPAR, this one looked for none"
        )
    found = contigs_of_result(provenance, reference)
    out: Any = provenance.get("held_out") or []
    discovery = [at for at in range(len(found)) if at not in out]
    codes = [encode_bases(record.sequence) for record in reference.records]
    seen = [each if at in discovery else each[:0] for at, each in enumerate(codes)]

    on_stage("matches and concepts")
    matches = read_table(result / "matches.parquet", MATCHES_SCHEMA)
    if causal is not None:
        matches = with_causal(matches, causal)
    concepts = read_table(result / "concepts.parquet", CONCEPTS_SCHEMA)
    peaks = pq.read_table(result / "peaks.parquet")
    peaks = peaks.filter(pa.array(np.isin(column(peaks, "contig"), discovery)))

    on_stage("neighbours")
    activations = folder_activations(result)
    background = background_windows(seen)
    windows = (background.contig, background.start, background.end)
    n_features = int(dictionary["d_sae"])
    near = correlations(window_maxima(activations, windows, n_features))
    numbers = groups(near.links, leaders(matches, near.active))
    grouped = {
        (row // 2, -1 if row % 2 else 1): int(numbers[row])
        for row in np.flatnonzero(numbers >= 0).tolist()
    }

    on_stage("examples")
    sampled = sample_peaks(activations, [contig.length for contig in found], contigs=discovery)
    names = _gene_names(sampled, reference.genes, [contig.length for contig in found], result)
    examples = examples_table(sampled, codes, [contig.name for contig in found], names)

    on_stage("motifs of rows")
    own = row_motifs_table(row_motifs(peaks, seen))

    on_stage("baselines")
    beside = [BASELINES_SCHEMA.empty_table(), *(best_rows(folder) for folder in baselines)]
    if reference.genes is not None:
        tracks = gene_tracks(reference.genes, [contig.length for contig in found])
        beside.append(gc_rows(codes, tracks, discovery=discovery, held_out=out))

    matches, concepts = rounded(matches), rounded(concepts)
    labels = best_labels(matches, concepts, grouped)
    significant = pc.less_equal(matches["q"], SIGNIFICANT_Q)
    about = AtlasCard(
        dictionary_id=dictionary["id"],
        dictionary_sha256=dictionary["sha256"],
        genome=genome,
        release=release,
        taxon=taxon,
        counts={
            "peaks": peaks.num_rows,
            "tested_pairs": int(test.get("tested_pairs", 0)),
            "matches": int(pc.sum(significant).as_py() or 0),
            "feature_rows": labels.num_rows,
            "labels": labels.num_rows - labels["label"].null_count,
            "groups": int(numbers.max(initial=-1)) + 1,
            "correlation_windows": near.windows,
        },
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        discovery=[found[at]._asdict() for at in discovery],
        held_out=[found[at]._asdict() for at in out],
        motif_test={name: value for name, value in test.items() if name not in {"reason"}},
        software=metadata.version("saetrack"),
    )
    whole = Atlas(
        about,
        labels=rounded(labels),
        matches=matches,
        concepts=concepts,
        examples=rounded(examples),
        neighbours=rounded(near.neighbours),
        row_motifs=own,
        baselines=rounded(pa.concat_tables(beside)),
    )
    return fitted(whole, max_bytes)


def contigs_of_result(provenance: Mapping[str, Any], reference: Reference) -> list[Contig]:
    """The contigs of a genome, if a result was made on just these.

    Raises
    ------
    FormatError
        If the result is of other sequences.
    """
    if provenance.get("regions") is not None:
        raise FormatError(
            "the result is of regions of its sequences; an atlas is built of a run over all of them"
        )
    found = contigs(reference.records)
    if [contig.digest for contig in found] != [
        each.get("refget") for each in provenance["contigs"]
    ]:
        raise FormatError(
            "the result is of other sequences than the genome; give the genome it was made on, "
            "and leave out the same contigs"
        )
    return found


def fitted(atlas: Atlas, max_bytes: int) -> Atlas:
    """The atlas at the first of `LEVELS` at which its tables take at most `max_bytes`.

    Raises
    ------
    LimitError
        If it fits at none.
    """
    for kept in LEVELS:
        smaller = trimmed(atlas, kept)
        size = sum(len(pack(table)) for table in smaller.tables.values())
        if size <= max_bytes:
            return smaller
    raise LimitError(
        f"the atlas has {size} bytes with the least kept of each feature, at most {max_bytes} are "
        "allowed; allow more with --max-bytes"
    )


def trimmed(atlas: Atlas, kept: Kept) -> Atlas:
    """An atlas with at most so many rows of each feature row; labels and motifs stay whole."""
    about = replace(atlas.about, kept=asdict(kept))
    return replace(
        atlas,
        about=about,
        matches=best_matches(atlas.matches, per_row=kept.matches),
        concepts=best_concepts(atlas.concepts, per_row=kept.concepts),
        examples=_fewer_examples(atlas.examples, kept.examples),
        neighbours=_first_of_rows(atlas.neighbours, kept.neighbours),
    )


def best_matches(matches: pa.Table, *, per_row: int) -> pa.Table:
    """The best significant matches of each feature row.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`
    per_row : int
        Matches kept for each feature and strand.

    Returns
    -------
    matches : Table
        The same columns, sorted by feature, strand (+ first), kinds of evidence (most first), q
        and effect.
    """
    kinds = pc.if_else(
        pc.equal(matches["evidence"], ""),
        0,
        pc.add(pc.count_substring(matches["evidence"], ";"), 1),
    )
    numbered = matches.append_column("kinds", kinds)
    kept = numbered.filter(pc.less_equal(matches["q"], SIGNIFICANT_Q)).sort_by(
        [
            ("feature", "ascending"),
            ("strand", "descending"),
            ("kinds", "descending"),
            ("q", "ascending"),
            ("log2_enrichment", "descending"),
            ("matrix_id", "ascending"),
        ]
    )
    return _first_of_rows(kept.drop_columns(["kinds"]), per_row)


def best_concepts(concepts: pa.Table, *, per_row: int) -> pa.Table:
    """The concepts that a feature row prefers most, and the rows that tell a concept best.

    Parameters
    ----------
    concepts : Table of `annotations.interval_concepts.CONCEPTS_SCHEMA`
    per_row : int
        Significant concepts kept for each feature and strand, by effect.

    Returns
    -------
    concepts : Table
        Of those, and of the `ROWS_PER_CONCEPT` rows of each concept and orientation with the
        largest AUPRC; the order they had.
    """
    if not concepts.num_rows:
        return concepts
    place = pa.array(np.arange(concepts.num_rows))
    numbered = concepts.append_column("place", place)
    significant = pc.fill_null(
        pc.and_(
            pc.less_equal(concepts["q"], SIGNIFICANT_Q),
            pc.greater(concepts["log2_enrichment"], 0.0),
        ),
        False,
    )
    keys = [("feature", "ascending"), ("strand", "descending"), ("log2_enrichment", "descending")]
    preferred = _first_of_rows(numbered.filter(significant).sort_by(keys), per_row)
    by_label = [("concept", "ascending"), ("orientation", "ascending"), ("auprc", "descending")]
    told = numbered.filter(pc.is_valid(concepts["auprc"])).sort_by(by_label)
    label = pc.binary_join_element_wise(told["concept"], told["orientation"], " ")
    codes = label.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    rank = np.arange(len(codes)) - np.searchsorted(codes, codes)
    best = told.filter(pa.array(rank < ROWS_PER_CONCEPT))
    chosen = np.union1d(column(preferred, "place"), column(best, "place"))
    return concepts.take(pa.array(chosen))


def leaders(matches: pa.Table, active: NDArray[np.int64]) -> NDArray[np.int64]:
    """Feature rows in the order in which they may lead a group.

    The row with the surest motif match first; among equals, and among those without a match, the
    one active in the most windows.
    """
    q = np.ones(len(active))
    known = matches.filter(pc.is_valid(matches["q"]))
    np.minimum.at(q, _row_of(known), column(known, "q"))
    return np.lexsort((np.arange(len(active)), -active, q))


def with_causal(matches: pa.Table, causal: pa.Table) -> pa.Table:
    """Matches with the effect of edits, their p corrected over all pairs edited.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`
    causal : Table
        Columns feature, strand, matrix_id, causal_effect, causal_q.

    Returns
    -------
    matches : Table of MATCHES_SCHEMA
        `causal_p` is the q of `causal`: one family, whose size depends on how many were tested.
    """
    keys = ("feature", "strand", "matrix_id")
    rows = causal.to_pylist()
    found = {tuple(row[key] for key in keys): row for row in rows}
    asked = list(zip(*(matches[key].to_pylist() for key in keys), strict=True))
    for name, source in (("causal_effect", "causal_effect"), ("causal_p", "causal_q")):
        values = pa.array([found.get(key, {}).get(source) for key in asked], pa.float64())
        at = MATCHES_SCHEMA.get_field_index(name)
        matches = matches.set_column(at, MATCHES_SCHEMA.field(at), values)
    return with_evidence(matches)


def row_motifs_table(motifs: RowMotifs) -> pa.Table:
    """The motifs of feature rows that are clear enough to be compared, as `ROW_MOTIFS_SCHEMA`."""
    middle = motifs.counts.shape[2] // 2
    parts = []
    for place in np.flatnonzero(motifs.comparable).tolist():
        row, start, end = int(motifs.rows[place]), motifs.start[place], motifs.end[place]
        counts = motifs.motif(place)
        parts.append(
            pa.table(
                [
                    np.full(end - start, row // 2, np.uint32),
                    np.full(end - start, 1 - 2 * (row % 2), np.int8),
                    np.arange(start - middle, end - middle, dtype=np.int32),
                    *(counts[base].astype(np.int32) for base in range(4)),
                ],
                schema=ROW_MOTIFS_SCHEMA,
            )
        )
    return pa.concat_tables([ROW_MOTIFS_SCHEMA.empty_table(), *parts]).combine_chunks()


def _gene_names(
    sampled: Sampled, genes: pa.Table | None, lengths: Sequence[int], scratch: Path
) -> pa.Array | None:
    """Names of the genes at each example; each base is asked about once."""
    if genes is None:
        return None
    contig = column(sampled.peaks, "contig").astype(np.int64)
    place, of = np.unique((contig << 32) | column(sampled.peaks, "position"), return_inverse=True)
    position = place & (2**32 - 1)
    bases = pa.table(
        {
            "contig": pa.array((place >> 32).astype(np.uint32)),
            "start": pa.array(position),
            "end": pa.array(position + 1),
        }
    )
    base, part = overlaps(bases, genes, lengths=lengths, directory=scratch)
    return gene_parts(len(place), base, part, genes).names.take(pa.array(of))


def _row_of(table: pa.Table) -> NDArray[np.int64]:
    return 2 * column(table, "feature").astype(np.int64) + (column(table, "strand") < 0)


def _first_of_rows(table: pa.Table, most: int) -> pa.Table:
    """The first rows of each feature row of a table that is sorted by them."""
    row = _row_of(table)
    return table.filter(pa.array(np.arange(len(row)) - np.searchsorted(row, row) < most))


def _fewer_examples(examples: pa.Table, most: int) -> pa.Table:
    """Examples at even distances within each range of a feature row, the strongest among them."""
    part = RANGES * _row_of(examples) + column(examples, "range") - 1
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    sizes = np.diff(np.append(starts, len(part)))
    kept = [
        start + np.unique(np.linspace(0, size - 1, min(most, size)).round().astype(np.int64))
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
    ]
    return examples.take(pa.array(np.concatenate([np.empty(0, np.int64), *kept])))
