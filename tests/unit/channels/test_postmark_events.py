"""What Postmark posts and what it becomes: one row is one case."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.email_postmark import PostmarkAdapter
from channels.errors import MalformedPayload, VerificationFailed
from tests.unit.channels.postmark_cases import (
    ADDRESS,
    CUSTOMER,
    FIXTURES,
    OUR_MESSAGE,
    PROVIDER_ID,
    TOKEN,
    URL,
    account,
    fixture,
    post,
)

BOUNCED_AT = datetime(2026, 11, 24, 8, 13, 10, 273539, UTC)


@dataclass(frozen=True)
class Case:
    label: str
    text: str
    sender: str = CUSTOMER
    name: str | None = "Rosa Delgado"
    subject: str = "Order for Tuesday"
    files: tuple[tuple[str, str | None], ...] = ()
    tokens: tuple[str, ...] = ()
    automated: bool = False


CASES = [
    Case("inbound__text", "2 cases cola & 1 water + ice"),
    Case("inbound__unicode", "3 cajas de piñas 🍍 — mañana\nurgente", name='Ångström, Café "Ñandú"', subject="Pedido para mañana 🍍"),
    Case("inbound__reply_to_plus_address", "Yes, all of it please.", subject="Re: Order for Tuesday", tokens=(TOKEN,)),
    Case("inbound__forwarded_with_hash", "Yes.", subject="Re: Order for Tuesday", tokens=(TOKEN,)),
    Case("inbound__html_only", "2 cases of cola"),
    Case("inbound__two_attachments", "The list is attached.", files=(("application/pdf", "order 24-11.pdf"), ("image/png", "shelf.png"))),
    Case("inbound__inline_image", "See the shelf", files=(("image/png", "shelf.png"),)),
    Case("inbound__raw_email_included", "3 cajas de piñas", subject="Pedido para mañana", files=(("application/pdf", "pedido.pdf"),)),
    Case("inbound__out_of_office", "I am back on Monday.", subject="Out of office: Order for Tuesday", automated=True),
    Case("inbound__test_button_data", "This is a test text body.", sender="support@postmarkapp.com", name="Postmarkapp Support", subject="Test subject", files=(("text/plain", "test.txt"),)),
    Case("inbound__details_without_content", "The list is attached."),
    Case("inbound__without_full_parties", "2 cases cola & 1 water + ice"),
]  # fmt: skip

STATUSES = [
    (
        "delivery__delivered",
        MessageStatus.DELIVERED,
        None,
        datetime(2026, 11, 24, 8, 13, 5, 273539, UTC),
        None,
    ),
    ("bounce__soft", MessageStatus.FAILED, "SoftBounce", BOUNCED_AT, "invalid_recipient"),
    ("bounce__blocked", MessageStatus.FAILED, "Blocked", BOUNCED_AT, "content_refused"),
    ("bounce__dns_error", MessageStatus.FAILED, "DnsError", BOUNCED_AT, "invalid_recipient"),
    ("bounce__spam_notification", MessageStatus.FAILED, "SpamNotification", BOUNCED_AT, "content_refused"),
    ("bounce__new_type", MessageStatus.FAILED, "QuantumBounce", BOUNCED_AT, None),
    ("bounce__transient", MessageStatus.SENT, "Transient", BOUNCED_AT, None),
    ("open__first", MessageStatus.READ, None, datetime(2026, 11, 24, 8, 30, tzinfo=UTC), None),
    ("click__link", MessageStatus.READ, None, datetime(2026, 11, 24, 8, 31, tzinfo=UTC), None),
]

GONE = ["bounce__hard", "bounce__bad_address"]

CONSENTS = [
    ("bounce__unsubscribe", ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE, "unsubscribe:692560181"),
    ("bounce__subscribe", ConsentChange.IN, SuppressionReason.RESUBSCRIBE, "resubscribe:692560182"),
    ("complaint__spam", ConsentChange.OUT, SuppressionReason.COMPLAINT, "complaint:42"),
    ("subscription__unsubscribed", ConsentChange.OUT, SuppressionReason.UNSUBSCRIBE, None),
    ("subscription__suppressed_after_bounce", ConsentChange.OUT, SuppressionReason.BOUNCE, None),
    ("subscription__suppressed_after_complaint", ConsentChange.OUT, SuppressionReason.COMPLAINT, None),
    ("subscription__resubscribed", ConsentChange.IN, SuppressionReason.RESUBSCRIBE, None),
]

IGNORED = ["bounce__auto_responder", "subscription__lifted_by_operator", "unknown__kind_to_come"]


def parse(document, **credentials):
    owner, request = account(**credentials), post(document)
    adapter = PostmarkAdapter()
    adapter.verify(owner, request)
    return adapter.parse(owner, request)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_a_mail(case):
    document = fixture(case.label)

    (message,) = parse(document)

    assert isinstance(message, InboundMessage)
    assert message.provider_key == document["MessageID"]
    assert (message.sender, message.profile_name, message.recipient) == (case.sender, case.name, ADDRESS)
    assert message.text.strip().startswith(case.text)
    assert message.thread is not None
    assert (message.thread.subject, message.thread.reply_tokens) == (case.subject, case.tokens)
    assert tuple((file.content_type, file.filename) for file in message.attachments) == case.files
    assert bool(message.automated) is case.automated


def test_a_thread_is_read_from_the_headers_and_never_from_postmark_s_own_id():
    (message,) = parse(fixture("inbound__reply_to_plus_address"))

    assert isinstance(message, InboundMessage)
    assert message.thread is not None
    ours = f"{TOKEN}.{'ab' * 16}@acme.example"
    assert message.thread.message_id == "CAF0001@mail.tienda-rosa.example"
    assert message.thread.in_reply_to == (ours,)
    assert message.thread.references == ("CAF0001@mail.tienda-rosa.example", ours)
    assert message.text.startswith("Yes, all of it please.")


@pytest.mark.parametrize("case", [case for case in CASES if case.files], ids=lambda case: case.label)
def test_the_files_are_read_from_the_stored_post(case):
    request = post(fixture(case.label))
    adapter = PostmarkAdapter()
    (message,) = adapter.parse(account(), request)
    assert isinstance(message, InboundMessage)
    given = [
        base64.b64decode(file.get("Content") or file["Data"]) for file in fixture(case.label)["Attachments"]
    ]

    read = [adapter.read_part(account(), request, file.url) for file in message.attachments]

    assert [part.content for part in read] == given
    assert [(part.content_type, part.filename) for part in read] == list(case.files)


@pytest.mark.parametrize("url", ["part:2", "part:-1", "part:", "part:0x0", "https://x.example/0", "part:00"])
def test_a_file_that_the_post_has_not_got(url):
    with pytest.raises(MalformedPayload):
        PostmarkAdapter().read_part(account(), post(fixture("inbound__details_without_content")), url)


def test_an_inline_image_keeps_what_the_html_calls_it():
    (message,) = parse(fixture("inbound__inline_image"))

    assert isinstance(message, InboundMessage)
    assert [file.content_id for file in message.attachments] == ["ii_k1@tienda"]


def test_a_file_s_name_is_no_path_and_its_type_is_one():
    file = {"Name": "../../etc/\r\npass\x00wd", "Content": "YQ==", "ContentType": "what\r\never"}

    (message,) = parse({**fixture("inbound__text"), "Attachments": [file]})

    assert isinstance(message, InboundMessage)
    (attachment,) = message.attachments
    assert attachment.filename is not None
    assert not set(attachment.filename) & set("/\\\r\n\x00")
    assert attachment.content_type == "application/octet-stream"


def test_a_file_whose_content_was_left_out_is_named():
    (message,) = parse(fixture("inbound__details_without_content"))

    assert isinstance(message, InboundMessage)
    assert message.metadata["missing_files"] == ["order 24-11.pdf"]


@pytest.mark.parametrize(
    ("label", "status", "code", "moment", "reason"), STATUSES, ids=[row[0] for row in STATUSES]
)
def test_a_status(label, status, code, moment, reason):
    document = fixture(label)

    (update,) = parse(document)

    assert update == StatusUpdate(
        provider_message_id=PROVIDER_ID,
        status=status,
        message_id=OUR_MESSAGE,
        provider_status=document["RecordType"],
        error_code=code,
        occurred_at=moment,
        reason=reason,
    )


@pytest.mark.parametrize("label", GONE)
def test_an_address_that_is_gone_fails_the_message_and_is_not_written_to_again(label):
    update, consent = parse(fixture(label))

    assert isinstance(update, StatusUpdate)
    assert (update.status, update.error_code) == (MessageStatus.FAILED, fixture(label)["Type"])
    assert update.reason == "invalid_recipient"
    key = f"bounce:{fixture(label)['ID']}"
    assert consent == ConsentUpdate(key, CUSTOMER, ConsentChange.OUT, SuppressionReason.BOUNCE, BOUNCED_AT)


@pytest.mark.parametrize(("label", "change", "reason", "key"), CONSENTS, ids=[row[0] for row in CONSENTS])
def test_a_wish(label, change, reason, key):
    (update,) = parse(fixture(label))
    (again,) = parse(fixture(label))

    assert isinstance(update, ConsentUpdate)
    assert update == again
    assert (update.address, update.change, update.reason) == (CUSTOMER, change, reason)
    assert update.occurred_at is not None
    assert key is None or update.provider_key == key


def test_two_changes_of_a_subscription_are_two():
    first = fixture("subscription__unsubscribed")
    keys = {parse({**first, "ChangedAt": f"2026-11-24T08:2{n}:00Z"})[0].provider_key for n in range(3)}

    assert len(keys) == 3


@pytest.mark.parametrize("label", IGNORED)
def test_what_is_of_no_use(label):
    (item,) = parse(fixture(label))

    assert isinstance(item, Ignored)


def test_every_fixture_is_a_case():
    labels = {case.label for case in CASES} | {row[0] for row in (*STATUSES, *CONSENTS)} | {*GONE, *IGNORED}

    assert labels == {path.stem for path in FIXTURES.glob("*.json")}


@pytest.mark.parametrize("metadata", [None, {}, [], {"waystation_message": "x"}, {"waystation_message": 7}])
def test_a_status_of_somebody_else_s_message(metadata):
    (update,) = parse({**fixture("delivery__delivered"), "Metadata": metadata})

    assert isinstance(update, StatusUpdate)
    assert update.message_id is None


@pytest.mark.parametrize("moment", ["", "yesterday", "0001-01-01T00:00:00+14:00", None, 7, "2026-13-01"])
def test_a_time_that_is_none(moment):
    (update,) = parse({**fixture("delivery__delivered"), "DeliveredAt": moment})

    assert isinstance(update, StatusUpdate)
    assert update.occurred_at is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "text",
        {"RecordType": "Delivery"},
        {"RecordType": "Delivery", "MessageID": "../x"},
        {"RecordType": "Open", "MessageID": 7},
        {"MessageID": PROVIDER_ID},
        {"From": CUSTOMER},
        {**fixture("inbound__text"), "MessageID": "x" * 65},
        {**fixture("inbound__text"), "From": "", "FromFull": None, "Headers": []},
        {**fixture("inbound__two_attachments"), "Attachments": [{"Name": "x", "Content": "a"}]},
        {**fixture("inbound__two_attachments"), "Attachments": [{"Name": "x", "Content": 7}]},
    ],
)
def test_what_is_not_of_postmark_s_form(document):
    with pytest.raises(MalformedPayload):
        parse(document)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"MessageID": NaN}', b"[" * 100_000])
def test_what_is_no_json(body):
    with pytest.raises(MalformedPayload):
        PostmarkAdapter().parse(account(), replace(post({}), body=body))


def test_the_login_is_asked_for_and_the_one_before_it_passes_while_it_is_named():
    old = {"username": "postmark", "password": "hook-password-0"}
    request = post(fixture("inbound__text"), old)
    adapter = PostmarkAdapter()

    adapter.verify(account(basic_auth_previous=old), request)
    with pytest.raises(VerificationFailed):
        adapter.verify(account(), request)
    with pytest.raises(VerificationFailed):
        adapter.verify(account(), InboundRequest("POST", URL, {}, request.body))
    assert adapter.refusal_status == 401


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for path in FIXTURES.glob("*.json") for name in fixture(path.stem)})


@given(
    st.sampled_from(sorted(path.stem for path in FIXTURES.glob("*.json"))),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
)
def test_nothing_but_malformed_comes_of_any_json(label, changes: dict[str, Any]):
    body = json.dumps({**fixture(label), **changes}).encode()
    try:
        items = PostmarkAdapter().parse(account(), replace(post({}), body=body))
    except MalformedPayload:
        return
    assert items
