"""The document: valid by OpenAPI 3.1's rules, complete, and the same as what the routes take."""

import json
import re
from collections import Counter

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from gateway.api.openapi import build_document
from gateway.api.routes import OPERATIONS, add_api_routes
from handlers.webhooks.event_types import EventType

DOCUMENT = build_document(OPERATIONS)
COMPONENT_NAME = re.compile(r"[a-zA-Z0-9.\-_]+")
OPERATION_FIELDS = {
    "operationId",
    "tags",
    "summary",
    "description",
    "parameters",
    "requestBody",
    "responses",
    "security",
}


def operations():
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def walk(value):
    yield value
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        yield from walk(member)


def schemas():
    """Every schema that stands at a place of the document where one may."""
    yield from DOCUMENT["components"]["schemas"].values()
    for node in walk([DOCUMENT["paths"], DOCUMENT["webhooks"]]):
        if isinstance(node, dict) and "schema" in node:
            yield node["schema"]


class TestStructure:
    def test_the_top_is_of_openapi_3_1(self) -> None:
        assert DOCUMENT["openapi"].startswith("3.1.")
        assert DOCUMENT["info"].keys() >= {"title", "version"}
        assert DOCUMENT["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
        assert DOCUMENT["security"] == [{"apiKey": []}]
        assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT

    def test_every_reference_leads_somewhere(self) -> None:
        targets = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
        known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
        assert targets <= known

    def test_every_component_is_used_and_has_a_lawful_name(self) -> None:
        used = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
        names = DOCUMENT["components"]["schemas"].keys()
        assert used == {f"#/components/schemas/{name}" for name in names}
        assert all(COMPONENT_NAME.fullmatch(name) for name in names)

    def test_every_schema_is_valid_json_schema(self) -> None:
        for schema in schemas():
            Draft202012Validator.check_schema(schema)

    def test_operations_have_only_fields_of_the_standard_and_names_of_their_own(self) -> None:
        names = Counter(operation["operationId"] for _, _, operation in operations())
        assert max(names.values()) == 1
        for _, _, operation in operations():
            assert operation.keys() <= OPERATION_FIELDS
            assert operation["responses"]
            assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in operation["responses"])
            assert all(response["description"] for response in operation["responses"].values())

    @pytest.mark.parametrize("place", ["paths", "webhooks"])
    def test_parameters_are_complete_and_named_once(self, place) -> None:
        for path, item in DOCUMENT[place].items():
            for operation in item.values():
                parameters = operation.get("parameters", [])
                keys = [(parameter["in"], parameter["name"]) for parameter in parameters]
                assert len(set(keys)) == len(keys)
                assert all("schema" in parameter for parameter in parameters)
                in_path = {name for kind, name in keys if kind == "path"}
                assert in_path == set(re.findall(r"\{(\w+)\}", path))

    def test_examples_fit_their_schemas(self) -> None:
        for schema in DOCUMENT["components"]["schemas"].values():
            for field in schema.get("properties", {}).values():
                if "$ref" not in json.dumps(field):
                    for example in field.get("examples", []):
                        Draft202012Validator(field).validate(example)


class TestCompleteness:
    def test_every_route_is_in_the_document_and_the_other_way_round(self) -> None:
        app = web.Application()
        add_api_routes(app)
        routes = {
            (route.method.lower(), route.resource.canonical)
            for route in app.router.routes()
            if route.resource and route.resource.canonical.startswith(("/v1/", "/.well-known/"))
        }
        assert routes == {(method, path) for path, method, _ in operations()}

    def test_each_event_is_a_webhook_with_an_example_of_its_form(self) -> None:
        assert DOCUMENT["webhooks"].keys() == {event_type.value for event_type in EventType}
        for event_type, item in DOCUMENT["webhooks"].items():
            content = item["post"]["requestBody"]["content"]["application/json"]
            assert content["example"]["type"] == event_type
            root = {**content["schema"], "components": DOCUMENT["components"]}
            Draft202012Validator(root).validate(content["example"])

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    def test_an_operation_says_what_may_go_wrong(self, operation) -> None:
        responses = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
        assert {"401", "422", "default"} <= responses.keys()
        assert ("404" in responses) == bool(operation.path_names)
        assert ("413" in responses) == (operation.body is not None)

    @pytest.mark.parametrize("later", ["feedback", "budget", "stream"])
    def test_what_a_later_release_brings_is_not_promised(self, later) -> None:
        assert not [path for path in DOCUMENT["paths"] if later in path]

    def test_a_customer_is_not_deleted_but_erased(self) -> None:
        """Which is for the privacy layer: orders and their totals stay."""
        assert DOCUMENT["paths"]["/v1/customers/{id}"].keys() == {"get", "patch"}

    def test_a_body_of_which_all_may_be_left_out_may_be_left_out_itself(self) -> None:
        path = DOCUMENT["paths"]["/v1/webhook-endpoints/{id}/rotate-secret"]
        assert path["post"]["requestBody"]["required"] is False
        path = DOCUMENT["paths"]["/v1/webhook-endpoints"]
        assert path["post"]["requestBody"]["required"] is True

    def test_the_import_takes_csv_too(self) -> None:
        content = DOCUMENT["paths"]["/v1/products/import"]["post"]["requestBody"]["content"]
        assert content.keys() == {"application/json", "text/csv"}

    def test_secrets_are_in_no_answer_but_where_they_are_made(self) -> None:
        holders = {
            name
            for name, schema in DOCUMENT["components"]["schemas"].items()
            if schema.get("properties", {}).keys() & {"secret", "api_key", "credentials", "headers"}
        }
        written = {"AccountCreate", "AccountPatch", "EndpointCreate", "EndpointPatch"}
        signed = {"PulledItem"}  # its headers are signatures
        assert holders == written | signed | {"EndpointWithSecret", "NewApiKey"}
