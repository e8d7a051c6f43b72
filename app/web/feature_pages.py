"""One feature: what it is known for, on what evidence, and what it did in a run."""

import secrets
from collections.abc import Mapping
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
from app.answers import Source
from app.api import services
from app.api.dictionaries import source_in_run
from app.api.sources import source_of
from app.atlases import atlas_folders
from app.catalog import parse_feature_row
from app.errors import RunStateError
from app.feature_rows import FeatureRow
from app.feature_views import feature_view
from app.models import TERMINAL_STATES
from app.web.asked import text_of
from app.web.feature_parts import add_atlas_parts, add_run_parts
from app.web.in_run import RANGE_WORDS
from app.web.list_pages import going_on
from app.web.run_pages import elsewhere
from app.web.submit_pages import web
from app.web.words import state_title

ORIENTATIONS: Final = {"same": "sense", "opposite": "antisense"}
"""How a part of genes stands to the pass, where it matters."""

SHOWN_MATCHES: Final = 8
"""Matches of a feature row that are open; the others are behind a click."""


@web.get("/features")
def features_page() -> str | WerkzeugResponse:
    """Go to a feature by its number, or to any."""
    cards = services().cards()
    dictionary, number = (text_of(request.args, name) for name in ("dictionary", "feature"))
    if dictionary is not None and number is not None:
        card = cards.dictionary(dictionary)
        index, strand = parse_feature_row(number, card.d_sae)
        return redirect(_address(card.id, f"{index}{strand or ''}", None), HTTPStatus.SEE_OTHER)
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
    return redirect(_address(card.id, str(secrets.choice(choices)), run), HTTPStatus.SEE_OTHER)


@web.get("/features/<dictionary>/<feature>")
def feature_page(dictionary: str, feature: str) -> str:
    """A feature: label, evidence, logos, examples, concepts, neighbours, downloads."""
    cards = services().cards()
    card = cards.dictionary(dictionary)
    index, strand = parse_feature_row(feature, card.d_sae)
    run = text_of(request.args, "run")
    source, missing = _source(card, run)
    view = feature_view(source, index) if source.atlas is not None else None
    rows = view["rows"] if view is not None else [_unknown_row(sign) for sign in ("+", "-")]
    if source.atlas is not None:
        base = f"/v1/features/{quote(card.id, safe='')}/{index}"
        for row in rows:
            add_atlas_parts(row, source.atlas, base, index)
    if source.result is not None and run is not None:
        add_run_parts(rows, source.result, index, source.atlas)
        for row in rows:
            did = row["in_run"]["statistics"]
            active = did is not None and did["active_bases"]
            row["elsewhere"] = (
                elsewhere(run, [FeatureRow(index, row["strand"])]) if active else None
            )
    return render_template(
        "web/feature.html",
        card=card,
        index=index,
        rows=sorted(rows, key=lambda row: (row["strand"] == strand, *_weight(row)), reverse=True),
        view=view,
        run=run,
        missing=missing,
        controls=_controls(view),
        **_control_table(view),
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


def _source(card: DictionaryCard, run: str | None) -> tuple[Source, dict[str, str] | None]:
    """What is asked: the atlas of a dictionary, and the result of a run, where one is named.

    A run that has no result is no error here: what the atlas knows is shown, and beside it why the
    run has none.
    """
    source = Source(dictionary=card.id, n_features=card.d_sae, atlas=None)
    if card.id in atlas_folders(services().cards()):
        source = source_of(card.id, None)
    if run is None:
        return source, None
    try:
        return source_in_run(source, run), None
    except RunStateError as error:
        return source, {
            "title": state_title(error.state),
            "why": str(error),
            "failed": "yes" if error.state in TERMINAL_STATES else "",
        }


def _controls(view: Mapping[str, Any] | None) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The best AUROC of a control for each concept and orientation of a feature."""
    best: dict[tuple[str, str | None], dict[str, Any]] = {}
    for each in [] if view is None else view["baselines"]:
        key = each["name"], each["orientation"]
        if each["auroc"] is not None and each["auroc"] > best.get(key, {"auroc": 0})["auroc"]:
            best[key] = each
    return best


def _control_table(view: Mapping[str, Any] | None) -> dict[str, Any]:
    """What controls reach: `control_names`, and `control_rows`, one for each thing asked."""
    baselines = [] if view is None else view["baselines"]
    rows = [] if view is None else view["rows"]
    names = list(dict.fromkeys(each["baseline"] for each in baselines))
    motifs = {each["matrix_id"]: each["motif_name"] for row in rows for each in row["matches"]}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in baselines:
        found.setdefault((each["name"], each["orientation"] or ""), {})[each["baseline"]] = each
    table = [
        {
            "said": motifs.get(name, name),
            "beside": name if name in motifs else ORIENTATIONS.get(orientation, ""),
            "found": [own.get(control) for control in names],
        }
        for (name, orientation), own in found.items()
    ]
    return {"control_names": names, "control_rows": table}


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
        "state": "no_atlas",
        **nothing,
    }


def _weight(row: dict[str, Any]) -> tuple[bool, float]:
    """How much is known of a row: the better known strand comes first."""
    best = min((match["q"] for match in row["matches"] if match["q"] is not None), default=1.0)
    return row["label"] is not None, -best


def _address(dictionary: str, feature: str, run: str | None) -> str:
    """Where the page of a feature, or of one strand of it, is."""
    return f"/features/{quote(dictionary, safe='')}/{quote(feature)}{going_on(run)}"
