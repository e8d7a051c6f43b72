"""Who is asking, and whether they may.

    host and origin --> rate of requests --> token or session --> scope --> the route

A server of this machine's own users has one owner and no tokens. It still has to mistrust
browsers: a page from anywhere may send requests to it. So the Host header must be a local name
(which stops DNS rebinding), and a request that changes something must not come from another
site's page. With `SAETRACK_AUTH=tokens` every request but a few names its owner by a token: in
the Authorization header, or in the cookie that the page /sign-in gives for one.
"""

import logging
import re
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Response, g, redirect, request
from sqlalchemy import Engine
from werkzeug.wrappers import Response as WerkzeugResponse

from app.config import Settings
from app.database import glance, transaction
from app.errors import problem
from app.logs import said
from app.rates import RateLimits, Refused
from app.tokens import Identity, Scope, identify, is_noted, note_use

LOCAL_OWNER: Final = "local"
"""Owner of every run of a server without tokens."""

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of a request from another address; another port is one too."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

COOKIE: Final = "saetrack_session"
"""Holds a browser's session; the scripts of a page cannot read it."""

OPEN: Final = frozenset(
    {
        "service.healthz",
        "service.readyz",
        "service.service_info",
        "service.openapi_json",
        "web.static",
        "web.api_page",
        "web.api_group_page",
        "web.client_file",
        "web.sign_in_page",
        "web.sign_in",
    }
)
"""Endpoints that need no token: they tell nothing of anybody's."""

SHARED: Final = "/s/"
"""What the addresses of share links start with: the token in them is what one has to know."""

SUBMISSIONS: Final = frozenset({"runs.submit", "web.submit_form", "web.search_form"})
"""Endpoints that make runs, which have a rate of their own."""

READING_FORMS: Final = frozenset({"web.change_list", "web.compare_form", "web.draw_form"})
"""Forms that are sent by POST, for many boxes may be ticked, and only lead to an address."""

ADMIN: Final = frozenset(
    {
        ("POST", "/v1/genomes"),
        ("GET", "/metrics"),
    }
)
"""What concerns all owners, beside everything below /v1/admin."""

audit: Final = logging.getLogger("saetrack.audit")


def owner() -> str:
    """Owner of what the present request makes and may see."""
    identity = asking()
    return LOCAL_OWNER if identity is None else identity.owner


def asking() -> Identity | None:
    """Whose token the present request has; None where there are no tokens, or it has none."""
    found: Identity | None = g.get("identity")
    return found


def check_request(settings: Settings) -> Response | None:
    """Refuse a request that did not come from where this server is meant to be reached.

    Parameters
    ----------
    settings : Settings
        On an address of `trust_network`, or with tokens, any host name is accepted.

    Returns
    -------
    refusal : Response or None
        None if the request may go on.
    """
    if settings.is_loopback and not (settings.trust_network or settings.has_tokens):
        name = urlsplit(f"//{request.host}").hostname or ""
        if name not in LOCAL_HOSTS and name != settings.host:
            return problem(
                421,
                "misdirected-request",
                "this server answers only under localhost, 127.0.0.1 and [::1]",
            )
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and not _is_ours(origin)
    # browsers that leave the origin out still say where a request is from
    is_foreign = is_foreign or request.headers.get("Sec-Fetch-Site") in FOREIGN_SITES
    if request.method not in SAFE_METHODS and is_foreign:
        return problem(
            403, "cross-site-request", "another site's page may not change anything here"
        )
    return None


