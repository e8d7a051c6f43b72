"""`saetrack query`: which features of a result match a transcription factor."""

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--tf", required=True, help="Name, alias, UniProt accession, matrix id or family.")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Most rows.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def query(folder: Path, tf: str, limit: int, as_json: bool) -> None:
    """List the features of the result in DIR that match a transcription factor, best first.

    A match is a test: the factor's motif stands at the feature's peaks more often than at places
    of equal GC where the feature is silent. "None at q <= 0.05" is an answer. Where the sequence
    is too short for a test, the answer says so and gives the labels of the dictionary's atlas.

    \b
    Example:
      saetrack query chrI --tf Reb1
    """
    from workers.answers import answer_tf

    answer = answer_tf(folder, tf, limit=limit)
    if as_json:
        click.echo(json.dumps(answer, indent=2, allow_nan=False))
        return
    _print(answer)


def _print(answer: dict[str, Any]) -> None:
    """Print an answer for people."""
    matrices = ", ".join(f"{m['name']} {m['matrix_id']}" for m in answer["motifs"][:6])
    more = ", ..." if len(answer["motifs"]) > 6 else ""
    click.echo(
        f"{answer['query']} is a {answer['match_type'].replace('_', ' ')} in {answer['release']} "
        f"{answer['taxon']}: {matrices}{more}"
    )
    test, rows = answer["test"], answer["features"]
    if not test["tested"]:
        click.echo(f"underpowered here: {test['reason']}")
        if rows:
            click.echo("what follows is known from the atlas of the dictionary, another genome:")
    if not answer["significant"]:
        click.echo(f"none at q <= {answer['significant_q']:g}" + ("; the nearest:" if rows else ""))
    _print_rows(rows)
    if answer["atlas_features"]:
        click.echo()
        click.echo(f"known from the atlas of the dictionary ({answer['atlas']['genome']}):")
        _print_rows(answer["atlas_features"])


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print features that match, or nothing."""
    from workers.commands.summary import print_table

    if not rows:
        return
    click.echo()
    print_table(
        ["feature", "motif", "peaks", "hits", "expected", "log2 enr.", "q", "offset"],
        [
            [
                f"{row['feature']}{row['strand']}",
                f"{row['motif_name']} {row['matrix_id']}",
                str(row["peaks"]),
                str(row["hits"]),
                f"{row['expected']:.2f}",
                "-" if row["log2_enrichment"] is None else f"{row['log2_enrichment']:.2f}",
                f"{row['q']:.2g}",
                "-" if row["offset"] is None else f"{row['offset']:+d}",
            ]
            for row in rows
        ],
    )
