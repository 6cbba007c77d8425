"""Messages of Meta's that are wrong in a part: what can be read is read, and a person sees the rest."""

import json

import pytest

from channels.base import InboundMessage, MessageType
from channels.whatsapp_cloud import WhatsAppCloudAdapter
from tests.unit.channels.whatsapp_cloud_cases import account, first_message, fixture, items_of, post_bytes

EDITED = "wamid.HBgLMzQ2MDAxMjM0NTYVAgASGBQzQTRBNjU5OUFFRTAzODEwMDAwMUFB"


@pytest.mark.parametrize(
    ("label", "kind", "part"),
    [
        ("image", "image", {"id": "../1", "mime_type": "image/jpeg"}),
        ("image", "image", "1003383421387256"),
        ("location", "location", {"latitude": "north", "longitude": 1}),
        ("location", "location", {"latitude": True, "longitude": 1}),
        ("location", "location", {"longitude": 1}),
        ("contacts", "contacts", [1]),
        ("button", "button", {"payload": "order:42"}),
        ("button_reply", "interactive", {"type": "button_reply"}),
        ("flow_reply", "interactive", {"type": "nfm_reply", "nfm_reply": {"response_json": {}}}),
        ("reaction", "reaction", {"emoji": "👍"}),
        ("order", "order", {"product_items": [{"quantity": 1}]}),
        ("order", "order", {"product_items": [{"product_retailer_id": "COLA", "quantity": 1}, "x"]}),
        ("edit", "edit", {"original_message_id": EDITED}),
        ("edit", "edit", {"message": {"type": "text", "text": {"body": "x"}}}),
        ("revoke", "revoke", {}),
        ("system_changed_number", "system", None),
    ],
)
def test_a_part_that_cannot_be_read_is_kept_for_a_person(label, kind, part):
    document = fixture(f"message__{label}")
    first_message(document)[kind] = part

    (message,) = items_of(document)

    assert isinstance(message, InboundMessage)
    assert (message.type, message.text, message.attachments) == (MessageType.UNSUPPORTED, "", ())
    assert message.metadata["unreadable"] is True
    assert message.metadata["provider_kind"] == kind
    assert message.metadata.get("content") == (part or None)


@pytest.mark.parametrize("reference", ["", "x" * 300, "two words", 7, None])
def test_a_reference_that_is_no_id_is_left_out(reference):
    document = fixture("message__text_reply")
    first_message(document)["context"]["id"] = reference

    (message,) = items_of(document)

    assert isinstance(message, InboundMessage)
    assert (message.text, message.reply_to_provider_id) == ("sí, ese", None)


@pytest.mark.parametrize("timestamp", ["", "soon", None, True, -1, 1.5, "9" * 16, "1e9"])
def test_a_message_without_a_usable_time_is_kept(timestamp):
    document = fixture("message__text")
    first_message(document)["timestamp"] = timestamp

    (message,) = items_of(document)

    assert message.text == "hola, 2 cajas de cola"
    assert message.sent_at is None


@pytest.mark.parametrize("quantity", [0, -1, 2.5, True, "", "x", None, "1e3", 10**12])
def test_an_order_with_a_count_that_is_none_is_a_persons_business(quantity):
    document = fixture("message__order")
    first_message(document)["order"]["product_items"][0]["quantity"] = quantity

    (message,) = items_of(document)

    assert message.type is MessageType.UNSUPPORTED
    assert message.metadata["content"]["catalog_id"] == "194836987003835"


def test_what_cannot_be_stored_is_replaced():
    body = json.dumps(fixture("message__text")).replace("hola", r"a\u0000b\ud83d").encode()

    (message,) = WhatsAppCloudAdapter().parse(account(), post_bytes(body))

    assert isinstance(message, InboundMessage)
    assert message.text == "a\ufffdb\ufffd, 2 cajas de cola"
