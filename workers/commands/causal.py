"""`saetrack causal`: whether a motif moves a feature, by edits of the sequence."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workers.causal import CausalResult, Effect


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--fasta",
    required=True,
    type=click.Path(path_type=Path),
    help="The sequences that DIR was made of; it keeps none.",
)
@click.option("--feature", required=True, metavar="ROW", help="Feature and strand, such as 374-.")
@click.option("--tf", help="Name, alias, UniProt accession, matrix id or family.")
@click.option("--motif", metavar="MATRIX", help="Which matrix; by default that of lowest q.")
@click.option("--sites", type=click.IntRange(1), default=50, show_default=True, help="Most sites.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the controls."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 512), help="CPU threads of the model.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every site.")
def causal(
    folder: Path,
    fasta: Path,
    feature: str,
    tf: str | None,
    motif: str | None,
    sites: int,
    seed: int,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Test whether a motif moves a feature of the result in DIR.

    The motif is taken away at the feature's highest peaks, against edits beside it that change as
    many bases alike, and put into windows of equal GC where the feature is silent, against its own
    bases in another order. A match says that a motif stands where a feature fires; this says
    whether the feature fires because of it.

    \b
    Example:
      saetrack causal chrIV --fasta chrIV.fa --feature 374- --tf Reb1
    """
    from workers.causal_folder import causal_of_folder

    found = causal_of_folder(
        folder,
        fasta,
        feature,
        tf=tf,
        matrix_id=motif,
        sites=sites,
        seed=seed,
        device=device,
        threads=threads,
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, allow_nan=False))
        return
    _print(found.result)


def _print(result: "CausalResult") -> None:
    """Print a result for people."""
    from annotations.types import strand_symbol
    from workers.commands.summary import print_table

    row = f"{result.feature}{strand_symbol(result.strand)}"
    offset = "" if result.offset is None else f", at offset {result.offset:+d} from its peaks"
    click.echo(f"feature {row} and {result.motif_name} {result.matrix_id}{offset}")
    click.echo()
    tests = {
        "motif taken away": result.disrupt,
        "motif put in": result.insert,
        "its reverse complement put in": result.insert_opposite,
    }
    print_table(
        ["", "sites", "change", "control", "effect", "d_z", "p"],
        [[name, *_cells(effect)] for name, effect in tests.items()],
    )
    for name, effect in tests.items():
        if effect.reason:
            click.echo(f"{name}: not tested: {effect.reason}")
    click.echo()
    if result.distance is not None and result.control_distance is not None:
        click.echo(
            f"edited bases are {result.distance:.1f} from the peak, those of the control "
            f"{result.control_distance:.1f}"
        )
    click.echo("changes: taken away, share of the activation before; put in, share of a high peak")


def _cells(effect: "Effect") -> list[str]:
    """A test as the cells of the table."""
    shares = (effect.change, effect.control_change, effect.effect)
    return [
        str(effect.n),
        *("-" if value is None else f"{100 * value:+.1f} %" for value in shares),
        "-" if effect.standardised is None else f"{effect.standardised:.2f}",
        "-" if effect.p is None else f"{effect.p:.2g}",
    ]
