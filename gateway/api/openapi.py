"""The OpenAPI 3.1 document, made of the same operations and models as the routes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.media import PATH as MEDIA_PATH
from gateway.api.operations import JSON, WORD, Operation
from gateway.api.problems import CONTENT_TYPE
from gateway.api.replays import HEADER
from gateway.api.requests import EVENT_ID
from gateway.api.schemas import Problem
from gateway.api.webhook_keys import PATH as KEYS_PATH
from gateway.api.webhook_keys import WebhookKeys, describe_keys
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import json_schema
from handlers.webhooks.examples import example_body
from handlers.webhooks.headers import USER_AGENT

OPENAPI = "3.1.0"
_VERSION = USER_AGENT.rpartition("/")[2]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/components/schemas/{model}"
_DESCRIPTION = """\
The management API of Waystation, a gateway for messages of customers over WhatsApp, SMS and e-mail.

Lists are newest first; give `next_cursor` back as `cursor` for the next page. Every POST takes an
`Idempotency-Key`: for 24 hours the same key with the same body repeats the first successful answer and does
nothing again; while the first request is being worked on, it is 409 with `Retry-After`. Errors are
`application/problem+json`; decide on their `code`. Amounts and quantities are JSON numbers, exact up to 15
significant digits; of a larger total the nearest double is shown.
"""
_WEBHOOK_PREFIX = "Event"
_EVENT_ID_PATTERN = "^evt_[0-9a-f]{32}$"
_WEBHOOK_HEADERS = {
    "webhook-id": "The event's id, the same on every try.",
    "webhook-timestamp": "Of this attempt, Unix seconds.",
    "webhook-signature": "Standard Webhooks' `v1,…` and `v1a,…`, one per secret or key pair in force, new first.",
}

Json = dict[str, Any]


def build_document(operations: Sequence[Operation]) -> Json:
    """The whole document, as JSON values."""
    references, schemas = _model_schemas(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references)
    paths[MEDIA_PATH] = {"get": _linked_file(references.answers[Problem])}
    keys, problem = references.answers[WebhookKeys], references.answers[Problem]
    paths[KEYS_PATH] = {"get": describe_keys(keys, _problem("An unknown or deleted endpoint.", problem))}
    webhooks = {event_type.value: _webhook(event_type, schemas) for event_type in EventType}
    return {
        "openapi": OPENAPI,
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "Waystation",
            "version": _VERSION,
            "description": _DESCRIPTION,
        },
        "security": [{"apiKey": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `wst_…`."}
            },
        },
    }


@dataclass(frozen=True, slots=True)
class _References:
    """Where the schemas of models are; query models are taken apart into parameters."""

    bodies: Mapping[type[BaseModel], Json]
    answers: Mapping[type[BaseModel], Json]
    queries: Mapping[type[BaseModel], Json]


def _model_schemas(operations: Sequence[Operation]) -> tuple[_References, dict[str, Json]]:
    bodies = {operation.body for operation in operations if operation.body}
    answers: set[type[BaseModel]] = {Problem, WebhookKeys}
    answers |= {operation.response for operation in operations if operation.response}
    queries = {operation.query for operation in operations}
    found, definitions = models_json_schema(
        [
            *((model, "validation") for model in _by_name(bodies | queries)),
            *((model, "serialization") for model in _by_name(answers)),
        ],
        ref_template=_REF,
    )
    schemas: dict[str, Json] = definitions["$defs"]
    references = _References(
        bodies={model: dict(found[model, "validation"]) for model in bodies},
        answers={model: dict(found[model, "serialization"]) for model in answers},
        queries={model: schemas.pop(_target(found[model, "validation"])) for model in queries},
    )
    return references, schemas


def _by_name(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    return sorted(models, key=lambda model: model.__name__)


def _target(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _operation(operation: Operation, references: _References) -> Json:
    document: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": _parameters(operation, references),
        "responses": _responses(operation, references),
    }
    if operation.body:
        document["requestBody"] = _request_body(operation, references.bodies[operation.body])
    return {name: value for name, value in document.items() if value}


def _request_body(operation: Operation, schema: Json) -> Json:
    content = {
        content_type: {"schema": schema if content_type == JSON else {"type": "string"}}
        for content_type in operation.body_types
    }
    return {"required": operation.body_required, "content": content}


def _parameters(operation: Operation, references: _References) -> list[Json]:
    parameters = [_path_parameter(name) for name in operation.path_names]
    for name, schema in references.queries[operation.query].get("properties", {}).items():
        parameters.append(_query_parameter(name, dict(schema)))
    if operation.method is HTTPMethod.POST:
        parameters.append(_idempotency_parameter())
    return parameters


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}


def _path_schema(name: str) -> Json:
    match name:
        case _ if name == EVENT_ID:
            return {"type": "string", "pattern": _EVENT_ID_PATTERN}
        case _ if name == WORD:
            return {"type": "string"}
        case _:
            return {"type": "string", "format": "uuid"}


def _query_parameter(name: str, schema: Json) -> Json:
    """A parameter is absent or has a value: null and its default say nothing."""
    description = schema.pop("description", "")
    schema.pop("title", None)
    if schema.get("default", ...) is None:
        del schema["default"]
    options = [option for option in schema.pop("anyOf", []) if option != {"type": "null"}]
    schema |= options[0] if len(options) == 1 else ({"anyOf": options} if options else {})
    parameter = {"name": name, "in": "query", "required": False, "schema": schema}
    return parameter | ({"description": description} if description else {})


def _idempotency_parameter() -> Json:
    return {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "Names this request; repeat it with the same key to be sure that it is done once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def _responses(operation: Operation, references: _References) -> Json:
    success: Json = {"description": operation.status.phrase}
    if operation.response:
        success["content"] = {JSON: {"schema": references.answers[operation.response]}}
    problem = references.answers[Problem]
    errors = {str(status.value): _problem(status.phrase, problem) for status in _error_statuses(operation)}
    other = {"default": _problem("Our own failure: 500, or 503 with `Retry-After`.", problem)}
    return {str(operation.status.value): success} | errors | other


def _problem(description: str, schema: Json) -> Json:
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}


def _error_statuses(operation: Operation) -> list[HTTPStatus]:
    """What follows from an operation's form, and what it declares."""
    statuses = {HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, *operation.errors}
    if operation.path_names:
        statuses.add(HTTPStatus.NOT_FOUND)
    if operation.body:
        statuses |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    if operation.method is HTTPMethod.POST:
        statuses.add(HTTPStatus.CONFLICT)
    return sorted(statuses)


