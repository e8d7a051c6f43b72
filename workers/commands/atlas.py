"""`saetrack atlas`: make, hand over and list what is known of dictionaries' features."""

import json
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


@click.group()
def atlas() -> None:
    """Labels of a dictionary's features: make them, give them, take them.

    \b
    Example:
      saetrack genomes add sacCer3 sacCer3.fa.gz --genes sacCer3.gff3
      saetrack atlas build sacCer3 --dictionary yeast-tree-l2 --taxon fungi --work atlas-work
      saetrack atlas export yeast-tree-l2 yeast-tree-l2.atlas.tar
      saetrack atlas import yeast-tree-l2.atlas.tar
    """


@atlas.command()
@click.argument("genome", metavar="GENOME")
@click.option("--dictionary", required=True, metavar="ID", help="See `saetrack models`.")
@click.option(
    "--taxon",
    metavar="TAXON",
    help="JASPAR group; needed with --work.",
)
@click.option("--release", metavar="RELEASE", help="JASPAR release.")
@click.option("--held-out", metavar="CONTIGS", default="", help="Kept out of discovery; commas.")
@click.option("--exclude", metavar="CONTIGS", default="", help="Not read at all; commas.")
@click.option("--work", type=PATH, help="Folder of the run; kept, and gone on with if there.")
@click.option("--result", type=PATH, help="A finished run over GENOME, instead of a new one.")
@click.option("--out", type=PATH, help="Folder of the atlas.  [default: beside the dictionary]")
@click.option("--title", help="What the genome is, in words.  [default: its name]")
@click.option("--log", type=PATH, help="File to log the reading of held-out contigs to.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=PATH,
    help="Result folder of a baseline's run over GENOME; may be given several times.",
)
@click.option(
    "--causal",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Test so many of the surest matches by edits of the sequence.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1, 400_000_000),
    default=400_000_000,
    show_default=True,
    help="Keep less of each feature until the atlas is no larger.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 512), help="CPU threads of the model.")
@click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True, hidden=True)
@click.option("--force", is_flag=True, help="Replace an atlas that is there.")
@click.option(
    "--models", type=PATH, multiple=True, help="Models folder; else those of the settings."
)
def build(
    genome: str,
    dictionary: str,
    held_out: str,
    exclude: str,
    models: tuple[Path, ...],
    max_bytes: int,
    causal: int,
    **options: object,
) -> None:
    """Run a dictionary over a registered genome and keep what its features stand for.

    Stopped at any time, the same command goes on from the last finished shard of --work.
    Contigs of --held-out take no part in finding anything; what is found is tested on them once.
    """
    from annotations.options import names_of
    from workers.atlas import BuildRequest
    from workers.atlas import build as build_atlas
    from workers.commands.summary import Bar

    request = BuildRequest(
        genome=genome,
        dictionary=dictionary,
        held_out=tuple(names_of(held_out)),
        exclude=tuple(names_of(exclude)),
        models=models or None,
        max_bytes=max_bytes,
        causal=causal,
        **options,  # type: ignore[arg-type]  # click has checked the types of these
    )
    with Bar() as bar:
        made, folder = build_atlas(request, on_progress=bar.show)
    click.echo(json.dumps({"atlas": str(folder), **made.about.counts, "kept": made.about.kept}))


@atlas.command()
@click.argument("dictionary", metavar="ID")
@click.argument("file", metavar="FILE", type=PATH)
def export(dictionary: str, file: Path) -> None:
    """Write the atlas of a dictionary as one file, with the cards of dictionary and model."""
    from annotations.atlas_file import export_atlas
    from annotations.cards import find_cards
    from workers.commands.places import settings_from_environment

    cards = find_cards(settings_from_environment().model_roots)
    export_atlas(cards, cards.dictionary(dictionary), file)
    click.echo(f"wrote {file}: {file.stat().st_size:,} bytes")


@atlas.command("import")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--force", is_flag=True, help="Replace an atlas that is there.")
def import_file(file: Path, force: bool) -> None:
    """Take an atlas from a file of `saetrack atlas export`.

    It is put beside its dictionary where that is installed with the same weights, else among the
    models of the data folder: its labels can then be asked, but nothing can be run. The atlas of
    a dictionary that came with saetrack stays as it is.
    """
    from annotations.atlas_file import import_atlas
    from annotations.cards import find_cards
    from workers.commands.places import settings_from_environment

    settings = settings_from_environment()
    own = settings.data_dir / "models"
    models = own if own in settings.models_dirs else settings.models_dirs[-1]
    found = import_atlas(
        file,
        find_cards(settings.model_roots),
        models,
        bundled=settings.bundled_models,
        force=force,
    )
    note = "" if found.has_weights else "; its weights are not here, so it can be asked, not run"
    click.echo(f"{found.dictionary.id}: atlas in {found.folder}{note}")


@atlas.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_atlases(as_json: bool) -> None:
    """List the atlases of this installation."""
    from annotations.atlas import ATLAS_CARD, read_atlas_card
    from annotations.cards import find_cards
    from workers.commands.places import settings_from_environment
    from workers.commands.summary import print_table

    cards = find_cards(settings_from_environment().model_roots)
    rows: list[dict[str, Any]] = []
    for card in cards.dictionaries.values():
        folder = cards.atlas(card)
        if folder is None:
            continue
        about = read_atlas_card(folder / ATLAS_CARD)
        rows.append(
            {
                "dictionary": card.id,
                "genome": about.genome,
                "taxon": about.taxon,
                "release": about.release,
                "labels": about.counts.get("labels"),
                "matches": about.counts.get("matches"),
                "held_out": [contig["name"] for contig in about.held_out],
                "date": about.date,
                "weights": cards.has_weights(card),
            }
        )
    if as_json:
        click.echo(json.dumps({"atlases": rows}, indent=2))
        return
    if not rows:
        click.echo("no dictionary has an atlas; `saetrack atlas build` or `import` brings one")
        return
    header = ["dictionary", "genome", "motifs", "labels", "matches", "held out", "weights"]
    print_table(
        header,
        [
            [
                row["dictionary"],
                row["genome"],
                f"{row['release']} {row['taxon']}",
                "-" if row["labels"] is None else f"{row['labels']:,}",
                "-" if row["matches"] is None else f"{row['matches']:,}",
                ",".join(row["held_out"]) or "-",
                "here" if row["weights"] else "not here",
            ]
            for row in rows
        ],
    )
