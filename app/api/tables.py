"""Lists as answers: what a request chooses of them, and the three formats."""

import io
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

from flask import Response, request

from app.answers import Format, Listing, write_listing
from app.schemas import PAGE, TableFormat, TableQuery
from app.selection import Choice, GroupBy, evidence_kinds

CONTENT_TYPES = {
    "tsv": "text/tab-separated-values; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""Of the formats that are files."""


class Formatted(Protocol):
    """Parameters of a request that say in which format it is answered."""

    @property
    def format(self) -> TableFormat:
        """What the rows are written as."""


def choice_of(query: TableQuery) -> Choice:
    """What a request chooses: the filters that its route has, and the page.

    Raises
    ------
    OptionError
        If a kind of evidence is unknown.
    """
    asked: dict[str, Any] = query.model_dump()
    limit = asked["limit"]
    if limit is None and query.format == "json":
        limit = PAGE
    return Choice(
        max_q=asked.get("max_q"),
        min_log2_enrichment=asked.get("min_log2_enrichment"),
        evidence=evidence_kinds(asked.get("evidence")),
        strand=query.strand,
        sort=asked["sort"],
        group_by=cast(GroupBy | None, asked.get("group_by")),
        limit=limit,
        page_token=query.page_token,
    )


def send_listing(listing: Listing, query: Formatted, *, name: str) -> dict[str, Any] | Response:
    """A list in the format that was asked for.

    Parameters
    ----------
    listing : Listing
        The rows and what stands beside them.
    query : Formatted
        Of the request.
    name : str
        Of the file, without its ending.
    """
    if query.format == "json":
        return listing.to_json()
    data = file_bytes(listing, query.format)
    answer = Response(data, content_type=CONTENT_TYPES[query.format])
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
    answer.headers["Content-Disposition"] = f'attachment; filename="{safe}.{query.format}"'
    links = [_link({"format": "json"}, "describedby")]
    if listing.page.next_page_token is not None:
        links.append(_link({"page_token": listing.page.next_page_token}, "next"))
    answer.headers["Link"] = ", ".join(links)
    answer.headers["X-Total-Count"] = str(listing.page.total)
    return answer


def file_bytes(listing: Listing, form: Format) -> bytes:
    """The rows of a list as a file."""
    if form == "tsv":
        text = io.StringIO()
        write_listing(listing, text, form)
        return text.getvalue().encode()
    data = io.BytesIO()
    write_listing(listing, data, form)
    return data.getvalue()


def _link(changes: dict[str, str], relation: str) -> str:
    """A link to the present request with other parameters (RFC 8288)."""
    parameters = urlencode({**request.args, **changes})
    return f'<{quote(request.path)}?{parameters}>; rel="{relation}"'
