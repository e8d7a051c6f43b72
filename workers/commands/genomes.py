"""`saetrack genomes`: reference genomes under a name."""

import json
from pathlib import Path

import click

_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder whose genomes they are.  [default: SAETRACK_DATA_DIR, else saetrack-data]",
)


@click.group()
def genomes() -> None:
    """Reference genomes, kept under a name in the data folder.

    \b
    Example:
      saetrack genomes add sacCer3 sacCer3.fa.gz --genes sacCer3.gff3.gz
      saetrack annotate sacCer3 --taxon fungi --out yeast
      saetrack annotate --genome sacCer3 --gene PHO5 --flank 500 --out pho5
    """


@genomes.command()
@click.argument("name")
@click.argument("fasta", metavar="FASTA", type=click.Path(path_type=Path))
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene annotation: BED, BED12, GFF3 or GTF, plain or gzip.",
)
@click.option(
    "--aliases",
    metavar="FILE|ASSEMBLY",
    help="What else the contigs are called: UCSC's chromAlias.txt, NCBI's assembly_report.txt, or "
    "names of one contig on each line; or a shipped table by the name of its assembly.  [default: "
    "the shipped table that fits all names and lengths, if one does]",
)
@_data_dir
def add(
    name: str, fasta: Path, genes: Path | None, aliases: str | None, data_dir: Path | None
) -> None:
    """Keep a genome under NAME: sequences, normalised, genes, other names, chrom.sizes, digests."""
    from annotations.contig_aliases import shipped
    from annotations.genome_folder import add_genome
    from annotations.types import counted
    from workers.commands.places import settings_from_environment

    table = aliases if aliases is None or aliases in shipped() else Path(aliases)
    settings = settings_from_environment(data_dir=data_dir)
    genome = add_genome(settings.genomes_dir, name, fasta, genes=genes, aliases=table)
    with_genes = f"{genome.genes:,} genes" if genome.genes is not None else "without genes"
    stated = genome.source["aliases"]
    others = "no other names" if stated is None else f"other names from {stated['file']}"
    click.echo(
        f"{genome.name}: {counted(len(genome.contigs), 'contig')}, {genome.bases:,} bases, "
        f"{with_genes}, {others}, in {genome.folder}"
    )
    click.echo(f"data folder: {settings.data_dir}")


@genomes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every contig.")
@_data_dir
def list_genomes(as_json: bool, data_dir: Path | None) -> None:
    """List the registered genomes."""
    from annotations.genome_folder import find_genomes
    from workers.commands.places import settings_from_environment
    from workers.commands.summary import print_table

    settings = settings_from_environment(data_dir=data_dir)
    found = find_genomes(settings.genomes_dir)
    if as_json:
        rows = [
            {
                "name": genome.name,
                "bases": genome.bases,
                "genes": genome.has_genes,
                "gene_names": genome.genes,
                "seqcol": genome.seqcol,
                "source": genome.source,
                "date": genome.date,
                "contigs": [
                    {
                        "name": contig.name,
                        "length": contig.length,
                        "refget": contig.digest,
                        "aliases": list(aliases),
                    }
                    for contig, aliases in zip(
                        genome.contigs, genome.contig_names().aliases, strict=True
                    )
                ],
            }
            for genome in found
        ]
        click.echo(json.dumps({"data_dir": str(settings.data_dir), "genomes": rows}, indent=2))
        return
    if not found:
        click.echo(
            f"no genome is registered in the data folder {settings.data_dir}; `saetrack genomes "
            "add NAME FASTA` registers one, --data-dir names another folder"
        )
        return
    click.echo(f"data folder: {settings.data_dir}")
    print_table(
        ["name", "contigs", "bases", "genes", "other names", "date"],
        [
            [
                genome.name,
                f"{len(genome.contigs):,}",
                f"{genome.bases:,}",
                f"{genome.genes:,}"
                if genome.genes is not None
                else ("yes" if genome.has_genes else "no"),
                (genome.source["aliases"] or {"file": "none"})["file"],
                genome.date[:10],
            ]
            for genome in found
        ],
    )
