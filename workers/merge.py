"""From shards to a result: the steps that need all of a computation's sequence.

    shards --> activations.parquet, statistics, top peaks
        --> motif hits and gene parts at the peaks     (a description)
        --> matches of features and motifs             (a test, or the reason why there is none)
        --> how well features tell gene parts          (figures; needs an annotation)
        --> features, peaks, matches and concepts as Parquet, provenance.json

Contigs may be held out: thresholds and matches are then chosen on the others, and measured once
on these.

The tables hold nothing but what follows from the inputs: no times, no names of
contigs. What a run cost and what made it is in provenance.json.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.activation_merge import merge_activations
from annotations.activation_parts import LAYOUT, ONE_FILE
from annotations.allele_effects import allele_effects
from annotations.alleles import Alleles, alleles_record
from annotations.atlas import load_atlas
from annotations.cards import DictionaryCard, file_sha256
from annotations.concept_tracks import gene_tracks
from annotations.enrichment import Power
from annotations.errors import OptionError
from annotations.genome_regions import near_spans
from annotations.interval_concepts import CONCEPTS_SCHEMA, evaluate_concepts
from annotations.memory import return_memory
from annotations.motif_scan import HITS_SCHEMA
from annotations.options import RESULT_SCHEMA, RunOptions
from annotations.peaks import FeatureStatistics, TopPeaks, features_table
from annotations.provenance import environment, peak_memory_bytes, utc_now, write_provenance
from annotations.repeats import without_copies
from annotations.run_motifs import catalogue_of
from annotations.shard_bases import SHARD_FILE
from annotations.significance import SIGNIFICANT_Q
from annotations.tables import write_row_groups
from annotations.types import Span
from workers.association import (
    Corpus,
    associate,
    association_record,
    background_activity,
    on_contigs,
    scan_corpus,
)
from workers.expectation_merge import merge_expectation
from workers.features import feature_table, with_peaks
from workers.peak_labels import gene_places, label_peaks
from workers.run_sequences import Sequences, read_codes, regions_record, whole_contigs

TABLE_FILES = ("features.parquet", "peaks.parquet", "matches.parquet", "concepts.parquet")
"""Tables that a merge writes besides the activations."""

RESULT_FILES = (ONE_FILE, *TABLE_FILES, "provenance.json")
"""What a merge writes; all but the last are the same bytes for the same inputs. Of a large result
the first is `annotations.activation_parts.INDEX_FILE`, with parts beside it."""

EFFECTS_FILE = "allele_effects.parquet"
"""What a merge writes besides where the sequences are alleles of each other."""


class MergeResult(NamedTuple):
    """What a merge found."""

    features: int
    """Feature rows with at least one active base."""
    peaks: int
    """Top peaks kept."""
    matches: int
    """Feature and motif pairs with q at most `SIGNIFICANT_Q`."""
    confirmed: int | None
    """Those of them that hold on the held-out contigs ("predictive"); None where that was not
    tested."""
    power: Power
    """Whether the motif test was made, and if not, why."""


STAGE_SHARES = {
    "activations": 0.25,
    "peaks": 0.05,
    "motifs": 0.25,
    "labels": 0.05,
    "matches": 0.2,
    "concepts": 0.15,
    "features": 0.05,
    "alleles": 0.0,  # short, and only where alleles are compared
    "expectation": 0.0,  # short, and only where it was asked for
}
"""About what part of a merge's time each step takes, over a chromosome with genes."""


_OF_PEAKS = ["feature", "strand", "contig", "position", "value"]
"""What is read again of the file of peaks."""


