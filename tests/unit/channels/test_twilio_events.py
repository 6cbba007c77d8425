"""What Twilio posts and what it becomes: one row is one case."""

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.base import (
    Channel,
    ConsentChange,
    Ignored,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    MessageType,
    StatusUpdate,
)
from channels.errors import MalformedPayload
from channels.forms import FORM_TYPE
from channels.twilio import TwilioAdapter
from channels.twilio_events import STATUSES
from tests.unit.channels.twilio_cases import (
    ACCOUNT_SID,
    FIXTURES,
    OUR_MESSAGE,
    STATUS_URL,
    URL,
    account,
    fixture,
    post,
)

SERVICE = "MG" + "ef" * 16
SMS_SENDER = "+14155550123"
WA_SENDER = "+34600123456"
USER_ID = "US.13491208655302741918"
REPLIED = "SM" + "cd" * 16


@dataclass(frozen=True)
class Case:
    label: str
    type: MessageType = MessageType.TEXT
    text: str = ""
    sender: str = ""
    files: tuple[str, ...] = ()
    consent: ConsentChange | None = None
    reply_to: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, Any] = field(default_factory=dict)
    user_id: str | None = None

    @property
    def channel(self):
        return Channel.WHATSAPP if self.label.startswith("whatsapp") else Channel.SMS


CASES = [
    Case("sms__text", text="2 cases cola & 1 water + ice"),
    Case("sms__empty_body"),
    Case("sms__unicode", text="3 cajas de piñas 🍍 — mañana\nurgente", metadata={"segments": "2"}),
    Case("sms__two_images", MessageType.IMAGE, "this one", files=("image/jpeg", "image/png")),
    Case("sms__opt_out_stop", text="STOP", consent=ConsentChange.OUT, metadata={"opt_out_type": "STOP"}),
    Case("sms__opt_out_start", text="START", consent=ConsentChange.IN),
    Case("sms__opt_out_help", text="HELP", metadata={"opt_out_type": "HELP"}),
    Case("sms__from_short_code", text="your code is 1", sender="72975"),
    Case("sms__from_sender_name", text="hello", sender="ACME Foods"),
    Case(
        "sms__messaging_service",
        text="via the pool",
        metadata={"messaging_service_sid": SERVICE},
        credentials={"messaging_service_sid": SERVICE},
    ),
    Case("whatsapp__text", text="hola, 2 cajas de cola", metadata={"wa_id": "34600123456"}),
    Case("whatsapp__image", MessageType.IMAGE, files=("image/jpeg",)),
    Case("whatsapp__voice", MessageType.AUDIO, files=("audio/ogg; codecs=opus",)),
    Case("whatsapp__video", MessageType.VIDEO, "mira", files=("video/mp4",)),
    Case("whatsapp__document", MessageType.FILE, "pedido.pdf", files=("application/pdf",)),
    Case(
        "whatsapp__location",
        MessageType.LOCATION,
        metadata={
            "location": {
                "latitude": 40.416775,
                "longitude": -3.70379,
                "address": "Puerta del Sol, Madrid",
                "label": "Tienda",
            }
        },
    ),
    Case(
        "whatsapp__button",
        MessageType.BUTTON_REPLY,
        "Confirmar",
        reply_to=REPLIED,
        metadata={"button_payload": '{"order":"42"}', "button_text": "Confirmar"},
    ),
    Case("whatsapp__reply", text="sí, ese", reply_to=REPLIED),
    Case("whatsapp__contact_card", MessageType.CONTACT, files=("text/vcard",)),
    Case("whatsapp__contacts_without_card", MessageType.UNSUPPORTED, metadata={"provider_type": "contacts"}),
    Case("whatsapp__unknown_type", MessageType.UNSUPPORTED, metadata={"provider_type": "poll"}),
    Case("whatsapp__user_id_sender", text="hi", sender=USER_ID, user_id=USER_ID),
    Case("whatsapp__number_and_user_id", text="hi", user_id=USER_ID),
    Case("whatsapp__referral_ad", text="I saw your ad", metadata={"referral_source_id": "1200"}),
]

REASONS = {"30005": "invalid_recipient", "21610": "opted_out"}
STATUS_CASES = [
    ("status__queued", MessageStatus.SENDING, None),
    ("status__sent", MessageStatus.SENT, None),
    ("status__delivered", MessageStatus.DELIVERED, None),
    ("status__read", MessageStatus.READ, None),
    ("status__undelivered", MessageStatus.FAILED, "30005"),
    ("status__failed_opt_out", MessageStatus.FAILED, "21610"),
]


