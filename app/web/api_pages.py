"""The API for people: examples that work, the reference, and the Python client as a file."""

import re
from pathlib import Path
from typing import Final

from flask import Response, current_app, render_template, request
from markupsafe import Markup, escape

from annotations.errors import UnknownNameError
from app import client
from app.openapi import spec
from app.web.api_reference import groups
from app.web.examples import EXAMPLES, LANGUAGES, SERVER
from app.web.submit_pages import web

CODE: Final = re.compile("`([^`]+)`")
"""What stands between backticks in a description."""

CLIENT_FILE: Final = Path(client.__file__)
"""The client, which needs nothing of this project."""


@web.app_template_filter()
def with_code(text: str) -> Markup:
    """A text in which what stands between backticks is code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


@web.get("/docs")
def api_page() -> str:
    """What one does with the interface, with examples, and a list of all its addresses."""
    document = spec(current_app._get_current_object())  # type: ignore[attr-defined]
    return render_template(
        "web/api.html",
        document=document,
        groups=groups(document),
        examples=EXAMPLES,
        languages=LANGUAGES,
        example_server=SERVER,
        server=request.url_root.rstrip("/"),
    )


@web.get("/docs/<name>")
def api_group_page(name: str) -> str:
    """The operations of a group: what each takes and answers."""
    document = spec(current_app._get_current_object())  # type: ignore[attr-defined]
    every = groups(document)
    found = next((group for group in every if group.name == name), None)
    if found is None:
        known = ", ".join(group.name for group in every)
        raise UnknownNameError(f"the interface has no group {name[:40]!r}; there are {known}")
    return render_template("web/api_group.html", group=found, groups=every)


@web.get("/saetrack_client.py")
def client_file() -> Response:
    """The Python client as one file, which imports the standard library alone."""
    answer = Response(CLIENT_FILE.read_bytes(), content_type="text/x-python; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="saetrack_client.py"'
    return answer