def check_identity(
    settings: Settings, engine: Engine, rates: RateLimits, *, wants_page: bool
) -> WerkzeugResponse | None:
    """Find out who asks, and refuse whoever may not, or asks too often.

    Parameters
    ----------
    settings : Settings
        Say whether there are tokens at all.
    engine : Engine
        Where tokens are.
    rates : RateLimits
        How often one may ask.
    wants_page : bool
        Whether a browser asks, which is sent to sign in.

    Returns
    -------
    refusal : Response or None
        401 without a valid token, 403 for one that is not for this, 429 for too many requests.
    """
    if not settings.has_tokens:
        return None
    address = request.remote_addr or "unknown"
    is_open = request.endpoint in OPEN or request.path.startswith(SHARED)
    word = sent_word()
    if word is None or is_open:
        refused = rates.request(f"address:{address}")
        if refused is not None:
            return too_many(refused)
        if is_open:
            return None
        return _unknown("send a token: Authorization: Bearer stk_...", wants_page)
    refused = rates.wrong_token(address)
    if refused is not None:
        return too_many(refused)
    with glance(engine) as connection:
        identity = identify(connection, word)
        # most that change something did so before, and need not wait for the one writer to say so
        is_new = (
            identity is not None
            and request.method not in SAFE_METHODS
            and not is_noted(connection, identity.token_id)
        )
    if identity is None:
        rates.count_wrong_token(address)
        return _unknown("the token is unknown, has expired or was revoked", wants_page)
    g.identity = identity
    refused = rates.request(f"token:{identity.token_id}")
    if refused is None and request.method == "POST" and request.endpoint in SUBMISSIONS:
        refused = rates.submission(f"owner:{identity.owner}")
    if refused is not None:
        return too_many(refused)
    wanted = needed_scope()
    if wanted not in identity.scopes:
        return problem(
            403,
            "scope",
            f"this needs a token with the scope {wanted!r}, and yours has "
            f"{', '.join(sorted(identity.scopes))}; ask whoever runs this server",
        )
    if is_new:
        # reading alone must not have to wait for the database's one writer
        with transaction(engine) as session:
            note_use(session, identity.token_id)
    return None


def needed_scope() -> Scope:
    """What a token must be for, so that the present request may go on."""
    rule = request.url_rule.rule if request.url_rule is not None else ""
    method = "GET" if request.method in SAFE_METHODS else request.method
    if (method, rule) in ADMIN or rule.startswith("/v1/admin"):
        return "admin"
    reads = request.method in SAFE_METHODS or request.endpoint in READING_FORMS
    if reads or rule == "/sign-out":
        return "read"
    return "write"


def sent_word() -> str | None:
    """The token or session of the present request, if it has one."""
    kind, _, word = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and word.strip():
        return word.strip()
    return request.cookies.get(COOKIE)


def too_many(refused: Refused) -> Response:
    """The answer to whoever asks too often."""
    answer = problem(429, "too-many-requests", refused.said)
    answer.headers["Retry-After"] = str(refused.seconds)
    return answer


def write_audit(answer: WerkzeugResponse) -> None:
    """One line of the log for each request that changes something: who, what, how it ended.

    It holds ids and the pattern of the address: no token, no name that a user gave, no sequence.

    Parameters
    ----------
    answer : Response
        What was answered.
    """
    if request.method in SAFE_METHODS or request.endpoint in READING_FORMS:
        return
    identity = asking()
    named = {
        key: value for key, value in (request.view_args or {}).items() if _ID.fullmatch(str(value))
    }
    record = {
        "request": g.get("request_id"),
        "owner": None if identity is None else identity.owner,
        "token": None if identity is None else identity.token_id,
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule is not None else None,
        "ids": named,
        "made": _made(answer),
        "status": answer.status_code,
    }
    said(audit, "audit", **record)


_ID: Final = re.compile(r"[0-9a-f]{6,64}")
_OF_IDS: Final = re.compile(r"(/v1)?/(runs|analyses)/[0-9a-f]{6,64}(/share-links/[0-9a-f]{6,64})?")


def _made(answer: WerkzeugResponse) -> str | None:
    """The address of what was made, if it holds ids alone: others hold names and what was asked."""
    address = answer.headers.get("Location", "")
    return address if _OF_IDS.fullmatch(address) else None


def _unknown(said: str, wants_page: bool) -> WerkzeugResponse:
    """The answer to whoever is not known."""
    if wants_page and request.method == "GET":
        return redirect(f"/sign-in?next={quote(request.full_path.rstrip('?'), safe='')}", 303)
    answer = problem(
        401, "unauthorized", f"{said}. Whoever runs this server makes one: `saetrack token create`"
    )
    answer.headers["WWW-Authenticate"] = 'Bearer realm="saetrack"'
    return answer


def _is_ours(origin: str) -> bool:
    """Whether an Origin header names this server, under the name the request was sent to."""
    try:
        return urlsplit(origin).netloc == request.host
    except ValueError:  # no browser writes such an address
        return False
