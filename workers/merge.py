"""From shards to a result: the steps that need all of a computation's sequence.

    shards --> activations.parquet, statistics, top peaks
        --> motif hits and gene parts at the peaks     (a description)
        --> matches of features and motifs             (a test, or the reason why there is none)
        --> features.parquet, peaks.parquet, matches.parquet, provenance.json

The tables hold nothing but what follows from the inputs: no times, no names of
contigs. What a run cost and what made it is in provenance.json.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activations import active_windows, merge_stretches
from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.atlas import load_atlas
from annotations.cards import DictionaryCard, file_sha256
from annotations.enrichment import (
    MATCHES_SCHEMA,
    MatchResult,
    Power,
    background_windows,
    find_matches,
)
from annotations.errors import OptionError
from annotations.intervals import overlaps
from annotations.jaspar import MotifCatalogue, load_motifs
from annotations.motif_scan import HITS_SCHEMA, scan
from annotations.options import RESULT_SCHEMA, RunOptions
from annotations.peaks import FeatureStatistics, features_table, top_peaks
from annotations.provenance import environment, peak_memory_bytes, utc_now, write_provenance
from annotations.sequences import encode_bases, open_fasta, refget_digest
from annotations.tables import column
from workers.features import feature_table
from workers.peak_labels import GenePlaces, label_peaks

SIGNIFICANT_Q = 0.05
"""A match is claimed at or below this false discovery rate."""

RESULT_FILES = (
    "activations.parquet",
    "features.parquet",
    "peaks.parquet",
    "matches.parquet",
    "provenance.json",
)
"""What a merge writes; the first four are the same bytes for the same inputs."""


class MergeResult(NamedTuple):
    """What a merge found."""

    features: int
    """Feature rows with at least one active base."""
    peaks: int
    """Top peaks kept."""
    matches: int
    """Feature and motif pairs with q at most `SIGNIFICANT_Q`."""
    power: Power
    """Whether the motif test was made, and if not, why."""


class Sequences(NamedTuple):
    """The sequences of a computation in memory."""

    codes: list[NDArray[np.uint8]]
    """Base codes of each contig."""
    digests: list[str]
    """Refget digest of each contig."""

    @property
    def lengths(self) -> list[int]:
        """Bases of each contig."""
        return [len(codes) for codes in self.codes]


@dataclass
class Stages:
    """Names and times of the steps of a merge."""

    on_stage: Callable[[str], None]
    """Told the name of each step as it begins; may raise to stop the work."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each finished step."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """CPU time of each finished step, all threads of this process."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a step and time it."""
        self.on_stage(name)
        start, cpu_start = time.monotonic(), time.process_time()
        yield
        self.seconds[name] = round(time.monotonic() - start, 3)
        self.cpu_seconds[name] = round(time.process_time() - cpu_start, 3)