@dataclass
class Stages:
    """Names and times of the steps of a merge."""

    on_stage: Callable[[str], None]
    """Told the name of each step as it begins; may raise to stop the work."""
    on_progress: Callable[[float], None]
    """Told the share of the work that is done; may raise to stop it."""
    done: float = 0.0
    """Share of the work that the finished steps stand for."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each finished step."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """CPU time of each finished step, all threads of this process."""

    def within(self, name: str) -> Callable[[float], None]:
        """A callback for a step, that takes the part of it that is done."""
        return lambda part: self.on_progress(self.done + STAGE_SHARES[name] * part)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a step and time it."""
        self.on_stage(name)
        self.on_progress(self.done)
        start, cpu_start = time.monotonic(), time.process_time()
        yield
        return_memory()
        self.done += STAGE_SHARES[name]
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
    motifs: Path | None = None,
    atlas: Path | None = None,
    spans: Sequence[Span] | None = None,
    alleles: Alleles | None = None,
    made_by: Mapping[str, object] | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> MergeResult:
    """Join the shards of a computation and say what stands at the peaks.

    Parameters
    ----------
    shards : sequence of Path
        Folders that `workers.pipeline.run_shard` wrote; together they own every base once.
    fasta : Path
        Normalised sequences: records are named by their index, ``0``, ``1``, ...; or pieces.
    dictionary : DictionaryCard
        The dictionary the shards were made with.
    options : RunOptions
        What the user chose.
    out : Path
        Existing folder for the `RESULT_FILES`.
    genes : Table of `annotations.genes.GENES_SCHEMA`, optional
        Gene parts; without them the gene columns are null, and no concepts are measured.
    motifs : Path, optional
        A user's file of motifs, tested beside those of the options' taxon, or alone.
    atlas : Path, optional
        Folder of the dictionary's atlas; without it the label columns are null.
    spans : sequence of Span, optional
        What the shards own, sorted and none touching another, where that is not all of every
        contig. Motifs, background and concepts are then looked for there alone; results are in
        coordinates of the contigs.
    alleles : Alleles, optional
        Which of the sequences are alleles of each other; `EFFECTS_FILE` is written then.
    made_by : mapping, optional
        What the caller knows of how the shards were made, for provenance: JSON values.
    on_stage : callable
        Told the name of each step; may raise `workers.pipeline.Canceled`.
    on_progress : callable
        Told about how much is done, 0 to 1, at each step and within the long ones; may raise as
        well.

    Returns
    -------
    result : MergeResult
        Counts, and whether the motif test had power.

    Raises
    ------
    OptionError
        If there is no shard, or contigs are held out that there are not.
    SaetrackError
        If a shard's file, the atlas or the genes do not fit the sequences.
    """
    if not shards:
        raise OptionError("there is nothing to merge: no shards were given")
    started = utc_now()
    stages = Stages(on_stage, on_progress)
    # what is read again and grows with the genome lies in files, as long as the steps last
    with tempfile.TemporaryDirectory(dir=out, prefix="merging-") as folder, ExitStack() as windows:
        scratch = Path(folder)
        top = TopPeaks(options.peaks_per_feature, held_out=options.held_out)
        with stages.stage("activations"):
            merged = merge_activations(
                [shard / SHARD_FILE for shard in shards],
                out,
                spans=whole_contigs(fasta) if spans is None else spans,
                n_features=dictionary.d_sae,
                layout=LAYOUT,
                on_part=stages.within("activations"),
                on_peaks=top.add,
            )
            activations = out / merged[0]
        with stages.stage("peaks"):
            statistics = sum_statistics(shards)
            found_peaks = top.table()
            del top
            features = features_table(statistics)
            del statistics
            sequences = read_codes(fasta, spans, folder=scratch)
            corpus = corpus_of(sequences, options.held_out, options.seed)
            excerpt = sequences.excerpt
            peaks = excerpt.inside(found_peaks)
        scanned, activity = None, None
        catalogue = catalogue_of(options, motifs)
        inside = excerpt.activations(activations, scratch / ONE_FILE)
        if catalogue is not None:
            with stages.stage("motifs"):
                # before anything else is held: to read all activations takes room of its own
                activity = windows.enter_context(
                    background_activity(corpus, inside, scratch, n_features=dictionary.d_sae)
                )
                return_memory()
                scanned = scan_corpus(
                    corpus, catalogue, peaks, p=options.motif_p, on_part=stages.within("motifs")
                )
        if genes is not None and spans is not None:
            genes = near_spans(genes, excerpt.spans)
        with stages.stage("labels"):
            labelled = label_peaks(
                peaks,
                HITS_SCHEMA.empty_table() if scanned is None else scanned.table,
                catalogue,
                None if genes is None else gene_places(found_peaks, genes, sequences.lengths, out),
                held_out=corpus.held_out,
            )
            features = with_peaks(features, labelled)
            write_row_groups(map(excerpt.outside, labelled.tables()), out / "peaks.parquet")
            del found_peaks, labelled
        with stages.stage("matches"), windows:
            found = associate(peaks, scanned, corpus, activity, catalogue=catalogue)
            matches = found.matches.table
        n_hits, n_peaks = 0 if scanned is None else scanned.total, peaks.num_rows
        del scanned, peaks  # the activations are read again, which takes room of its own
        with stages.stage("concepts"):
            concepts = CONCEPTS_SCHEMA.empty_table()
            if genes is not None:
                concepts = evaluate_concepts(
                    inside,
                    excerpt.tracks(gene_tracks(genes, sequences.lengths)),
                    dictionary.d_sae,
                    discovery=corpus.discovery,
                    held_out=list(corpus.held_out),
                    # copies of a repeat lie in the same gene part by descent: they count once
                    peaks=without_copies(
                        on_contigs(
                            excerpt.inside(pq.read_table(out / "peaks.parquet", columns=_OF_PEAKS)),
                            corpus.discovery,
                        ),
                        sequences.codes,
                    ),
                    scratch=scratch,
                )
    with stages.stage("features"):
        labels = None if atlas is None else load_atlas(atlas, dictionary.sha256)
        features = feature_table(
            features,
            matches,
            None if labels is None else labels.labels,
            significant_q=SIGNIFICANT_Q,
        )
    # the index of parts holds the digest of each
    written = [merged[0], *TABLE_FILES]
    if alleles is not None:
        with stages.stage("alleles"):
            effects = allele_effects(activations, alleles)
            # small groups: a question is for one pair
            pq.write_table(effects, out / EFFECTS_FILE, row_group_size=32_768)
            written.append(EFFECTS_FILE)
    expectation = None
    if options.expectation:
        with stages.stage("expectation"):
            expectation = merge_expectation(shards, out, alleles, sequences.codes)
            written += expectation.files
    pq.write_table(features, out / "features.parquet")
    pq.write_table(matches, out / "matches.parquet")
    pq.write_table(concepts, out / "concepts.parquet")
    result = MergeResult(
        features=int((features.column("active_bases").to_numpy() > 0).sum()),
        peaks=n_peaks,
        matches=pc.sum(pc.less_equal(matches["q"], SIGNIFICANT_Q)).as_py() or 0,
        confirmed=confirmed(matches) if found.held_out.tested else None,
        power=found.matches.power,
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
            # left out where it is the usual one, so that other results stay what they were
            **({} if dictionary.tap == "residual" else {"tap": dictionary.tap}),
            "stride": dictionary.stride,
            "context": dictionary.context,
            "gate": dictionary.gate,
            "k": dictionary.k,
            "dtype": dictionary.dtype,
            "tokenization": dictionary.tokenization,
            "nt_per_token": dictionary.nt_per_token,
            "resolution": dictionary.resolution,
            "random_weights": dictionary.random_weights,
        },
        "atlas": None if labels is None else labels.card(),
        "contigs": [
            {"length": length, "refget": digest}
            for length, digest in zip(sequences.lengths, sequences.digests, strict=True)
        ],
        "regions": None if spans is None else regions_record(excerpt),
        "counts": {
            "bases": sum(excerpt.lengths),
            "shards": len(shards),
            "active_feature_rows": result.features,
            "peaks": result.peaks,
            "motif_hits": n_hits,
            "matches": result.matches,
            "confirmed_matches": result.confirmed,
            "concepts": concepts.num_rows,
        },
        "held_out": list(options.held_out),
        "alleles": None if alleles is None else alleles_record(alleles),
        **({} if expectation is None else {"expectation": expectation.record}),
        "motif_test": association_record(found, catalogue, corpus, motif_p=options.motif_p),
        "files": {
            name: {"bytes": (out / name).stat().st_size, "sha256": file_sha256(out / name)}
            for name in written
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


def corpus_of(sequences: Sequences, held_out: Collection[int], seed: int) -> Corpus:
    """The sequences of a computation and those of them that discovery does not see.

    Parameters
    ----------
    sequences : Sequences
    held_out : collection of int
        Contigs; in the corpus, the spans on them.
    seed : int
        Of the random background windows.

    Raises
    ------
    OptionError
        If a contig is held out that there is not, or all of them are.
    """
    known = range(len(sequences.lengths))
    if not set(held_out) <= set(known) or len(set(held_out)) == len(known):
        raise OptionError(
            f"held_out must leave at least one of the {len(known)} contigs, which are numbered "
            f"from 0, got {sorted(held_out)}"
        )
    return Corpus(codes=sequences.codes, held_out=sequences.excerpt.held_out(held_out), seed=seed)


def confirmed(matches: pa.Table) -> int:
    """Significant matches whose evidence says "predictive"."""
    held = pc.and_(
        pc.less_equal(matches["q"], SIGNIFICANT_Q),
        pc.match_substring(matches["evidence"], "predictive"),
    )
    return pc.sum(held).as_py() or 0
