"""Transcription factors: which there are, and which features match one."""

from typing import Any

from flask import Response

from annotations.errors import AmbiguousNameError, UnknownNameError
from annotations.jaspar import load_motifs, resolve_tf, search_tfs
from app import answers
from app.answers import Source, resolution_json
from app.api import open_result
from app.api.sources import motifs_of, source_of
from app.api.tables import choice_of, send_listing
from app.openapi import blueprint, responses
from app.schemas import (
    TfAtlasQuery,
    TfFeatures,
    TfNamePath,
    TfPath,
    TfQuery,
    TfSearch,
    TfSearchQuery,
)

api = blueprint("tfs", "Transcription factors.")


@api.get("/v1/tfs", responses=responses({200: TfSearch}, 404))
def list_tfs(query: TfSearchQuery) -> dict[str, Any]:
    """Transcription factors whose names, aliases or ids contain a text, and what it resolves to."""
    taxon, release = motifs_of(query.taxon, query.release)
    catalogue = load_motifs(taxon, release)
    resolution, problem, candidates = None, None, []
    try:
        resolution = resolution_json(resolve_tf(catalogue, query.q)) if query.q.strip() else None
    except AmbiguousNameError as error:
        problem, candidates = str(error), [each._asdict() for each in error.candidates]
    except UnknownNameError as error:
        problem = str(error)
    found = search_tfs(catalogue, query.q, limit=query.limit)
    return {
        "query": query.q,
        "taxon": taxon,
        "release": release,
        "resolution": resolution,
        "problem": problem,
        "candidates": candidates,
        "tfs": [each._asdict() for each in found],
    }


@api.get("/v1/tfs/<path:tf>/features", responses=responses({200: TfFeatures}, 404, 409))
def list_atlas_tf_features(path: TfNamePath, query: TfAtlasQuery) -> dict[str, Any] | Response:
    """Features that match a transcription factor, by the atlas of a dictionary or by a run.

    An empty list is an answer: nothing matched at this q.
    """
    source = source_of(query.dictionary, query.run)
    return _tf_features(source, path.tf, query, taxon=query.taxon, release=query.release)


@api.get(
    "/v1/runs/<run_id>/tfs/<path:tf>/features", responses=responses({200: TfFeatures}, 404, 409)
)
def list_tf_features(path: TfPath, query: TfQuery) -> dict[str, Any] | Response:
    """Features that match a transcription factor, by this run's test or its atlas.

    An empty list is an answer: nothing matched at this q.
    """
    return _tf_features(Source.of_result(open_result(path.run_id)), path.tf, query)


def _tf_features(
    source: Source,
    tf: str,
    query: TfQuery,
    *,
    taxon: str | None = None,
    release: str | None = None,
) -> dict[str, Any] | Response:
    listing = answers.tf_features(source, tf, choice_of(query), taxon=taxon, release=release)
    return send_listing(listing, query, name=f"{tf}.features")
