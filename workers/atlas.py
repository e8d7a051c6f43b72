"""`saetrack atlas build` without its command line: a registered genome in, an atlas out.

genome --annotate_file--> result (kept in a work folder) --causal tests, build_atlas--> atlas
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from annotations.activation_parts import folder_activations
from annotations.atlas import MAX_BYTES, Atlas, write_atlas
from annotations.atlas_build import best_matches, build_atlas, contigs_of_result
from annotations.cards import ATLAS_FOLDER, DictionaryCard, find_cards
from annotations.causal_sites import CausalOptions
from annotations.causal_sites import Genome as Sites
from annotations.contig_aliases import ContigNames
from annotations.errors import OptionError, StateError, UnknownNameError, WeightsError
from annotations.genome_folder import Genome, Reference, open_genome, read_genome
from annotations.jaspar import load_motifs
from annotations.options import RunOptions
from annotations.provenance import read_provenance
from annotations.sequences import contigs, encode_bases
from workers.annotate import Request, annotate_file, choose_options
from workers.causal import causal_table
from workers.commands.places import settings_from_environment
from workers.device import choose_device
from workers.registry import open_dictionary
from workers.result_folder import Progress
from workers.training.reading import log_reading


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What the command line asked for."""

    genome: str
    """Name of a registered genome."""
    dictionary: str
    work: Path | None = None
    """Folder of shards and result; kept, so that the same command goes on from there."""
    taxon: str | None = None
    """JASPAR group; of a run that is to be made."""
    result: Path | None = None
    """Folder of a finished run of `saetrack annotate` over the genome, instead of a new one."""
    out: Path | None = None
    """Folder of the atlas; by default beside the dictionary."""
    held_out: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    release: str | None = None
    title: str | None = None
    """What the genome is, in words; by default its name and contigs."""
    log: Path | None = None
    """File to which the reading of held-out contigs is logged."""
    baselines: tuple[Path, ...] = ()
    """Result folders of baseline dictionaries."""
    causal: int = 0
    """Matches to test by edits of the sequence."""
    max_bytes: int = MAX_BYTES
    device: str = "auto"
    threads: int | None = None
    batch: int = 8
    force: bool = False
    models: tuple[Path, ...] | None = None


def build(
    request: BuildRequest, *, on_progress: Progress = lambda what, done, total: None
) -> tuple[Atlas, Path]:
    """Run a dictionary over a registered genome, and make its atlas of the result.

    Parameters
    ----------
    request : BuildRequest
        What to do. A work folder that holds the finished result of the same run is not computed
        again.
    on_progress : callable
        Told how the work goes on.

    Returns
    -------
    atlas : Atlas
        As written.
    folder : Path
        Where.

    Raises
    ------
    SaetrackError
        If an input, an option or the installation is wrong, or the work folder is of another run.
    """
    settings = settings_from_environment(device=request.device, models_dirs=request.models)
    cards = find_cards(settings.model_roots)
    card = cards.dictionary(request.dictionary)
    genome = open_genome(settings.genomes_dir, request.genome)
    folder = request.out or cards.folder(card) / ATLAS_FOLDER
    if folder.exists() and not request.force:
        raise StateError(f"{folder} is there already; give --force to replace it, or name --out")
    for baseline in request.baselines:
        if not baseline.is_dir():
            raise UnknownNameError(f"there is no folder {baseline} of a baseline's run")
    reference = read_genome(genome, exclude=request.exclude)
    if request.log is not None and request.held_out and request.result is None:
        log_reading(request.log, card, ",".join(request.held_out))
    result = _result(request, card, genome, reference, on_progress)
    record = read_provenance(result / "provenance.json")
    contigs = contigs_of_result(record, reference)
    made_with = record.get("dictionary")
    if not isinstance(made_with, dict) or made_with.get("sha256") != card.sha256:
        raise WeightsError(
            f"{result} was not computed with the weights of dictionary {card.id!r} that are here"
        )
    read = record.get("held_out") if request.result is not None else None
    if request.log is not None and isinstance(read, list) and read:
        # what was read when the result was made counts as well
        log_reading(request.log, card, ",".join(contigs[at].name for at in read))
    causal = None
    if request.causal:
        causal = _causal(request, card, result, reference, settings.model_roots, on_progress)
    atlas = build_atlas(
        result,
        reference,
        genome=request.title or _title(genome, request),
        max_bytes=request.max_bytes,
        baselines=request.baselines,
        causal=causal,
        on_stage=lambda stage: on_progress(f"atlas: {stage}", 0, 0),
    )
    return write_atlas(atlas, folder, max_bytes=request.max_bytes), folder


