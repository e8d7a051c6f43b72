"""`saetrack gc`: delete stored files that nothing points to."""

from pathlib import Path

import click

from app.leftovers import GRACE_SECONDS

LEAST_HOURS = 1.0
"""Younger files are not deleted unless it is forced."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the service.  [default: saetrack-data]",
)
@click.option(
    "--older-than",
    type=click.FloatRange(0.0),
    default=GRACE_SECONDS / 3600,
    show_default=True,
    help="Hours since a file was written, 1 or more; it must be longer than a merge takes.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Allow less than 1 hour: only while no server and no worker runs, or submissions and "
    "results on their way are deleted.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def gc(data_dir: Path | None, older_than: float, force: bool, dry_run: bool) -> int:
    """Delete stored files that nothing points to, and runs whose time is over.

    A process that is killed between storing a file and saying so in the database leaves the
    file behind. Nothing else ever does. Runs that ended SAETRACK_KEEP_DAYS ago are deleted here
    all at once; the server deletes some each minute. Servers and workers may go on meanwhile.

    \b
    Example:
      saetrack gc --dry-run
    """
    from annotations.errors import OptionError
    from app.database import check_schema, make_engine, reading
    from app.leftovers import find_leftovers
    from app.retention import delete_expired, expired_runs
    from app.storage import open_storage
    from workers.commands.places import settings_from_environment

    if older_than < LEAST_HOURS and not force:
        raise OptionError(
            f"--older-than must be at least {LEAST_HOURS:g} hour, got {older_than:g}: younger "
            "files may be those of a submission or a result on its way. While no server and no "
            "worker runs, --force allows less"
        )
    settings = settings_from_environment(data_dir=data_dir)
    engine = make_engine(settings)
    try:
        check_schema(engine)
        storage = open_storage(settings)
        if dry_run:
            with reading(engine) as session:
                runs = [run_id for run_id, _ in expired_runs(session, settings)]
        else:
            runs = delete_expired(engine, storage, settings)
        keys = find_leftovers(engine, storage, older_than=older_than * 3600)
        if not dry_run:
            storage.delete(keys)
    finally:
        engine.dispose()
    for run_id in runs:
        click.echo(f"run {run_id}")
    for key in keys:
        click.echo(key)
    what = "would be deleted" if dry_run else "deleted"
    if settings.keep_days:
        click.echo(f"{len(runs)} runs that ended {settings.keep_days} days ago {what}", err=True)
    click.echo(f"{len(keys)} files that nothing points to {what}", err=True)
    return 0
