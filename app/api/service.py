"""The service itself: what it is, whether it is well, how it is used."""

import os
import shutil
from typing import Any

from flask import Response, current_app, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from annotations.errors import StateError
from app.api import Services, root, services
from app.database import check_schema, reading
from app.dispatch import live_workers
from app.errors import problem
from app.metrics import CONTENT_TYPE as METRICS_TYPE
from app.openapi import blueprint, file_response, responses, spec
from app.schemas import Health, JsonDocument, NoQuery, Readiness

VERSION = "0.1.0"
"""Version of the interface's implementation; a test holds it equal to the package's."""

DESCRIPTION = (
    "Features of genome language models' sparse autoencoders over DNA: submit sequences, get "
    "feature tables, browser tracks, and the features that match a transcription factor."
)

api = blueprint("service", "The service itself.")


@api.get("/service-info", responses=responses({200: JsonDocument}))
def service_info(query: NoQuery) -> dict[str, Any]:
    """What this service is, in GA4GH's service-info 1.0.0 shape, and its limits."""
    settings = services().settings
    return {
        "id": "org.saetrack",
        "name": "saetrack",
        "type": {"group": "org.saetrack", "artifact": "saetrack", "version": "1.0.0"},
        "description": DESCRIPTION,
        # The operator is not known to the program: the address it was asked at stands in.
        "organization": {"name": "the operator of this server", "url": f"{root()}/"},
        "documentationUrl": f"{root()}/docs",
        "environment": "embedded" if settings.is_loopback else "network",
        "version": VERSION,
        "limits": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_bases": settings.max_bases,
            "max_records": settings.max_records,
        },
        "states": {
            "QUEUED": "waits for a worker",
            "INITIALIZING": "a worker loads the model",
            "RUNNING": "is computed",
            "COMPLETE": "has results",
            "EXECUTOR_ERROR": "the sequences or the model made it fail",
            "SYSTEM_ERROR": "this installation made it fail",
            "CANCELED": "was canceled by its owner",
        },
    }


@api.get("/healthz", responses=responses({200: Health}))
def healthz(query: NoQuery) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@api.get("/readyz", responses=responses({200: Readiness}, 503))
def readyz(query: NoQuery) -> Response:
    """The server can take work: database, storage, disk. A worker is told of, not required."""
    here = services()
    checks, workers = {}, 0
    for name, check in (("database", _database), ("storage", _storage), ("disk", _disk)):
        checks[name] = check(here) or "ok"
    if checks["database"] == "ok":
        with reading(here.engine) as session:
            workers = len(live_workers(session, here.settings))
    failed = [{"location": name, "message": said} for name, said in checks.items() if said != "ok"]
    if failed:
        said = "; ".join(f"{place['location']}: {place['message']}" for place in failed)
        return problem(503, "not-ready", said, errors=failed)
    return jsonify({"ready": True, "checks": checks, "workers": workers})


def _database(here: Services) -> str | None:
    """What is wrong with the database."""
    try:
        with reading(here.engine) as session:
            session.execute(text("SELECT 1"))
        check_schema(here.engine)
    except SQLAlchemyError:
        return "does not answer"
    except StateError as error:
        return str(error)
    return None


def _storage(here: Services) -> str | None:
    """What is wrong with the folders, or with the storage."""
    for folder in (here.settings.upload_dir, here.settings.cache_dir):
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder.name} of the data folder cannot be written"
    return here.storage.problem()


def _disk(here: Services) -> str | None:
    """Whether too little space is left."""
    free = shutil.disk_usage(here.settings.data_dir).free
    if free < here.settings.min_free_bytes:
        return f"{free} bytes are free, at least {here.settings.min_free_bytes} are needed"
    return None


@api.get(
    "/metrics",
    responses=responses({200: file_response(METRICS_TYPE, "Prometheus' text format.")}),
)
def metrics(query: NoQuery) -> Response:
    """What a monitor asks: runs, shards, the age of the queue, workers, requests."""
    return Response(services().metrics.text(), content_type=METRICS_TYPE)


@api.get("/openapi.json", responses=responses({200: JsonDocument}))
def openapi_json(query: NoQuery) -> Response:
    """The interface as an OpenAPI 3.1 document."""
    return jsonify(spec(current_app._get_current_object()))  # type: ignore[attr-defined]
