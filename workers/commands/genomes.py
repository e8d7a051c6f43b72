"""`saetrack genomes`: reference genomes under a name."""

import json
from pathlib import Path

import click


@click.group()
def genomes() -> None:
    """Reference genomes, kept under a name in the data folder.

    \b
    Example:
      saetrack genomes add sacCer3 sacCer3.fa.gz --genes sacCer3.gff3.gz
      saetrack annotate sacCer3 --taxon fungi --out yeast
    """


@genomes.command()
@click.argument("name")
@click.argument("fasta", metavar="FASTA", type=click.Path(path_type=Path))
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene annotation: BED, BED12, GFF3 or GTF, plain or gzip.",
)
def add(name: str, fasta: Path, genes: Path | None) -> None:
    """Keep a genome under NAME: its sequences, normalised, and its genes."""
    from annotations.genome_folder import add_genome
    from annotations.types import counted
    from workers.commands.places import settings_from_environment

    genome = add_genome(settings_from_environment().genomes_dir, name, fasta, genes=genes)
    with_genes = "with genes" if genome.has_genes else "without genes"
    click.echo(
        f"{genome.name}: {counted(len(genome.contigs), 'contig')}, {genome.bases:,} bases, "
        f"{with_genes}, in {genome.folder}"
    )


@genomes.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every contig.")
def list_genomes(as_json: bool) -> None:
    """List the registered genomes."""
    from annotations.genome_folder import find_genomes
    from workers.commands.places import settings_from_environment
    from workers.commands.summary import print_table

    found = find_genomes(settings_from_environment().genomes_dir)
    if as_json:
        rows = [
            {
                "name": genome.name,
                "bases": genome.bases,
                "genes": genome.has_genes,
                "source": genome.source,
                "date": genome.date,
                "contigs": [
                    {"name": c.name, "length": c.length, "refget": c.digest} for c in genome.contigs
                ],
            }
            for genome in found
        ]
        click.echo(json.dumps({"genomes": rows}, indent=2))
        return
    if not found:
        click.echo("no genome is registered; `saetrack genomes add NAME FASTA` registers one")
        return
    print_table(
        ["name", "contigs", "bases", "genes", "date"],
        [
            [
                genome.name,
                f"{len(genome.contigs):,}",
                f"{genome.bases:,}",
                "yes" if genome.has_genes else "no",
                genome.date[:10],
            ]
            for genome in found
        ],
    )
