"""The commands of `saetrack train` that try settings: many short trainings, one line each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.training.measures import EVALUABLE_TFS, FILE, FOLDER, SAMPLINGS

if TYPE_CHECKING:
    from workers.training.corpus import Corpus
    from workers.training.sae import SaeTraining
    from workers.training.sweep import Side, Subject

_COMMON = (
    click.argument("genomes", type=FILE),
    click.option("--data", type=FOLDER, required=True, help="Folder of genomes and truth sets."),
    click.option("--models", type=FOLDER, required=True, multiple=True, help="Models folder."),
    click.option("--model", "model_id", required=True, help="Id of the model."),
    click.option(
        "--tap",
        "taps",
        multiple=True,
        default=("residual:2",),
        show_default=True,
        help="Tap and blocks done at it, such as update:3 or block:3; joint needs none. May be "
        "repeated.",
    ),
    click.option("--features", default=4096, show_default=True, help="Latents."),
    click.option(
        "--sampling",
        type=click.Choice(SAMPLINGS),
        default="uniform",
        show_default=True,
        help="Tokens alike, or where the model expects more than composition.",
    ),
    click.option("--steps", default=800, show_default=True, help="Optimiser steps of each."),
    click.option("--tokens", default=2048, show_default=True, help="Tokens in a step."),
    click.option("--discovery", default="chrVII,chrXV", show_default=True, help="To choose on."),
    click.option("--evaluation", default="chrIV", show_default=True, help="To measure on."),
    click.option("--tfs", default=EVALUABLE_TFS, show_default=True, help="TFs."),
    click.option("--taxon", default="fungi", show_default=True, help="JASPAR taxonomic group."),
    click.option("--threads", default=1, show_default=True, help="CPU threads."),
    click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        required=True,
        help="JSON lines.",
    ),
)


def _common(command: Any) -> Any:
    for option in reversed(_COMMON):
        command = option(command)
    return command


@click.command()
@_common
@click.option("--control", help="Id of a model with random weights of the same sizes.")
@click.option("--validation", default="chrVIII", show_default=True, help="To measure fidelity on.")
@click.option("--k", "ks", default="16", show_default=True, help="Active latents, comma-separated.")
@click.option("--seed", default=1, show_default=True, help="Of weights and tokens.")
def sweep(
    genomes: Path,
    data: Path,
    models: tuple[Path, ...],
    model_id: str,
    control: str | None,
    taps: tuple[str, ...],
    ks: str,
    discovery: str,
    evaluation: str,
    validation: str,
    tfs: str,
    taxon: str,
    threads: int,
    out: Path,
    **settings: Any,
) -> None:
    """Compare taps, layers and sparsities on a model and on random weights.

    Each combination of --tap and --k is trained on both, and its L0, cross-entropy
    recovered and evidence of binding appended to --out; those that are there already
    are passed over.
    """
    import torch

    from workers.training.sweep import run_sweep, try_settings

    torch.set_num_threads(threads)
    subjects = {"model": _subject(models, model_id)}
    if control is not None:
        subjects["control"] = _subject(models, control)
    trials = list(_trials(subjects["model"], taps, [int(k) for k in ks.split(",")], settings))
    sides = _sides(genomes, data, [discovery, evaluation], tfs, taxon)
    bases, counts = _validation(genomes, data, validation)
    corpus = _corpus(genomes, data)

    def attempt(config: "SaeTraining") -> dict[str, Any]:
        return try_settings(subjects, corpus, config, *sides, validation=(bases, counts))

    run_sweep(trials, attempt, out, on_line=_say)


@click.command()
@_common
@click.option("--k", default=16, show_default=True, help="Active latents at a base.")
@click.option("--seeds", "seed_list", default="1,2,3", show_default=True, help="Seeds.")
def seeds(
    genomes: Path,
    data: Path,
    models: tuple[Path, ...],
    model_id: str,
    taps: tuple[str, ...],
    k: int,
    seed_list: str,
    discovery: str,
    evaluation: str,
    tfs: str,
    taxon: str,
    threads: int,
    out: Path,
    **settings: Any,
) -> None:
    """Train one dictionary from several seeds: which features and TF matches recur.

    One line for each seed, with what its features are worth, and one for each pair,
    with what they share.
    """
    import torch

    from workers.evidence.statistics import interval
    from workers.training.sae import train_sae
    from workers.training.seeds import recurrence
    from workers.training.sweep import (
        MEASURES,
        choose,
        measure,
        opened,
        read_side,
        window_for,
    )

    torch.set_num_threads(threads)
    subject = _subject(models, model_id)
    corpus = _corpus(genomes, data)
    first, second = _sides(genomes, data, [discovery, evaluation], tfs, taxon)
    lines: list[dict[str, Any]] = []
    trained, chosen = {}, {}
    for seed in [int(text) for text in seed_list.split(",")]:
        (config,) = _trials(subject, taps, [k], settings | {"seed": seed})
        own = window_for(subject.model, config)
        trained[seed] = train_sae(subject.model, corpus, own)
        encoder = opened(subject, trained[seed], own)
        chosen[seed] = choose(read_side(encoder, first), first)
        figures = measure(read_side(encoder, second), second, chosen[seed])
        lines.append(
            {
                "settings": asdict(config),
                "model_sha256": subject.card.sha256,
                "tfs": {
                    tf: {
                        what: chosen[seed][tf][what]._asdict() | interval(figures[tf][what])
                        for what in MEASURES
                    }
                    for tf in figures
                },
            }
        )
        click.echo(f"seed {seed} done")
    lines += recurrence(trained, chosen)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    out.write_text(text, encoding="utf-8")


def _subject(models: Sequence[Path], model_id: str) -> "Subject":
    from annotations.cards import find_cards
    from workers.training.bundle import read_model
    from workers.training.sweep import Subject

    cards = find_cards(models)
    card = cards.model(model_id)
    return Subject(card, read_model(card, cards.folder(card)))


def _trials(
    subject: "Subject", taps: Sequence[str], ks: Sequence[int], settings: dict[str, Any]
) -> "Iterator[SaeTraining]":
    from annotations.errors import OptionError
    from workers.language_models.paired_taps import check_tap
    from workers.training.sae import SaeTraining

    for text, k in product(taps, ks):
        tap, _, layer = text.partition(":")
        if tap != "joint" and not layer.isdigit():
            raise OptionError(
                f"--tap is residual, update, pair or block with the blocks done, such as "
                f"update:3, or joint; got {text!r}"
            )
        blocks = int(layer) if layer.isdigit() else len(subject.model.blocks)
        config = SaeTraining(tap=tap, layer=blocks, k=k, **settings)  # type: ignore[arg-type]  # checked there
        check_tap(subject.model, config.layer, config.tap)
        yield config


def _sides(genomes: Path, data: Path, contigs: Sequence[str], tfs: str, taxon: str) -> "list[Side]":
    from workers.evidence.binding import motifs_of, noncoding_background
    from workers.evidence.data import Data
    from workers.evidence.sites import loci_of
    from workers.training.sweep import Side

    folder = Data(data, genomes)
    read = [folder.training_contigs(names.split(",")) for names in contigs]
    background = noncoding_background(read[0])
    motifs = motifs_of(tfs.split(","), taxon)
    locations = folder.locations()
    return [Side.of(loci_of(one), motifs, background, locations) for one in read]


def _validation(genomes: Path, data: Path, contig: str) -> Any:
    from workers.training.genomes import read_spec, validation_contigs

    (held_out,) = validation_contigs(read_spec(genomes, root=data)[0], (contig,))
    return held_out.bases, ~held_out.coding


def _corpus(genomes: Path, data: Path) -> "Corpus":
    from workers.training.genomes import load_corpus, read_spec

    # windows of deep taps are up to this long
    return load_corpus(read_spec(genomes, root=data), window=2048)


def _say(line: dict[str, Any]) -> None:
    """One line for people of what a trial gave."""
    settings = line["settings"]
    parts = [f"{settings['tap']}:{settings['layer']} k {settings['k']}"]
    for name, found in line["subjects"].items():
        fidelity = found["fidelity"]
        means = " ".join(f"{what} {x['value']}" for what, x in found["mean"].items())
        parts.append(f"{name}: L0 {fidelity['l0']}, recovered {fidelity['recovered']}, {means}")
    click.echo("; ".join(parts))
