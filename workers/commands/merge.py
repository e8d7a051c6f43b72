"""`saetrack merge`: a folder of results from the shards of a run in parts."""

from pathlib import Path

import click


@click.command()
@click.argument("work", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the results; made if missing, refused if not empty.",
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def merge(work: Path, out: Path, force: bool, as_json: bool) -> None:
    """Join the shards that `saetrack annotate --shard` computed in DIR.

    What was asked for is kept in DIR: sequences, genes, motifs and options need not be given
    again. The results are those of one `saetrack annotate`, byte for byte where all shards were
    made on CPUs with the same threads. The merge needs no GPU. DIR may be deleted afterwards.

    \b
    Example:
      saetrack annotate yeast.fa --taxon fungi --work W --shard 1/2
      saetrack annotate yeast.fa --taxon fungi --work W --shard 2/2
      saetrack merge W --out yeast
    """
    from workers.batch import merge_folder
    from workers.commands.changes import print_changes
    from workers.commands.summary import Bar, print_summary

    with Bar() as bar:
        summary = merge_folder(work, out, force=force, on_progress=bar.show)
    print_summary(summary, as_json=as_json)
    if not as_json and (out / "alleles.json").is_file():
        print_changes(out)