def _linked_file(problem: Json) -> Json:
    """One of the paths that need no key."""
    parameter = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
    body = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": "serve_file",
        "tags": ["messages"],
        "summary": "Read a file by its link",
        "description": (
            "The `url` of a stored attachment, good for 15 minutes; needs no key. Served as what the file is by its"
            " bytes; all but pictures and sounds as a download."
        ),
        "security": [],
        "parameters": [parameter],
        "responses": {
            "200": {"description": "The file.", "content": body},
            "404": _problem("A wrong link, one that is over, or a file that is gone.", problem),
            "default": _problem("Our own failure: 500, or 503 with `Retry-After`.", problem),
        },
    }


def _webhook(event_type: EventType, schemas: dict[str, Json]) -> Json:
    """An outgoing event; its definitions move to the document's components."""
    schema = json_schema(event_type)
    definitions = schema.pop("$defs", {})
    schemas.update({_WEBHOOK_PREFIX + name: _moved(definition) for name, definition in definitions.items()})
    shown = example_body(event_type)
    return {
        "post": {
            "operationId": f"on_{event_type.value.replace('.', '_')}",
            "tags": ["events"],
            "summary": event_type.value,
            "description": schema.get("description", ""),
            "security": [],
            "parameters": [_webhook_header(name, text) for name, text in _WEBHOOK_HEADERS.items()],
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": _moved(schema), "example": shown}},
            },
            "responses": {
                "2XX": {"description": "Taken; anything else is tried again."},
                "410": {"description": "Disables the endpoint."},
            },
        }
    }


def _webhook_header(name: str, description: str) -> Json:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}


def _moved(schema: Any) -> Any:
    """A schema whose references lead to the document's components instead of its own definitions."""
    if isinstance(schema, list):
        return [_moved(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: f"#/components/schemas/{_WEBHOOK_PREFIX}{value.rpartition('/')[2]}"
        if name == "$ref" and isinstance(value, str)
        else _moved(value)
        for name, value in schema.items()
    }
