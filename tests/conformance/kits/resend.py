"""Resend's part of the conformance suite; signed by Svix's own library. A message is a hint: its text is fetched later."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import svix

from channels.base import Channel
from tests.conformance.kit import ChannelKit, Credentials, Post
from tests.unit.channels.resend_cases import ADDRESS, CREDENTIALS, OLD_SECRET, SECRET, fixture

NAMES = UUID("0191d6a0-0000-7000-8000-0000000000f2")
ANOTHER = "whsec_YSBzZWNyZXQgb2YgYW5vdGhlciBhY2NvdW50"


def _sign(post: Post, credentials: Credentials, _url: str, now: datetime) -> Post:
    identifier = f"msg_{uuid5(NAMES, post.body.hex()).hex}"
    signature = svix.Webhook(credentials["signing_secret"]).sign(identifier, now, post.body.decode())
    signed = {"svix-id": identifier, "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    return replace(post, headers={**post.headers, **signed})


def _posted(document: Any, *, status_hook: bool = False) -> Post:
    body = json.dumps(document, ensure_ascii=False).encode()
    return Post(body, {"Content-Type": "application/json"}, status_hook=status_hook)


def _message(word: str, text: str) -> Post:
    document = fixture("received__with_attachment")
    document["data"] |= {"email_id": str(uuid5(NAMES, word)), "subject": text}
    return _posted(document)


def _status(message_id: UUID, provider_id: str, word: str) -> Post:
    document = fixture("status__delivered")
    document["type"] = f"email.{word}"
    document["data"] |= {"email_id": provider_id, "tags": {"waystation_message": str(message_id)}}
    return _posted(document, status_hook=True)


def _with_unknown_field(post: Post) -> Post:
    return replace(post, body=json.dumps({**json.loads(post.body), "field_to_come": {"a": [1]}}).encode())


KIT = ChannelKit(
    provider="resend",
    channel=Channel.EMAIL,
    address=ADDRESS,
    credentials=CREDENTIALS,
    other={"api_key": "re_test_key_0002", "signing_secret": ANOTHER, "signing_secrets_previous": []},
    sign=_sign,
    message=_message,
    status=_status,
    delivered="delivered",
    unknown_event=_posted(fixture("unknown__email_event_to_come"), status_hook=True),
    malformed=(
        Post(b"[]", {"Content-Type": "application/json"}),
        _posted({"type": "email.sent", "data": {}}, status_hook=True),
        _posted({"type": "email.received", "data": {"email_id": ""}}),
    ),
    with_unknown_field=_with_unknown_field,
    rotated={**CREDENTIALS, "signing_secret": OLD_SECRET, "signing_secrets_previous": [SECRET]},
    secrets=frozenset({"re_test_key_0001", SECRET}),
    hooks="`inbound_url` for `email.received` and all `email.*` events; `status_url` takes them, too.",
    limits="40 MB a mail out, after encoding; a few requests a second for all of a team. A mail is fetched after its hint, as MIME where that is at most 25 MiB, else as texts and files.",
    gaps="Message-IDs of sent mails are Amazon SES's: ours goes out as the last of References. Its templates are not used.",
)
