"""`saetrack annotate`: the whole way from a sequence file to a folder of results."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from annotations.genome_parts import PartRequest


@click.command()
@click.argument("sequences", metavar="[SEQ]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--genome",
    metavar="NAME",
    help="Registered genome (`saetrack genomes list`) in place of SEQ; with one of --regions, "
    "--region and --gene only parts of it are read.",
)
@click.option(
    "--regions",
    metavar="BED",
    type=click.Path(path_type=Path),
    help="Parts of the genome: a BED file, plain or gzip. Those that overlap become one.",
)
@click.option(
    "--region",
    metavar="LOCI",
    help="Parts of the genome: chrI:1,000-2,000 (from 1, both ends included), several with commas "
    "between them.",
)
@click.option(
    "--gene",
    metavar="NAMES",
    help="Parts of the genome: genes of its annotation, several with commas between them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results; made if missing, refused if not empty.",
)
@click.option(
    "--work",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that keeps finished shards: the same command goes on from there.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Only compute the shards of task I of N into --work, for batch systems; `saetrack merge` "
    "then makes the results.",
)
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene annotation: BED, BED12, GFF3 or GTF, plain or gzip. A GenBank SEQ brings its own. "
    "Not with --variants.",
)
@click.option(
    "--variants",
    metavar="VCF",
    type=click.Path(path_type=Path),
    help="Compare the alleles of each variant of a VCF file: two records are cut out of SEQ, with "
    "the reference and with the alternative allele, and annotated in place of SEQ. Not with "
    "--genes, --held-out or parts of a genome.",
)
@click.option(
    "--alleles",
    metavar="REF,ALT",
    help="Compare two records of SEQ, named with a comma between them, reference first.",
)
@click.option(
    "--flank",
    metavar="BASES",
    type=int,
    help="Bases on each side of a variant, by default the context of the dictionary, at least 256; "
    "or added to each side of a region, by default 0.",
)
@click.option(
    "--controls",
    metavar="N",
    type=click.IntRange(0, 99),
    default=0,
    help="Also annotate N random substitutions near each variant, to say how many of them change a "
    "feature as much.",
)
@click.option(
    "--taxon",
    metavar="TAXON",
    help="JASPAR group to scan for (vertebrates, plants, insects, fungi, nematodes, urochordates, "
    "diatoms) or none.  [default: that of the dictionary's atlas, else none]",
)
@click.option(
    "--motifs-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your own motifs in MEME, JASPAR or TRANSFAC format; beside those of --taxon, or alone.",
)
@click.option(
    "--held-out",
    metavar="CONTIGS",
    default="",
    help="Contigs kept out of discovery, separated by commas: what is found on the others is "
    "tested once on these.",
)
@click.option(
    "--strands",
    type=click.Choice(["both", "forward"]),
    default="both",
    show_default=True,
    help="Strands to read.",
)
@click.option(
    "--expectation",
    is_flag=True,
    help="Also keep what the model expects of each base, for tracks of bits and letters and for "
    "log2 p(alt)/p(ref) of substitutions; takes a pass of the whole model.",
)
@click.option(
    "--dictionary", metavar="ID", help="Dictionary, or model with one; see `saetrack models`."
)
@click.option(
    "--release",
    metavar="RELEASE",
    help="JASPAR release.  [default: JASPAR2026]",
)
@click.option(
    "--signal",
    metavar="N[+|-]",
    multiple=True,
    help="Also write the tracks of this feature, such as 374- or 374; may be given several times.",
)
@click.option(
    "--top",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Write the tracks of so many of the most telling features, each on its strand.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 512), help="CPU threads of the model.")
@click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True, hidden=True)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def annotate(
    sequences: Path | None,
    genome: str | None,
    regions: Path | None,
    region: str | None,
    gene: str | None,
    out: Path | None,
    work: Path | None,
    shard: str | None,
    genes: Path | None,
    variants: Path | None,
    alleles: str | None,
    flank: int | None,
    controls: int,
    taxon: str | None,
    motifs_file: Path | None,
    held_out: str,
    strands: str,
    expectation: bool,
    dictionary: str | None,
    release: str | None,
    signal: tuple[str, ...],
    top: int,
    device: str,
    threads: int | None,
    batch: int,
    force: bool,
    as_json: bool,
) -> None:
    """Find where each feature fires on SEQ, and what stands there.

    SEQ is FASTA or GenBank, plain, gzip or bgzip, with one or more records; or the name of a genome
    of `saetrack genomes`, which brings its genes. --genome names one, too, of which parts may be
    read: results are then in the genome's coordinates, and there are none elsewhere. The folder
    gets index.html, a page that shows the tracks in any web browser without a server; hub.txt,
    session.xml and jbrowse.json for UCSC, IGV and JBrowse 2; features.tsv, peaks.bed, matches.tsv,
    concepts.tsv, the same as Parquet, all activations, and provenance.json.

    \b
    Example:
      saetrack annotate chrI.fa.gz --genes chrI.gff3 --taxon fungi --out chrI
      saetrack query chrI --tf Reb1
      saetrack annotate yeast.fa --taxon fungi --held-out chrIX,chrXIV --out yeast
      saetrack annotate yeast.fa --variants calls.vcf --out calls
      saetrack annotate --genome sacCer3 --regions peaks.bed --flank 200 --out peaks
      saetrack annotate --genome sacCer3 --gene PHO5 --flank 500 --out pho5
      saetrack annotate yeast.fa --taxon fungi --work W --shard 3/8
    """
    from annotations.allele_inputs import AlleleRequest
    from annotations.genome_parts import PartRequest
    from annotations.options import names_of

    if (out is None) is (shard is None):
        raise click.UsageError(
            "name the folder for the results: --out DIR"
            if out is None
            else "a task with --shard makes no results: leave --out to `saetrack merge`"
        )
    source, part = _source(
        sequences,
        genome,
        PartRequest(
            genome=genome or "",
            regions=regions,
            region=region,
            gene=gene,
            flank=0 if flank is None or variants is not None else flank,
        ),
    )
    compare = AlleleRequest(variants, alleles, flank if part is None else None, controls)
    # before what takes seconds to load
    compare.check(genes=genes is not None, held_out=bool(held_out), regions=part is not None)
    from workers.annotate import Request, annotate_file
    from workers.commands.changes import print_changes
    from workers.commands.summary import Bar, print_left, print_summary

    if part is None and variants is None:
        _announce(source)
    request = Request(
        sequences=source,
        out=out or Path(),
        work=work,
        part=part,
        genes=genes,
        compare=compare,
        taxon=taxon,
        motifs_file=motifs_file,
        held_out=tuple(names_of(held_out)),
        strands=strands,
        expectation=expectation,
        dictionary=dictionary,
        release=release,
        signal=signal,
        top=top,
        device=device,
        threads=threads,
        batch=batch,
        force=force,
    )
    if shard is not None:
        from workers.batch import annotate_part, parse_part

        task = parse_part(shard)
        with Bar() as bar:
            left = annotate_part(request, task, on_progress=bar.show)
        print_left(left, as_json=as_json)
        return
    with Bar() as bar:
        summary = annotate_file(request, on_progress=bar.show)
    print_summary(summary, as_json=as_json)
    if not (as_json or request.compare.is_empty):
        print_changes(request.out)


def _announce(source: Path) -> None:
    """Say on standard error that a whole registered genome is read."""
    from annotations.genome_folder import find_genomes
    from annotations.types import counted
    from workers.commands.places import settings_from_environment

    if source.is_file():
        return
    found = {
        genome.name: genome for genome in find_genomes(settings_from_environment().genomes_dir)
    }
    genome = found.get(str(source))
    if genome is None:  # reading it tells what there is
        return
    click.echo(
        f"reading all of {genome.name}: {counted(len(genome.contigs), 'contig')}, "
        f"{genome.bases / 1e6:,.1f} Mb; --gene, --region or --regions read parts",
        err=True,
    )


def _source(
    sequences: Path | None, genome: str | None, part: "PartRequest"
) -> tuple[Path, "PartRequest | None"]:
    """What is read, a file or a genome by name, and the parts of the genome."""
    named = part.named_by
    if (sequences is None) is (genome is None):
        raise click.UsageError(
            "name a sequence file or a registered genome: saetrack annotate SEQ, or --genome NAME"
            + ("; not both" if genome is not None else "")
        )
    if genome is not None:
        return Path(genome), None if named is None else part
    if named is not None:
        raise click.UsageError(
            f"--{named} names parts of a registered genome: say which with --genome NAME in place "
            "of SEQ (`saetrack genomes add NAME FASTA` registers one)"
        )
    return Path(str(sequences)), None
