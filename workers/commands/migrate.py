"""`saetrack migrate`: bring the tables of a database to this version."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the service.  [default: saetrack-data]",
)
def migrate(data_dir: Path | None) -> int:
    """Bring the database to this version of saetrack; a database that is there already is no error.

    `saetrack serve` does so by itself with the SQLite file of its data folder, and refuses a
    PostgreSQL database of another version. Make a backup first, and stop the servers and workers
    of the version before.

    \b
    Example:
      SAETRACK_DATABASE_URL=postgresql://saetrack@db/saetrack saetrack migrate
    """
    from app.database import check_schema, make_engine, upgrade
    from workers.commands.places import settings_from_environment

    settings = settings_from_environment(data_dir=data_dir)
    settings.make_folders()
    engine = make_engine(settings)
    try:
        upgrade(engine)
        check_schema(engine)
    finally:
        engine.dispose()
    click.echo("the database is at this version", err=True)
    return 0
