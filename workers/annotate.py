"""`saetrack annotate` without its command line: a sequence file in, a result folder out.

The same `run_shard` and `merge` that the service runs, one shard after the other. The
result is made in a folder beside `out` and moved there when it is whole.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import torch

from annotations.allele_inputs import NOTHING_TO_COMPARE, AlleleRequest, compared
from annotations.alleles import Alleles
from annotations.atlas import ATLAS_CARD, read_atlas_card, usable_atlas
from annotations.cards import (
    CODER_CONFIG,
    Cards,
    DictionaryCard,
    ModelCard,
    file_sha256,
    find_cards,
)
from annotations.contig_aliases import ContigNames
from annotations.errors import OptionError, UnknownNameError
from annotations.expectation import reach_of, sides_of
from annotations.genes import read_genes
from annotations.genome_folder import open_genome, read_genome
from annotations.genome_parts import GenomePart, PartRequest, read_part
from annotations.options import SHARD_FORMAT, RunOptions, Strands, held_out_contigs
from annotations.run_motifs import read_motif_file
from annotations.sequences import Limits, Record, contigs, read_sequences, write_fasta
from annotations.types import Contig, Span
from annotations.windows import plan_shards, plan_spans
from app.feature_rows import FeatureRow, parse_row
from workers.commands.places import settings_from_environment
from workers.compared import cut_records
from workers.device import choose_device, describe_device
from workers.job import SEQUENCES, Job
from workers.registry import Encoder, open_dictionary
from workers.result_folder import Progress, Summary, beside, check_out, finish
from workers.shard_folder import claim_folder, encode

SHARD_BASES = 200_000
"""Bases of a shard: bounds the activations that are in memory at once."""

NO_MOTIFS = "none"
"""What asks for no motifs."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    sequences: Path
    """File, or name of a registered genome, which is read whole or as `part` says."""
    out: Path
    part: PartRequest | None = None
    """Regions of the genome."""
    genes: Path | None = None
    taxon: str | None = None
    """Taxonomic group, `NO_MOTIFS`, or None: then that of the dictionary's atlas, or where there
    is a file of motifs that alone."""
    motifs_file: Path | None = None
    """The user's own motifs."""
    held_out: tuple[str, ...] = ()
    """Names of contigs that discovery does not see."""
    exclude: tuple[str, ...] = ()
    """Names of contigs of a registered genome that are not read at all."""
    compare: AlleleRequest = NOTHING_TO_COMPARE
    """Variants of the sequences, or two of their records, whose alleles are compared."""
    strands: str = "both"
    expectation: bool = False
    """Whether what the model expects of each base is kept as well."""
    dictionary: str | None = None
    release: str | None = None
    signal: tuple[str, ...] = ()
    """Features whose tracks are written: ``374-`` of one strand, ``374`` of the larger of both."""
    top: int = 10
    """Feature rows whose tracks are written besides."""
    browsers: bool = True
    """Whether the folder gets what browsers open: tracks, hub, page."""
    device: str = "auto"
    threads: int | None = None
    batch: int = 8
    force: bool = False
    models: tuple[Path, ...] | None = None
    """Models folders to look into instead of those of the settings."""
    labels: bool = True
    """Whether features get the labels of the dictionary's atlas."""
    work: Path | None = None
    """Folder in which finished shards are kept, so that the same command goes on from there."""


class Prepared(NamedTuple):
    """A run whose inputs are read, and whose model is open."""

    job: Job
    plan: list[tuple[Span, ...]]
    """Its shards."""
    parameters: dict[str, Any]
    """Everything that decides what the shards hold, as JSON values."""
    encoder: Encoder
    made_by: dict[str, object]
    """Device, threads and batch."""
    seconds: float
    """That reading and opening took."""


