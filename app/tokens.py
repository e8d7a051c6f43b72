"""API tokens: who may ask, what for, and until when.

A token is 256 random bits behind a prefix by which one that got lost is known. The database
holds its SHA-256 only, so that whoever reads the database can use none of them. A session is
what a browser gets for a token: a word of its own that ends with the token, or sooner.
"""

import re
import secrets
from collections.abc import Collection, Sequence
from typing import Final, Literal, NamedTuple, get_args

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from annotations.errors import OptionError, UnknownNameError
from app.database import Reader, database_time, now
from app.models import Token
from app.share_links import token_sha256

PREFIX: Final = "stk_"
"""What every token starts with."""

SESSION_PREFIX: Final = "sts_"
"""What the word of a browser's session starts with."""

Scope = Literal["read", "write", "admin"]
"""What a token is for: look at one's own runs; submit, cancel, delete and share them; and what
concerns all owners."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

DAY: Final = 86_400.0
SESSION_SECONDS: Final = 12 * 3_600.0
"""How long a browser stays signed in."""

MAX_DAYS: Final = 3_650
MAX_NAME: Final = 100
USE_SECONDS: Final = 3_600.0
"""How exactly the last change by a token is kept: a write for each would be one too many."""

_TOKEN_BYTES: Final = 32
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Identity(NamedTuple):
    """Who is asking."""

    owner: str
    scopes: frozenset[str]
    token_id: str
    """Names the token, and opens nothing."""


class CreatedToken(NamedTuple):
    """A new token; the word is told this once."""

    token: Token
    word: str


def create_token(
    session: Session,
    *,
    owner: str,
    scopes: Collection[str] = ("read", "write"),
    name: str | None = None,
    days: float | None = 365,
) -> CreatedToken:
    """Make a token.

    Parameters
    ----------
    session : Session
        A writing transaction.
    owner : str
        Whose runs it makes and sees: 1 to 64 letters, digits, ``.``, ``_``, ``@`` or ``-``.
    scopes : collection of str
        Among `SCOPES`.
    name : str, optional
        To tell tokens apart.
    days : float, optional
        After which it is good for nothing; None for never.

    Raises
    ------
    OptionError
        If a value is not allowed.
    """
    if not _OWNER.fullmatch(owner):
        raise OptionError(
            "an owner's name has 1 to 64 letters, digits, '.', '_', '@' or '-' and starts with a "
            f"letter or digit, got {owner[:80]!r}"
        )
    wrong = sorted(set(scopes) - set(SCOPES))
    if wrong or not scopes:
        raise OptionError(
            f"scopes must be among {', '.join(SCOPES)}, got {', '.join(wrong)[:80] or 'none'}"
        )
    if name is not None and (len(name) > MAX_NAME or not name.isprintable()):
        raise OptionError(f"a token's name has at most {MAX_NAME} characters on one line")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise OptionError(f"days must be above 0 and at most {MAX_DAYS}, got {days}")
    made = database_time(session)
    word = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    token = Token(
        id=secrets.token_hex(8),
        owner=owner,
        name=name,
        scopes=[scope for scope in SCOPES if scope in scopes],
        token_sha256=token_sha256(word),
        parent_id=None,
        created_at=made,
        expires_at=None if days is None else made + days * DAY,
    )
    session.add(token)
    session.flush()
    return CreatedToken(token, word)


def start_session(session: Session, identity: Identity) -> str:
    """The word by which a browser goes on in a token's name, for `SESSION_SECONDS` at most.

    Parameters
    ----------
    session : Session
        A writing transaction.
    identity : Identity
        Of the token.

    Returns
    -------
    word : str
        For a cookie; the database holds its SHA-256 only.
    """
    parent = session.get_one(Token, identity.token_id)
    made = database_time(session)
    # sessions that are over are of no use to anybody
    session.execute(delete(Token).where(Token.parent_id.is_not(None), Token.expires_at <= made))
    until = made + SESSION_SECONDS
    word = SESSION_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(
        Token(
            id=secrets.token_hex(8),
            owner=parent.owner,
            name=None,
            scopes=parent.scopes,
            token_sha256=token_sha256(word),
            parent_id=parent.id,
            created_at=made,
            expires_at=until if parent.expires_at is None else min(until, parent.expires_at),
        )
    )
    session.flush()
    return word


def end_session(session: Session, word: str) -> None:
    """Sign a browser out; a word that is not known changes nothing."""
    session.execute(
        update(Token)
        .where(Token.token_sha256 == token_sha256(word), Token.parent_id.is_not(None))
        .values(revoked_at=database_time(session))
    )


_PARENT: Final = aliased(Token)

_BY_WORD: Final = (
    select(
        Token.id,
        Token.owner,
        Token.scopes,
        Token.revoked_at,
        Token.expires_at,
        Token.parent_id.label("session_of"),
        _PARENT.id.label("parent_id"),
        _PARENT.revoked_at.label("parent_revoked_at"),
        _PARENT.expires_at.label("parent_expires_at"),
        now().label("at"),
    )
    .outerjoin(_PARENT, _PARENT.id == Token.parent_id)
    .where(Token.token_sha256 == bindparam("digest"))
)


def identify(reader: Reader, word: str) -> Identity | None:
    """Who has a word: that of a token, or of a session of one.

    Parameters
    ----------
    reader : Session or Connection
        Reading is enough.
    word : str
        As it was sent.

    Returns
    -------
    identity : Identity or None
        None if the word is unknown, expired or revoked, or its session's token is.
    """
    row = reader.execute(_BY_WORD, {"digest": token_sha256(word)}).one_or_none()
    if row is None or not (row.revoked_at is None and row.parent_revoked_at is None):
        return None
    if row.session_of != row.parent_id:  # a session whose token is gone
        return None
    ends = [end for end in (row.expires_at, row.parent_expires_at) if end is not None]
    if any(end <= row.at for end in ends):
        return None
    return Identity(row.owner, frozenset(row.scopes), row.parent_id or row.id)


_IS_NOTED: Final = select(Token.used_at >= now() - USE_SECONDS).where(
    Token.id == bindparam("token_id")
)


def is_noted(reader: Reader, token_id: str) -> bool:
    """Whether it is known of a token that it changed something in the last hour."""
    return bool(reader.execute(_IS_NOTED, {"token_id": token_id}).scalar())


def note_use(session: Session, token_id: str) -> None:
    """Keep when a token last changed something, to the hour.

    Parameters
    ----------
    session : Session
        A writing transaction.
    token_id : str
        Of the token.
    """
    at = database_time(session)
    session.execute(
        update(Token)
        .where(
            Token.id == token_id,
            or_(Token.used_at.is_(None), Token.used_at < at - USE_SECONDS),
        )
        .values(used_at=at)
    )


def list_tokens(session: Session, owner: str | None = None) -> Sequence[Token]:
    """Tokens, without sessions: of one owner or of all, the newest first."""
    query = select(Token).where(Token.parent_id.is_(None))
    if owner is not None:
        query = query.where(Token.owner == owner)
    return session.scalars(query.order_by(Token.created_at.desc(), Token.id)).all()


def revoke_token(session: Session, token_id: str) -> Token:
    """Make a token, and every session of it, good for nothing from now on.

    Raises
    ------
    UnknownNameError
        If there is no token of this id.
    """
    token = session.get(Token, token_id)
    if token is None or token.parent_id is not None:
        raise UnknownNameError(
            f"there is no token {token_id[:40]!r}; `saetrack token list` tells their ids"
        )
    if token.revoked_at is None:
        token.revoked_at = database_time(session)
    return token