def causal_pairs(matches: pa.Table, most: int) -> pa.Table:
    """The matches to test by edits: the best of each feature row, the surest first.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`
    most : int
        How many.

    Returns
    -------
    pairs : Table
        Columns feature, strand and matrix_id; those confirmed on held-out contigs come first,
        then the smallest q. Sorted by feature row, so that each row is read once.
    """
    best = best_matches(matches, per_row=1)
    predictive = pc.if_else(pc.match_substring(best["evidence"], "predictive"), 0, 1)
    keys = [("unconfirmed", "ascending"), ("q", "ascending"), ("feature", "ascending")]
    ranked = best.append_column("unconfirmed", predictive).sort_by(keys).slice(0, most)
    rows = ranked.sort_by([("feature", "ascending"), ("strand", "descending")])
    return rows.select(["feature", "strand", "matrix_id"])


def _result(
    request: BuildRequest,
    card: DictionaryCard,
    genome: Genome,
    reference: Reference,
    on_progress: Progress,
) -> Path:
    """The folder of the run's result: one that is there, else made in the work folder."""
    if request.result is not None:
        if request.held_out or request.taxon or request.release:
            raise OptionError(
                "a finished result has its own motifs and held-out contigs; give them where the "
                "genome is annotated"
            )
        return request.result
    if request.work is None or request.taxon is None:
        raise OptionError(
            "name a --work folder and the --taxon of the motifs for the run, or the --result of a "
            "finished one"
        )
    asked = Request(
        sequences=Path(genome.name),
        out=request.work / "result",
        taxon=request.taxon,
        held_out=request.held_out,
        exclude=request.exclude,
        dictionary=card.id,
        release=request.release,
        browsers=False,
        labels=False,
        device=request.device,
        threads=request.threads,
        batch=request.batch,
        models=request.models,
        work=request.work / "shards",
    )
    request.work.mkdir(parents=True, exist_ok=True)
    if (asked.out / "provenance.json").is_file():
        found = contigs(reference.records)
        options = choose_options(asked, card, None, ContigNames([each.name for each in found]))
        if read_provenance(asked.out / "provenance.json").get("options") != options.to_json():
            raise StateError(
                f"{asked.out} holds the result of a run with other options; name another --work, "
                "or remove it"
            )
        return asked.out
    annotate_file(asked, on_progress=on_progress)
    return asked.out


def _causal(
    request: BuildRequest,
    card: DictionaryCard,
    result: Path,
    reference: Reference,
    roots: tuple[Path, ...],
    on_progress: Progress,
) -> pa.Table:
    """Edits of the sequence at the peaks of the surest matches."""
    record = read_provenance(result / "provenance.json")
    options = RunOptions.from_json(cast(dict[str, object], record["options"]))
    if options.taxon is None:
        raise OptionError("causal tests need a run that looked for motifs of JASPAR")
    pairs = causal_pairs(pq.read_table(result / "matches.parquet"), request.causal)
    sites = CausalOptions(motif_p=options.motif_p, held_out=options.held_out)
    codes = [encode_bases(record.sequence) for record in reference.records]
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    return causal_table(
        open_dictionary(card, roots, choose_device(request.device)),
        Sites.of(codes, sites),
        folder_activations(result),
        pairs,
        load_motifs(options.taxon, options.release).motifs,
        options=sites,
        on_progress=lambda done: on_progress("causal tests", done, pairs.num_rows),
    )


def _title(genome: Genome, request: BuildRequest) -> str:
    """The genome in words."""
    left_out = f" without {', '.join(request.exclude)}" if request.exclude else ""
    return f"{genome.name}{left_out}"