def annotate_file(
    request: Request, *, on_progress: Progress = lambda what, done, total: None
) -> Summary:
    """Annotate a sequence file.

    Parameters
    ----------
    request : Request
        What to do.
    on_progress : callable
        Told how the work goes on.

    Returns
    -------
    summary : Summary
        What came out; `request.out` then holds the files.

    Raises
    ------
    SaetrackError
        If an input, an option or the installation is wrong; `request.out` is then as it was.
    """
    check_out(request.out, force=request.force)
    with beside(request.out) as scratch:
        fasta = scratch / SEQUENCES
        prepared = prepare(request, fasta, on_progress=on_progress)
        kept = scratch / "shards"
        if request.work is not None:
            kept = request.work
            claim_folder(kept, prepared.parameters)
        kept.mkdir(exist_ok=True)
        started = time.monotonic()
        encoded = encode(
            kept,
            fasta,
            dict(enumerate(prepared.plan)),
            prepared.encoder,
            prepared.job.options,
            batch=request.batch,
            made_by=prepared.made_by,
            on_progress=lambda done: on_progress("encoding", done, prepared.job.bases),
        )
        encoding = time.monotonic() - started
        rate = encoded.computed / max(encoding, 1e-9)
        return finish(
            prepared.job,
            encoded.shards,
            fasta,
            request.out,
            scratch,
            made_by={
                "command": "saetrack annotate",
                **prepared.made_by,
                "bases_per_second": round(rate, 1) if encoded.computed else None,
            },
            seconds={"read": round(prepared.seconds, 3), "encode": round(encoding, 3)},
            on_progress=on_progress,
        )


def prepare(
    request: Request,
    fasta: Path,
    *,
    on_progress: Progress = lambda what, done, total: None,
) -> Prepared:
    """Read what is annotated, write it down, and open the model.

    Parameters
    ----------
    request : Request
        What to do.
    fasta : Path
        Where the normalised sequences are written.
    on_progress : callable
        Told how the work goes on.

    Raises
    ------
    SaetrackError
        If an input, an option or the installation is wrong.
    """
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    started = time.monotonic()
    on_progress("reading", 0, 0)
    settings = settings_from_environment(device=request.device, models_dirs=request.models)
    roots = settings.model_roots
    cards = find_cards(roots)
    card = choose_dictionary(cards, request.dictionary)
    inputs, alleles = read_both(request, settings.genomes_dir, cards, card)
    part = inputs.part
    found = contigs(inputs.records) if part is None else part.contigs
    spans = None if part is None else part.spans
    atlas = usable_atlas(cards, card) if request.labels else None
    names = ContigNames([contig.name for contig in found]) if part is None else part.names
    options = choose_options(request, card, atlas, names)
    if options.expectation:
        sides_of(cards.model(card.model_id))  # refuses a model that expects nothing
    named = named_rows(request, card)
    device = choose_device(request.device)
    on_progress("opening the model", 0, 0)
    encoder = open_dictionary(card, roots, device, whole=options.expectation)
    lengths = [contig.length for contig in found]
    plan = (
        plan_shards(lengths, stride=card.stride, target=SHARD_BASES)
        if spans is None
        else plan_spans(spans, stride=card.stride, target=SHARD_BASES)
    )
    if part is None:
        write_fasta(inputs.records, fasta, names=[str(i) for i in range(len(found))])
    else:
        part.write(fasta)
    title = request.sequences.name
    if part is not None and part.record["text"]:
        title = f"{title} {part.record['text']}"[:100]
    job = Job(
        card=card,
        atlas=atlas,
        options=options,
        contigs=found,
        spans=None if spans is None else tuple(spans),
        genes=inputs.genes,
        alleles=alleles,
        motifs=request.motifs_file,
        title=title,
        named=named,
        top=request.top,
        browsers=request.browsers,
        inputs=inputs.record,
        regions=None if part is None else part.record,
        shards=len(plan),
    )
    made_by: dict[str, object] = {
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
        "batch": request.batch,
    }
    return Prepared(
        job,
        plan,
        shard_parameters(found, card, cards.folder(card), options, spans),
        encoder,
        made_by,
        time.monotonic() - started,
    )


