"""The catalogue of events: complete, the same as what is sent, and paged like every list."""

import jsonschema
import pytest

from handlers.webhooks.event_types import FAMILIES, KNOWN_TYPES, PROMISED_TYPES
from tests.integration.api.conftest import Api

TYPES = "/v1/event-types"


async def test_every_type_that_can_be_subscribed_to_is_there_by_name(api: Api) -> None:
    status, page = await api.get(TYPES)

    assert status == 200
    assert [entry["name"] for entry in page["data"]] == sorted(KNOWN_TYPES)
    assert {entry["family"] for entry in page["data"]} == FAMILIES
    assert all(entry["description"] for entry in page["data"])
    assert page["next_cursor"] is None
    assert await api.walk(TYPES, 5) == page["data"]


async def test_what_is_emitted_has_schemas_that_its_examples_fit(api: Api) -> None:
    _, page = await api.get(TYPES)

    emitted = [entry for entry in page["data"] if entry["emitted"]]
    assert {entry["name"] for entry in page["data"]} - {entry["name"] for entry in emitted} == set(
        PROMISED_TYPES
    )
    for entry in emitted:
        assert entry["schema_version"] >= 1
        for form in (entry["full"], entry["thin"]):
            jsonschema.Draft202012Validator.check_schema(form["json_schema"])
            jsonschema.validate(
                form["example"], form["json_schema"], format_checker=jsonschema.FormatChecker()
            )
            assert form["example"]["type"] == entry["name"]


async def test_one_type_is_read_by_its_name(api: Api) -> None:
    _, page = await api.get(TYPES)

    for entry in page["data"]:
        assert await api.get(f"{TYPES}/{entry['name']}") == (200, entry)


@pytest.mark.parametrize(
    "name", ["order.*", "*", "order", "Order.created", "no.such", "%00", "order.created%20"]
)
async def test_what_is_no_type_is_404(api: Api, name: str) -> None:
    status, problem = await api.get(f"{TYPES}/{name}")

    assert (status, problem["code"]) == (404, "not_found")


async def test_the_document_shows_the_same_forms(api: Api) -> None:
    """OpenAPI's `webhooks` and the catalogue are made of one model."""
    _, page = await api.get(TYPES)
    webhooks = api.document.value["webhooks"]

    shown = {
        name: hook["post"]["requestBody"]["content"]["application/json"] for name, hook in webhooks.items()
    }
    assert {entry["name"] for entry in page["data"] if entry["emitted"]} == shown.keys()
    for entry in page["data"]:
        if entry["emitted"]:
            assert shown[entry["name"]]["example"] == entry["full"]["example"]
            assert shown[entry["name"]]["schema"]["required"] == entry["full"]["json_schema"]["required"]
