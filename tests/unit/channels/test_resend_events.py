"""What Resend posts and what it becomes: one row is one case."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
from channels.email_resend import ResendAdapter
from channels.email_resend_events import fetched_post, received_post
from channels.errors import MalformedPayload, VerificationFailed
from tests.unit.channels.resend_cases import (
    CUSTOMER,
    FIXTURES,
    NOW,
    OLD_SECRET,
    OUR_MESSAGE,
    PROVIDER_ID,
    RECEIVED_ID,
    TOKEN,
    account,
    adapter,
    fixture,
    post,
)

AT = datetime(2026, 11, 24, 8, 13, 5, 126000, UTC)
STATUSES = [
    ("status__sent", MessageStatus.SENT, "sent", None, OUR_MESSAGE),
    ("status__delivered", MessageStatus.DELIVERED, "delivered", None, OUR_MESSAGE),
    ("status__delivery_delayed", MessageStatus.SENT, "delivery_delayed", None, OUR_MESSAGE),
    ("status__opened", MessageStatus.READ, "opened", None, OUR_MESSAGE),
    ("status__clicked", MessageStatus.READ, "clicked", None, OUR_MESSAGE),
    ("status__failed", MessageStatus.FAILED, "failed", "reached-daily-quota", OUR_MESSAGE),
    ("status__suppressed", MessageStatus.FAILED, "suppressed", "onaccountsuppressionlist", OUR_MESSAGE),
    ("status__tags_as_list", MessageStatus.DELIVERED, "delivered", None, OUR_MESSAGE),
    ("status__without_tags", MessageStatus.DELIVERED, "delivered", None, None),
    ("bounce__transient", MessageStatus.FAILED, "bounced", "transient-mailboxfull", OUR_MESSAGE),
    ("bounce__without_detail", MessageStatus.FAILED, "bounced", "bounced", OUR_MESSAGE),
]
PERMANENT = ["bounce__permanent", "bounce__permanent_of_several"]
COMPLAINTS = ["complaint__spam", "complaint__with_display_name"]
IGNORED = [
    "complaint__of_several",
    "unknown__email_event_to_come",
    "unknown__scheduled",
    "unknown__contact_created",
]


def parse(document, **credentials):
    owner, request = account(**credentials), post(document)
    adapter().verify(owner, request)
    return adapter().parse(owner, request)


@pytest.mark.parametrize(
    ("label", "status", "word", "code", "ours"), STATUSES, ids=[row[0] for row in STATUSES]
)
def test_a_status(label, status, word, code, ours):
    (update,) = parse(fixture(label))

    reason = "invalid_recipient" if word in {"bounced", "suppressed"} else None
    assert update == StatusUpdate(PROVIDER_ID, status, ours, word, code, occurred_at=AT, reason=reason)


def test_an_address_that_is_gone_fails_the_message_and_is_not_written_to_again():
    update, consent = parse(fixture("bounce__permanent"))

    assert update == StatusUpdate(
        PROVIDER_ID,
        MessageStatus.FAILED,
        OUR_MESSAGE,
        "bounced",
        "permanent-general",
        occurred_at=AT,
        reason="invalid_recipient",
    )
    assert consent == ConsentUpdate(
        f"bounce:{PROVIDER_ID}", CUSTOMER, ConsentChange.OUT, SuppressionReason.BOUNCE, AT
    )


def test_a_mail_that_was_refused_for_what_it_says_says_so():
    document = fixture("bounce__transient")
    document["data"]["bounce"]["subType"] = "ContentRejected"

    (update,) = parse(document)

    assert isinstance(update, StatusUpdate)
    assert update.reason == "content_refused"


def test_of_several_recipients_nobody_is_taken_for_gone():
    update, other = parse(fixture("bounce__permanent_of_several"))

    assert isinstance(update, StatusUpdate)
    assert isinstance(other, Ignored)


@pytest.mark.parametrize("label", COMPLAINTS)
def test_a_complaint(label):
    (update,) = parse(fixture(label))

    assert update == ConsentUpdate(
        f"complaint:{PROVIDER_ID}", CUSTOMER, ConsentChange.OUT, SuppressionReason.COMPLAINT, AT
    )


@pytest.mark.parametrize("label", IGNORED)
def test_what_is_of_no_use(label):
    (item,) = parse(fixture(label))

    assert isinstance(item, Ignored)


def test_a_received_mail_is_a_hint_only():
    assert parse(fixture("received__with_attachment")) == (DeferredPost(f"email:{RECEIVED_ID}"),)


def test_every_fixture_is_a_case():
    labels = {row[0] for row in STATUSES} | {*PERMANENT, *COMPLAINTS, *IGNORED, "received__with_attachment"}

    assert labels == {path.stem for path in FIXTURES.glob("*.json")}


def test_a_listed_mail_makes_the_hint_that_the_hook_would_have_posted():
    listed = fixture("api/email")

    assert adapter().parse(account(), replace(post({}), body=received_post(listed))) == (
        DeferredPost(f"email:{RECEIVED_ID}"),
    )


MIME = (
    b"From: Rosa Delgado <rosa@tienda-rosa.example>\r\nTo: orders@acme.example\r\nSubject: From the MIME\r\n"
    b"Message-ID: <CAF0002@mail.tienda-rosa.example>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b1"\r\n\r\n--b1\r\nContent-Type: text/plain\r\n\r\n2 cases cola\r\n'
    b'--b1\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="order.pdf"\r\n\r\n%PDF-1.4\r\n--b1--\r\n'
)


def fetched(raw, files=(), **changes):
    hint = {**fixture("received__with_attachment")["data"], **changes}
    return replace(post({}), body=fetched_post(hint, {**fixture("api/email"), **changes}, raw, files))


def test_a_fetched_mail_is_read_from_its_mime():
    (message,) = adapter().parse(account(), fetched(MIME))

    assert isinstance(message, InboundMessage)
    assert (message.provider_key, message.sender, message.text) == (RECEIVED_ID, CUSTOMER, "2 cases cola")
    assert message.thread is not None
    assert (message.thread.subject, message.thread.reply_tokens) == ("From the MIME", (TOKEN,))
    assert message.sent_at == datetime(2026, 11, 24, 8, 12, 5, 894719, UTC)
    assert (
        adapter()
        .read_part(account(), fetched(MIME), message.attachments[0].url)
        .content.startswith(b"%PDF-1.4")
    )


def test_a_fetched_mail_without_mime_is_read_from_its_fields():
    (message,) = adapter().parse(account(), fetched(None))

    assert isinstance(message, InboundMessage)
    assert (message.provider_key, message.sender, message.profile_name) == (
        RECEIVED_ID,
        CUSTOMER,
        "Rosa Delgado",
    )
    assert message.text.startswith("Yes, all of it please.")
    assert message.thread is not None
    assert message.thread.message_id == "CAF0002@mail.tienda-rosa.example"
    assert message.thread.in_reply_to == (f"{TOKEN}.{'ab' * 16}@acme.example",)
    assert message.thread.reply_tokens == (TOKEN,)


def test_a_mime_that_names_no_sender_does_not_lose_the_one_of_the_envelope():
    (message,) = adapter().parse(account(), fetched(b"Subject: nobody\r\n\r\nhello\r\n"))

    assert isinstance(message, InboundMessage)
    assert (message.sender, message.text) == (CUSTOMER, "Order for Tuesday")


def test_the_mime_is_kept_once():
    kept = json.loads(fetched(MIME).body)

    assert not {"html", "text", "headers", "attachments"} & kept["data"].keys()


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"type": ""},
        {"type": 7},
        {"type": "email.sent"},
        {"type": "email.sent", "data": []},
        {"type": "email.received", "data": {"email_id": "../../emails"}},
        {"type": "email.received", "data": {"email_id": 7}},
        {"type": "email.bounced", "data": {"email_id": ""}},
        {"type": "email.complained", "data": {"to": [CUSTOMER]}},
        {"type": "waystation.fetched", "data": {}},
        {"type": "waystation.fetched", "data": {"email_id": "x", "from": "nobody"}},
        {"type": "waystation.fetched", "data": {"email_id": "x"}, "raw": "a"},
        {"type": "waystation.fetched", "data": {"email_id": "x"}, "raw": 7},
    ],
)
def test_what_is_not_of_resend_s_form(document):
    with pytest.raises(MalformedPayload):
        parse(document)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json(body):
    with pytest.raises(MalformedPayload):
        adapter().parse(account(), replace(post({}), body=body))


def test_while_the_secret_is_changed_both_sign():
    request = post(fixture("status__sent"), OLD_SECRET)

    adapter().verify(account(signing_secrets_previous=[OLD_SECRET]), request)
    with pytest.raises(VerificationFailed):
        adapter().verify(account(), request)
    assert adapter().refusal_status == 403


@pytest.mark.parametrize("late", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_an_old_post_is_refused_by_the_given_clock(late):
    with pytest.raises(VerificationFailed):
        ResendAdapter(clock=lambda: NOW + late).verify(account(), post(fixture("status__sent")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LABELS = sorted(path.stem for path in FIXTURES.glob("*.json"))
NAMES = sorted(
    {name for label in LABELS for name in fixture(label)["data"]} | {"raw", "files", "headers", "text"}
)


@given(
    st.sampled_from([*LABELS, "fetched"]),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
    st.booleans(),
)
def test_nothing_but_malformed_comes_of_any_json(label, changes, outside):
    document = json.loads(fetched(None).body) if label == "fetched" else fixture(label)
    changed = {**document, **changes} if outside else {**document, "data": {**document["data"], **changes}}
    try:
        items = adapter().parse(account(), replace(post({}), body=json.dumps(changed).encode()))
    except MalformedPayload:
        return
    assert items
