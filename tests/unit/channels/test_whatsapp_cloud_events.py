"""What Meta posts for WhatsApp and what it becomes: one row is one case."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from channels.base import (
    Channel,
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundMessage,
    MessageStatus,
    MessageType,
    StatusUpdate,
    SuppressionReason,
)
from channels.whatsapp_cloud import WhatsAppCloudAdapter
from tests.unit.channels.whatsapp_cloud_cases import (
    ADDRESS,
    CUSTOMER,
    FIXTURES,
    NUMBER_ID,
    OTHER_NUMBER_ID,
    OUR_MESSAGE,
    SENT_ID,
    USER_ID,
    account,
    first_message,
    fixture,
    items_of,
    post,
)

EDITED = "wamid.HBgLMzQ2MDAxMjM0NTYVAgASGBQzQTRBNjU5OUFFRTAzODEwMDAwMUFB"
MADRID = {"latitude": 40.416775, "longitude": -3.70379}
NEW_USER_ID = "ES.20000000000000000001"
PHOTO = ("media:1003383421387256", "image/jpeg", None)


@dataclass(frozen=True)
class Case:
    label: str
    type: MessageType = MessageType.TEXT
    text: str = ""
    sender: str = CUSTOMER
    user_id: str | None = None
    files: tuple[tuple[str, str, str | None], ...] = ()
    reply_to: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    automated: str | None = None


CASES = [
    Case("text", text="hola, 2 cajas de cola", metadata={"provider_kind": "text", "wa_id": "34600123456"}),
    Case("text_unicode", text="3 cajas de piñas 🍍 — mañana\nurgente"),
    Case("text_reply", text="sí, ese", reply_to=SENT_ID, metadata={"reply_to_sender": "15550002222"}),
    Case("text_forwarded", text="para tu tienda", metadata={"forwarded": True}),
    Case("text_frequently_forwarded", text="promo", metadata={"frequently_forwarded": True}),
    Case(
        "text_about_product",
        text="¿hay?",
        reply_to=SENT_ID,
        metadata={"referred_product": {"catalog_id": "194836987003835", "product_retailer_id": "COLA-24"}},
    ),
    Case("text_from_ad", text="I saw your ad"),
    Case("text_milliseconds", text="hello"),
    Case("text_user_id_only", text="hi", sender=USER_ID, metadata={"username": "@sheena"}),
    Case("text_user_id_in_contact_only", text="hi", sender=USER_ID),
    Case(
        "text_number_and_user_id",
        text="hi",
        user_id=USER_ID,
        metadata={"parent_user_id": "ES.ENT.11815799212886844830"},
    ),
    Case("image", MessageType.IMAGE, "this one", files=(PHOTO,)),
    Case("image_with_url", MessageType.IMAGE, files=(PHOTO,)),
    Case(
        "voice",
        MessageType.AUDIO,
        files=(("media:1908647269898587", "audio/ogg; codecs=opus", None),),
        metadata={"media": {"sha256": "7d3J2HkPWvCxMYhHWHnrKyzP2Zt1Y4T2NfTQ0A2v3xA=", "voice": True}},
    ),
    Case("audio", MessageType.AUDIO, files=(("media:1908647269898588", "audio/mpeg", None),)),
    Case("video", MessageType.VIDEO, "mira", files=(("media:1210211737370102", "video/mp4", None),)),
    Case(
        "document",
        MessageType.FILE,
        "mi pedido",
        files=(("media:1376223850470843", "application/pdf", "pedido.pdf"),),
    ),
    Case(
        "sticker",
        MessageType.IMAGE,
        files=(("media:798882015472548", "image/webp", None),),
        metadata={"provider_kind": "sticker"},
    ),
    Case(
        "location",
        MessageType.LOCATION,
        metadata={
            "location": {
                **MADRID,
                "label": "Tienda",
                "address": "Puerta del Sol, Madrid",
                "url": "https://foursquare.com/v/4b8fc8d2f964a520f85f33e3",
            }
        },
    ),
    Case("location_bare", MessageType.LOCATION, metadata={"location": MADRID}),
    Case("contacts", MessageType.CONTACT),
    Case(
        "button",
        MessageType.BUTTON_REPLY,
        "Confirmar",
        reply_to=SENT_ID,
        metadata={"button_text": "Confirmar", "button_payload": "order:42"},
    ),
    Case(
        "button_reply",
        MessageType.BUTTON_REPLY,
        "Cancel",
        reply_to=SENT_ID,
        metadata={"button_payload": "cancel-button"},
    ),
    Case(
        "list_reply",
        MessageType.BUTTON_REPLY,
        "Priority Mail Express",
        reply_to=SENT_ID,
        metadata={"button_payload": "priority_express", "button_description": "Next Day to 2 Days"},
    ),
    Case(
        "flow_reply",
        MessageType.BUTTON_REPLY,
        "Sent",
        reply_to=SENT_ID,
        metadata={
            "flow_reply": {
                "name": "flow",
                "response": {"flow_token": "ft_1", "delivery_day": "monday", "cases": 3},
            }
        },
    ),
    Case(
        "flow_reply_no_json",
        MessageType.BUTTON_REPLY,
        "Sent",
        reply_to=SENT_ID,
        metadata={"flow_reply": {"name": "flow", "response": {"text": "{broken"}}},
    ),
    Case(
        "interactive_unknown",
        MessageType.UNSUPPORTED,
        reply_to=SENT_ID,
        metadata={
            "provider_kind": "interactive",
            "content": {"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}},
        },
    ),
    Case(
        "reaction",
        MessageType.REACTION,
        "👍",
        reply_to=SENT_ID,
        metadata={"reaction": {"message_id": SENT_ID, "emoji": "👍", "removed": False}},
    ),
    Case(
        "reaction_removed",
        MessageType.REACTION,
        reply_to=SENT_ID,
        metadata={"reaction": {"message_id": SENT_ID, "emoji": None, "removed": True}},
    ),
    Case("order", MessageType.ORDER, "3 x COLA-330-24\n2 x WATER-500-12\nplease before noon"),
    Case("order_bad_item", MessageType.UNSUPPORTED, metadata={"provider_kind": "order", "unreadable": True}),
    Case(
        "system_changed_number",
        MessageType.UNSUPPORTED,
        "User María Pérez changed from 34600123456 to 34600999888",
        automated="system",
        metadata={
            "provider_kind": "system",
            "system": {
                "type": "user_changed_number",
                "old_number": "34600123456",
                "new_number": "34600999888",
                "old_user_id": USER_ID,
                "new_user_id": NEW_USER_ID,
            },
        },
    ),
    Case(
        "system_changed_user_id",
        MessageType.UNSUPPORTED,
        "User changed",
        sender=USER_ID,
        automated="system",
        metadata={
            "system": {
                "type": "user_changed_user_id",
                "old_user_id": USER_ID,
                "new_user_id": NEW_USER_ID,
            }
        },
    ),
    Case(
        "edit",
        text="perdón, 3 cajas",
        reply_to=SENT_ID,
        metadata={"provider_kind": "edit", "edited_message_id": EDITED},
    ),
    Case(
        "edit_caption",
        MessageType.IMAGE,
        "esta no, la otra",
        files=(PHOTO,),
        metadata={"provider_kind": "edit", "edited_message_id": EDITED},
    ),
    Case(
        "revoke",
        MessageType.UNSUPPORTED,
        metadata={"provider_kind": "revoke", "revoked_message_id": EDITED},
    ),
    Case("request_welcome", MessageType.UNSUPPORTED, metadata={"provider_kind": "request_welcome"}),
    Case("ephemeral", MessageType.UNSUPPORTED, metadata={"provider_kind": "ephemeral"}),
    Case("unsupported", MessageType.UNSUPPORTED, metadata={"content": {"type": "poll_creation"}}),
    Case("unsupported_first_of_app_number", MessageType.UNSUPPORTED),
    Case(
        "unknown_type",
        MessageType.UNSUPPORTED,
        metadata={"provider_kind": "poll_vote", "content": {"option": "A"}},
    ),
    Case("text_without_body", MessageType.UNSUPPORTED, metadata={"unreadable": True}),
    Case(
        "image_without_id",
        MessageType.UNSUPPORTED,
        metadata={"unreadable": True, "content": {"mime_type": "image/jpeg"}},
    ),
    Case("location_out_of_range", MessageType.UNSUPPORTED, metadata={"unreadable": True}),
]
IGNORED = [
    ("message__in_group", "A message in a group."),
    ("message__from_own_number", "A message from the account's own number."),
    ("message__without_id", "A message without an id."),
    ("message__without_sender", "A message without a sender."),
    ("status__in_group", "A status of a message to a group."),
    ("status__unknown_word", "A status that says nothing of a message's way."),
    ("change__account_update", "A change of a field other than messages."),
    ("change__echo_of_the_app", "A change of a field other than messages."),
    ("change__without_number", "A change that does not say whose it is."),
    ("change__errors", "An error of the account, of no one message."),
]
STATUS_CASES = [
    ("status__sent", MessageStatus.SENT, None, None),
    ("status__delivered", MessageStatus.DELIVERED, None, None),
    ("status__read", MessageStatus.READ, None, None),
    ("status__played", MessageStatus.READ, None, None),
    ("status__failed_window_closed", MessageStatus.FAILED, "131047", "window_closed"),
    ("status__failed_opted_out", MessageStatus.FAILED, "131050", "opted_out"),
    ("status__failed_undeliverable", MessageStatus.FAILED, "131026", "invalid_recipient"),
]
ELSEWHERE = {
    "batch__two_numbers",
    "status__second_part",
    "status__of_another_program",
    "preference__stop",
    "preference__resume",
}


def item_of(label):
    (item,) = items_of(fixture(label))
    return item


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_messages(case):
    document = fixture(f"message__{case.label}")

    (message,) = items_of(document)

    assert isinstance(message, InboundMessage)
    assert message.type is case.type
    assert message.text == case.text
    assert message.sender == case.sender
    assert message.sender_user_id == case.user_id
    assert message.recipient == ADDRESS
    assert message.channel is Channel.WHATSAPP
    assert message.provider_key == first_message(document)["id"]
    assert message.route == NUMBER_ID
    assert message.reply_to_provider_id == case.reply_to
    assert message.automated == case.automated
    assert tuple((file.url, file.content_type, file.filename) for file in message.attachments) == case.files
    assert case.metadata.items() <= message.metadata.items()
    json.dumps(message.metadata, allow_nan=False)


@pytest.mark.parametrize(("label", "reason"), IGNORED)
def test_what_is_ignored(label, reason):
    item = item_of(label)

    assert isinstance(item, Ignored)
    assert item.reason == reason
    assert item.route == ("" if label in {"change__account_update", "change__without_number"} else NUMBER_ID)


@pytest.mark.parametrize(("label", "status", "code", "reason"), STATUS_CASES)
def test_statuses(label, status, code, reason):
    update = item_of(label)

    assert isinstance(update, StatusUpdate)
    assert update.status is status
    assert update.error_code == code
    assert update.reason == reason
    assert update.opted_out is (reason == "opted_out")
    assert update.provider_message_id == SENT_ID
    assert update.message_id == OUR_MESSAGE
    assert update.part is None
    assert update.route == NUMBER_ID
    assert update.occurred_at == datetime(2025, 6, 8, 21, 0, tzinfo=UTC)
    word = label.removeprefix("status__").partition("_")[0]
    assert update.provider_key == ":".join([SENT_ID, word, *([code] if code else [])])


def test_a_status_tells_of_which_part_it_is():
    update = item_of("status__second_part")

    assert (update.message_id, update.part) == (OUR_MESSAGE, 2)


def test_a_status_of_another_programs_message_names_no_message_of_ours():
    update = item_of("status__of_another_program")

    assert (update.message_id, update.part, update.status) == (None, None, MessageStatus.DELIVERED)


@pytest.mark.parametrize(
    ("label", "change", "reason"),
    [
        ("preference__stop", ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE),
        ("preference__resume", ConsentChange.IN, SuppressionReason.RESUBSCRIBE),
    ],
)
def test_preferences(label, change, reason):
    update = item_of(label)

    assert isinstance(update, ConsentUpdate)
    assert (update.address, update.change, update.reason) == (CUSTOMER, change, reason)
    assert update.route == NUMBER_ID
    assert update.occurred_at is not None


def test_every_item_of_a_batch_is_read_and_says_whose_it_is():
    items = items_of(fixture("batch__two_numbers"))

    read = [(type(item), item.route, getattr(item, "text", "")) for item in items]
    assert read == [
        (InboundMessage, NUMBER_ID, "one"),
        (Ignored, NUMBER_ID, ""),
        (InboundMessage, NUMBER_ID, "two"),
        (StatusUpdate, NUMBER_ID, ""),
        (Ignored, "", ""),
        (InboundMessage, OTHER_NUMBER_ID, "three"),
    ]
    assert (items[0].recipient, items[5].recipient) == (ADDRESS, "+447700900999")
    assert (items[5].sender, items[5].profile_name) == ("+447700900123", "Tom")


@pytest.mark.parametrize("route", [NUMBER_ID, OTHER_NUMBER_ID, "999"])
def test_an_account_may_keep_its_own_part_of_a_batch(route):
    request = post(fixture("batch__two_numbers"))
    adapter = WhatsAppCloudAdapter()

    kept = adapter.only(request, route)

    own = [item for item in adapter.parse(account(), request) if item.route == route]
    assert [item for item in adapter.parse(account(), kept) if item.route] == own


def test_who_wrote_and_when():
    message = item_of("message__text")

    assert message.profile_name == "María Pérez"
    assert message.sent_at == datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)


def test_milliseconds_are_told_from_seconds():
    assert item_of("message__text_milliseconds").sent_at == datetime(
        2025, 6, 8, 20, 59, 43, 123000, tzinfo=UTC
    )


def test_an_advertisement_is_told():
    referral = item_of("message__text_from_ad").metadata["referral"]

    assert referral["source_id"] == "120226305854810726"


def test_an_order_has_lines_and_keeps_its_prices():
    order = item_of("message__order").metadata["order"]

    assert (order["catalog_id"], order["note"]) == ("194836987003835", "please before noon")
    assert order["lines"] == [
        {"sku": "COLA-330-24", "quantity": 3},
        {"sku": "WATER-500-12", "quantity": 2},
    ]
    assert [item["item_price"] for item in order["product_items"]] == [14.4, 5]


def test_why_a_message_is_unsupported_is_told():
    codes = [
        item_of(f"message__{label}").metadata["errors"][0]["code"]
        for label in ("unsupported", "unsupported_first_of_app_number")
    ]

    assert codes == [131051, 131060]


@pytest.mark.parametrize("preference", [{"value": "stop"}, {"wa_id": "34600123456", "value": "pause"}])
def test_a_preference_that_says_nothing_is_ignored(preference):
    document = fixture("preference__stop")
    document["entry"][0]["changes"][0]["value"]["user_preferences"] = [preference]

    assert items_of(document) == (Ignored("A preference that says nothing of consent.", NUMBER_ID),)


def test_only_a_failure_has_an_error():
    document = fixture("status__failed_opted_out")
    document["entry"][0]["changes"][0]["value"]["statuses"][0]["status"] = "delivered"

    (update,) = items_of(document)

    assert isinstance(update, StatusUpdate)
    assert (update.status, update.error_code, update.opted_out) == (MessageStatus.DELIVERED, None, False)


def test_every_fixture_is_in_a_table():
    told = {f"message__{case.label}" for case in CASES} | {row[0] for row in (*IGNORED, *STATUS_CASES)}

    assert told | ELSEWHERE == {path.stem for path in FIXTURES.glob("*.json")}
