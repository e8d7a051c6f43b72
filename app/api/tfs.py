"""Which features match a transcription factor."""

from typing import Any

from app import catalog
from app.api import open_result
from app.openapi import blueprint, responses
from app.schemas import TfFeatures, TfPath, TfQuery

api = blueprint("tfs", "Transcription factors.")


@api.get("/v1/runs/<run_id>/tfs/<tf>/features", responses=responses({200: TfFeatures}, 404, 409))
def list_tf_features(path: TfPath, query: TfQuery) -> dict[str, Any]:
    """Features that match a transcription factor, ranked by q, with the evidence.

    An empty list is an answer: nothing matched at this q.
    """
    result = open_result(path.run_id)
    answer = catalog.tf_features(result, path.tf, max_q=query.max_q, limit=query.limit)
    named = answer.resolution
    return {
        "query": named.query,
        "match_type": named.match_type,
        "release": named.release,
        "taxon": named.taxon,
        "motifs": [
            {"matrix_id": motif.matrix_id, "name": motif.name, "family": list(motif.family)}
            for motif in named.motifs
        ],
        "motif_test": answer.test,
        "atlas": answer.atlas,
        "max_q": query.max_q,
        "features": answer.features,
        "atlas_features": answer.atlas_features,
    }
