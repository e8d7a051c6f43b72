"""`saetrack train evidence`: measure the bundled model and write the page about it."""

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
ROOT = Path(__file__).parent.parent.parent


@click.command()
@click.option("--data", type=FOLDER, help="Folder of the files; not needed for the page alone.")
@click.option("--models", type=FOLDER, multiple=True, help="Folder of baselines; repeatable.")
@click.option("--results", type=FOLDER, help="Folder of results of annotate, by dictionary.")
@click.option("--stages", default="", help="Stages to run, in words; `page` for the page alone.")
@click.option("--dictionary", metavar="ID", help="Bundled dictionary, where there are several.")
@click.option("--genomes", type=FILE, help="TOML of the genomes trained on.")
@click.option("--curve", type=FILE, help="Learning curve of the model, JSON lines.")
@click.option("--annotate", type=FILE, help="Record of benchmarks/annotate.py.")
@click.option("--training", default="", help="Chromosomes to choose on, commas; all by default.")
@click.option("--threads", default=2, show_default=True, help="CPU threads.")
@click.option("--again", is_flag=True, help="Read the test chromosomes a second time.")
@click.option("--work", type=FOLDER, help="Folder for what was read, kept for later stages.")
@click.option("--out", type=FOLDER, help="Folder of the records.")
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="The page.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Log of readings.")
def evidence(
    data: Path | None,
    models: tuple[Path, ...],
    results: Path | None,
    stages: str,
    dictionary: str | None,
    genomes: Path | None,
    curve: Path | None,
    annotate: Path | None,
    training: str,
    threads: int,
    again: bool,
    work: Path | None,
    out: Path | None,
    page: Path | None,
    log: Path | None,
) -> None:
    """Measure the bundled model in stages, and write docs/bundled-model.md from their records.

    \b
    Without --stages all but `test` run. The test chromosomes are read by that one alone:
      saetrack train evidence --data DIR --models DIR
      saetrack train evidence --data DIR --models DIR --stages test
      saetrack train evidence --stages page
    """
    from annotations.errors import OptionError
    from workers.evidence.page import write_page
    from workers.evidence.records import RESULTS
    from workers.evidence.stages import USUAL

    out = out or RESULTS
    names = stages.replace(",", " ").split() or list(USUAL)
    wanted = [name for name in names if name != "page"]
    if wanted:
        if data is None:
            raise OptionError(
                f"the stages {', '.join(wanted)} need --data DIR (make evidence DATA=DIR); "
                "`page` alone does not"
            )
        import torch

        from workers.evidence.data import Data
        from workers.evidence.dictionaries import find_compared
        from workers.evidence.reading import Shelf
        from workers.evidence.stages import Plan, run_stages

        torch.set_num_threads(threads)
        compared = find_compared(models, dictionary)
        plan = Plan(
            data=Data(data, genomes or ROOT / "workers" / "bundled" / "yeast.toml"),
            compared=compared,
            out=out,
            shelf=Shelf(work or ROOT / "saetrack-data" / "evidence"),
            results=results,
            curve=curve or _curve_of(compared.trained.model_id),
            annotate=annotate,
            training=tuple(name for name in training.split(",") if name),
            log=log or ROOT / "benchmarks" / "results" / "test-chromosome-reads.tsv",
            again=again,
            say=lambda text: click.echo(text, err=True),
        )
        run_stages(plan, wanted)
    where = page or ROOT / "docs" / "bundled-model.md"
    write_page(out, where)
    click.echo(f"wrote {where}")


def _curve_of(model_id: str) -> Path | None:
    """The newest committed learning curve of a model."""
    found = sorted((ROOT / "benchmarks" / "results").glob(f"*-{model_id}-curve.jsonl"))
    return found[-1] if found else None
