"""`saetrack signal`: one feature of a result as a track."""

from pathlib import Path
from typing import cast

import click


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--feature", metavar="N[+|-]", required=True, help="The feature, such as 374-.")
@click.option(
    "--strand",
    type=click.Choice(["+", "-", "either"]),
    help="Strand it was read on; either, the default, is the larger of the two at each base.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The bigWig file to write.  [default: features/N_plus/signal.bw, or N_minus or N, in DIR]",
)
def signal(folder: Path, feature: str, strand: str | None, out: Path | None) -> None:
    """Write the signal of a feature of the result in DIR as bigWig, for IGV or any browser.

    \b
    Example:
      saetrack signal chrI --feature 374-
      saetrack signal chrI --feature 12 --strand either --out f12.bw
    """
    from annotations.errors import OptionError
    from annotations.tracks import SignalStrand
    from annotations.types import Strand, counted
    from app.catalog import one_strand, parse_feature_row, signal_file
    from app.feature_rows import FeatureRow
    from app.static_folder import add_signal
    from workers.answers import open_result

    result = open_result(folder)
    index, named = parse_feature_row(feature, result.n_features)
    if strand == "either" and named is not None:
        raise OptionError(f"--feature {feature} is one strand, and --strand either is both")
    asked = None if strand in {None, "either"} else cast(Strand, strand)
    chosen: SignalStrand = one_strand(named, asked) or "either"
    if out is None:
        out = add_signal(result, folder, FeatureRow(index, chosen))
    elif not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.absolute().parent}")
    else:
        signal_file(result, out, feature=index, strand=chosen)
    contigs = counted(len(result.names), "contig")
    click.echo(f"{out}: feature {index}, strand {chosen}, {contigs}")
