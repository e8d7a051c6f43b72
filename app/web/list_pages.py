"""Lists of features that live in an address: nothing of them is stored on the server.

    /lists?dictionary=...&features=374-,153%2B&name=...&notes=...

Whoever has the address has the list. Pages of features and factors carry the list that is being
made as one parameter, `list`, which is the list's own query; they show what can be done with it.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from flask import redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import OptionError
from app import runs
from app.answers import Source
from app.api import services
from app.api.dictionaries import known_source
from app.api.runs import run_view
from app.auth import owner
from app.database import reading
from app.named_features import MAX_NAMED, named_features, named_rows
from app.region_answers import MAX_COMPARED, row_name
from app.selection import json_rows
from app.web.asked import logo_address
from app.web.submit_pages import web
from app.web.tracks import MAX_DRAWN
from app.web.words import run_title

MAX_NAME: Final = 100
"""Most characters of a list's name."""

MAX_NOTES: Final = 1000
"""Most characters of its notes."""

MAX_FEATURES: Final = 1000
"""Most characters of its features, as in the REST interface."""

MAX_QUERY: Final = 8000
"""Most characters of a list inside an address: notes may be written in any script."""

OFFERED_RUNS: Final = 50
"""Latest runs in which a list can be shown."""


class FeatureList(NamedTuple):
    """A list as its address says it."""

    dictionary: str
    features: str
    """Feature rows with commas between them."""
    name: str
    notes: str
    run: str

    @property
    def query(self) -> str:
        """The query of its address, without what is empty."""
        named = self._asdict()
        return urlencode({key: value for key, value in named.items() if value})

    @property
    def names(self) -> list[str]:
        """Names of its feature rows; a plus that was not written as %2B arrives as a space."""
        words = [word.lstrip() for word in self.features.split(",")]
        return [f"{word.rstrip()}+" if word.endswith(" ") else word for word in words if word]

    def with_rows(self, names: Sequence[str]) -> "FeatureList":
        """The same list of other rows, each once."""
        return self._replace(features=",".join(dict.fromkeys(names)))


@web.app_context_processor
def _list_being_made() -> dict[str, Any]:
    """What templates ask: the list that an address carries, and links that change it."""
    return {"carried_list": carried_list, "list_links": list_links, "going_on": going_on}


def going_on(run: str | None) -> str:
    """The query of a link to another feature, which keeps the run and the list."""
    kept = {"run": run, "list": request.args.get("list")}
    rest = urlencode({name: value for name, value in kept.items() if value})
    return f"?{rest}" if rest else ""


def carried_list() -> FeatureList | None:
    """The list that the address of a page carries.

    Raises
    ------
    OptionError
        If it is no list.
    """
    text = request.args.get("list", "")
    if not text:
        return None
    if len(text) > MAX_QUERY:
        raise OptionError(f"list must have at most {MAX_QUERY} characters, got {len(text)}")
    pairs = parse_qsl(text, keep_blank_values=True)
    unknown = sorted({key for key, _ in pairs} - set(FeatureList._fields))
    if unknown:
        raise OptionError(f"a list has no parameter {', '.join(key[:40] for key in unknown)}")
    return list_of(dict(pairs))


def list_of(asked: Mapping[str, str]) -> FeatureList:
    """A list as an address says it.

    Raises
    ------
    OptionError
        If a part is too long.
    """
    parts = {name: asked.get(name, "").strip() for name in FeatureList._fields}
    parts["features"] = asked.get("features", "")  # a space at its end is a plus
    for name, most in (("name", MAX_NAME), ("notes", MAX_NOTES), ("features", MAX_FEATURES)):
        if len(parts[name]) > most:
            raise OptionError(f"{name} must have at most {most} characters, got {len(parts[name])}")
    return FeatureList(**parts)


