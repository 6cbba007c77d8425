"""What SendGrid posts and what it becomes: one row is one case."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.abilities import MediaInPost
from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.errors import MalformedPayload
from tests.mail_forms import changed, fields_of, multipart
from tests.unit.channels.mail_cases import (
    ADDRESS,
    CUSTOMER,
    NOW,
    OUR_MESSAGE,
    SENDGRID,
    TOKEN,
    account,
    document_of,
    fixture_names,
    is_mail,
    is_storable,
    posted,
    request,
    sendgrid,
    sendgrid_events,
    sendgrid_mail,
    soiled,
)

ADAPTER = sendgrid()
PROVIDER_ID = "LRzXl_NHStOGhQ4kofSm_A"


def parsed(post):
    return ADAPTER.parse(account("sendgrid", SENDGRID), post)


def mail_of(name):
    (item,) = parsed(posted("sendgrid", name))
    assert isinstance(item, InboundMessage)
    return item


@dataclass(frozen=True)
class Mail:
    label: str
    text: str
    message_id: str
    sender: str = CUSTOMER
    files: tuple[tuple[str, str, str | None], ...] = ()
    replied: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    automated: str | None = None


PDF_REPLY = Mail(
    "raw__pdf_and_reply",
    "2 cajas de piñas, por favor",
    "raw-1@cantina.example",
    "jose@cantina.example",
    files=(("order.pdf", "application/pdf", None),),
    replied=("ours.1@mail.acme.example",),
    tokens=(TOKEN,),
)
MAILS = [
    Mail("parsed__text", "2 cases of cola and 1 case of water please", "CAF1a=b2@mail.gmail.com"),
    Mail(
        "parsed__quoted_reply",
        "Please make it 3 cases.",
        "CAF1reply@mail.gmail.com",
        replied=("ours.1@mail.acme.example",),
    ),
    Mail("parsed__latin1_text_and_html", "3 cajas de piñas para mañana", "CAF1latin@mail.gmail.com"),
    Mail(
        "parsed__pdf_and_inline_image",
        "see the attached order",
        "CAF1pdf@mail.gmail.com",
        files=(("pedido nº 7.pdf", "application/pdf", None), ("logo.png", "image/png", "ii_logo")),
    ),
    Mail(
        "parsed__bounce_from_nobody",
        "I'm sorry to have to inform you that your message could not be delivered.",
        "DSN1@mx.cantina.example",
        "mailer-daemon@mx.cantina.example",
        automated="empty_return_path",
    ),
    PDF_REPLY,
    replace(PDF_REPLY, label="raw__field_called_rawemail"),
]
SENT, DELIVERED, READ, FAILED = (
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
)
OUT = ConsentChange.OUT
BOUNCE, COMPLAINT = SuppressionReason.BOUNCE, SuppressionReason.COMPLAINT
# fixture: (status, error code, opted out), (consent, reason)
EVENTS: dict[str, tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]] = {
    "event__processed": ((SENT, None, False), None),
    "event__deferred": ((SENT, None, False), None),
    "event__delivered": ((DELIVERED, None, False), None),
    "event__delivered_smtp_id_only": ((DELIVERED, None, False), None),
    "event__open": ((READ, None, False), None),
    "event__click": ((READ, None, False), None),
    "event__bounce__hard": ((FAILED, "5.1.1", False), (OUT, BOUNCE)),
    "event__bounce__blocked": ((FAILED, "5.7.1", False), None),
    "event__dropped__bounced_before": ((FAILED, "bounced-address", False), (OUT, BOUNCE)),
    "event__dropped__unsubscribed": ((FAILED, "unsubscribed-address", True), None),
    "event__dropped__invalid_smtpapi": ((FAILED, "invalid-smtpapi-header", False), None),
    "event__spamreport": ((DELIVERED, None, False), (OUT, COMPLAINT)),
    "event__unsubscribe": (None, (OUT, SuppressionReason.UNSUBSCRIBE)),
    "event__group_unsubscribe": (None, (OUT, SuppressionReason.UNSUBSCRIBE)),
    "event__group_resubscribe": (None, (ConsentChange.IN, SuppressionReason.RESUBSCRIBE)),
}
APART = {"event__batch_of_four_kinds", "event__delivered_of_another_sender"}


def test_every_fixture_has_a_case():
    assert set(fixture_names("sendgrid")) == {case.label for case in MAILS} | EVENTS.keys() | APART


@pytest.mark.parametrize("case", MAILS, ids=lambda case: case.label)
def test_mail(case):
    item = mail_of(case.label)

    assert item.text == case.text
    assert (item.sender, item.recipient, item.automated) == (case.sender, ADDRESS, case.automated)
    assert (
        tuple((file.filename, file.content_type, file.content_id) for file in item.attachments) == case.files
    )
    assert item.thread is not None
    assert item.thread.message_id == case.message_id
    assert (item.thread.in_reply_to, item.thread.reply_tokens) == (case.replied, case.tokens)


@pytest.mark.parametrize("label", sorted(EVENTS))
def test_event(label):
    expected_status, expected_consent = EVENTS[label]

    items = parsed(posted("sendgrid", label))

    statuses = [item for item in items if isinstance(item, StatusUpdate)]
    consents = [item for item in items if isinstance(item, ConsentUpdate)]
    assert [(item.status, item.error_code, item.opted_out) for item in statuses] == (
        [expected_status] if expected_status else []
    )
    assert [(item.change, item.reason) for item in consents] == (
        [expected_consent] if expected_consent else []
    )
    assert {(item.provider_message_id, item.message_id) for item in statuses} <= {(PROVIDER_ID, OUR_MESSAGE)}
    assert {item.address for item in consents} <= {CUSTOMER}
    told_at = {item.occurred_at for item in statuses} | {item.occurred_at for item in consents}
    assert told_at == {NOW - timedelta(seconds=30)}
    assert len(statuses) + len(consents) == len(items)


def test_every_event_of_a_batch_counts():
    items = parsed(posted("sendgrid", "event__batch_of_four_kinds"))

    assert [type(item) for item in items] == [
        StatusUpdate,
        StatusUpdate,
        Ignored,
        StatusUpdate,
        ConsentUpdate,
    ]


def test_older_ids_and_events_of_other_mails():
    (item,) = parsed(posted("sendgrid", "event__delivered_of_another_sender"))

    assert isinstance(item, StatusUpdate)
    assert (item.provider_message_id, item.message_id) == ("14c5d75ce93.dfd.64b469", None)


@pytest.mark.parametrize(
    "event",
    [None, 7, "delivered", {}, {"event": "delivered"}, {"event": "group_resubscribe", "email": "nobody"}],
)
def test_an_event_that_says_nothing_costs_the_others_nothing(event):
    (delivered,) = document_of("sendgrid", "event__delivered")

    first, second = parsed(sendgrid_events([event, delivered]))

    assert isinstance(first, Ignored)
    assert isinstance(second, StatusUpdate)


def test_no_events_at_all():
    assert parsed(sendgrid_events([])) == (Ignored("No event."),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"7",
        b'"text"',
        b"\xff",
        b"[" * 100_000,
        b"[" + b"{}," * 10_000 + b"{}]",
        b"[]" + b" " * 9_000_000,
    ],
)
def test_events_that_are_no_array_are_malformed(body):
    with pytest.raises(MalformedPayload):
        parsed(sendgrid_events(body))


@pytest.mark.parametrize(
    "post",
    [
        sendgrid_mail([{"name": "subject", "text": "no mail"}]),
        sendgrid_mail([{"name": "email", "text": ""}]),
        sendgrid_mail([{"name": "headers", "text": "Subject: nobody sent it\n"}]),
        request("sendgrid", {"Content-Type": "text/plain"}, b"hello"),
    ],
)
def test_a_post_without_a_mail_is_malformed(post):
    with pytest.raises(MalformedPayload):
        parsed(post)


@pytest.mark.parametrize("name", [name for name in fixture_names("sendgrid") if is_mail(name)])
def test_a_repeated_post_has_the_same_key_whatever_its_boundary(name):
    fields = fields_of("sendgrid", name)
    again = changed(fields, spam_score="9.1", SPF="none")
    post = request("sendgrid", *multipart(again, boundary="another-boundary"))

    assert parsed(post)[0].provider_key == mail_of(name).provider_key


def test_each_mail_has_a_key_of_its_own():
    fields = fields_of("sendgrid", "parsed__text")
    others = [
        changed(fields, text="3 cases"),
        changed(fields, envelope=json.dumps({"to": ["other@mail.acme.example"], "from": CUSTOMER})),
        changed(fields, headers=fields[0]["text"].replace("CAF1a=b2", "CAF1a=b3")),
    ]

    keys = {parsed(sendgrid_mail(each))[0].provider_key for each in (fields, *others)}

    assert len(keys) == 4


@pytest.mark.parametrize(
    ("name", "url", "filename", "begins"),
    [
        ("parsed__pdf_and_inline_image", "part:0", "pedido nº 7.pdf", b"%PDF-1.7"),
        ("parsed__pdf_and_inline_image", "part:1", "logo.png", b"\x89PNG\r\n\x1a\n"),
        ("raw__pdf_and_reply", "part:0", "order.pdf", b"%PDF-1.7"),
    ],
)
def test_a_file_is_read_from_the_stored_post(name, url, filename, begins):
    assert isinstance(ADAPTER, MediaInPost)

    media = ADAPTER.read_part(account("sendgrid", SENDGRID), posted("sendgrid", name), url)

    assert media.filename == filename
    assert media.content.startswith(begins)


@pytest.mark.parametrize("url", ["part:2", "part:-1", "part:", "media:0", "https://a.example/"])
def test_a_file_that_is_not_there(url):
    with pytest.raises(MalformedPayload):
        ADAPTER.read_part(
            account("sendgrid", SENDGRID), posted("sendgrid", "parsed__pdf_and_inline_image"), url
        )


def test_names_of_files_lead_nowhere():
    fields = [
        *fields_of("sendgrid", "parsed__text"),
        {"name": "attachment1", "filename": "../../etc/passwd", "text": "x"},
    ]

    (item,) = parsed(sendgrid_mail(fields))

    assert [file.filename for file in item.attachments] == ["passwd"]


@pytest.mark.parametrize("label", sorted(EVENTS))
def test_what_no_database_can_hold_is_taken_out_of_events(label):
    items = parsed(sendgrid_events(soiled(document_of("sendgrid", label))))

    assert all(is_storable(item) for item in items)


def test_what_no_database_can_hold_is_taken_out_of_mails():
    described = {"attachment1": {"filename": "a\ud800.pdf\x00", "type": "a/b\x00", "content-id": "\ud800"}}
    envelope = {"to": ["\ud800@a.example", f"x\x00{ADDRESS}"], "from": "\ud800\x00"}
    fields = changed(
        fields_of("sendgrid", "parsed__text"),
        attachment_info=json.dumps(described),
        content_ids=json.dumps({"\ud800": "attachment2"}),
        envelope=json.dumps(envelope),
        text="2 cases\x00 of cola",
    )
    files = [{"name": f"attachment{number}", "filename": "a", "text": "x"} for number in (1, 2)]

    (item,) = parsed(sendgrid_mail([*fields, *files]))

    assert is_storable(item)
    assert len(item.attachments) == 2


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None, exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(sorted(document_of("sendgrid", "event__bounce__hard")[0]))


@given(st.dictionaries(names, json_values), st.sampled_from(["bounce", "dropped", "spamreport", "open"]))
def test_events_of_any_values_never_raise(fields, kind):
    event = {**document_of("sendgrid", "event__bounce__hard")[0], **fields, "event": kind}

    for item in parsed(sendgrid_events(json.dumps([event]).encode())):
        assert isinstance(item, StatusUpdate | ConsentUpdate | Ignored)
        assert is_storable(item)


field_names = st.sampled_from(
    [
        *("email", "rawEmail", "headers", "text", "html", "from", "to", "subject", "envelope", "charsets"),
        *("attachments", "attachment-info", "content-ids", "attachment1"),
    ]
)


@settings(max_examples=60)
@given(
    st.dictionaries(
        field_names, st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
    )
)
def test_posts_of_any_fields_raise_nothing_but_malformed_payload(fields):
    known = {field["name"]: field for field in fields_of("sendgrid", "parsed__text")}
    given_fields = {
        name: {"name": name, "base64": base64.b64encode(value).decode()} for name, value in fields.items()
    }
    post = request("sendgrid", *multipart(list({**known, **given_fields}.values()), boundary="b" * 40))

    try:
        (item,) = parsed(post)
    except MalformedPayload:
        return
    assert isinstance(item, InboundMessage)
    assert is_storable(item)
