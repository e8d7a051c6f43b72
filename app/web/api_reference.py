"""The OpenAPI document as the API page shows it: groups of operations, with what each takes."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

METHODS = ("get", "post", "put", "patch", "delete")
"""Methods in the order of the page."""


class Field(NamedTuple):
    """A parameter, a field of a form, or a member of an answer."""

    name: str
    place: str
    """Path, query, form or body."""
    kind: str
    """Its type in words."""
    required: bool
    default: str
    says: str


class Answer(NamedTuple):
    """An answer of an operation."""

    status: str
    says: str
    types: tuple[str, ...]
    """Content types."""
    members: tuple[Field, ...]
    """Of the JSON object."""


class Operation(NamedTuple):
    """A method at an address."""

    method: str
    address: str
    anchor: str
    title: str
    says: str
    fields: tuple[Field, ...]
    bodies: tuple[str, ...]
    """Content types of the body."""
    answers: tuple[Answer, ...]


NAMES = {"tfs": "Transcription factors", "ucsc": "UCSC's interface"}
"""Headings of groups whose names are no words."""


class Group(NamedTuple):
    """Operations under one heading."""

    name: str
    title: str
    says: str
    operations: tuple[Operation, ...]


def groups(document: Mapping[str, Any]) -> list[Group]:
    """The operations of a document by their tag, in the document's order.

    Parameters
    ----------
    document : mapping
        OpenAPI 3.1; each operation has one tag.
    """
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for address, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                given = operations[method]
                found[given["tags"][0]].append(_operation(document, address, method, given))
    return [
        Group(
            tag["name"],
            NAMES.get(tag["name"], tag["name"].replace("-", " ").capitalize()),
            tag.get("description", ""),
            tuple(found[tag["name"]]),
        )
        for tag in document["tags"]
        if found[tag["name"]]
    ]


def _operation(
    document: Mapping[str, Any], address: str, method: str, given: Mapping[str, Any]
) -> Operation:
    parameters = [
        _field(document, each["name"], each["in"], each, each.get("required", False))
        for each in given.get("parameters", ())
    ]
    body = given.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        place = "form" if kind.startswith("multipart/") else "body"
        parameters += _members(document, content.get("schema", {}), place)
    return Operation(
        method=method.upper(),
        address=address,
        anchor=given["operationId"],
        title=given.get("summary", ""),
        says=given.get("description", "").replace("<br/>", " "),
        fields=tuple(parameters),
        bodies=tuple(body),
        answers=tuple(
            Answer(
                str(status),
                answer.get("description", ""),
                tuple(answer.get("content", {})),
                _told(document, answer.get("content", {})),
            )
            for status, answer in sorted(given["responses"].items(), key=lambda each: each[0])
        ),
    )


def _told(document: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[Field, ...]:
    """Members of a JSON answer."""
    schema = content.get("application/json", {}).get("schema", {})
    return tuple(_members(document, schema, "answer"))


def _members(document: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[Field]:
    """Members of an object; none of what is no object."""
    resolved = _resolved(document, schema)
    needed = resolved.get("required", ())
    for name, member in resolved.get("properties", {}).items():
        yield _field(document, name, place, {"schema": member, **member}, name in needed)


def _field(
    document: Mapping[str, Any], name: str, place: str, given: Mapping[str, Any], required: bool
) -> Field:
    schema = given.get("schema", {})
    default = schema.get("default")
    kind = kind_of(document, schema)
    if place in {"query", "form", "path"}:
        # null is what a parameter is that is left out
        kind = kind.removesuffix(" or null")
    shown = "" if default is None or default == "" else str(default)
    says = given.get("description") or schema.get("description") or ""
    return Field(name, place, kind, required, shown, says)


def kind_of(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a schema allows, in a few words.

    Parameters
    ----------
    document : mapping
        The document that the schema is of.
    schema : mapping
        JSON Schema.
    """
    if "$ref" in schema:
        return kind_of(document, _resolved(document, schema))
    for word in ("anyOf", "oneOf"):
        if word in schema:
            kinds = [kind_of(document, each) for each in schema[word]]
            return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("format") == "binary":
        return "file"
    kind = str(schema.get("type", ""))
    if kind == "array":
        item = kind_of(document, schema.get("items", {}))
        return f"list of {item}" if item else "list"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return words.get(kind, kind)


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema itself, where it is named."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    return found
