"""`saetrack models fidelity` and `grids`: how far a model and its dictionary can be trusted."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

GOODFIRE_SCALES = (1.0, 2.742088556289673)
"""Input scales of Goodfire's dictionary: that of its notebook, and the constant commented out
there; which of them it was trained with is not published."""

_FASTA = click.option(
    "--fasta",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Sequence that neither was trained on: FASTA or GenBank.",
)
_DEVICE = click.option("--device", default="auto", show_default=True, help="Where to compute.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.command()
@click.argument("dictionary")
@_FASTA
@click.option(
    "--windows", type=click.IntRange(1), default=32, show_default=True, help="Windows to read."
)
@click.option(
    "--scale",
    "scales",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    help="Factor of the dictionary's input; may be repeated.  [default: 1; Goodfire's also 2.742]",
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="At once.")
@_DEVICE
@_JSON
def fidelity(
    dictionary: str,
    fasta: Path,
    windows: int,
    scales: tuple[float, ...],
    batch: int,
    device: str,
    as_json: bool,
) -> None:
    """Measure how faithful a dictionary is to its model.

    L0, share of variance unexplained (FVU), cosine, cross-entropy and KL recovered when the
    model goes on from the reconstruction, share of latents that are never active. What is not
    defined is null, with the reason.

    \b
    Example:
      saetrack models fidelity yeast-tree-l2 --fasta chrI.fa
    """
    from annotations.cards import find_cards
    from workers.calibration import sample_windows
    from workers.commands.places import settings_from_environment
    from workers.device import choose_device
    from workers.registry import open_dictionary
    from workers.training.fidelity import measure_fidelity, with_context_on_both_sides

    roots = settings_from_environment().model_roots
    card = find_cards(roots).dictionary(dictionary)
    encoder = open_dictionary(card, roots, choose_device(device), whole=True)
    sample = with_context_on_both_sides(encoder, sample_windows(encoder, fasta, windows))
    goodfire = "goodfire" in card.source.lower()
    found = measure_fidelity(
        encoder, sample, scales=scales or (GOODFIRE_SCALES if goodfire else (1.0,)), batch=batch
    )
    rows = [asdict(row) for row in found]
    if as_json:
        answer: dict[str, Any] = {"dictionary": card.id, "sha256": card.sha256}
        answer |= {"fasta": fasta.name, "windows": len(sample.codes), "measures": rows}
        click.echo(json.dumps(answer, indent=2, allow_nan=False))
        return
    click.echo(f"{card.id} on {fasta.name}, {len(sample.codes)} windows")
    for name in rows[0]:
        click.echo(
            f"    {name.replace('_', ' '):<16} " + "   ".join(_cell(row[name]) for row in rows)
        )


@click.command()
@click.argument("dictionary")
@_FASTA
@click.option(
    "--context",
    "contexts",
    type=click.IntRange(0),
    multiple=True,
    help="Left context to try; may be repeated.  [default: none to twice the card's]",
)
@click.option(
    "--strides",
    type=click.IntRange(3),
    default=32,
    show_default=True,
    help="Strides of sequence to read.",
)
@click.option(
    "--least",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Jaccard index at which a context is good enough.",
)
@click.option("--write", is_flag=True, help="Write the curve and the chosen context to the card.")
@_DEVICE
@_JSON
def grids(
    dictionary: str,
    fasta: Path,
    contexts: tuple[int, ...],
    strides: int,
    least: float,
    write: bool,
    device: str,
    as_json: bool,
) -> None:
    """Measure how far features of a base depend on where windows begin.

    One sequence is read on two window grids half a window apart: Jaccard index of what is
    active, and correlation of the activations, for each left context. The smallest context
    from which on the index reaches --least is the chosen one. A card with another context is
    another computation: runs made before are not reused.

    \b
    Example:
      saetrack models grids yeast-tree-l2 --fasta chrI.fa
    """
    from annotations.cards import find_cards, write_card
    from annotations.errors import OptionError
    from workers.commands.places import settings_from_environment
    from workers.device import choose_device
    from workers.registry import open_dictionary
    from workers.training import grids as measure

    settings = settings_from_environment()
    cards = find_cards(settings.model_roots)
    card = cards.dictionary(dictionary)
    folder = cards.folder(card)
    if write and folder.is_relative_to(settings.bundled_models):
        raise OptionError(
            f"{card.id} is bundled with saetrack and its card stays as it is; copy its model's "
            "folder with `saetrack models add` under another SAETRACK_MODELS_DIRS to write to it"
        )
    encoder = open_dictionary(card, settings.model_roots, choose_device(device))
    tried = sorted(set(contexts)) or measure.contexts_to_try(
        card, encoder.language_model.max_length
    )
    piece = measure.read_piece(fasta, card, strides=strides)
    curve = measure.grid_agreement(encoder, piece, contexts=tried)
    changed = measure.with_agreement(card, curve, least=least, sequence=fasta.name)
    if write:
        write_card(changed, folder)
    chosen = (changed.figures or {})["context_chosen"]
    if as_json:
        answer: dict[str, Any] = {"dictionary": card.id, "sha256": card.sha256}
        answer |= {"fasta": fasta.name, "bases": len(piece), "stride": card.stride}
        answer |= {"curve": [asdict(point) for point in curve], "least": least}
        answer |= {"context": card.context, "context_chosen": chosen, "written": write}
        click.echo(json.dumps(answer, indent=2, allow_nan=False))
        return
    click.echo(f"{card.id} on {len(piece)} bases of {fasta.name}, stride {card.stride}")
    click.echo("    context   jaccard   pearson")
    for point in curve:
        row = f"{point.context:>11} {_cell(point.jaccard):>9} {_cell(point.pearson):>9}"
        click.echo(row + ("   chosen" if point.context == chosen else ""))
    if chosen is None:
        click.echo(f"    no context reaches {least:g}; the card's stays {card.context}")
    if write:
        click.echo(f"written to the card of {card.id}")


def _cell(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
