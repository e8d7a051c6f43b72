"""Dictionaries: their atlases, and what is known of each of their features."""

from typing import Any
from urllib.parse import quote

from flask import Response

from annotations.errors import OptionError, UnknownNameError
from app.answers import Source
from app.api import open_result, services
from app.api.sources import source_of
from app.api.tables import send_listing
from app.atlases import about, atlas_folders, find_atlas
from app.catalog import one_strand, parse_feature_row
from app.feature_views import feature_view
from app.named_features import named_features, named_rows
from app.openapi import blueprint, responses
from app.region_schemas import NamedFeatures, NamedFeaturesPath, NamedFeaturesQuery
from app.schemas import (
    AtlasList,
    DictionaryFeature,
    DictionaryFeaturePath,
    DictionaryFeatureQuery,
    DictionaryPath,
    JsonDocument,
    NoQuery,
)

api = blueprint("dictionaries", "What is known of a dictionary's features.")


@api.get("/v1/atlases", responses=responses({200: AtlasList}))
def list_atlases(query: NoQuery) -> dict[str, Any]:
    """The atlases of this installation, and the one that answers if none is named."""
    here = services()
    cards = here.cards()
    try:
        default = find_atlas(cards, None, bundled=here.settings.bundled_models).card.id
    except UnknownNameError:
        default = None
    return {
        "atlases": [about(found) for found in atlas_folders(cards).values()],
        "default": default,
    }


@api.get("/v1/atlases/<dictionary>", responses=responses({200: JsonDocument}, 404))
def get_atlas(path: DictionaryPath, query: NoQuery) -> dict[str, Any]:
    """Where the atlas of a dictionary comes from, and how much it holds."""
    here = services()
    return about(find_atlas(here.cards(), path.dictionary, bundled=here.settings.bundled_models))


@api.get("/v1/features/<dictionary>", responses=responses({200: NamedFeatures}, 404, 409))
def get_named_features(
    path: NamedFeaturesPath, query: NamedFeaturesQuery
) -> dict[str, Any] | Response:
    """Named features of a dictionary: labels, motifs, logos; and what they did in a run."""
    source = known_source(path.dictionary, query.run)
    listing = named_features(source, named_rows(query.features, source.n_features))
    listing = listing._replace(head={**listing.head, "run": query.run})
    return send_listing(listing, query, name=f"{source.dictionary}-features")


def known_source(dictionary: str, run: str | None) -> Source:
    """A dictionary, its atlas if it has one, and the result of a run, if one is named.

    Raises
    ------
    UnknownNameError
        If there is no such dictionary or run.
    OptionError
        If the run is one of another dictionary.
    RunStateError
        If the run is not complete.
    """
    cards = services().cards()
    card = cards.dictionary(dictionary)
    source = Source(dictionary=card.id, n_features=card.d_sae, atlas=None)
    if card.id in atlas_folders(cards):
        source = source_of(card.id, None)
    return source if run is None else source_in_run(source, run)


@api.get(
    "/v1/features/<dictionary>/<feature>", responses=responses({200: DictionaryFeature}, 404, 409)
)
def get_dictionary_feature(
    path: DictionaryFeaturePath, query: DictionaryFeatureQuery
) -> dict[str, Any]:
    """One feature: label and its evidence, motifs, concepts, examples, neighbours, controls."""
    source = source_of(path.dictionary, None)
    index, named = parse_feature_row(path.feature, source.n_features)
    strand = one_strand(named, query.strand)
    if query.run is not None:
        source = source_in_run(source, query.run)
    view = feature_view(source, index, strand=strand)
    base = f"/v1/features/{source.dictionary}/{index}"
    taxon, release = view["atlas"]["taxon"], view["atlas"]["release"]
    for row in view["rows"]:
        sign = quote(row["strand"], safe="")
        has_motif = row.pop("has_motif")
        row["logo"] = f"{base}/logo.svg?strand={sign}" if has_motif else None
        for match in row["matches"]:
            matrix = quote(match["matrix_id"], safe="")
            match["logo"] = f"/v1/motifs/{matrix}/logo.svg?taxon={taxon}&release={release}"
    published = services().cards().dictionary(path.dictionary).published_labels or {}
    view["published_label"] = published.get(str(index))
    view["links"] = {
        "self": base,
        "atlas": f"/v1/atlases/{source.dictionary}",
        "causal_tests": f"{base}/causal-tests",
    }
    if query.run is not None:
        in_run = f"/v1/runs/{query.run}/features/{index}"
        view["links"] |= {
            "run": in_run,
            "signal": f"{in_run}/signal.bw",
            "peaks": f"{in_run}/peaks.bed",
        }
    return view


def source_in_run(source: Source, run: str) -> Source:
    """The source with the result of a run, which must be of the same dictionary.

    Raises
    ------
    OptionError
        If it is not.
    UnknownNameError
        If there is no such run.
    RunStateError
        If it is not complete.
    """
    result = open_result(run)
    if result.options.dictionary != source.dictionary:
        raise OptionError(
            f"run {run[:64]!r} is one of dictionary {result.options.dictionary!r}, not of "
            f"{source.dictionary!r}"
        )
    return Source(
        dictionary=source.dictionary,
        n_features=source.n_features,
        atlas=source.atlas,
        result=result,
    )