def parse(fields, *, url=URL, channel=Channel.SMS, **credentials):
    request = post(fields, url=url)
    owner = account(channel, **credentials)
    adapter = TwilioAdapter()
    adapter.verify(owner, request)
    (item,) = adapter.parse(owner, request)
    return item


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_inbound(case):
    fields = fixture(case.label)

    message = parse(fields, channel=case.channel, **case.credentials)

    assert isinstance(message, InboundMessage)
    assert message.type is case.type
    assert message.text == case.text
    assert message.sender == (case.sender or (WA_SENDER if case.channel is Channel.WHATSAPP else SMS_SENDER))
    assert message.sender_user_id == case.user_id
    assert message.recipient == "+15550002222"
    assert message.channel is case.channel
    assert message.provider_key == fields["MessageSid"]
    assert tuple(file.content_type for file in message.attachments) == case.files
    assert message.consent is case.consent
    assert message.reply_to_provider_id == case.reply_to
    assert message.metadata.items() >= case.metadata.items()
    assert message.profile_name == fields.get("ProfileName")


@pytest.mark.parametrize(("label", "status", "code"), STATUS_CASES, ids=[row[0] for row in STATUS_CASES])
def test_status(label, status, code):
    fields = fixture(label)

    update = parse(fields, url=STATUS_URL)

    assert update == StatusUpdate(
        provider_message_id=fields["MessageSid"],
        status=status,
        message_id=OUR_MESSAGE,
        provider_status=fields["MessageStatus"],
        error_code=code,
        opted_out=code == "21610",
        reason=REASONS.get(code) if code else None,
    )
    expected_key = ":".join(filter(None, (fields["MessageSid"], fields["MessageStatus"], code)))
    assert update.provider_key == expected_key


def test_every_fixture_is_a_case():
    labels = {case.label for case in CASES} | {row[0] for row in STATUS_CASES} | {"status__received"}

    assert labels == {path.stem for path in FIXTURES.glob("*.json")}


def test_a_status_of_inbound_messages_is_ignored():
    assert isinstance(parse(fixture("status__received"), url=STATUS_URL), Ignored)


# posts to the wrong hook


@pytest.mark.parametrize("changes", [{}, {"Body": ""}, {"SmsStatus": ""}], ids=["text", "empty", "no-status"])
def test_a_message_posted_to_the_status_hook_is_a_message(changes):
    message = parse({**fixture("sms__text"), **changes}, url=STATUS_URL)

    assert isinstance(message, InboundMessage)
    assert message.provider_key == fixture("sms__text")["MessageSid"]


@pytest.mark.parametrize(("label", "status", "code"), STATUS_CASES, ids=[row[0] for row in STATUS_CASES])
@pytest.mark.parametrize("more", [{}, {"MessagingServiceSid": SERVICE}], ids=["number", "service"])
def test_a_status_posted_to_the_inbound_hook_is_a_status(label, status, code, more):
    update = parse({**fixture(label), **more}, messaging_service_sid=SERVICE)

    assert isinstance(update, StatusUpdate)
    assert (update.status, update.error_code, update.message_id) == (status, code, None)


def test_a_status_of_old_that_names_the_sms_only_is_a_status():
    fields = fixture("status__sent")
    del fields["MessageStatus"]

    assert isinstance(parse(fields), StatusUpdate)


def test_a_status_word_that_nobody_knows_is_no_message():
    assert isinstance(parse({**fixture("status__sent"), "MessageStatus": "pondering"}), Ignored)


def test_the_status_of_a_received_message_takes_no_message_s_place():
    """It has the message's own id: stored as a message without words, it would make the real one a duplicate."""
    assert isinstance(parse(fixture("status__received")), Ignored)


@pytest.mark.parametrize("url", [URL, STATUS_URL], ids=["inbound", "status"])
def test_our_own_number_is_no_customer(url):
    with pytest.raises(MalformedPayload, match="own address"):
        parse({**fixture("sms__text"), "From": "+15550002222"}, url=url, messaging_service_sid=SERVICE)


@pytest.mark.parametrize("query", ["", "?message=", "?message=42", "?other=1"])
def test_a_status_without_our_id(query):
    assert parse(fixture("status__sent"), url=f"{URL}/status{query}").message_id is None


def test_every_status_is_one_of_ours():
    assert set(STATUSES.values()) <= set(MessageStatus)


