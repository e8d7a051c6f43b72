"""One feature: what it is known for, on what evidence, and what it did in a run."""

import secrets
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from flask import redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.cards import DictionaryCard
from annotations.naming import LABEL_SHARE
from annotations.peaks import RADIUS
from annotations.significance import SIGNIFICANT_Q
from annotations.types import Strand
from app import catalog
from app.answers import Source
from app.api import services
from app.api.dictionaries import source_in_run
from app.api.sources import source_of
from app.atlases import atlas_folders
from app.catalog import Result, parse_feature
from app.feature_views import feature_view
from app.web.asked import logo_address, text_of
from app.web.in_run import RANGE_WORDS, active_bases, examples, histogram
from app.web.submit_pages import web

SHOWN_MATCHES: Final = 8
"""Matches of a feature row that are open; the others are behind a click."""

SHOWN_PEAKS: Final = 10
"""Top peaks of a feature row in a run on its page."""


@web.get("/features")
def features_page() -> str | WerkzeugResponse:
    """Go to a feature by its number, or to any."""
    cards = services().cards()
    dictionary, number = (text_of(request.args, name) for name in ("dictionary", "feature"))
    if dictionary is not None and number is not None:
        card = cards.dictionary(dictionary)
        index = parse_feature(number.rstrip("+-"), card.d_sae)
        return redirect(_address(card.id, index, None), HTTPStatus.SEE_OTHER)
    known = set(atlas_folders(cards))
    dictionaries = sorted(
        cards.dictionaries.values(), key=lambda card: (card.id not in known, card.id)
    )
    return render_template("web/features.html", dictionaries=dictionaries, known=known)


@web.get("/features/<dictionary>/random")
def random_feature(dictionary: str) -> WerkzeugResponse:
    """Go to any feature that has a label; to any at all where none has."""
    card = services().cards().dictionary(dictionary)
    run = text_of(request.args, "run")
    choices: Any = range(card.d_sae)
    if card.id in atlas_folders(services().cards()):
        atlas = source_of(card.id, None).atlas
        if atlas is not None and atlas.labels.table.num_rows:
            choices = np.unique(atlas.labels.table["feature"].to_numpy())
    return redirect(_address(card.id, int(secrets.choice(choices)), run), HTTPStatus.SEE_OTHER)


@web.get("/features/<dictionary>/<feature>")
def feature_page(dictionary: str, feature: str) -> str:
    """A feature: label, evidence, logos, examples, concepts, neighbours, downloads."""
    cards = services().cards()
    card = cards.dictionary(dictionary)
    index = parse_feature(feature, card.d_sae)
    run = text_of(request.args, "run")
    source = _source(card, run)
    view = feature_view(source, index) if source.atlas is not None else None
    rows = view["rows"] if view is not None else [_unknown_row(strand) for strand in ("+", "-")]
    atlas = None if source.atlas is None else source.atlas.atlas
    for row in rows:
        sign = quote(row["strand"], safe="")
        row["own_logo"] = (
            f"/v1/features/{card.id}/{index}/logo.svg?strand={sign}" if row["has_motif"] else None
        )
        for match in row["matches"]:
            match["logo"] = (
                None
                if atlas is None
                else logo_address(match["matrix_id"], atlas.taxon, atlas.release)
            )
        row["by_range"] = [
            (words, [each for each in row["examples"] if each["range"] == part])
            for part, words in enumerate(RANGE_WORDS, start=1)
        ]
    if source.result is not None:
        _add_run(rows, source.result, index)
    return render_template(
        "web/feature.html",
        card=card,
        index=index,
        rows=sorted(rows, key=_weight, reverse=True),
        view=view,
        run=run,
        previous=index - 1 if index else None,
        following=index + 1 if index + 1 < card.d_sae else None,
        published=(card.published_labels or {}).get(str(index)),
        shown_matches=SHOWN_MATCHES,
        ranges=RANGE_WORDS,
    )


@web.get("/methods")
def methods_page() -> str:
    """What every number means."""
    return render_template(
        "web/methods.html", radius=RADIUS, label_share=LABEL_SHARE, significant_q=SIGNIFICANT_Q
    )


def _source(card: DictionaryCard, run: str | None) -> Source:
    """The atlas of a dictionary, if it has one, and the result of a run, if one is named."""
    source = Source(dictionary=card.id, n_features=card.d_sae, atlas=None)
    if card.id in atlas_folders(services().cards()):
        source = source_of(card.id, None)
    return source if run is None else source_in_run(source, run)


def _add_run(rows: list[dict[str, Any]], result: Result, index: int) -> None:
    """Put beside each row of a feature what it did in a run."""
    own = catalog.feature(result, index)
    read = {row["strand"]: row for row in own["strands"]}
    for row in rows:
        strand: Strand = row["strand"]
        active = active_bases(result, index, strand)
        row["in_run"] = {
            "read": not (strand == "-" and result.options.strands == "forward"),
            "statistics": read.get(strand),
            "peaks": [peak for peak in own["peaks"] if peak["strand"] == strand][:SHOWN_PEAKS],
            "matches": [match for match in own["matches"] if match["strand"] == strand],
            "examples": examples(result, index, strand, active),
            "histogram": histogram(active),
        }


def _unknown_row(strand: str) -> dict[str, Any]:
    """A feature row of a dictionary without an atlas."""
    nothing: dict[str, Any] = {
        name: [] for name in ("matches", "concepts", "examples", "neighbours")
    }
    return {
        "strand": strand,
        "label": None,
        "evidence": {},
        "group": None,
        "has_motif": False,
        "run": None,
        **nothing,
    }


def _weight(row: dict[str, Any]) -> tuple[bool, float]:
    """How much is known of a row: the better known strand comes first."""
    best = min((match["q"] for match in row["matches"] if match["q"] is not None), default=1.0)
    return row["label"] is not None, -best


def _address(dictionary: str, index: int, run: str | None) -> str:
    """Where the page of a feature is."""
    kept = f"?run={quote(run, safe='')}" if run else ""
    return f"/features/{quote(dictionary, safe='')}/{index}{kept}"
