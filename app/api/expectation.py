"""What the model of a run expects of each base, whole; its tracks are in `app.api.tracks`."""

from typing import Final

from flask import Response

from annotations.expectation_file import EXPECTATION_FILE
from app import expectation
from app.api import open_result, send_stored
from app.openapi import blueprint, file_response, responses
from app.schemas import NoQuery, RunPath

PARQUET: Final = "application/vnd.apache.parquet"

EXPECTATION_SAID: Final = (
    "log2 p(A, C, G, T) of each known base of the forward strand, in multiples of 1/1024 bit; "
    "contigs are numbered from 0, positions are 0-based."
)

api = blueprint("expectation", "What the model expects of each base, of runs with that option.")


@api.get(
    "/v1/runs/<run_id>/expectation.parquet",
    responses=responses({200: file_response(PARQUET, EXPECTATION_SAID)}, 404, 409),
)
def expectation_table(path: RunPath, query: NoQuery) -> Response:
    """What the model expects of each base, as Parquet; 409 of a run without the option."""
    stored = expectation.expectation_path(open_result(path.run_id))
    return send_stored(stored, f"{path.run_id}.{EXPECTATION_FILE}", content_type=PARQUET)
