"""`saetrack annotate`: the whole way from a sequence file to a folder of results."""

from pathlib import Path

import click


@click.command()
@click.argument("sequences", metavar="SEQ", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the results; made if missing, refused if not empty.",
)
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene annotation: BED, BED12, GFF3 or GTF, plain or gzip. A GenBank SEQ brings its own.",
)
@click.option(
    "--motifs",
    metavar="TAXON",
    help="JASPAR group to scan for (vertebrates, plants, insects, fungi, nematodes, urochordates, "
    "diatoms) or none.  [default: that of the dictionary's atlas, else none]",
)
@click.option(
    "--strand",
    type=click.Choice(["both", "forward"]),
    default="both",
    show_default=True,
    help="Strands to read.",
)
@click.option("--model", metavar="ID", help="Dictionary, or model with one; see `saetrack models`.")
@click.option("--jaspar", metavar="RELEASE", help="JASPAR release.  [default: JASPAR2026]")
@click.option(
    "--signal",
    metavar="FEATURE",
    multiple=True,
    type=click.IntRange(0),
    help="Also write the signal of this feature; may be given several times.",
)
@click.option(
    "--top",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Write the signal of so many of the most telling features.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 512), help="CPU threads of the model.")
@click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True, hidden=True)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def annotate(
    sequences: Path,
    out: Path,
    genes: Path | None,
    motifs: str | None,
    strand: str,
    model: str | None,
    jaspar: str | None,
    signal: tuple[int, ...],
    top: int,
    device: str,
    threads: int | None,
    batch: int,
    force: bool,
    as_json: bool,
) -> None:
    """Find where each feature fires on SEQ, and what stands there.

    SEQ is FASTA or GenBank, plain, gzip or bgzip, with one or more records. The folder gets
    features.tsv, peaks.bed, matches.tsv, signal/*.bw for a genome browser, the same tables as
    Parquet, all activations, and provenance.json.

    \b
    Example:
      saetrack annotate chrI.fa.gz --genes chrI.gff3 --motifs fungi --out chrI
      saetrack query chrI --tf Reb1
    """
    from workers.annotate import Request, annotate_file
    from workers.commands.summary import Bar, print_summary

    request = Request(
        sequences=sequences,
        out=out,
        genes=genes,
        motifs=motifs,
        strands=strand,
        model=model,
        release=jaspar,
        signal=signal,
        top=top,
        device=device,
        threads=threads,
        batch=batch,
        force=force,
    )
    with Bar() as bar:
        summary = annotate_file(request, on_progress=bar.show)
    print_summary(summary, as_json=as_json)
