"""Gene concepts: which there are, and which features predict one."""

from typing import Any

from flask import Response

from app import concept_answers
from app.api.sources import source_of
from app.api.tables import choice_of, send_listing
from app.openapi import blueprint, responses
from app.schemas import (
    ConceptFeatures,
    ConceptFeaturesQuery,
    ConceptList,
    ConceptPath,
    ConceptsQuery,
)

api = blueprint("concepts", "Gene concepts: exon, splice site, start codon and others.")


@api.get("/v1/concepts", responses=responses({200: ConceptList}, 404, 409))
def list_concepts(query: ConceptsQuery) -> dict[str, Any]:
    """Concepts, how many feature rows prefer each, and the best of them."""
    return concept_answers.concepts(source_of(query.dictionary, query.run), max_q=query.max_q)


@api.get("/v1/concepts/<concept>/features", responses=responses({200: ConceptFeatures}, 404, 409))
def list_concept_features(
    path: ConceptPath, query: ConceptFeaturesQuery
) -> dict[str, Any] | Response:
    """Feature rows by how well they predict a concept, held-out figures beside."""
    listing = concept_answers.concept_features(
        source_of(query.dictionary, query.run),
        path.concept,
        choice_of(query),
        orientation=query.orientation,
    )
    return send_listing(listing, query, name=f"{path.concept}.features")
