"""What `saetrack annotate --variants` and `--alleles` print: what changed most in each pair."""

from pathlib import Path
from typing import Any

import click

from app.alleles import changed_features, pairs_listing
from app.selection import Choice
from workers.answers import open_result
from workers.commands.summary import print_table

SHOWN_PAIRS = 20
"""Pairs in a printed summary."""

SHOWN_FEATURES = 3
"""Features of each."""


def print_changes(folder: Path) -> None:
    """Print the features that differ most in each pair of a result folder.

    Parameters
    ----------
    folder : Path
        Which `saetrack annotate` wrote.
    """
    result = open_result(folder)
    listing = pairs_listing(result, Choice(sort="file", limit=SHOWN_PAIRS))
    rows = []
    for pair in listing.to_json()["alleles"]:
        found = changed_features(result, str(pair["pair"]), Choice(limit=SHOWN_FEATURES))
        for place, row in enumerate(found.to_json()["features"]):
            rows.append(
                [
                    pair["name"] if not place else "",
                    f"{row['feature']}{row['strand']}",
                    f"{row['change']:+.3g}",
                    f"{row['reference_max']:.3g}",
                    f"{row['alternative_max']:.3g}",
                    row["label"] or "-",
                ]
            )
        if not pair["changed"]:
            rows.append([pair["name"], "-", "none", "-", "-", "-"])
    _print_ratios(listing.to_json()["alleles"], expectation=listing.head["expectation"])
    click.echo("\nlargest change at a base, alternative minus reference (a measurement, no test):")
    print_table(["variant", "feature", "change", "ref max", "alt max", "label"], rows)
    if listing.page.next_page_token is not None:
        click.echo(f"and {listing.page.total - SHOWN_PAIRS:,} more in allele_effects.tsv")
    skipped = listing.head["skipped"]
    if skipped:
        said = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        click.echo(f"passed over: {said}")


def _print_ratios(pairs: list[dict[str, Any]], *, expectation: bool) -> None:
    """Print how much the model expects the alternative of each substitution."""
    known = [pair for pair in pairs if pair["log2_ratio"] is not None]
    if not expectation:
        return
    click.echo("\nlog2 p(alternative) / p(reference) of substitutions, as the model expects them:")
    if not known:
        click.echo("none of these variants puts one base in place of another")
        return
    print_table(["variant", "log2 ratio"], [[p["name"], f"{p['log2_ratio']:+.2f}"] for p in known])
