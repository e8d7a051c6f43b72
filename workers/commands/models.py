"""`saetrack models`: what can be run."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models(as_json: bool) -> None:
    """List the installed dictionaries and the models they read.

    Folders are the bundled one, saetrack-data/models, or those in SAETRACK_MODELS_DIRS
    (separated by a colon).

    \b
    Example:
      saetrack models --json
    """
    from annotations.cards import find_cards
    from workers.commands.places import settings_from_environment

    cards = find_cards(settings_from_environment().model_roots)
    rows = [
        {
            "id": card.id,
            "title": card.title,
            "model": card.model_id,
            "layer": card.layer,
            "features": card.d_sae,
            "context": card.context,
            "sha256": card.sha256,
            "licence": card.licence,
            "random_weights": card.random_weights,
            "bases_per_second": card.bases_per_second,
            "atlas": cards.atlas(card) is not None,
        }
        for card in cards.dictionaries.values()
    ]
    if as_json:
        click.echo(json.dumps({"dictionaries": rows}, indent=2))
        return
    if not rows:
        click.echo("no dictionary is installed; train one with `saetrack train`")
    for row in rows:
        note = ", random weights" if row["random_weights"] else ""
        note += ", with an atlas" if row["atlas"] else ""
        click.echo(f"{row['id']}: {row['features']} features of {row['model']}{note}")
        click.echo(f"    {row['title']}")
