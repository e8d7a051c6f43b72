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
@click.option("--model", "models", multiple=True, help="Serve this model only; may be repeated.")
@click.option("--name", help="Name of the worker, unique in the service; it is then not restarted.")
def worker(
    data_dir: Path | None,
    device: str | None,
    threads: int | None,
    models: tuple[str, ...],
    name: str | None,
) -> int:
    """Run shards of the service until told to stop (Ctrl-C).

    `saetrack serve` starts a worker by itself; more of them share the work, on this machine or
    on others. Database, broker and storage are those of SAETRACK_DATABASE_URL,
    SAETRACK_BROKER_URL and SAETRACK_STORAGE_URL. A worker that dies is started again, and its
    work goes on at once. For several GPUs start one with each --device.

    \b
    Example, beside a running service:
      saetrack worker --data-dir saetrack-data --threads 2
      saetrack worker --device cuda:1 --model evo2_7b
    """
    from workers.commands.places import settings_from_environment

    settings = settings_from_environment(data_dir=data_dir, device=device)
    if name is None:
        from workers.serve import tend_worker

        return tend_worker(
            settings,
            models=models,
            threads=threads,
            say=lambda line: click.echo(line, err=True),
        )
    from workers.priority import give_way

    give_way(settings.worker_niceness)
    import torch

    from app.logs import set_up
    from workers.celery_app import run_worker

    if threads is not None:
        torch.set_num_threads(threads)
    set_up(settings)
    return run_worker(settings, name=name)
