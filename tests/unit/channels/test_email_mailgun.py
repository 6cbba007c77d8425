"""What Mailgun posts and what it becomes: one row is one case."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.abilities import MediaContent
from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    InboundMessage,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.email_mailgun_api import is_mailgun
from channels.errors import EgressBlocked, MalformedPayload
from tests.mail_forms import changed, fields_of, multipart
from tests.unit.channels.mail_cases import (
    ADDRESS,
    CUSTOMER,
    MAILGUN,
    OUR_MESSAGE,
    TOKEN,
    account,
    document_of,
    fixture_names,
    is_mail,
    is_storable,
    mailgun,
    mailgun_event,
    mailgun_mail,
    posted,
    request,
    soiled,
)

ADAPTER = mailgun()
EVENT = document_of("mailgun", "event__delivered")
FILES = fields_of("mailgun", "route__pdf_and_inline_image")
STORED_FILE = "https://storage-europe-west1.api.mailgun.net/v3/domains/mail.acme.example/messages/BAABAAX1/attachments/0"


def parsed(post):
    return ADAPTER.parse(account("mailgun", MAILGUN), post)


def mail_of(name):
    (item,) = parsed(posted("mailgun", name))
    assert isinstance(item, InboundMessage)
    return item


@dataclass(frozen=True)
class Mail:
    label: str
    text: str
    message_id: str
    sender: str = CUSTOMER
    files: tuple[tuple[str, str, str, str | None], ...] = ()
    replied: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    automated: str | None = None


OURS = ("ours.1@mail.acme.example",)
MAILS = [
    Mail("route__text", "2 cases of cola and 1 case of water please", "CAF1a@mail.gmail.com"),
    Mail(
        "route__quoted_reply",
        "Please make it 3 cases.",
        "CAF1reply@mail.gmail.com",
        replied=OURS,
        tokens=(TOKEN,),
    ),
    Mail(
        "route__pdf_and_inline_image",
        "see the attached order",
        "CAF1pdf@mail.gmail.com",
        files=(
            ("part:0", "pedido nº 7.pdf", "application/pdf", None),
            ("part:1", "logo.png", "image/png", "ii_logo"),
        ),
    ),
    Mail(
        "route__stored_with_file_addresses",
        "see the attached order",
        "CAF1stored@mail.gmail.com",
        files=((STORED_FILE, "order.pdf", "application/pdf", None),),
    ),
    Mail(
        "route__bounce_from_nobody",
        "I'm sorry to have to inform you that your message could not be delivered.",
        "DSN1@mx.cantina.example",
        "mailer-daemon@mx.cantina.example",
        automated="empty_return_path",
    ),
    Mail(
        "mime__pdf_and_reply",
        "2 cajas de piñas, por favor",
        "raw-1@cantina.example",
        "jose@cantina.example",
        files=(("part:0", "order.pdf", "application/pdf", None),),
        replied=OURS,
        tokens=(TOKEN,),
    ),
]
SENT, DELIVERED, READ, FAILED = (
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
)
BOUNCE = SuppressionReason.BOUNCE
# fixture: (status, the provider's word, error code, opted out), reason of a consent that ends
EVENTS: dict[str, tuple[tuple[Any, ...] | None, SuppressionReason | None]] = {
    "event__accepted": ((SENT, "accepted", None, False), None),
    "event__rejected": ((FAILED, "rejected", "rejected", False), None),
    "event__delivered": ((DELIVERED, "delivered", None, False), None),
    "event__opened": ((READ, "opened", None, False), None),
    "event__clicked": ((READ, "clicked", None, False), None),
    "event__unsubscribed": (None, SuppressionReason.UNSUBSCRIBE),
    "event__complained": ((DELIVERED, "complained", None, False), SuppressionReason.COMPLAINT),
    "event__failed__permanent_bounce": ((FAILED, "failed", "5.1.1", False), BOUNCE),
    "event__failed__permanent_soft_bounce": ((FAILED, "failed", "5.2.2", False), None),
    "event__failed__suppressed_bounce": ((FAILED, "failed", "suppress-bounce", False), BOUNCE),
    "event__failed__suppressed_unsubscribe": ((FAILED, "failed", "suppress-unsubscribe", True), None),
    "event__failed__given_up": ((FAILED, "failed", "602", False), None),
    "event__failed__temporary": ((SENT, "failed_temporarily", None, False), None),
}
IGNORED = {"event__accepted_of_a_received_mail", "event__list_member_uploaded"}


def test_every_fixture_has_a_case():
    assert set(fixture_names("mailgun")) == {case.label for case in MAILS} | EVENTS.keys() | IGNORED


@pytest.mark.parametrize("case", MAILS, ids=lambda case: case.label)
def test_mail(case):
    item = mail_of(case.label)

    assert item.text == case.text
    assert (item.sender, item.recipient, item.automated) == (case.sender, ADDRESS, case.automated)
    files = tuple((file.url, file.filename, file.content_type, file.content_id) for file in item.attachments)
    assert files == case.files
    assert item.thread is not None
    assert item.thread.message_id == case.message_id
    assert (item.thread.in_reply_to, item.thread.reply_tokens) == (case.replied, case.tokens)


@pytest.mark.parametrize("rest", [[], [{"name": "message-headers", "text": "[]"}]])
def test_who_wrote_is_told_by_the_envelope_where_nothing_else_does(rest):
    fields = {"recipient": ADDRESS, "sender": CUSTOMER, "body-plain": "2 cajas"}

    (item,) = parsed(mailgun_mail([*({"name": name, "text": text} for name, text in fields.items()), *rest]))

    assert (item.sender, item.text) == (CUSTOMER, "2 cajas")


@pytest.mark.parametrize("label", sorted(EVENTS))
def test_event(label):
    expected_status, expected_reason = EVENTS[label]

    items = parsed(posted("mailgun", label))

    statuses = [item for item in items if isinstance(item, StatusUpdate)]
    consents = [item for item in items if isinstance(item, ConsentUpdate)]
    assert [(item.status, item.provider_status, item.error_code, item.opted_out) for item in statuses] == (
        [expected_status] if expected_status else []
    )
    assert [item.reason for item in consents] == ([expected_reason] if expected_reason else [])
    assert {(item.provider_message_id, item.message_id) for item in statuses} <= {
        ("ours.2@mail.acme.example", OUR_MESSAGE)
    }
    assert {(item.address, item.change) for item in consents} <= {(CUSTOMER, ConsentChange.OUT)}
    assert len(statuses) + len(consents) == len(items)


@pytest.mark.parametrize("label", sorted(IGNORED))
def test_ignored_event(label):
    (item,) = parsed(posted("mailgun", label))

    assert isinstance(item, Ignored)


@pytest.mark.parametrize(
    "post",
    [
        mailgun_event({}),
        mailgun_event({"event-data": []}),
        mailgun_event({"event-data": {"event": 7}}),
        request("mailgun", {"Content-Type": "application/json"}, b"[]"),
        request("mailgun", {"Content-Type": "application/json"}, b"{" * 100_000),
        request("mailgun", {"Content-Type": "application/json"}, mailgun_event(EVENT).body + b" " * 2**20),
        request("mailgun", {"Content-Type": "text/plain"}, b"hello"),
        mailgun_mail([{"name": "subject", "text": "no mail"}]),
        mailgun_mail([{"name": "body-mime", "text": ""}]),
        mailgun_mail([{"name": "message-headers", "text": '[["Subject", "nobody sent it"]]'}]),
    ],
)
def test_malformed(post):
    with pytest.raises(MalformedPayload):
        parsed(post)


def test_the_key_is_of_the_mail_and_of_whom_it_was_for_not_of_the_post():
    fields = fields_of("mailgun", "route__text")
    raw = "From: marta@cantina.example\r\nMessage-ID: <CAF1a@mail.gmail.com>\r\n\r\n2 cases of cola"
    as_mime = [
        {"name": "body-mime", "text": raw},
        {"name": "recipient", "text": "Orders@mail.acme.example"},
    ]
    key = mail_of("route__text").provider_key

    assert parsed(mailgun_mail(fields, at="1795770900"))[0].provider_key == key
    assert parsed(mailgun_mail(as_mime))[0].provider_key == key
    assert parsed(mailgun_mail(changed(fields, recipient="sales@mail.acme.example")))[0].provider_key != key


@pytest.mark.parametrize(
    ("name", "url", "filename", "begins"),
    [
        ("route__pdf_and_inline_image", "part:0", "pedido nº 7.pdf", b"%PDF-1.7"),
        ("route__pdf_and_inline_image", "part:1", "logo.png", b"\x89PNG\r\n\x1a\n"),
        ("mime__pdf_and_reply", "part:0", "order.pdf", b"%PDF-1.7"),
    ],
)
def test_a_file_is_read_from_the_stored_post(name, url, filename, begins):
    media = ADAPTER.read_part(account("mailgun", MAILGUN), posted("mailgun", name), url)

    assert media.filename == filename
    assert media.content.startswith(begins)


class Recorder:
    """Downloads that keep what they were asked for."""

    def __init__(self):
        self.asked = []

    async def get(self, url, headers=None):
        self.asked.append((url, headers))
        return MediaContent(b"%PDF-1.7", "application/pdf")


async def test_a_stored_file_is_fetched_with_the_key():
    downloads = Recorder()

    media = await ADAPTER.fetch_media(account("mailgun", MAILGUN), STORED_FILE, downloads)

    expected = base64.b64encode(b"api:mg-api-key").decode()
    assert media.content == b"%PDF-1.7"
    assert downloads.asked == [(STORED_FILE, {"Authorization": f"Basic {expected}"})]


FOREIGN = [
    "https://evil.example/v3/domains/x",
    "http://storage.api.mailgun.net/v3/domains/x",
    "https://storage.api.mailgun.net:8443/x",
    "https://mailgun.net.evil.example/x",
    "https://evilmailgun.net/x",
    "https://user@storage.api.mailgun.net/x",
    "https://evil.example\\@storage.api.mailgun.net/x",
    "https://[::1/x",
    "part:0",
    "",
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_the_key_goes_to_mailgun_only(url):
    downloads = Recorder()

    with pytest.raises(EgressBlocked):
        await ADAPTER.fetch_media(account("mailgun", MAILGUN), url, downloads)

    assert downloads.asked == []


def test_the_operators_base_url_is_as_good_as_mailguns():
    assert is_mailgun("http://127.0.0.1:9/mailgun", "http://127.0.0.1:9/mailgun/v3/domains/d/messages/k")
    assert not is_mailgun("http://127.0.0.1:9/mailgun", "http://127.0.0.1:10/mailgun/v3")


@pytest.mark.parametrize("label", sorted(EVENTS))
def test_what_no_database_can_hold_is_taken_out_of_events(label):
    event = soiled(document_of("mailgun", label)["event-data"])

    assert all(is_storable(item) for item in parsed(mailgun_event({"event-data": event})))


def test_what_no_database_can_hold_is_taken_out_of_mails():
    stored = [{"url": "https://a.example/\ud800\x00", "name": "a\ud800\x00.pdf", "content-type": "a/b\x00"}]
    fields = changed(
        FILES,
        attachments=json.dumps(stored),
        content_id_map=json.dumps({"<\ud800\x00>": "attachment-2"}),
        message_headers=json.dumps(
            [["From", "a\ud800\x00 <marta@cantina.example>"], ["Message-Id", "<\ud800>"]]
        ),
    )

    (item,) = parsed(mailgun_mail(fields))

    assert is_storable(item)
    assert len(item.attachments) == 3


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bounce = document_of("mailgun", "event__failed__permanent_bounce")["event-data"]


@given(st.dictionaries(st.sampled_from(sorted(bounce)), json_values))
def test_events_of_any_values_raise_nothing_but_malformed_payload(fields):
    try:
        items = parsed(mailgun_event({"event-data": {**bounce, **fields}}))
    except MalformedPayload:
        return
    for item in items:
        assert isinstance(item, StatusUpdate | ConsentUpdate | Ignored)
        assert is_storable(item)


field_names = st.sampled_from(
    [
        *(
            "body-mime",
            "message-headers",
            "body-plain",
            "body-html",
            "stripped-text",
            "from",
            "sender",
            "recipient",
        ),
        *("content-id-map", "attachments", "attachment-1", "subject", "Message-Id"),
    ]
)


@settings(max_examples=60)
@given(
    st.dictionaries(
        field_names, st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
    )
)
def test_posts_of_any_fields_raise_nothing_but_malformed_payload(fields):
    known = {field["name"]: field for field in FILES}
    changes = {
        name: {"name": name, "base64": base64.b64encode(value).decode()} for name, value in fields.items()
    }
    post = request("mailgun", *multipart(list({**known, **changes}.values()), boundary="b" * 40))

    try:
        (item,) = parsed(post)
    except MalformedPayload:
        return
    assert isinstance(item, InboundMessage)
    assert is_storable(item)


@pytest.mark.parametrize("name", [name for name in fixture_names("mailgun") if is_mail(name)])
def test_what_is_read_can_be_stored(name):
    assert is_storable(mail_of(name))
