"""`saetrack signal`: one feature of a result as a track."""

from pathlib import Path
from typing import cast

import click


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--feature", type=click.IntRange(0), required=True, help="Index of the feature.")
@click.option(
    "--strand",
    type=click.Choice(["+", "-", "either"]),
    default="either",
    show_default=True,
    help="Strand it was read on; either is the larger of the two at each base.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The bigWig file to write.",
)
def signal(folder: Path, feature: int, strand: str, out: Path) -> None:
    """Write the signal of a feature of the result in DIR as bigWig, for IGV or any browser.

    \b
    Example:
      saetrack signal chrI --feature 12 --strand either --out f12.bw
    """
    from annotations.errors import OptionError
    from annotations.tracks import SignalStrand
    from app.catalog import parse_feature, signal_file
    from workers.answers import open_result

    result = open_result(folder)
    parse_feature(str(feature), result.n_features)
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.absolute().parent}")
    signal_file(result, out, feature=feature, strand=cast(SignalStrand, strand))
    click.echo(f"{out}: feature {feature}, strand {strand}, {len(result.names)} contigs")
