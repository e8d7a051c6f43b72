"""`saetrack token`: who may ask a service that needs tokens."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Engine


@click.group()
def token() -> None:
    """Tokens of a service that runs with SAETRACK_AUTH=tokens.

    A token names its owner: the runs it makes and sees. It is told once, when it is made.

    \b
    Example:
      saetrack token create --owner ada --scopes read,write --days 90
      curl -H 'Authorization: Bearer stk_...' https://saetrack.lab/v1/runs
    """


_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Folder of the service's data."
)


@token.command()
@click.option("--owner", required=True, help="Whose runs it makes and sees.")
@click.option(
    "--scopes",
    default="read,write",
    show_default=True,
    help="What it is for: read, write, admin (genomes, metrics, runs of all owners).",
)
@click.option("--name", help="To tell tokens apart.")
@click.option(
    "--days",
    type=float,
    default=365,
    show_default=True,
    help="After which it is good for nothing; 0 for never.",
)
@_data_dir
def create(owner: str, scopes: str, name: str | None, days: float, data_dir: Path | None) -> None:
    """Make a token and print it, once."""
    from annotations.options import names_of
    from app.database import transaction
    from app.tokens import create_token

    with _database(data_dir) as engine, transaction(engine) as session:
        made = create_token(
            session, owner=owner, scopes=names_of(scopes), name=name, days=days or None
        )
    click.echo(made.word)
    click.echo(f"id {made.token.id}; keep the token: it is not told again", err=True)


@token.command("list")
@click.option("--owner", help="Only this owner's.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_data_dir
def list_(owner: str | None, as_json: bool, data_dir: Path | None) -> None:
    """List tokens: ids, owners and dates, never the tokens themselves.

    The last change is when a token last submitted, canceled or deleted, to the hour; a token that
    only reads has none.
    """
    from app.api.runs import iso_time
    from app.database import reading
    from app.tokens import list_tokens
    from workers.commands.summary import print_table

    with _database(data_dir) as engine, reading(engine) as session:
        rows = [
            {
                "id": each.id,
                "owner": each.owner,
                "name": each.name,
                "scopes": each.scopes,
                "created_at": iso_time(each.created_at),
                "expires_at": iso_time(each.expires_at),
                "revoked_at": iso_time(each.revoked_at),
                "changed_at": iso_time(each.used_at),
            }
            for each in list_tokens(session, owner)
        ]
    if as_json:
        click.echo(json.dumps({"tokens": rows}, indent=2))
    elif not rows:
        click.echo("there is no token; `saetrack token create --owner NAME` makes one")
    else:
        heads = ["id", "owner", "name", "scopes", "expires", "revoked", "last change"]
        print_table(
            heads,
            [
                [
                    str(row["id"]),
                    str(row["owner"]),
                    str(row["name"] or ""),
                    ",".join(row["scopes"] or ()),
                    *(
                        str(row[key] or "")[:10]
                        for key in ("expires_at", "revoked_at", "changed_at")
                    ),
                ]
                for row in rows
            ],
        )


@token.command()
@click.argument("token_id", metavar="ID")
@_data_dir
def revoke(token_id: str, data_dir: Path | None) -> None:
    """Make a token, by its id, and all its sessions good for nothing from now on."""
    from app.database import transaction
    from app.tokens import revoke_token

    with _database(data_dir) as engine, transaction(engine) as session:
        revoked = revoke_token(session, token_id)
    click.echo(f"revoked: {revoked.id} of {revoked.owner}")


@contextmanager
def _database(data_dir: Path | None) -> Iterator[Engine]:
    """The database of an installation, made or brought up to date."""
    from app.database import make_engine, upgrade
    from workers.commands.places import settings_from_environment

    settings = settings_from_environment(data_dir=data_dir)
    settings.make_folders()
    engine = make_engine(settings)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()
