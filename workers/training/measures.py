"""The commands of `saetrack train` that measure: every figure of a model card has one."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.training.genomes import AnnotatedContig
    from workers.training.report import Region

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

EVALUABLE_TFS = "ABF1,CBF1,FKH1,LYS14,MBP1,NRG1,RAP1,REB1,RSC3,SKN7,STB5,SUT1"
"""Yeast TFs whose JASPAR motif separates their ChIP-exo locations from flanks."""
SAMPLINGS = ("uniform", "knowledge")
"""How the tokens of a dictionary are drawn; see `workers.training.sae.SaeTraining`."""


@click.command()
@click.option("--models", type=FOLDER, required=True, help="Models folder; cards are rewritten.")
@click.option("--dictionary", "dictionary_id", required=True, help="Dictionary to measure.")
@click.option("--fasta", type=FILE, required=True, help="Genome with the contigs below.")
@click.option("--annotation", type=FILE, required=True, help="GFF3 of the genome.")
@click.option("--contig", required=True, help="Contig that nothing was trained on.")
@click.option("--threads", default=2, show_default=True, help="CPU threads.")
def figures(
    models: Path,
    dictionary_id: str,
    fasta: Path,
    annotation: Path,
    contig: str,
    threads: int,
) -> None:
    """Measure a dictionary and write the figures into its card.

    Fidelity (L0, variance unexplained, cross-entropy recovered, live share) at
    non-coding bases, agreement of features between two window grids, bases a second.
    """
    import torch

    from annotations.cards import find_cards, write_card
    from workers.registry import open_dictionary
    from workers.training.fidelity import measure_fidelity, random_windows
    from workers.training.genomes import GenomeSpec, validation_contigs
    from workers.training.grids import grid_agreement
    from workers.training.reading import encode_span

    torch.set_num_threads(threads)
    cards = find_cards([models])
    card = cards.dictionary(dictionary_id)
    (held_out,) = validation_contigs(
        GenomeSpec(fasta, 0, annotation=annotation, exclude=(contig,)), (contig,)
    )
    encoder = open_dictionary(card, [models], whole=True)
    # the inner two thirds of a window count: a deep tap needs more context about them
    window = max(192, 6 * card.context)
    sample = random_windows(held_out.bases, ~held_out.coding, window=window)
    (fidelity,) = measure_fidelity(encoder, sample, batch=64, shrink=0.003)
    piece = held_out.bases[: 64 * card.stride]
    contexts = sorted({0, 8, 16, card.context // 2, card.context, 2 * card.context})
    curve = grid_agreement(encoder, piece, contexts=contexts)
    begin = time.perf_counter()
    encode_span(encoder, piece)
    taken = time.perf_counter() - begin
    measured = {
        "contig": contig,
        "fidelity_noncoding": asdict(fidelity),
        "grid_agreement": [asdict(point) for point in curve],
        "threads": threads,
    }
    card = replace(
        card,
        figures=(card.figures or {}) | measured,
        bases_per_second=round(len(piece) / taken, 0),
    )
    write_card(card, cards.folder(card))
    echo(measured | {"bases_per_second": card.bases_per_second})


@click.command()
@click.option("--models", type=FOLDER, required=True, help="Models folder; the card is rewritten.")
@click.option("--model", "model_id", required=True, help="Model to measure.")
@click.option("--fasta", type=FILE, required=True, help="Genome with the contig.")
@click.option("--annotation", type=FILE, required=True, help="GFF3 of the genome.")
@click.option("--locations", type=FILE, required=True, help="BED of ChIP-exo locations by TF.")
@click.option("--contig", required=True, help="Contig that nothing was trained on.")
@click.option("--tfs", default=EVALUABLE_TFS, show_default=True, help="TFs, comma-separated.")
@click.option("--taxon", default="fungi", show_default=True, help="JASPAR taxonomic group.")
def gate(
    models: Path,
    model_id: str,
    fasta: Path,
    annotation: Path,
    locations: Path,
    contig: str,
    tfs: str,
    taxon: str,
) -> None:
    """Does the language model know motifs? Bits at bound and unbound motif instances."""
    from annotations.cards import find_cards, write_card
    from workers.training.bundle import read_model
    from workers.training.gate import gate_table

    cards = find_cards([models])
    card = cards.model(model_id)
    rows = gate_table(
        read_model(card, cards.folder(card)),
        fasta=fasta,
        annotation=annotation,
        locations=locations,
        contigs=[contig],
        tfs=tfs.split(","),
        taxon=taxon,
    )
    table = [plain(asdict(row) | {"known": row.known}) for row in rows]
    card = replace(card, figures=(card.figures or {}) | {"gate": {"contig": contig, "tfs": table}})
    write_card(card, cards.folder(card))
    for line in table:
        click.echo(json.dumps(line))


@click.command()
@click.argument("genomes", type=FILE)
@click.option("--data", type=FOLDER, help="Folder the spec's paths start from; default: its own.")
@click.option("--contig", required=True, help="Contig of the first genome to measure on.")
@click.option("--order", default=8, show_default=True, help="Bases of the longest context.")
@click.option("--strength", type=float, help="Weight of the shorter context; else the default.")
@click.option("--noncoding", is_flag=True, help="Count non-coding bases only.")
def markov(
    genomes: Path,
    data: Path | None,
    contig: str,
    order: int,
    strength: float | None,
    noncoding: bool,
) -> None:
    """Bits per base of an interpolated Markov model: what a language model must beat."""
    from workers.training.genomes import load_corpus, read_spec, validation_contigs
    from workers.training.markov import DEFAULT_STRENGTH, markov_bits, train_markov

    specs = read_spec(genomes, root=data)
    (held_out,) = validation_contigs(specs[0], (contig,))
    corpus = load_corpus(specs, window=order)
    counted = ~corpus.coding if noncoding else corpus.bases < 4
    chosen = DEFAULT_STRENGTH if strength is None else strength
    model = train_markov(corpus.bases, counted, order=order, strength=chosen)
    bits = markov_bits(model, held_out.bases, held_out.coding)
    settings = {"order": order, "strength": chosen, "noncoding_only": noncoding}
    click.echo(json.dumps(settings | bits._asdict()))


@click.command()
@click.option("--models", type=FOLDER, required=True, help="Models folder; the card is rewritten.")
@click.option("--dictionary", "dictionary_id", required=True, help="Dictionary to measure.")
@click.option("--fasta", type=FILE, required=True, help="Genome with the contigs below.")
@click.option("--annotation", type=FILE, required=True, help="GFF3 of the genome.")
@click.option("--locations", type=FILE, required=True, help="BED of ChIP-exo locations by TF.")
@click.option("--discovery", required=True, help="Contigs to choose features on, comma-separated.")
@click.option(
    "--evaluation",
    "evaluations",
    required=True,
    multiple=True,
    help="Contigs to measure on, comma-separated; may be given several times.",
)
@click.option("--log", type=click.Path(path_type=Path), help="File to log this reading to.")
@click.option("--tfs", "names", default=EVALUABLE_TFS, show_default=True, help="TFs.")
@click.option("--taxon", default="fungi", show_default=True, help="JASPAR taxonomic group.")
def tfs(
    models: Path,
    dictionary_id: str,
    fasta: Path,
    annotation: Path,
    locations: Path,
    discovery: str,
    evaluations: tuple[str, ...],
    log: Path | None,
    names: str,
    taxon: str,
) -> None:
    """Each TF's best feature: chosen on some contigs, measured on others.

    Run it on a dictionary over random weights as well: only the difference says
    something about the language model.
    """
    from annotations.cards import find_cards, write_card
    from annotations.jaspar import load_motifs, resolve_tf
    from workers.registry import open_dictionary
    from workers.training.reading import log_reading
    from workers.training.report import tf_report

    cards = find_cards([models])
    card = cards.dictionary(dictionary_id)
    catalogue = load_motifs(taxon)
    wanted = {name: resolve_tf(catalogue, name).motifs for name in names.split(",")}
    listed = ",".join([discovery, *evaluations])
    regions = _regions(fasta, annotation, locations, _names(listed))
    if log is not None:
        log_reading(log, card, ",".join(evaluations))
    found = tf_report(
        open_dictionary(card, [models]),
        wanted,
        [regions[name] for name in _names(discovery)],
        {text: [regions[name] for name in _names(text)] for text in evaluations},
    )
    measured: list[dict[str, Any]] = [
        {"discovery": discovery, "evaluation": text, "tfs": [plain(asdict(row)) for row in rows]}
        for text, rows in found.items()
    ]
    old = (card.figures or {}).get("tf_features", [])
    kept = [part for part in old if part["evaluation"] not in found]
    figures = (card.figures or {}) | {"tf_features": [*kept, *measured]}
    write_card(replace(card, figures=figures), cards.folder(card))
    for part in measured:
        for line in part["tfs"]:
            click.echo(json.dumps({"evaluation": part["evaluation"]} | line))


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON: floats to four places, NaN as null."""
    out = {}
    for name, value in row.items():
        if isinstance(value, float):
            out[name] = round(value, 4) if value == value else None
        else:
            out[name] = value
    return out


def echo(line: dict[str, Any]) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(line))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _regions(
    fasta: Path, annotation: Path, locations: Path, names: list[str]
) -> "dict[str, Region]":
    from workers.training.gate import read_locations
    from workers.training.genomes import GenomeSpec, read_genome
    from workers.training.report import Region

    bound = read_locations(locations)

    def region(contig: "AnnotatedContig") -> "Region":
        here = {tf.upper(): at for tf, at in bound.get(contig.name, {}).items()}
        return Region(contig.name, contig.bases, ~contig.coding, here)

    contigs = read_genome(GenomeSpec(fasta, 0, annotation=annotation))
    regions = {contig.name: region(contig) for contig in contigs if contig.name in names}
    missing = [name for name in names if name not in regions]
    if missing:
        from annotations.errors import UnknownNameError

        raise UnknownNameError(f"{fasta.name} has no contig {', '.join(missing)}")
    return regions
