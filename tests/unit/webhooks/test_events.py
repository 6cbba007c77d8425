"""The catalogue of events: every type has a model, an example and a schema that agree."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid4

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from channels.base import Channel, MessageType
from channels.errors import InvalidInput
from handlers.webhooks.event_types import FAMILIES, KNOWN_TYPES, EventType
from handlers.webhooks.events import (
    EVENT_MODELS,
    Event,
    event_body,
    event_row,
    iso_utc,
    json_schema,
    parse_event_id,
    public_event_id,
    thin_body,
)
from handlers.webhooks.examples import example, example_body
from handlers.webhooks.payloads import (
    AttachmentData,
    EndpointTest,
    MessageReceived,
    OrderLineData,
    Payload,
    json_number,
)

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
CONTRACT_TYPES = """
    message.received message.sent message.status_changed message.failed conversation.created
    conversation.handoff_requested conversation.handoff_ended customer.created customer.opted_out
    customer.opted_in customer.erased ai.completed ai.failed ai.budget_alert order.created order.updated
    order.review_required order.confirmed order.cancelled order_session.closed endpoint.disabled endpoint.test
"""


def _message(**changes) -> MessageReceived:
    fields = {
        "message_id": uuid4(),
        "conversation_id": uuid4(),
        "customer_id": None,
        "channel": Channel.SMS,
        "type": MessageType.TEXT,
        "text": "hola",
    }
    return MessageReceived(**fields | changes)


def _all_models(model: type[Payload]) -> list[type[Payload]]:
    return [model, *(deeper for sub in model.__subclasses__() for deeper in _all_models(sub))]


def test_every_type_of_the_contract_is_known():
    assert set(CONTRACT_TYPES.split()) | {"endpoint.failing"} == KNOWN_TYPES
    assert {"message", "conversation", "customer", "ai", "order", "order_session", "endpoint"} == FAMILIES


def test_every_emitted_type_has_its_own_model():
    assert set(EventType) == set(EVENT_MODELS)
    assert len(set(EVENT_MODELS.values())) == len(EventType)


@pytest.mark.parametrize("event_type", EventType)
def test_the_example_fits_the_schema(event_type):
    schema = json_schema(event_type)
    body = event_body(example(event_type))

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(body, schema, format_checker=jsonschema.FormatChecker())
    assert list(body) == ["type", "timestamp", "distributor_id", "data"]
    assert event_type == body["type"]


@pytest.mark.parametrize("event_type", EventType)
def test_the_schema_refuses_another_type_and_lets_payloads_grow(event_type):
    schema = json_schema(event_type)
    body = event_body(example(event_type))
    grown = body | {"data": body["data"] | {"a_later_release": 1}}

    jsonschema.validate(grown, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"type": "something.else"}, schema)


@pytest.mark.parametrize("event_type", EventType)
def test_a_body_of_a_conversation_may_carry_its_number_and_no_other_thing_in_its_place(event_type):
    schema, body = json_schema(event_type), example_body(event_type)
    has_conversation = "conversation_id" in EVENT_MODELS[event_type].model_fields

    jsonschema.validate(body, schema)
    assert ("sequence" in schema["properties"]) == has_conversation == ("sequence" in body)
    for wrong in (0, "1", 1.5, None):
        if has_conversation:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(body | {"sequence": wrong}, schema)


@pytest.mark.parametrize("event_type", EventType)
def test_a_thin_body_keeps_the_head_and_ids_and_fits_its_schema(event_type):
    schema, body = json_schema(event_type, thin=True), example_body(event_type)
    data = EVENT_MODELS[event_type].model_fields
    own_ids = {name for name in data if name.endswith("_id") and name != "provider_message_id"}

    thin = thin_body(body)

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(thin, schema, format_checker=jsonschema.FormatChecker())
    assert {name: value for name, value in thin.items() if name != "data"} == {
        name: value for name, value in body.items() if name != "data"
    }
    assert thin["data"] == {name: body["data"][name] for name in schema["properties"]["data"]["properties"]}
    assert own_ids <= thin["data"].keys()
    assert thin_body(thin) == thin


@pytest.mark.parametrize("event_type", EventType)
def test_a_thin_body_holds_nothing_that_somebody_wrote(event_type):
    """Each of its values is an id of ours or a word of a closed set; so no text, address or amount leaves."""
    schema = json_schema(event_type, thin=True)
    definitions = schema.get("$defs", {})
    for name, kept in schema["properties"]["data"]["properties"].items():
        if (event_type, name) == (EventType.ENDPOINT_TEST, "example"):
            continue  # invented, and thin itself where the endpoint is
        for option in kept.get("anyOf", [kept]):
            meant = definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option
            closed = "enum" in meant or "const" in meant or meant.get("type") == "null"
            assert closed or meant.get("format") == "uuid", name
    used = str(schema["properties"])
    assert all(f"#/$defs/{name}'" in used for name in definitions)


def test_a_body_of_an_unknown_type_has_no_thin_form():
    with pytest.raises(ValueError, match="no_such"):
        thin_body({"type": "no_such.type", "data": {}})


@pytest.mark.parametrize("model", _all_models(Payload), ids=lambda model: model.__name__)
def test_every_field_is_described_and_every_model_frozen(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert model.model_config["frozen"]
    assert model.version == 1


def test_a_row_is_what_record_events_takes():
    event = example(EventType.ORDER_CONFIRMED)

    row = event_row(event, 5.0)

    assert {
        "id": str(event.id),
        "distributor_id": str(event.distributor_id),
        "type": "order.confirmed",
        "conversation_id": str(event.conversation_id),
        "occurred_at": "2026-08-01T12:00:00.000000Z",
        "due_at": "2026-08-01T12:00:05.000000Z",
        "body": event_body(event),
    } == row
    assert json.loads(orjson.dumps(row)) == row


def test_an_event_without_a_conversation_has_none_in_its_row():
    assert event_row(example(EventType.ENDPOINT_TEST), 0.0)["conversation_id"] is None


def test_money_and_quantities_are_json_numbers_and_ids_strings():
    line = event_body(example(EventType.ORDER_CREATED))["data"]["lines"][0]
    data = event_body(example(EventType.ORDER_CREATED))["data"]

    assert (line["quantity"], line["unit_price"], line["line_total"]) == (2, 120, 240)
    assert str(UUID(data["order_id"])) == data["order_id"]
    assert data["delivery_date"] == "2026-08-03"


@given(st.decimals(min_value=0, max_value=Decimal("9999999999.9999"), places=4))
def test_every_amount_of_the_columns_survives_as_a_number(amount):
    assert Decimal(str(json_number(amount))) == amount


def test_a_line_without_a_price_carries_null():
    line = OrderLineData(
        sku="A", product_name="a", unit="u", quantity=Decimal("1.5"), unit_price=None, line_total=Decimal(0)
    )

    assert line.model_dump(mode="json") == {
        "sku": "A",
        "product_name": "a",
        "unit": "u",
        "quantity": 1.5,
        "unit_price": None,
        "line_total": 0,
    }


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_any_text_becomes_storable(text):
    """Neither NUL nor a lone surrogate, which jsonb refuses, reaches a body."""
    message = _message(text=text, attachments=(AttachmentData(content_type="a/b", filename=text),))

    dumped = orjson.dumps(message.model_dump(mode="json"))

    assert b"\\u0000" not in dumped
    assert len(message.text) == len(text)


@pytest.mark.parametrize(
    "changes",
    [{"direction": "OUTBOUND"}, {"status": "SENT"}, {"channel": "FAX"}, {"unknown": 1}, {"text": 7}],
)
def test_a_wrong_payload_is_refused_without_repeating_it(changes):
    with pytest.raises(ValidationError) as caught:
        _message(**{"text": "my secret"} | changes)

    assert "my secret" not in str(caught.value)


def test_an_event_takes_only_the_payload_of_its_type():
    with pytest.raises(ValueError, match=r"EndpointTest is not the payload of message.received"):
        Event(uuid4(), uuid4(), EventType.MESSAGE_RECEIVED, EndpointTest(endpoint_id=uuid4()), NOON)


def test_an_event_takes_only_an_aware_time():
    with pytest.raises(ValueError, match="aware"):
        Event(uuid4(), uuid4(), EventType.MESSAGE_RECEIVED, _message(), NOON.replace(tzinfo=None))


def test_times_are_told_in_utc():
    mexico = timezone(timedelta(hours=-6))

    assert iso_utc(datetime(2026, 8, 1, 6, 0, 0, 5, tzinfo=mexico)) == "2026-08-01T12:00:00.000005Z"


@given(st.uuids())
def test_a_public_id_leads_back_to_the_event(event_id):
    public = public_event_id(event_id)

    assert parse_event_id(public) == event_id
    assert public == f"evt_{event_id.hex}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evt_",
        "evt_" + "0" * 31,
        "evt_" + "0" * 33,
        "evt_" + "G" * 32,
        "evt_" + "A" * 32,
        "msg_" + "0" * 32,
        "0b47ad10-0069-4ab8-9a2f-8884cb78e49a",
        "evt_" + "0" * 32 + "\n",
        "evt_" + "\u0660" * 32,  # Arabic digits, which int() would take
    ],
)
def test_anything_else_is_no_event_id(text):
    with pytest.raises(InvalidInput) as caught:
        parse_event_id(text)

    assert caught.value.field == "event_id"
