"""`saetrack serve`: the REST service and its worker, in one command."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the database and the results; made if missing.  [default: saetrack-data]",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one.  [default: 8765]")
@click.option("--device", help="Device of the worker: auto, cpu, cuda or cuda:N.")
@click.option(
    "--no-worker", is_flag=True, help="Only answer; the work is left to `saetrack worker`."
)
def serve(
    data_dir: Path | None, host: str | None, port: int | None, device: str | None, no_worker: bool
) -> int:
    """Answer REST requests and run what they submit, until told to stop (Ctrl-C).

    Everything is kept in the data folder: an SQLite database, uploads and results. Nothing
    else is needed. A run that was interrupted goes on at the next start. For many machines,
    SAETRACK_DATABASE_URL, SAETRACK_BROKER_URL and SAETRACK_STORAGE_URL name a PostgreSQL
    database (`saetrack migrate` makes its tables), Redis and a bucket of an object store.

    \b
    Example:
      saetrack serve --port 8765
      curl -F file=@chrI.fa http://127.0.0.1:8765/v1/runs
    """
    from workers.commands.places import settings_from_environment
    from workers.serve import run_service

    settings = settings_from_environment(data_dir=data_dir, host=host, port=port, device=device)
    return run_service(
        settings, say=lambda line: click.echo(line, err=True), with_worker=not no_worker
    )
