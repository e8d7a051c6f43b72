"""Alleles of a run: pairs, and the features that differ between them."""

from typing import Any, Final

from flask import Response

from app import alleles
from app.allele_schemas import (
    AlleleFeatures,
    AlleleFeaturesQuery,
    AlleleList,
    AllelePairPath,
    AllelesQuery,
    AlleleTotals,
    AlleleTotalsQuery,
)
from app.api import open_result, send_stored
from app.api.tables import choice_of, send_listing
from app.openapi import blueprint, file_response, responses
from app.schemas import NoQuery, RunPath

PARQUET: Final = "application/vnd.apache.parquet"

EFFECTS_SAID: Final = "Every change; pairs are numbered from 0, positions are in reference records."

api = blueprint("alleles", "Reference against alternative: variants, or two alleles of a sequence.")


@api.get("/v1/runs/<run_id>/alleles", responses=responses({200: AlleleList}, 404, 409))
def list_alleles(path: RunPath, query: AllelesQuery) -> dict[str, Any] | Response:
    """The pairs of a run that compares alleles, each with the feature row it changed most."""
    listing = alleles.pairs_listing(open_result(path.run_id), choice_of(query))
    return send_listing(listing, query, name="alleles")


@api.get("/v1/runs/<run_id>/alleles/features", responses=responses({200: AlleleTotals}, 404, 409))
def list_all_changed(path: RunPath, query: AlleleTotalsQuery) -> dict[str, Any] | Response:
    """Feature rows that differ in any pair: in how many, and where the largest change is."""
    listing = alleles.changed_in_all(open_result(path.run_id), choice_of(query))
    return send_listing(listing, query, name="alleles-features")


@api.get(
    "/v1/runs/<run_id>/alleles/<pair>/features",
    responses=responses({200: AlleleFeatures}, 404, 409),
)
def list_changed(path: AllelePairPath, query: AlleleFeaturesQuery) -> dict[str, Any] | Response:
    """Feature rows that differ between the alleles of one pair, the largest change first."""
    listing = alleles.changed_features(open_result(path.run_id), path.pair, choice_of(query))
    return send_listing(listing, query, name=f"alleles-{path.pair}-features")


@api.get(
    "/v1/runs/<run_id>/allele_effects.parquet",
    responses=responses({200: file_response(PARQUET, EFFECTS_SAID)}, 404, 409),
)
def all_effects(path: RunPath, query: NoQuery) -> Response:
    """The whole table of changes: a row for each pair and feature row that changed, as Parquet."""
    result = open_result(path.run_id)
    alleles.alleles_of(result)
    name = f"{alleles.EFFECTS}.parquet"
    return send_stored(result.files[name], f"{path.run_id}.{name}", content_type=PARQUET)
