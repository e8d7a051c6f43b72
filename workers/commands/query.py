"""`saetrack query`: which features match a factor, a concept or a set of intervals."""

from pathlib import Path
from typing import Any, cast

import click

QUESTIONS = ("tf", "feature", "concept", "bed")
"""Options of which exactly one says what is asked."""


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--tf", help="Name, alias, UniProt accession, matrix id or family.")
@click.option("--feature", metavar="N[+|-]", help="What is known of a feature, such as 374-.")
@click.option("--concept", help="Which features predict it: exon, splice_donor, TSS and so on.")
@click.option(
    "--bed",
    type=click.Path(path_type=Path),
    help="Which features predict these intervals, such as ChIP peaks; needs DIR.",
)
@click.option(
    "--background",
    type=click.Path(path_type=Path),
    help="Intervals that those of --bed are told from.",
)
@click.option(
    "--fasta",
    metavar="SEQ",
    type=click.Path(path_type=Path),
    help="Without --background: what was annotated, to draw places of equal GC content from.",
)
@click.option("--dictionary", metavar="ID", help="Whose atlas answers where there is no DIR.")
@click.option("--taxon", metavar="TAXON", help="JASPAR group; must be the one that was tested.")
@click.option("--release", metavar="RELEASE", help="JASPAR release; likewise.")
@click.option(
    "--max-q",
    type=click.FloatRange(0, 1),
    help="Only rows with q at most this; 1 for all.  [default: 0.05 for --tf and --concept]",
)
@click.option("--min-log2-enrichment", type=float, help="Only rows with at least this effect.")
@click.option(
    "--evidence",
    metavar="KIND[,...]",
    help="Only matches that are enriched, centred, similar, predictive, causal.",
)
@click.option("--strand", type=click.Choice(["+", "-"]), help="Only rows of this strand.")
@click.option(
    "--orientation",
    type=click.Choice(["same", "opposite", "either"]),
    help="Sense of the intervals against the strand that was read.",
)
@click.option(
    "--group-by",
    type=click.Choice(["cluster", "group"]),
    help="One row for each cluster of motifs, or group of features that fire together.",
)
@click.option("--sort", metavar="ORDER", help="--tf: q, effect, auroc, ...; --concept: f1, ...")
@click.option("--limit", type=click.IntRange(1), help="Most rows.  [default: 10; all with --out]")
@click.option("--page-token", help="As the page before said.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "tsv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="Parquet needs --out.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def query(folder: Path | None, out: Path | None, form: str, **asked: Any) -> None:
    """Say which features match a factor, a concept or intervals, or what a feature is known for.

    The result in DIR answers where its sequences had the power for a test, else the atlas of its
    dictionary; without DIR the atlas answers at once. A match is a test: the factor's motif
    stands at the feature's peaks more often than at places of equal GC where the feature is
    silent. "None at q <= 0.05" is an answer.

    \b
    A row is one feature on one strand, as it was read: 374- is feature 374 on strand -.
    Sense: same, the exon lies on the strand that was read; opposite, on the other one.

    \b
    Examples:
      saetrack query --tf Reb1
      saetrack query --feature 374-
      saetrack query chrI --concept splice_donor --sort auprc
      saetrack query chrI --bed peaks.bed --background open.bed --format tsv
    """
    from workers.commands.answering import Asked, answer, show, tracks_hint

    given = [name for name in QUESTIONS if asked[name] is not None]
    if len(given) != 1:
        names = ", ".join(f"--{name}" for name in QUESTIONS)
        raise click.UsageError(f"give one of {names}; got {len(given)} of them")
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet is not text: name a file with --out")
    if asked["limit"] is None and out is None and asked["feature"] is None:
        asked["limit"] = 10
    wanted = Asked(folder=folder, **asked)
    found = answer(wanted)
    show(found, cast(Any, form), out)
    if folder is not None and form == "table" and asked["feature"] is None:
        hint = tracks_hint(folder, found)
        if hint is not None:
            click.echo(hint)
