"""`saetrack train`: make a language model, its dictionary and their measured figures."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotations.cards import TAPS
from workers.evidence.cli import evidence
from workers.training import measures, trying
from workers.training.measures import FILE, FOLDER, SAMPLINGS, echo

if TYPE_CHECKING:
    from workers.training.lm import BitsPerBase


TAP_TITLES = {
    "residual": "",
    "update": "the embedding taken away, ",
    "pair": "both towers ",
    "joint": "where its towers meet ",
    "block": "what its last block adds, from what it is given, ",
}
"""What a tap is called in the title of a dictionary."""


@click.group()
def train() -> None:
    """Train a small gene language model and sparse autoencoders on it.

    \b
    The steps, in order (see workers/bundled/README.md for the bundled model):
      saetrack train lm GENOMES.toml --out MODELS --id my-model --validation chrVIII
      saetrack train sae GENOMES.toml --models MODELS --model my-model --id my-model-l2
      saetrack train figures --models MODELS --dictionary my-model-l2 ...
      saetrack train baselines --models MODELS --dictionary my-model-l2 --fasta GENOME.fa.gz
    """


@train.command()
@click.argument("genomes", type=FILE)
@click.option("--data", type=FOLDER, help="Folder the spec's paths start from; default: its own.")
@click.option("--out", type=FOLDER, required=True, help="Models folder to write into.")
@click.option("--id", "model_id", required=True, help="Id of the new model.")
@click.option(
    "--validation",
    multiple=True,
    required=True,
    help="Contig of the first genome to validate on; it must be excluded from training.",
)
@click.option("--steps", default=8000, show_default=True, help="Optimiser steps.")
@click.option("--window", default=192, show_default=True, help="Bases in a training window.")
@click.option("--batch", default=16, show_default=True, help="Windows in a step.")
@click.option("--rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option(
    "--cooldown",
    default=0.0,
    show_default=True,
    help="Share of the steps in which a constant rate falls; 0: a cosine over all steps.",
)
@click.option(
    "--distance",
    "distances",
    multiple=True,
    type=click.IntRange(min=1),
    help="Bases a block of the tree looks back; once for each block.  [default: 6, 12, 24, 48]",
)
@click.option(
    "--attention-blocks",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Above the tree.",
)
@click.option(
    "--hidden",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Hidden units for each channel; the first block has at least 4.",
)
@click.option("--coding-weight", default=0.05, show_default=True, help="Loss weight of coding.")
@click.option("--seed", default=0, show_default=True, help="Of weights and batches.")
@click.option("--report-every", default=1000, show_default=True, help="Steps between checkpoints.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
def lm(
    genomes: Path,
    data: Path | None,
    out: Path,
    model_id: str,
    validation: tuple[str, ...],
    report_every: int,
    threads: int,
    device: str,
    distances: tuple[int, ...],
    attention_blocks: int,
    hidden: int,
    **settings: Any,
) -> None:
    """Train a paired-strand tree on the genomes of a spec file.

    Stopped at any time, the same command goes on from the last checkpoint. With
    --cooldown, the same command with more --steps goes on from before the cooldown.
    The learning curve is in MODELS/ID/training/curve.jsonl.
    """
    import torch

    from workers.device import choose_device
    from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
    from workers.training.bundle import write_model
    from workers.training.genomes import load_corpus, read_spec, validation_contigs
    from workers.training.lm import BitsPerBase, LmTraining, bits_per_base, train_lm

    torch.set_num_threads(threads)
    config = LmTraining(**settings)
    sizes = PairedTreeConfig(attention_blocks=attention_blocks, hidden=hidden)
    model_config = replace(sizes, distances=distances) if distances else sizes
    specs = read_spec(genomes, root=data)
    held_out = validation_contigs(specs[0], validation)
    corpus = load_corpus(specs, window=config.window)

    def validate(model: PairedTree) -> BitsPerBase:
        bits = [bits_per_base(model, contig.bases, contig.coding) for contig in held_out]
        return _pooled(bits)

    model = train_lm(
        corpus,
        config,
        out / model_id / "training",
        model_config=model_config,
        validate=validate,
        report_every=report_every,
        device=choose_device(device),
        on_report=echo,
    )
    rounded = model.cpu().half().float()
    bits = validate(rounded)
    card = write_model(
        out,
        rounded,
        model_id=model_id,
        title=f"Paired-strand tree, {len(specs)} genomes",
        source=f"saetrack train lm {genomes.name}",
        random_weights=False,
        training=asdict(config) | {"genomes": [spec.fasta.name for spec in specs]},
        figures={
            "validation": list(validation),
            "bits_per_base_coding": round(bits.coding, 4),
            "bits_per_base_noncoding": round(bits.noncoding, 4),
        },
    )
    click.echo(f"wrote {out / card.id}: {card.n_parameters:,} parameters")


@train.command("random-model")
@click.option("--models", type=FOLDER, required=True, help="Models folder.")
@click.option("--like", required=True, help="Id of the trained model whose sizes to take.")
@click.option("--id", "model_id", required=True, help="Id of the new model.")
@click.option("--seed", default=0, show_default=True, help="Of the weights.")
def random_model(models: Path, like: str, model_id: str, seed: int) -> None:
    """Write a model of the same sizes with random weights: the control of every claim."""
    import torch

    from annotations.cards import find_cards
    from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
    from workers.training.bundle import write_model

    config = find_cards([models]).model(like).config
    torch.manual_seed(seed)
    model = PairedTree(PairedTreeConfig(**{**config, "distances": tuple(config["distances"])}))
    write_model(
        models,
        model,
        model_id=model_id,
        title=f"Random weights in the shape of {like}",
        source=f"saetrack train random-model --like {like} --seed {seed}",
        random_weights=True,
        training=None,
    )
    click.echo(f"wrote {models / model_id}")


@train.command()
@click.argument("genomes", type=FILE)
@click.option("--data", type=FOLDER, help="Folder the spec's paths start from; default: its own.")
@click.option("--models", type=FOLDER, required=True, help="Models folder.")
@click.option("--model", "model_id", required=True, help="Id of the model to read.")
@click.option("--id", "dictionary_id", required=True, help="Id of the new dictionary.")
@click.option("--layer", default=2, show_default=True, help="Blocks done at the tap.")
@click.option(
    "--tap",
    type=click.Choice(TAPS),
    default="residual",
    show_default=True,
    help="One tower, what its blocks added to the embedding, both towers at a base, the layer "
    "where they meet (above the last block), or one block: its input and, written by a "
    "transcoder, what it adds.",
)
@click.option("--features", default=4096, show_default=True, help="Latents.")
@click.option("--k", default=16, show_default=True, help="Active latents at a base.")
@click.option("--kind", default="batchtopk", show_default=True, help="batchtopk or topk.")
@click.option("--region", default="noncoding", show_default=True, help="noncoding or all.")
@click.option(
    "--sampling",
    type=click.Choice(SAMPLINGS),
    default="uniform",
    show_default=True,
    help="Tokens alike, or where the model expects more than composition.",
)
@click.option("--steps", default=1500, show_default=True, help="Optimiser steps.")
@click.option("--tokens", default=2048, show_default=True, help="Tokens in a step.")
@click.option("--seed", default=1, show_default=True, help="Of weights and tokens.")
@click.option("--stride", default=1024, show_default=True, help="Bases a served window owns.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def sae(
    genomes: Path,
    data: Path | None,
    models: Path,
    model_id: str,
    dictionary_id: str,
    stride: int,
    threads: int,
    **settings: Any,
) -> None:
    """Train a sparse autoencoder, or a transcoder, on one tap of a model, in whitened space.

    The result is a sae-lens folder with one calibrated gate (JumpReLU), in
    MODELS/MODEL/ID.
    """
    import torch

    from annotations.cards import find_cards
    from workers.training.bundle import read_model, write_dictionary
    from workers.training.genomes import load_corpus, read_spec
    from workers.training.sae import SaeTraining, train_sae
    from workers.training.sweep import context_of, window_for

    torch.set_num_threads(threads)
    config = SaeTraining(**settings)
    cards = find_cards([models])
    card = cards.model(model_id)
    model = read_model(card, cards.folder(card))
    config = window_for(model, config)
    corpus = load_corpus(read_spec(genomes, root=data), window=config.window)
    trained = train_sae(model, corpus, config, on_report=echo)
    dictionary = write_dictionary(
        cards.folder(card) / dictionary_id,
        card,
        trained,
        config,
        title=f"{config.features} features of {card.title.lower()}, {TAP_TITLES[config.tap]}"
        f"after block {config.layer}",
        source=f"saetrack train sae {genomes.name}",
        stride=stride,
        context=context_of(model, config),
    )
    click.echo(f"wrote {dictionary.id}: gate {trained.gate:.4f}")


@train.command()
@click.option(
    "--models",
    type=FOLDER,
    required=True,
    multiple=True,
    help="Models folder; may be repeated: the last one is written into.",
)
@click.option("--dictionary", "dictionary_id", required=True, help="Dictionary to stand beside.")
@click.option("--fasta", type=FILE, required=True, help="Genome to take statistics from.")
@click.option("--exclude", multiple=True, help="Contig that is held out; may be repeated.")
@click.option("--windows", default=400, show_default=True, help="Windows to read.")
@click.option("--seed", default=0, show_default=True, help="Of the draw of windows.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def baselines(
    models: tuple[Path, ...],
    dictionary_id: str,
    fasta: Path,
    exclude: tuple[str, ...],
    threads: int,
    **settings: Any,
) -> None:
    """Write raw neurons and principal components of a dictionary's tap as dictionaries.

    Their gates are set so that as many features are active at a base as of the
    dictionary. Run them like any other: what they find as well needs no SAE.
    """
    import torch

    from workers.training.baselines import BaselineSettings, write_baselines
    from workers.training.genomes import GenomeSpec, read_genome

    torch.set_num_threads(threads)
    contigs = read_genome(GenomeSpec(fasta, 0, exclude=exclude))
    written = write_baselines(
        models,
        dictionary_id,
        [contig.bases for contig in contigs],
        models[-1],
        sequences=f"{fasta.name} without {', '.join(exclude) or 'exception'}",
        settings=BaselineSettings(**settings),
    )
    for card in written:
        figures = card.training or {}
        click.echo(f"wrote {card.id}: L0 {figures['l0']:.2f}, gate {figures['gate']:.3f}")


def _pooled(bits: "list[BitsPerBase]") -> "BitsPerBase":
    import numpy as np

    coding = [part.coding_bases for part in bits]
    noncoding = [part.noncoding_bases for part in bits]
    return type(bits[0])(
        float(np.average([part.coding for part in bits], weights=coding)),
        float(np.average([part.noncoding for part in bits], weights=noncoding)),
        sum(coding),
        sum(noncoding),
    )


for command in (
    measures.figures,
    measures.gate,
    measures.markov,
    measures.tfs,
    trying.seeds,
    trying.sweep,
    evidence,
):
    train.add_command(command)
