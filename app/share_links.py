"""Share links: a word in an address that shows the tracks of one run, until it is revoked.

Browsers of genomes send no headers of their own, so that what they may read must be in the
address. A token is 256 random bits; the database holds its SHA-256 only, so that whoever reads
the database can open nothing with it.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from annotations.errors import LimitError, UnknownNameError
from app.database import Reader, database_time
from app.models import Run, ShareLink
from app.runs import BRIEF, RunBrief, as_brief

PREFIX: Final = "sht_"
"""What every token starts with, so that one that got lost is known for what it is."""

MAX_LINKS: Final = 100
"""Most links of a run."""

_TOKEN_BYTES: Final = 32


class CreatedLink(NamedTuple):
    """A new link; the token is told this once."""

    link: ShareLink
    token: str


def create_link(session: Session, run: Run, *, title: str | None) -> CreatedLink:
    """Make a link to a run's tracks.

    Parameters
    ----------
    session : Session
        A writing transaction.
    run : Run
        The owner's.
    title : str, optional
        To tell links apart.

    Raises
    ------
    LimitError
        If the run has `MAX_LINKS` already.
    """
    count = session.scalar(
        select(func.count()).select_from(ShareLink).where(ShareLink.run_id == run.id)
    )
    if (count or 0) >= MAX_LINKS:
        raise LimitError(f"a run has at most {MAX_LINKS} share links; revoke one with DELETE")
    token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    link = ShareLink(
        id=secrets.token_hex(8),
        run_id=run.id,
        owner=run.owner,
        token_sha256=token_sha256(token),
        title=title,
        created_at=database_time(session),
    )
    session.add(link)
    session.flush()
    return CreatedLink(link, token)


def list_links(session: Session, run: Run) -> Sequence[ShareLink]:
    """The links of a run, the newest first."""
    return session.scalars(
        select(ShareLink)
        .where(ShareLink.run_id == run.id)
        .order_by(ShareLink.created_at.desc(), ShareLink.id)
    ).all()


def revoke_link(session: Session, run: Run, link_id: str) -> None:
    """Make a link show nothing from now on.

    Raises
    ------
    UnknownNameError
        If the run has no such link.
    """
    link = session.get(ShareLink, link_id)
    if link is None or link.run_id != run.id:
        raise UnknownNameError(f"the run has no share link {link_id[:40]!r}; it may be revoked")
    session.execute(delete(ShareLink).where(ShareLink.id == link_id))


_BY_TOKEN: Final = BRIEF.join(ShareLink, ShareLink.run_id == Run.id).where(
    ShareLink.token_sha256 == bindparam("digest")
)


def shared_run(reader: Reader, token: str) -> RunBrief:
    """The run whose tracks a token shows.

    Raises
    ------
    UnknownNameError
        If there is none: the token is unknown, or its link was revoked. The message does not
        hold the token.
    """
    row = reader.execute(_BY_TOKEN, {"digest": token_sha256(token)}).one_or_none()
    if row is None:
        raise UnknownNameError(
            "there is nothing at this address: the link is unknown, or was revoked by its owner"
        )
    return as_brief(row)


def token_sha256(token: str) -> str:
    """SHA-256 of a token, in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
