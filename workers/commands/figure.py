"""`saetrack figure`: a region of a result as a figure for papers."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotations.types import Span

if TYPE_CHECKING:
    from app.catalog import Result

DPI = 300
"""Of a PNG without `--dpi`."""

SEQUENCE_FILE = "sequence.fa"
"""In a result folder: what was annotated."""

MOST_UNASKED = 50_000_000
"""Bytes up to which those sequences are read though nobody asked for them."""

SHOWN = 4
"""Feature rows where none are named."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--region", required=True, help="Such as chrI:201000-203000; 1-based.")
@click.option("--features", help="Such as 374-,153+; by default the four most telling.")
@click.option("--motifs", help="TFs or matrices whose places are drawn.")
@click.option("--expectation", is_flag=True, help="What the model expects of each base.")
@click.option("--genes", type=FILE, help="GFF3, GTF, GenBank or BED; drawn below.")
@click.option("--sequences", type=FILE, help="The annotated sequences; default: DIR's own.")
@click.option("--width", default="180mm", show_default=True, help="In mm or px.")
@click.option(
    "--row-height", type=click.FloatRange(24, 200), default=44, show_default=True, help="In px."
)
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
@click.option(
    "--scale",
    type=click.Choice(["own", "shared"]),
    default="own",
    show_default=True,
    help="Whether each feature reaches to its own largest value, or all to one.",
)
@click.option("--dpi", type=click.IntRange(72, 600), help=f"Of a PNG; {DPI} by default.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="x.svg or x.png."
)
def figure(
    folder: Path,
    region: str,
    features: str | None,
    motifs: str | None,
    expectation: bool,
    genes: Path | None,
    sequences: Path | None,
    width: str,
    row_height: float,
    theme: str,
    scale: str,
    dpi: int | None,
    out: Path,
) -> None:
    """Draw features of the result in DIR over a region, as SVG or PNG.

    \b
    Example:
      saetrack figure chrI --region chrI:60001-75000 --features 374-,153+ \\
          --genes chrI.gff3 --out figure.svg
    """
    from annotations.errors import OptionError
    from annotations.tables import replacing
    from app.feature_rows import chosen_rows, parse_rows
    from app.figure_data import parse_region, region_data
    from app.figure_schemas import px_of
    from app.figures import Style, figure_png, figure_svg
    from workers.answers import open_result

    if out.suffix not in {".svg", ".png"}:
        raise OptionError(f"--out {out}: a figure is .svg or .png")
    if dpi is not None and out.suffix == ".svg":
        raise OptionError("--dpi is of a PNG; an SVG has no dots")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.absolute().parent}")
    result = open_result(folder)
    style = Style(
        width=px_of(width),
        row_height=row_height,
        theme="dark" if theme == "dark" else "light",
        scale="shared" if scale == "shared" else "own",
    )
    span = parse_region(region, result.names, result.lengths)
    rows = (
        chosen_rows(result, features=None, tf=None, limit=SHOWN)
        if features is None
        else parse_rows(features, result.n_features)
    )
    asked = sequences is not None or motifs or expectation or _is_small(folder, span)
    with tempfile.TemporaryDirectory() as scratch:
        shown = region_data(
            replace(
                result,
                genes=_genes(genes, folder, Path(scratch)) or result.genes,
                sequences=None
                if not asked
                else _sequences(sequences, folder, result, Path(scratch)),
            ),
            span,
            rows,
            motifs=motifs,
            expected=expectation,
        )
    data = (
        figure_svg(shown, style).encode()
        if out.suffix == ".svg"
        else figure_png(shown, style, dpi=dpi or DPI)
    )
    with replacing(out) as temporary:
        temporary.write_bytes(data)
    click.echo(f"{out}: {shown.locus}, features {', '.join(row.text for row in rows)}")


def _genes(path: Path | None, folder: Path, scratch: Path) -> Path | None:
    """The genes of a file as the stored table of them."""
    if path is None:
        return None
    import pyarrow.parquet as pq

    from annotations.genes import read_genes
    from workers.export import read_contigs

    contigs = read_contigs(folder / "contigs.parquet")
    made = scratch / "genes.parquet"
    pq.write_table(read_genes(path, contigs, filename=path.name), made)
    return made


def _is_small(folder: Path, span: Span) -> bool:
    """Whether bases are drawn unasked: few of them, from a file that is read in no time."""
    from app.figures import MAX_LETTERS

    own = folder / SEQUENCE_FILE
    return span.length <= MAX_LETTERS and own.is_file() and own.stat().st_size <= MOST_UNASKED


def _sequences(path: Path | None, folder: Path, result: "Result", scratch: Path) -> Path | None:
    """The normalised sequences: of a file, if the result is of these, or the result's own.

    Raises
    ------
    FormatError
        If the file holds other sequences.
    """
    from annotations.errors import CoordinateError, FormatError
    from annotations.genome_folder import LIMITS
    from annotations.pieces import write_pieces
    from annotations.sequences import contigs, read_sequences, write_fasta
    from workers.export import read_contigs

    given = path or folder / SEQUENCE_FILE
    if path is None and not given.is_file():
        return None
    other = FormatError(
        f"{given} holds other sequences than the result in {folder}; give the file that was "
        "annotated with --sequences"
    )
    records, _ = read_sequences(given, limits=LIMITS)
    known = read_contigs(folder / "contigs.parquet")
    made = scratch / "sequences.fa"
    if path is None and result.spans is not None:
        # a run over regions keeps what it read, each piece by its place
        bases = {}
        try:
            for record in records:
                name, _, place = record.name.rpartition(":")
                first, last = map(int, place.split("-"))
                bases[Span(result.names.index(name), first - 1, last)] = record.sequence
            write_pieces(made, sorted(bases), known, lambda piece: bases[piece])
        except (ValueError, CoordinateError):
            raise other from None
        if not all(any(_holds(piece, span) for piece in bases) for span in result.spans):
            raise other
        return made
    if [contig.digest for contig in contigs(records)] != [contig.digest for contig in known]:
        raise other
    write_fasta(records, made, names=[str(at) for at in range(len(records))])
    return made


def _holds(piece: Span, span: Span) -> bool:
    """Whether a piece of a contig has all bases of a span."""
    return piece.contig == span.contig and piece.start <= span.start and span.end <= piece.end
