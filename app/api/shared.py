"""Share links: made, listed and revoked by a run's owner; and what whoever has one may read.

A link shows the track files of one run, read-only, and nothing else. Browsers of genomes on any
page may read them: the token in the address is what they have to know.
"""

from http import HTTPStatus
from typing import Any, Final

from flask import Response, jsonify, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app import share_links
from app.api import root, services
from app.api.descriptions import hub_of, links_of
from app.api.reach import by_token, own_run
from app.api.runs import iso_time
from app.api.tracks import add_routes
from app.auth import owner
from app.database import reading, transaction
from app.models import ShareLink
from app.openapi import blueprint, responses
from app.runs import get_run
from app.schemas import NoQuery, RunPath
from app.track_schemas import (
    SharedFeaturePath,
    ShareLinkCreated,
    ShareLinkList,
    ShareLinkPath,
    SharePath,
    ShareQuery,
)

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, If-Range, Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Content-Range, Content-Length, Accept-Ranges, ETag",
    "Access-Control-Max-Age": "86400",
}
"""Sent with every answer below a token: pages of any site may read what it shows."""

api = blueprint("share-links", "Links that show the tracks of one run to whoever has them.")


@api.after_request
def let_pages_read(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Let pages of any site read what a token shows; never what an owner sees."""
    return with_cors(answer)


def with_cors(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Add the headers by which pages of other sites may read an answer below a token."""
    if not request.path.startswith("/s/"):
        return answer
    answer.headers.update(CORS)
    answer.headers["X-Robots-Tag"] = "noindex"
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        # a public page, such as JBrowse's, that reads a server of this network
        answer.headers["Access-Control-Allow-Private-Network"] = "true"
    return answer


@api.post(
    "/v1/runs/<run_id>/share-links",
    responses=responses({201: ShareLinkCreated}, 404, 409, 413),
)
def create_share_link(path: RunPath, query: ShareQuery) -> tuple[Response, int, dict[str, str]]:
    """Make a link that shows the run's tracks to whoever has it; its token is told this once."""
    # a run that is not complete is refused before there is a link
    _, hub = hub_of(own_run(path.run_id))
    with transaction(services().engine) as session:
        run = get_run(session, path.run_id, owner())
        made = share_links.create_link(session, run, title=query.title)
        view = link_view(made.link)
    reach = by_token(made.token)
    view |= {
        "token": made.token,
        "url": f"{root()}{reach.base}hub.txt",
        "links": links_of(reach, hub),
    }
    headers = {"Location": f"/v1/runs/{path.run_id}/share-links/{made.link.id}"}
    return jsonify(view), HTTPStatus.CREATED, headers


@api.get("/v1/runs/<run_id>/share-links", responses=responses({200: ShareLinkList}, 404))
def list_share_links(path: RunPath, query: NoQuery) -> dict[str, Any]:
    """The share links of a run, without their tokens."""
    with reading(services().engine) as session:
        run = get_run(session, path.run_id, owner())
        views = [link_view(link) for link in share_links.list_links(session, run)]
    return {"share_links": views}


@api.delete("/v1/runs/<run_id>/share-links/<link_id>", responses=responses({204: None}, 404))
def revoke_share_link(path: ShareLinkPath, query: NoQuery) -> tuple[str, int]:
    """Revoke a share link: it shows nothing from now on."""
    with transaction(services().engine) as session:
        run = get_run(session, path.run_id, owner())
        share_links.revoke_link(session, run, path.link_id)
    return "", HTTPStatus.NO_CONTENT


def link_view(link: ShareLink) -> dict[str, Any]:
    """A link as `ShareLinkView` describes it."""
    return {"id": link.id, "title": link.title, "created_at": iso_time(link.created_at)}


add_routes(api, "/s/<token>/", SharePath, SharedFeaturePath, lambda path: by_token(path.token))
