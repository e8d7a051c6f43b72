"""The only module that knows flask-openapi3: blueprints, declared answers, the document.

What it mends: `securitySchemes` is left out where there are none, errors are declared as
problem documents, and the body of a submission is declared in both its forms.
"""

from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models import RawModel
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

from app.errors import CONTENT_TYPE, validation_problem
from app.schemas import Problem

__all__ = [
    "APIBlueprint",
    "RawModel",
    "blueprint",
    "file_response",
    "make_flask",
    "responses",
    "spec",
]

JSON = "application/json"

TABLE_TYPES = ("text/tab-separated-values", "application/vnd.apache.parquet")
"""What a list comes as besides JSON."""

INTERVALS_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "run"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "BED."},
                    "background": {
                        "type": "string",
                        "format": "binary",
                        "description": "BED of what the intervals are told from; by default "
                        "places of equal length and GC content.",
                    },
                    "run": {"type": "string", "description": "A complete run."},
                    "name": {"type": "string", "description": "What the intervals are called."},
                    "limit": {"type": "integer", "description": "Most features in the answer."},
                    "seed": {"type": "integer", "description": "Of the drawn background."},
                },
                "additionalProperties": False,
            }
        }
    },
}
"""Body of a question about intervals."""

GENOME_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "file"],
                "properties": {
                    "name": {
                        "type": "string",
                        "description": "1 to 64 letters, digits, '.', '_' or '-'.",
                    },
                    "file": {"type": "string", "format": "binary", "description": "FASTA."},
                    "genes": {
                        "type": "string",
                        "format": "binary",
                        "description": "BED, BED12, GFF3 or GTF.",
                    },
                    "aliases": {
                        "type": "string",
                        "description": "A file: chromAlias.txt, assembly_report.txt, or names of "
                        "one contig on each line. Or as text the assembly of a shipped table: "
                        "ce11, dm6, hg38, mm39 or sacCer3.",
                    },
                },
                "additionalProperties": False,
            }
        }
    },
}
"""Body that registers a genome."""

PROBLEMS = {
    400: "A parameter is unknown or has a value that is not allowed.",
    401: "The token is missing or unknown, or has expired.",
    403: "The token is not for this, or another site's page asks.",
    404: "There is no such thing; near names are told.",
    409: "The run is not in a state that allows this; `state` tells which it is in.",
    411: "The length of the body is not known.",
    413: "The input is larger than this installation takes.",
    415: "The body has a content type that is not taken.",
    422: "A file does not follow its format.",
    429: "Too many requests, or too much of yours waits; `Retry-After` says when to ask again.",
    503: "The server cannot do this now; `Retry-After` says when to ask again where it is known.",
}


class _Described(OpenAPI):
    """An application whose blueprints may share a path: the library forgets the first one's."""

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Register a group of routes, and keep what other groups say of the same paths."""
        before = {path: self.paths[path] for path in self.paths.keys() & api.paths.keys()}
        super().register_api(api, **options)
        for path, operations in before.items():
            own = self.paths[path].model_fields_set
            kept = {name: getattr(operations, name) for name in operations.model_fields_set - own}
            self.paths[path] = self.paths[path].model_copy(update=kept)


def make_flask(name: str, *, version: str, description: str) -> Flask:
    """A Flask application that validates requests and describes itself.

    Parameters
    ----------
    name : str
        Import name of the application's package.
    version, description : str
        For the document.
    """
    return _Described(
        name,
        info=Info(title="saetrack", version=version, description=description),
        validation_error_status=400,
        validation_error_model=Problem,
        validation_error_callback=validation_problem,
        doc_ui=False,
        static_folder=None,
    )


def blueprint(name: str, description: str) -> APIBlueprint:
    """A group of routes under one heading of the document."""
    return APIBlueprint(
        name,
        __name__,
        abp_tags=[Tag(name=name, description=description)],
        abp_responses={400: problem_response(400)},
    )


def responses(
    answers: Mapping[int, type[BaseModel] | dict[str, Any] | None], *problems: int
) -> ResponseDict:
    """Declared answers of a route, and the problems it may answer with."""
    declared: ResponseDict = dict(answers.items())
    declared.update({status: problem_response(status) for status in problems})
    return declared


def problem_response(status: int) -> dict[str, Any]:
    """Declaration of a problem document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": PROBLEMS[status], "content": {CONTENT_TYPE: {"schema": schema}}}


def file_response(content_type: str, description: str) -> dict[str, Any]:
    """Declaration of a file."""
    schema: dict[str, Any] = {"type": "object" if content_type == JSON else "string"}
    return {"description": description, "content": {content_type: {"schema": schema}}}


def spec(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application made by `make_flask`."""
    if not isinstance(app, OpenAPI):
        raise TypeError(f"only make_flask's applications describe themselves, got {type(app)}")
    document: dict[str, Any] = app.api_doc
    components = document.get("components", {})
    if components.get("securitySchemes", 0) is None:
        del components["securitySchemes"]
    body = document["paths"]["/v1/runs"]["post"]["requestBody"]
    body["content"]["multipart/form-data"] = {
        "schema": {
            "type": "object",
            "properties": {
                "file": {
                    "type": "string",
                    "format": "binary",
                    "description": "Sequences; left out where `genome` names a registered genome.",
                },
                "genome": {"type": "string", "description": "Registered genome."},
                "regions": {
                    "type": "string",
                    "format": "binary",
                    "description": "BED: parts of the genome. Or `region` (loci), or `gene`.",
                },
                "genes": {"type": "string", "format": "binary", "description": "Gene parts."},
                "variants": {
                    "type": "string",
                    "format": "binary",
                    "description": "VCF of the sequences: alleles of each variant are compared.",
                },
                "options": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "description": "Options as one JSON object; or each as a field of its name.",
                },
            },
            "additionalProperties": {"type": "string"},
        }
    }
    document["paths"]["/v1/concepts"]["post"]["requestBody"] = INTERVALS_BODY
    document["paths"]["/v1/genomes"]["post"]["requestBody"] = GENOME_BODY
    _declare_files(document)
    _declare_access(document)
    return document


def _declare_access(document: dict[str, Any]) -> None:
    """Declare the token, and what is answered without a good one, to every operation."""
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "Where SAETRACK_AUTH=tokens: made by `saetrack token create`.",
    }
    document.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    # the empty requirement: a server of one machine's own users has no tokens
    document["security"] = [{"token": []}, {}]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status in (401, 403, 429):
                operation["responses"].setdefault(str(status), problem_response(status))


def _declare_files(document: dict[str, Any]) -> None:
    """Declare that a list comes as a file too, wherever a parameter chooses the format."""
    for operations in document["paths"].values():
        for operation in operations.values():
            named = {parameter["name"] for parameter in operation.get("parameters", [])}
            if "format" in named:
                content = operation["responses"]["200"]["content"]
                content.update({kind: {"schema": {"type": "string"}} for kind in TABLE_TYPES})
