"""Signing in: a browser gets a session for a token, and loses it again."""

from http import HTTPStatus

from flask import redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import UnknownNameError
from app.api import services
from app.auth import COOKIE, asking
from app.database import reading, transaction
from app.tokens import PREFIX, SESSION_SECONDS, end_session, identify, start_session
from app.web.submit_pages import web


@web.app_context_processor
def who() -> dict[str, str | None]:
    """For every page: who is signed in, where there are tokens."""
    identity = asking()
    return {"signed_in": None if identity is None else identity.owner}


@web.get("/sign-in")
def sign_in_page() -> str:
    """The form that takes a token."""
    return _page()


@web.post("/sign-in")
def sign_in() -> WerkzeugResponse | tuple[str, int]:
    """Give a session for a token, and go where the browser wanted to."""
    here = services()
    if not here.settings.has_tokens:
        return redirect("/", HTTPStatus.SEE_OTHER)
    word = request.form.get("token", "").strip()
    with reading(here.engine) as session:
        # a session makes no other: it would never end
        identity = identify(session, word) if word.startswith(PREFIX) else None
    if identity is None:
        refused = services().rates.wrong_token(request.remote_addr or "unknown")
        if refused is None:
            services().rates.count_wrong_token(request.remote_addr or "unknown")
        said = refused.said if refused else "This token is unknown, has expired or was revoked."
        return _page(problem=said), HTTPStatus.TOO_MANY_REQUESTS if refused else (
            HTTPStatus.UNAUTHORIZED
        )
    with transaction(here.engine) as session:
        made = start_session(session, identity)
    answer = redirect(_local(request.form.get("next", "/")), HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        made,
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )
    return answer


@web.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """End the session."""
    here = services()
    word = request.cookies.get(COOKIE)
    if word:
        with transaction(here.engine) as session:
            end_session(session, word)
    answer = redirect("/sign-in" if here.settings.has_tokens else "/", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)
    return answer


def _page(*, problem: str | None = None) -> str:
    if not services().settings.has_tokens:
        raise UnknownNameError(
            "this server has one owner and no tokens (SAETRACK_AUTH=none): nobody signs in"
        )
    wanted = request.values.get("next", "/")
    return render_template("web/sign_in.html", next=_local(wanted), problem=problem)


def _local(address: str) -> str:
    """An address of this server's own; the first page in the place of any other."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if plain and address.isprintable() else "/"