def choose_dictionary(cards: Cards, name: str | None) -> DictionaryCard:
    """The dictionary of a name, or the one to take when none is named.

    Raises
    ------
    UnknownNameError
        If there is no such dictionary, or none is named and it is not clear which to take.
    """
    if name is not None:
        return cards.dictionary(name)
    here = [card for card in cards.dictionaries.values() if cards.has_weights(card)]
    trained = [card for card in here if not card.random_weights]
    choices = trained or here
    if len(choices) == 1:
        return choices[0]
    if not choices:
        raise UnknownNameError(
            "no model is installed: put a models folder into SAETRACK_MODELS_DIRS, or train one "
            "with `saetrack train`"
        )
    listed = ", ".join(card.id for card in choices)
    raise UnknownNameError(
        f"several dictionaries are installed; name one with --dictionary ({listed})"
    )


def choose_options(
    request: Request, card: DictionaryCard, atlas: Path | None, names: ContigNames
) -> RunOptions:
    """The checked options of a request.

    Raises
    ------
    OptionError
        If one of them is not allowed.
    UnknownNameError
        If a contig is held out that the sequences do not have.
    FormatError, StorageError
        If the atlas's card cannot be read.
    """
    taxon = request.taxon
    if taxon is None and atlas is not None and request.motifs_file is None:
        taxon = read_atlas_card(atlas / ATLAS_CARD).taxon
    options = RunOptions(
        dictionary=card.id,
        strands=cast(Strands, request.strands),
        expectation=request.expectation,
        taxon=None if taxon == NO_MOTIFS else taxon,
        held_out=held_out_contigs(names.own(request.held_out), names.contigs),
    )
    return options if request.release is None else replace(options, release=request.release)


def read_both(
    request: Request, genomes: Path, cards: Cards, card: DictionaryCard
) -> tuple["Inputs", Alleles | None]:
    """What is annotated, and which of it are alleles of each other, if any are compared.

    Raises
    ------
    SaetrackError
        As `read_inputs` and `workers.compared.cut_records`.
    """
    if request.compare.is_empty:
        request.compare.check(genes=False, held_out=False)
        if request.part is not None:
            model = cards.model(card.model_id)
            return read_regions_of(request, request.part, genomes, card, model), None
        return read_inputs(request, genomes), None
    request.compare.check(
        genes=request.genes is not None,
        held_out=bool(request.held_out),
        regions=bool(request.exclude) or request.part is not None,
    )
    if request.compare.variants is None:
        if request.part is not None:
            raise OptionError("--alleles names two records of a sequence file; leave regions out")
        inputs = read_inputs(request, genomes)
        found = compared(request.compare, inputs.records, card, cards.model(card.model_id))
        return inputs, found.alleles
    motifs = _motifs_record(request)
    cut, record = cut_records(request.compare, request.sequences, genomes, cards, card)
    return Inputs(cut.records, None, {**record, "genes": None, "motifs": motifs}), cut.alleles


class Inputs(NamedTuple):
    """What is annotated."""

    records: list[Record]
    genes: pa.Table | None
    record: dict[str, object]
    """What provenance says of the files: `sequences`, `genes` and `motifs`, or null."""
    part: GenomePart | None = None
    """Regions of a genome, in place of records."""


def read_regions_of(
    request: Request, part: PartRequest, genomes: Path, card: DictionaryCard, model: ModelCard
) -> Inputs:
    """Regions of a registered genome.

    Parameters
    ----------
    request : Request
    part : PartRequest
        Its own.
    genomes : Path
        Folder of the registered genomes.
    card, model : DictionaryCard, ModelCard
        The dictionary of the run, and its model.

    Raises
    ------
    UnknownNameError
        If there is no such file, genome, contig or gene.
    FormatError, CoordinateError, LimitError, OptionError
        As `annotations.genome_parts.read_part` and `annotations.expectation.reach_of`.
    """
    for path in (part.regions, request.genes):
        if isinstance(path, Path) and not path.is_file():
            raise UnknownNameError(f"there is no file {path}")
    genome = open_genome(genomes, part.genome)
    reach = reach_of(model, card) if request.expectation else 0
    found = read_part(part, genome, card, max_bases=Limits().max_bases, reach=reach)
    genes = found.genes()
    record: dict[str, object] = {
        "sequences": {"genome": genome.name, **genome.source["sequences"]},
        "genes": genome.source["genes"],
        "motifs": _motifs_record(request),
        "regions": found.record
        | {"file": _input_record(part.regions) if isinstance(part.regions, Path) else None},
    }
    if request.genes is not None:
        record["genes"] = _input_record(request.genes)
        genes = read_genes(
            request.genes, found.contigs, filename=request.genes.name, names=found.names
        )
    return Inputs([], genes, record, found)


