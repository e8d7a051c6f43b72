"""`saetrack worker`: one more worker for a service that is running."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the service.  [default: saetrack-data]",
)
@click.option("--device", help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 512), help="CPU threads of the model.")
@click.option("--name", help="Name of the worker, unique in the service.")
def worker(data_dir: Path | None, device: str | None, threads: int | None, name: str | None) -> int:
    """Run shards of the service until told to stop (Ctrl-C).

    `saetrack serve` starts a worker by itself; more of them share the work.

    \b
    Example, beside a running service:
      saetrack worker --data-dir saetrack-data --threads 2
    """
    import torch

    from workers.celery_app import run_worker
    from workers.commands.places import settings_from_environment

    if threads is not None:
        torch.set_num_threads(threads)
    settings = settings_from_environment(data_dir=data_dir, device=device)
    return run_worker(settings, name=name)
