"""What SES tells through SNS and what it becomes: one row is one case."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import (
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.email_ses import SesAdapter
from channels.errors import MalformedPayload
from gateway.dev.stand_ins.ses import notification
from tests.unit.channels.ses_cases import FIXTURES, OUR_MESSAGE, TOPIC, account, fixture, post

NOW = datetime(2026, 11, 27, 15, 4, 5, tzinfo=UTC)
SES_ID = "0102019345aa7c2e-6f0e7c7b-9b0f-4f0a-8a69-000000000001-000000"
MAIL_ID = "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1"
RECIPIENT = "ana@tienda.example"
OUT = ConsentChange.OUT

STATUSES = [
    ("event__send", MessageStatus.SENT, None),
    ("event__delivery", MessageStatus.DELIVERED, None),
    ("event__open", MessageStatus.READ, None),
    ("event__click", MessageStatus.READ, None),
    ("event__complaint", MessageStatus.DELIVERED, None),
    ("event__complaint_taken_back", MessageStatus.DELIVERED, None),
    ("event__bounce_permanent", MessageStatus.FAILED, "5.1.1"),
    ("event__bounce_permanent_content", MessageStatus.FAILED, "5.3.4"),
    ("event__bounce_transient", MessageStatus.FAILED, "4.2.2"),
    ("event__bounce_undetermined", MessageStatus.FAILED, "undetermined-undetermined"),
    ("feedback__bounce_without_tags", MessageStatus.FAILED, "5.1.1"),
    ("event__reject", MessageStatus.FAILED, "reject"),
    ("event__rendering_failure", MessageStatus.FAILED, "rendering-failure"),
]
CONSENTS = {
    "event__bounce_permanent": (OUT, SuppressionReason.BOUNCE),
    "feedback__bounce_without_tags": (OUT, SuppressionReason.BOUNCE),
    "event__complaint": (OUT, SuppressionReason.COMPLAINT),
    "event__subscription_out": (OUT, SuppressionReason.UNSUBSCRIBE),
}
IGNORED = ["event__delivery_delay", "event__subscription_topics", "event__of_a_later_kind"]


def parse(name):
    return SesAdapter(None, lambda: NOW).parse(
        account(), post(notification(TOPIC, "m-1", fixture(name), NOW))
    )


@pytest.mark.parametrize(("name", "status", "code"), STATUSES)
def test_an_event_is_a_status_of_our_mail(name, status, code):
    update = parse(name)[0]

    assert isinstance(update, StatusUpdate)
    assert (update.status, update.error_code, update.provider_message_id) == (status, code, SES_ID)
    assert update.message_id == (None if name.startswith("feedback") else OUR_MESSAGE)
    assert update.occurred_at is not None
    assert update.occurred_at.tzinfo is not None


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*__*.json")))
def test_only_what_is_certain_of_an_address_changes_its_consent(name):
    updates = [item for item in parse(name) if isinstance(item, ConsentUpdate)]

    assert [(item.change, item.reason) for item in updates] == ([CONSENTS[name]] if name in CONSENTS else [])
    assert all(item.address == RECIPIENT for item in updates)


@pytest.mark.parametrize("name", IGNORED)
def test_the_rest_is_ignored(name):
    (item,) = parse(name)

    assert isinstance(item, Ignored)


@pytest.mark.parametrize("name", ["received__text", "received__base64"])
def test_a_mail_in_the_notification_is_a_message(name):
    (message,) = parse(name)

    assert isinstance(message, InboundMessage)
    assert (message.provider_key, message.sender) == (f"mail:{MAIL_ID}", RECIPIENT)
    assert message.text == "Hola, 2 cajas de agua con gas para mañana."
    assert message.thread is not None
    assert message.thread.message_id == "CAF1@mail.tienda.example"
    assert message.automated is None


AUTOMATED = [("received__spam", "spam", 0), ("received__virus", "virus", 0), ("received__pdf", None, 1)]


@pytest.mark.parametrize(("name", "reason", "files"), AUTOMATED)
def test_a_verdict_of_ses_keeps_a_mail_from_being_understood(name, reason, files):
    (message,) = parse(name)

    assert isinstance(message, InboundMessage)
    assert (message.automated, len(message.attachments)) == (reason, files)


def test_a_mail_from_nobody_is_automated():
    (message,) = parse("received__empty_envelope_sender")

    assert isinstance(message, InboundMessage)
    assert message.automated


def test_a_file_is_read_again_from_the_stored_post():
    stored = post(notification(TOPIC, "m-1", fixture("received__pdf"), NOW))
    adapter = SesAdapter(None, lambda: NOW)
    (message,) = adapter.parse(account(), stored)
    assert isinstance(message, InboundMessage)

    file = adapter.read_part(account(), stored, message.attachments[0].url)

    assert (file.content, file.content_type, file.filename) == (
        b"%PDF-1.4 order",
        "application/pdf",
        "pedido.pdf",
    )
    with pytest.raises(MalformedPayload):
        adapter.read_part(account(), stored, "part:7")


def test_a_mail_in_s3_is_fetched_later():
    assert parse("received__s3") == (DeferredPost(f"fetch:{MAIL_ID}"),)


BROKEN = [
    b'{"Type": "Notification", "Message": "{"}',
    b'{"Type": "Notification", "Message": "[]"}',
    b'{"Type": "Notification"}',
    b'{"Type": "Notification", "Message": "{\\"eventType\\": \\"Bounce\\"}"}',
    b'{"Type": "Notification", "Message": "{\\"notificationType\\": \\"Received\\", \\"mail\\": {\\"messageId\\": \\"a\\"}}"}',
]


@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_notification_is_malformed(body):
    with pytest.raises(MalformedPayload):
        SesAdapter(None, lambda: NOW).parse(account(), post(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["mail", "bounce", "complaint", "receipt", "subscription", "delivery", "content", "failure"]


@given(
    st.sampled_from(sorted(path.stem for path in FIXTURES.glob("*__*.json"))), st.sampled_from(NAMES), JSON
)
def test_whatever_an_event_holds_nothing_but_malformed_is_raised(name, field, value):
    event = {**fixture(name), field: value}
    document = {"Type": "Notification", "Message": json.dumps(event)}
    try:
        items = SesAdapter(None, lambda: NOW).parse(account(), post(json.dumps(document).encode()))
    except MalformedPayload:
        return
    assert items