def read_inputs(request: Request, genomes: Path) -> Inputs:
    """The sequences and genes of a request: of its files, or of a registered genome.

    Parameters
    ----------
    request : Request
    genomes : Path
        Folder of the registered genomes.

    Raises
    ------
    UnknownNameError
        If there is no such file or genome.
    FormatError, CoordinateError, LimitError
        If a file cannot be read.
    """
    if request.genes is not None and not request.genes.is_file():
        raise UnknownNameError(f"there is no file {request.genes}")
    record: dict[str, object] = {
        "genes": None if request.genes is None else _input_record(request.genes),
        "motifs": _motifs_record(request),
    }
    if request.sequences.is_file():
        if request.exclude:
            raise OptionError("contigs are left out of a registered genome, not of a file")
        records, genes = read_sequences(request.sequences)
        record["sequences"] = _input_record(request.sequences)
    else:
        try:
            genome = open_genome(genomes, str(request.sequences))
        except UnknownNameError as error:
            raise UnknownNameError(f"there is no file {request.sequences}, and {error}") from None
        records, genes = read_genome(genome, exclude=request.exclude)
        record["sequences"] = {
            "genome": genome.name,
            "exclude": list(request.exclude),
            **genome.source["sequences"],
        }
        if request.genes is None:
            record["genes"] = genome.source["genes"]
    if request.genes is not None:
        genes = read_genes(request.genes, contigs(records), filename=request.genes.name)
    return Inputs(records, genes, record)


def shard_parameters(
    found: Sequence[Contig],
    card: DictionaryCard,
    folder: Path,
    options: RunOptions,
    spans: Sequence[Span] | None = None,
) -> dict[str, Any]:
    """Everything that decides what the shards of a run hold, as JSON values."""
    config = folder / CODER_CONFIG
    return {
        "shard_format": SHARD_FORMAT,
        "sequences": [contig.digest for contig in found],
        "dictionary": card.sha256,
        "config": file_sha256(config) if config.is_file() else None,
        "model": card.model_sha256,
        "stride": card.stride,
        "context": card.context,
        **({} if card.tap == "residual" else {"tap": card.tap}),
        "dtype": card.dtype,
        "gate": card.gate,
        "k": card.k,
        "strands": options.strands,
        "shard_bases": SHARD_BASES,
        **({"expectation": True} if options.expectation else {}),
        **({} if spans is None else {"spans": [list(span) for span in spans]}),
    }


def named_rows(request: Request, card: DictionaryCard) -> list[FeatureRow]:
    """The feature rows that `Request.signal` names, looked at before anything is computed.

    Raises
    ------
    UnknownNameError
        If the dictionary has no such feature.
    OptionError
        If a strand is not read.
    """
    rows = [parse_row(text, card.d_sae) for text in request.signal]
    if request.strands == "forward" and any(row.strand == "-" for row in rows):
        raise OptionError("--signal names a feature on -, and --strands forward reads no such")
    return rows


def _motifs_record(request: Request) -> dict[str, object] | None:
    """What provenance says of the user's motifs, after they were read once."""
    if request.motifs_file is None:
        return None
    if not request.motifs_file.is_file():
        raise UnknownNameError(f"there is no file {request.motifs_file}")
    motifs = read_motif_file(request.motifs_file)
    return {"file": motifs.name, "sha256": motifs.sha256}


def _input_record(path: Path) -> dict[str, object]:
    """What provenance says of an input file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