@pytest.mark.parametrize("name", ["MessageSid", "SmsMessageSid", "SmsSid"])
def test_any_of_its_three_names_tells_the_messages_id(name):
    others = {"MessageSid": "", "SmsMessageSid": "", "SmsSid": ""}

    assert parse({**fixture("sms__text"), **others, name: REPLIED}).provider_key == REPLIED


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("another account", {"AccountSid": "AC" + "9" * 32}),
        ("another number", {"To": "+15550009999"}),
        ("another channel", {"To": "whatsapp:+15550002222"}),
        ("a service that is not ours", {"To": "+15550009999", "MessagingServiceSid": SERVICE}),
        ("no sender", {"From": ""}),
        ("no id", {"MessageSid": "", "SmsMessageSid": "", "SmsSid": ""}),
        ("an odd id", {"MessageSid": "SM 1"}),
        ("an odd count", {"NumMedia": "many"}),
        ("a negative count", {"NumMedia": "-1"}),
        ("media that are missing", {"NumMedia": "2"}),
        ("an odd place", {"Latitude": "north", "Longitude": "1"}),
        ("a place off the globe", {"Latitude": "91", "Longitude": "1"}),
        ("a place that is no number", {"Latitude": "nan", "Longitude": "1"}),
        ("an odd sender", {"From": "<script>alert(1)</script>"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed(label, changes):
    with pytest.raises(MalformedPayload) as caught:
        parse({**fixture("sms__text"), **changes})

    assert not any(value in str(caught.value) for value in changes.values() if len(value) > 3), label


@pytest.mark.parametrize(
    ("ours", "to"), [("+525512345678", "+5215512345678"), ("+5215512345678", "+525512345678")]
)
def test_a_mexican_number_is_ours_in_either_form(ours, to):
    owner = replace(account(Channel.WHATSAPP), address=ours)
    request = post({**fixture("whatsapp__text"), "To": f"whatsapp:{to}"})

    (item,) = TwilioAdapter().parse(owner, request)

    assert isinstance(item, InboundMessage)
    assert item.recipient == ours


@pytest.mark.parametrize("name", ["AccountSid", "To"])
def test_what_the_signature_proves_already_may_be_missing(name):
    fields = fixture("sms__text")
    del fields[name]

    assert parse(fields).recipient == "+15550002222"


def test_a_status_without_a_word_is_malformed():
    with pytest.raises(MalformedPayload):
        parse({**fixture("status__sent"), "MessageStatus": "", "SmsStatus": ""}, url=STATUS_URL)


def test_a_get_carries_its_fields_in_the_query():
    url = f"{URL}?{urlencode(fixture('sms__text'))}"
    request = InboundRequest("GET", url, CIMultiDict(), b"")

    (item,) = TwilioAdapter().parse(account(), request)

    assert isinstance(item, InboundMessage)
    assert item.text == "2 cases cola & 1 water + ice"


def test_a_body_that_is_no_form_is_malformed():
    request = InboundRequest("POST", URL, CIMultiDict({"Content-Type": "application/json"}), b"{}")

    with pytest.raises(MalformedPayload):
        TwilioAdapter().parse(account(), request)


def test_nul_and_broken_utf8_become_replacement_characters():
    fields = fixture("sms__text")
    body = urlencode({**fields, "Body": ""}).encode() + b"&Body=%00"
    request = InboundRequest(
        "POST", URL, CIMultiDict({"Content-Type": FORM_TYPE}), body.replace(b"Body=&", b"Body=%00%FF&")
    )

    (item,) = TwilioAdapter().parse(account(), request)

    assert isinstance(item, InboundMessage)
    assert item.text == "\ufffd\ufffd"


@given(st.binary(max_size=120), st.sampled_from(["GET", "POST"]), st.sampled_from([URL, STATUS_URL]))
def test_no_other_error_than_malformed(tail, method, url):
    body = f"AccountSid={ACCOUNT_SID}&".encode() + tail
    request = InboundRequest(method, url, CIMultiDict({"Content-Type": FORM_TYPE}), body)

    with pytest.raises(MalformedPayload):
        TwilioAdapter().parse(account(), request)


@given(
    st.dictionaries(st.sampled_from(sorted(fixture("whatsapp__location"))), st.text(max_size=12), max_size=4)
)
def test_any_change_of_a_payload_is_a_message_or_malformed(changes):
    fields = {
        **fixture("whatsapp__location"),
        **{name: text for name, text in changes.items() if text.isprintable()},
    }
    request = InboundRequest(
        "POST", URL, CIMultiDict({"Content-Type": FORM_TYPE}), urlencode(fields).encode()
    )
    try:
        (item,) = TwilioAdapter().parse(account(Channel.WHATSAPP), request)
    except MalformedPayload:
        return
    assert isinstance(item, InboundMessage)


def test_acknowledgement_is_empty_twiml():
    answer = TwilioAdapter().acknowledge()

    assert (answer.status, answer.content_type) == (200, "text/xml")
    assert answer.body == b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>'


@pytest.mark.parametrize("told", ["", "whatsapp:", "whatsapp:+34600123456", "x" * 500])
def test_a_user_id_of_another_form_is_none(told):
    fields = fixture("whatsapp__number_and_user_id") | {"ExternalUserId": told}

    message = parse(fields, channel=Channel.WHATSAPP)

    assert isinstance(message, InboundMessage)
    assert (message.sender, message.sender_user_id) == (WA_SENDER, None)
