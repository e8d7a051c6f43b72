"""What a page may do, and errors as pages for those who look with a browser."""

import json
from typing import Final

from flask import Response, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.errors import CONTENT_TYPE
from app.web.vendored import IGV_STYLES

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; "
        f"style-src 'self' {' '.join(IGV_STYLES)}; "
        "img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # no address leaves the site; a form of ours must still say where it comes from
    "Referrer-Policy": "same-origin",
}
"""Headers of every page: nothing is loaded from elsewhere, and no script stands in a page."""

MARK: Final = "X-Saetrack-Page"
"""Marks the page of a problem inside this process; it is never sent."""


def protect(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Put the headers of a page in the place of those of data, where an answer is a page."""
    ours = request.blueprint == "web" or MARK in answer.headers
    answer.headers.pop(MARK, "")
    if answer.mimetype == "text/html" and ours:
        answer.headers.update(PAGE_HEADERS)
    return answer


def wants_page() -> bool:
    """Whether whoever asks would rather have a page: a browser says so, a program does not."""
    accepted = request.accept_mimetypes
    # "*/*" alone is what programs send, and no wish for a page
    named = "text/html" in {kind.lower() for kind in accepted.values()}
    return named and accepted["text/html"] >= accepted["application/json"]


def problem_page(answer: WerkzeugResponse) -> WerkzeugResponse:
    """The page of a problem document, where a page is wanted; else the answer as it is."""
    if answer.mimetype != CONTENT_TYPE:
        return answer
    answer.vary.add("Accept")
    if not wants_page():
        return answer
    body = json.loads(answer.get_data(as_text=True))
    page = Response(render_template("web/problem.html", problem=body), status=answer.status_code)
    for name, value in answer.headers.items():
        if name.lower() not in {"content-type", "content-length"}:
            page.headers[name] = value
    page.headers[MARK] = "yes"
    return page
