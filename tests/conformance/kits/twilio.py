"""Twilio: WhatsApp and SMS. The model for the other kits."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from twilio.request_validator import RequestValidator

from channels.base import Channel
from channels.forms import FORM_TYPE
from channels.provider_urls import ProviderUrls
from channels.registry import build_adapters
from gateway.dev.sandbox import STATE, build_sandbox, running_sandbox
from gateway.dev.sandbox_rules import FAULTS
from handlers.runtime import new_uuid7, utc_now
from tests.conformance.kit import ChannelKit, Post, ProviderSide, SendFault
from tests.conformance.sides import impatient_session
from tests.factories import CUSTOMER_NUMBER, OUR_NUMBER
from tests.unit.channels.twilio_cases import fixture

CREDENTIALS = {"account_sid": "AC" + "1" * 32, "auth_token": "tok_conformance_1"}
OTHER = {"account_sid": "AC" + "2" * 32, "auth_token": "tok_conformance_2"}
_FAULTS = {SendFault.THROTTLED: "429", SendFault.SERVER_ERROR: "503", SendFault.HANG: "hang"}


def sign(post: Post, credentials: Mapping[str, Any], url: str, _at: datetime) -> Post:
    """With Twilio's own library."""
    fields = dict(parse_qsl(post.body.decode(), keep_blank_values=True))
    signature = RequestValidator(credentials["auth_token"]).compute_signature(url, fields)
    return replace(post, headers={**post.headers, "X-Twilio-Signature": signature})


def message(word: str, text: str) -> Post:
    sid = f"SM{word.encode().hex():0>32.32}"
    return _form(
        fixture("whatsapp__text"),
        MessageSid=sid, SmsSid=sid, SmsMessageSid=sid, Body=text, AccountSid=CREDENTIALS["account_sid"],
        From=f"whatsapp:{CUSTOMER_NUMBER}", To=f"whatsapp:{OUR_NUMBER}",
    )  # fmt: skip


def status(message_id: UUID, provider_id: str, word: str) -> Post:
    fields = {"MessageStatus": word, "SmsStatus": word, "MessageSid": provider_id, "SmsSid": provider_id}
    post = _form(fixture("status__sent"), **fields, AccountSid=CREDENTIALS["account_sid"])
    return replace(post, query=f"message={message_id}", status_hook=True)


def with_unknown_field(post: Post) -> Post:
    return replace(post, body=post.body + b"&FieldOfNextYear=1")


def _form(fields: Mapping[str, str], **changes: str) -> Post:
    return Post(urlencode({**fields, **changes}).encode(), {"Content-Type": FORM_TYPE})


@asynccontextmanager
async def sandbox_side(kit: ChannelKit) -> AsyncIterator[ProviderSide]:
    """Twilio's sandbox is older than the stand-ins, and on a port of its own."""
    sandbox = build_sandbox(
        {kit.credentials["account_sid"]: kit.credentials["auth_token"]}, new_id=new_uuid7, clock=utc_now
    )
    state = sandbox[STATE]
    async with running_sandbox(sandbox) as url, impatient_session() as session:
        yield ProviderSide(
            build_adapters(ProviderUrls(twilio=url), session),
            lambda fault: state.faults.append(FAULTS[_FAULTS[fault]]),
            lambda: len(state.messages),
        )


KIT = ChannelKit(
    provider="twilio",
    channel=Channel.WHATSAPP,
    address=OUR_NUMBER,
    credentials=CREDENTIALS,
    other=OTHER,
    sign=sign,
    message=message,
    status=status,
    delivered="delivered",
    unknown_event=None,
    malformed=(
        Post(b"Body=no+sid", {"Content-Type": FORM_TYPE}),
        Post(b"", {"Content-Type": FORM_TYPE}),
    ),
    with_unknown_field=with_unknown_field,
    rotated={
        **CREDENTIALS,
        "auth_token": "tok_conformance_new",
        "auth_tokens_previous": [CREDENTIALS["auth_token"]],
    },
    not_applicable={
        "unknown_event": "Twilio posts messages and statuses only; a status of another word is stored as such."
    },
    secrets=frozenset({CREDENTIALS["auth_token"], "tok_conformance_new"}),
    side=sandbox_side,
    hooks="`inbound_url` as the webhook of incoming messages, of the number or of its messaging service; statuses are asked for with each send.",
    limits="1,600 characters a message, longer texts leave in parts, ten at most; 10 files, of WhatsApp one a message, the others in messages of their own; a sender's rate is 1 to 100 messages a second. Error codes: `docs/twilio-errors.md`.",
    gaps="Twilio posts a message once: what is lost on its way is asked for every quarter of an hour (`waystation reconcile`), without profile names, buttons, places and quotes, which Twilio's list has not. Groups and Conversations are not taken.",
)
