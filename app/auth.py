"""Who is asking. For now one owner, on a machine that only its own users reach.

Tokens come later: `owner` and `check_request` are the only places that will change.
A server on a loopback address still has to mistrust browsers: a page from
anywhere may send requests to it. So the Host header must be a local name (which
stops DNS rebinding), and a request that changes something must not come from
another site's page.
"""

from urllib.parse import urlsplit

from flask import Response, request

from app.config import Settings
from app.errors import problem

LOCAL_OWNER = "local"
"""Owner of every run of an embedded server."""

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

FOREIGN_SITES = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of a request from another address; another port is one too."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def owner() -> str:
    """Owner of what the present request makes and may see."""
    return LOCAL_OWNER


def check_request(settings: Settings) -> Response | None:
    """Refuse a request that did not come from where this server is meant to be reached.

    Parameters
    ----------
    settings : Settings
        On an address of `trust_network` any host name is accepted.

    Returns
    -------
    refusal : Response or None
        None if the request may go on.
    """
    if settings.is_loopback and not settings.trust_network:
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


def _is_ours(origin: str) -> bool:
    """Whether an Origin header names this server, under the name the request was sent to."""
    try:
        return urlsplit(origin).netloc == request.host
    except ValueError:  # no browser writes such an address
        return False
