"""Texts that name a run's tracks, one for each browser, and the links that open them there.

Addresses inside hub.txt and jbrowse.json are relative, so that they inherit the token; those inside
igv.json and session.xml are absolute, since igv.js and IGV do not read them relative to the
description.
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from flask import Response, request

from annotations.hub import (
    Hub,
    hub_text,
    igv_link,
    igv_session,
    igvjs_config,
    jbrowse_config,
    ucsc_link,
)
from app.api import root, services
from app.api.reach import Reach, is_of_browsers
from app.api.sending import send_text
from app.auth import LOCAL_HOSTS
from app.catalog import Result
from app.feature_rows import chosen_rows
from app.run_hub import CONTACT, PeakTracks, run_hub, with_base
from app.track_files import JSON, TEXT
from app.track_schemas import HubQuery, TrackLinks

XML: Final = "application/xml"

JBROWSE: Final = "https://jbrowse.org/code/jb2/latest/"


def hub_of(
    reach: Reach,
    *,
    features: str | None = None,
    tf: str | None = None,
    genome: str | None = None,
    peaks: PeakTracks = "intervals",
) -> tuple[Result, Hub]:
    """The tracks that a request chooses, with relative addresses.

    Parameters
    ----------
    reach : Reach
        The way that the run is reached.
    features, tf : str, optional
        As `app.feature_rows.chosen_rows` takes them.
    genome : str, optional
        What browsers call the sequences.
    peaks : {"intervals", "heights", "both"}
        How the peaks of a feature row are drawn.

    Raises
    ------
    OptionError
        If nothing is chosen, or the sequences are not those of the genome.
    UnknownNameError
        If there is no such feature, factor or genome.
    """
    result = reach.on(genome).open()
    rows = chosen_rows(result, features=features, tf=tf)
    email = services().settings.contact or CONTACT
    hub = run_hub(
        result,
        rows,
        key=reach.key,
        title=reach.title,
        genome=genome,
        peaks=peaks,
        email=email,
    )
    return result, hub


def links_of(reach: Reach, hub: Hub, choice: str = "") -> dict[str, Any]:
    """Addresses that open tracks in each browser, as `TrackLinks` describes them.

    Parameters
    ----------
    reach : Reach
        The way that the run is reached.
    hub : Hub
        The tracks.
    choice : str
        The query string that chose them.
    """
    base, ending = root() + reach.base, f"?{choice}" if choice else ""
    hub_url, config = f"{base}hub.txt{ending}", f"{base}jbrowse.json{ending}"
    own = hub.genome.is_own
    why_not = _why_not_ucsc(reach, hub)
    notes = [] if why_not is None else [f"ucsc is null: {why_not}"]
    if not own:
        notes.append(
            "jbrowse_config is null: it would have to carry the genome; in JBrowse add hub.txt as "
            "a track hub to the assembly"
        )
    if hub.email == CONTACT:
        notes.append(
            f"the hub's e-mail address is {CONTACT}, which is nobody's: SAETRACK_CONTACT sets it"
        )
    if not reach.shared:
        notes.append(
            "these addresses are the owner's; POST .../share-links makes ones to give away"
        )
    links = TrackLinks(
        hub=hub_url,
        igv_js=f"{base}igv.json{ending}",
        igv_session=f"{base}session.xml{ending}",
        igv_desktop=igv_link(hub_url),
        jbrowse_config=config if own else None,
        jbrowse=f"{JBROWSE}?config={quote(config, safe='')}" if own else None,
        ucsc=None if why_not else ucsc_link(hub.genome, hub_url, locus=hub.locus),
        about=f"{base}about.html",
        provenance=f"{base}provenance.json",
        genome=hub.genome.name,
        notes=notes,
    )
    return links.model_dump()


def send_description(reach: Reach, name: str, query: HubQuery) -> Response:
    """One of `DESCRIPTIONS`."""
    description = DESCRIPTIONS[name]
    result, hub = hub_of(reach, **query.model_dump())
    answer = send_text(
        description.write(reach, hub),
        content_type=description.content_type,
        name=reach.saved_as(name),
        modified=result.files["features.parquet"].stat().st_mtime,
    )
    answer.headers["Link"] = f'<{reach.base}provenance.json>; rel="describedby"'
    return answer


def _why_not_ucsc(reach: Reach, hub: Hub) -> str | None:
    """Why UCSC's servers, which fetch a hub themselves, cannot show this one; None if they can."""
    if _is_local(urlsplit(root()).hostname or ""):
        return (
            "UCSC's servers fetch the tracks themselves and cannot reach this address; open it "
            "from a host that the internet reaches, or set SAETRACK_PUBLIC_URL to what others "
            "reach this server by"
        )
    if not reach.shared and services().settings.has_tokens:
        return "UCSC's servers send no token; make a share link and open that one there"
    if not (hub.genome.is_own or is_of_browsers(hub.genome.name)):
        return f"UCSC knows no genome {hub.genome.name}; leave genome out"
    return None


def _is_local(name: str) -> bool:
    """Whether a host is one that UCSC's servers cannot reach."""
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return name in LOCAL_HOSTS or "." not in name or name.endswith((".local", ".internal"))


def _hub_text(reach: Reach, hub: Hub) -> str:
    return hub_text(hub)


def _igv_json(reach: Reach, hub: Hub) -> str:
    return _json(igvjs_config(with_base(hub, root() + reach.base)))


def _session(reach: Reach, hub: Hub) -> str:
    return igv_session(with_base(hub, root() + reach.base))


def _jbrowse(reach: Reach, hub: Hub) -> str:
    return _json(jbrowse_config(hub))


def _links(reach: Reach, hub: Hub) -> str:
    return _json(links_of(reach, hub, request.query_string.decode("ascii", "replace")))


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


class Description(NamedTuple):
    """A text that names tracks, for one browser."""

    content_type: str
    what: str
    write: Callable[[Reach, Hub], str]


DESCRIPTIONS: Final[Mapping[str, Description]] = {
    "hub.txt": Description(TEXT, "A hub in one file: UCSC, igv.js, IGV, JBrowse 2.", _hub_text),
    "igv.json": Description(JSON, "Configuration of igv.js; absolute addresses.", _igv_json),
    "session.xml": Description(XML, "Session of IGV desktop; absolute addresses.", _session),
    "jbrowse.json": Description(JSON, "config.json of JBrowse 2.", _jbrowse),
    "links.json": Description(JSON, "Addresses that open the tracks in each browser.", _links),
}
"""Descriptions of a run's tracks by name."""