def merge(
    shards: Sequence[Path],
    fasta: Path,
    dictionary: DictionaryCard,
    options: RunOptions,
    out: Path,
    *,
    genes: pa.Table | None = None,
    atlas: Path | None = None,
    made_by: Mapping[str, object] | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> MergeResult:
    """Join the shards of a computation and say what stands at the peaks.

    Parameters
    ----------
    shards : sequence of Path
        Folders that `workers.pipeline.run_shard` wrote; together they own every base once.
    fasta : Path
        Normalised sequences: records are named by their index, ``0``, ``1``, ...
    dictionary : DictionaryCard
        The dictionary the shards were made with.
    options : RunOptions
        What the user chose.
    out : Path
        Existing folder for the `RESULT_FILES`.
    genes : Table of `annotations.genes.GENES_SCHEMA`, optional
        Gene parts; without them the gene columns are null.
    atlas : Path, optional
        Folder of the dictionary's atlas; without it the label columns are null.
    made_by : mapping, optional
        What the caller knows of how the shards were made, for provenance: JSON values.
    on_stage : callable
        Told the name of each step; may raise `workers.pipeline.Canceled`.

    Returns
    -------
    result : MergeResult
        Counts, and whether the motif test had power.

    Raises
    ------
    OptionError
        If there is no shard.
    SaetrackError
        If a shard's file, the atlas or the genes do not fit the sequences.
    """
    if not shards:
        raise OptionError("there is nothing to merge: no shards were given")
    started = utc_now()
    stages = Stages(on_stage)
    activations = out / "activations.parquet"
    with stages.stage("activations"):
        merge_stretches(
            [shard / "activations.parquet" for shard in shards],
            activations,
        )
    with stages.stage("peaks"):
        statistics = sum_statistics(shards)
        peaks = top_peaks(_peaks_of(shards), per_feature=options.peaks_per_feature)
        features = features_table(statistics)
        sequences = read_codes(fasta)
    catalogue = None
    hits = HITS_SCHEMA.empty_table()
    if options.taxon is not None:
        with stages.stage("motifs"):
            catalogue = load_motifs(options.taxon, options.release)
            hits = scan(sequences.codes, catalogue.motifs, p=options.motif_p)
    with stages.stage("labels"):
        places = None if genes is None else _gene_places(peaks, genes, sequences.lengths, out)
        labelled = label_peaks(peaks, hits, catalogue, genes, places)
    with stages.stage("matches"):
        found = _matches(peaks, hits, sequences, activations, dictionary, catalogue, options)
    with stages.stage("features"):
        labels = None if atlas is None else load_atlas(atlas, dictionary.sha256)
        features = feature_table(
            features,
            labelled,
            found.table,
            None if labels is None else labels.labels,
            significant_q=SIGNIFICANT_Q,
        )
    pq.write_table(features, out / "features.parquet")
    pq.write_table(labelled.table, out / "peaks.parquet")
    pq.write_table(found.table, out / "matches.parquet")
    q = found.table.column("q").to_numpy()
    result = MergeResult(
        features=int((features.column("active_bases").to_numpy() > 0).sum()),
        peaks=peaks.num_rows,
        matches=int((q <= SIGNIFICANT_Q).sum()),
        power=found.power,
    )
    record: dict[str, object] = {
        "result_schema": RESULT_SCHEMA,
        "options": options.to_json(),
        "dictionary": {
            "id": dictionary.id,
            "sha256": dictionary.sha256,
            "model_id": dictionary.model_id,
            "model_sha256": dictionary.model_sha256,
            "d_sae": dictionary.d_sae,
            "layer": dictionary.layer,
            "stride": dictionary.stride,
            "context": dictionary.context,
            "gate": dictionary.gate,
            "dtype": dictionary.dtype,
            "random_weights": dictionary.random_weights,
        },
        "atlas": None if labels is None else labels.card(),
        "contigs": [
            {"length": length, "refget": digest}
            for length, digest in zip(sequences.lengths, sequences.digests, strict=True)
        ],
        "counts": {
            "bases": sum(sequences.lengths),
            "shards": len(shards),
            "active_feature_rows": result.features,
            "peaks": result.peaks,
            "motif_hits": hits.num_rows,
            "matches": result.matches,
        },
        "motif_test": motif_test_record(found, catalogue),
        "files": {
            name: {"bytes": (out / name).stat().st_size, "sha256": file_sha256(out / name)}
            for name in RESULT_FILES[:-1]
        },
        "environment": environment(),
        "made_by": dict(made_by or {}),
        "merge": {
            "started": started,
            "finished": utc_now(),
            "seconds": stages.seconds,
            "cpu_seconds": stages.cpu_seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        },
    }
    write_provenance(out / "provenance.json", record)
    return result


def sum_statistics(shards: Sequence[Path]) -> FeatureStatistics:
    """The statistics of all shards together."""
    total = FeatureStatistics.from_table(pq.read_table(shards[0] / "statistics.parquet"))
    for shard in shards[1:]:
        total += FeatureStatistics.from_table(pq.read_table(shard / "statistics.parquet"))
    return total


def _peaks_of(shards: Sequence[Path]) -> Iterator[pa.Table]:
    """The peaks of each shard, one table in memory at a time."""
    for shard in shards:
        yield pq.read_table(shard / "peaks.parquet")


def read_codes(fasta: Path) -> Sequences:
    """Base codes and digests of every record of a normalised FASTA file, in order."""
    codes, digests = [], []
    with open_fasta(fasta) as source:
        for name in source.names:
            sequence = source.fetch(name, 0, source.length(name))
            codes.append(encode_bases(sequence))
            digests.append(refget_digest(sequence))
    return Sequences(codes, digests)


def motif_test_record(found: MatchResult, catalogue: MotifCatalogue | None) -> dict[str, object]:
    """What provenance says of the motif test: whether it was made, on what, and why not."""
    return {
        "tested": found.power.tested,
        "power": "tested" if found.power.tested else "underpowered",
        "loci": found.power.loci,
        "needed": found.power.needed,
        "reason": found.power.reason,
        "tested_pairs": found.tested_pairs,
        "significant_q": SIGNIFICANT_Q,
        "release": None if catalogue is None else catalogue.release,
        "taxon": None if catalogue is None else catalogue.taxon,
        "motifs": None if catalogue is None else len(catalogue.motifs),
    }


def _matches(
    peaks: pa.Table,
    hits: pa.Table,
    sequences: Sequences,
    activations: Path,
    dictionary: DictionaryCard,
    catalogue: MotifCatalogue | None,
    options: RunOptions,
) -> MatchResult:
    """Test every motif at every feature's peaks, or say why that was not done."""
    if catalogue is None:
        return MatchResult(
            MATCHES_SCHEMA.empty_table(), Power(False, 0, 0, "no motifs were asked for"), 0
        )
    background = background_windows(sequences.codes, seed=options.seed)
    windows = (background.contig, background.start, background.end)
    activity = active_windows(activations, windows, dictionary.d_sae)
    return find_matches(
        peaks, hits, sequences.codes, activity, motifs=catalogue.motifs, background=background
    )


def _gene_places(
    peaks: pa.Table, genes: pa.Table, lengths: Sequence[int], directory: Path
) -> GenePlaces:
    """Which peaks lie in which gene parts; each base is asked about once."""
    loci, of = np.unique(
        locus_index(column(peaks, "contig"), column(peaks, "position")), return_inverse=True
    )
    position = (loci & np.uint64(LARGEST_POSITION)).astype(np.int64)
    place, part = overlaps(
        pa.table(
            {
                "contig": pa.array((loci >> np.uint64(32)).astype(np.uint32)),
                "start": pa.array(position),
                "end": pa.array(position + 1),
            }
        ),
        genes,
        lengths=lengths,
        directory=directory,
    )
    return GenePlaces(len(loci), of, place, part)