def list_links(dictionary: str, rows: Sequence[str]) -> list[dict[str, Any]]:
    """What can be done with feature rows and the list that the address carries.

    Parameters
    ----------
    dictionary : str
        Of the rows.
    rows : sequence of str
        Their names, such as ``374-``.

    Returns
    -------
    links : list of dict
        One for each row: `name`, `listed`, and `address`, which adds the row, or takes it away.
    """
    carried = carried_list()
    run = request.args.get("run", "")[:64]
    if carried is None or carried.dictionary != dictionary:
        carried = FeatureList(dictionary, "", "", "", run)
    found = []
    for name in rows:
        listed = name in carried.names
        left = [each for each in carried.names if each != name]
        changed = carried.with_rows(left if listed else [*left, name])
        found.append({"name": name, "listed": listed, "address": f"/lists?{changed.query}"})
    return found


@web.get("/lists")
def lists_page() -> str | WerkzeugResponse:
    """A list of features, as the address says it."""
    asked = list_of(request.args)
    cards = services().cards()
    dictionaries = sorted(cards.dictionaries.values(), key=lambda card: card.id)
    if not asked.dictionary:
        return render_template("web/lists.html", listed=None, dictionaries=dictionaries)
    source = known_source(asked.dictionary, asked.run or None)
    rows = named_rows(asked.features, source.n_features)
    added = named_rows(
        list_of({"features": request.args.get("add", "")}).features, source.n_features
    )
    everything = list(dict.fromkeys([*rows, *added]))
    wanted = asked.with_rows([row_name(row) for row in everything])
    named_rows(wanted.features, source.n_features)  # not too many
    if added:
        return redirect(f"/lists?{wanted.query}", HTTPStatus.SEE_OTHER)
    return render_template(
        "web/lists.html",
        listed=wanted,
        dictionaries=dictionaries,
        known_from=None if source.atlas is None else source.atlas.atlas.about.genome,
        rows=_rows(source, everything, wanted),
        runs=_runs_of(source.dictionary),
        limits={"name": MAX_NAME, "notes": MAX_NOTES, "rows": MAX_NAMED},
        most={"drawn": MAX_DRAWN, "compared": MAX_COMPARED},
        files=urlencode(
            {"features": wanted.features, **({"run": wanted.run} if wanted.run else {})}
        ),
    )


@web.post("/lists")
def change_list() -> WerkzeugResponse:
    """Put the rows that were ticked on a list, and show it at its own address."""
    carried: Mapping[str, str] = dict(parse_qsl(request.form.get("list", "")[:MAX_QUERY]))
    listed = list_of(carried)
    dictionary = request.form.get("dictionary", "")[:64]
    if listed.dictionary != dictionary:
        listed = FeatureList(dictionary, "", "", "", "")
    run = request.form.get("run", "")[:64]
    ticked = request.form.getlist("feature")[: MAX_NAMED + 1]
    wanted = listed.with_rows([*listed.names, *ticked])
    if run:
        wanted = wanted._replace(run=run)
    return redirect(f"/lists?{wanted.query}", HTTPStatus.SEE_OTHER)


def _rows(source: Source, rows: list[int], wanted: FeatureList) -> list[dict[str, Any]]:
    """What the page shows of each row."""
    found = json_rows(named_features(source, rows).page.table)
    names = [row_name(row) for row in rows]
    for row, name in zip(found, names, strict=True):
        row["name"] = name
        row["without"] = "/lists?" + wanted.with_rows([n for n in names if n != name]).query
        row["motif_logo"] = None
        if source.atlas is not None and row["motif_id"]:
            atlas = source.atlas.atlas
            row["motif_logo"] = logo_address(row["motif_id"], atlas.taxon, atlas.release)
        kept = {"list": wanted.query, **({"run": wanted.run} if wanted.run else {})}
        dictionary = quote(source.dictionary, safe="")
        row["page"] = f"/features/{dictionary}/{row['feature']}?{urlencode(kept)}"
    return found


def _runs_of(dictionary: str) -> list[dict[str, str]]:
    """The latest complete runs of a dictionary."""
    with reading(services().engine) as session:
        page = runs.list_runs(session, owner(), limit=OFFERED_RUNS, page_token=None)
        views = [run_view(session, run) for run in page.runs]
    return [
        {"id": view["id"], "title": run_title(view)}
        for view in views
        if view["dictionary"] == dictionary and view["state"] == "COMPLETE"
    ]
