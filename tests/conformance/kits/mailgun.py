"""Mailgun: routes and events, signed by a key that does not cover the body, each token for one body."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from channels.base import Channel
from channels.forms import FORM_TYPE
from tests.conformance.kit import ChannelKit, Post
from tests.mail_forms import changed, fields_of, urlencoded
from tests.unit.channels.mail_cases import document_of

ADDRESS = "orders@mail.acme.example"
CREDENTIALS = {
    "api_key": "mg-api-conformance-1",
    "signing_key": "mg-signing-conformance-1",
    "domain": "mail.acme.example",
    "region": "eu",
}
OTHER = {**CREDENTIALS, "api_key": "mg-api-conformance-2", "signing_key": "mg-signing-conformance-2"}
_NO_SIGNATURE = {"timestamp": None, "token": None, "signature": None}


def sign(post: Post, credentials: Mapping[str, Any], _url: str, at: datetime) -> Post:
    """As Mailgun's page "Securing webhooks" says; each post has a token of its own."""
    timestamp, token = str(int(at.timestamp())), secrets.token_hex(25)
    mac = hmac.new(credentials["signing_key"].encode(), (timestamp + token).encode(), hashlib.sha256)
    signature = {"timestamp": timestamp, "token": token, "signature": mac.hexdigest()}
    if post.headers["Content-Type"] == FORM_TYPE:
        fields = "".join(f"&{name}={quote(value)}" for name, value in signature.items())
        return replace(post, body=post.body + fields.encode())
    try:
        document = json.loads(post.body)
    except ValueError:
        return post
    return replace(post, body=json.dumps({"signature": signature, **document}).encode())


def message(word: str, text: str) -> Post:
    fields = fields_of("mailgun", "route__text")
    (headers,) = (field["text"] for field in fields if field["name"] == "message-headers")
    told = {
        "message_headers": headers.replace("CAF1a@", f"{word}@"),
        "body_plain": text,
        "stripped_text": text,
    }
    head, body = urlencoded(
        [field for field in changed(fields, **told, **_NO_SIGNATURE) if field["name"] != "Message-Id"]
    )
    return Post(body, head)


def status(message_id: UUID, provider_id: str, word: str) -> Post:
    event = document_of("mailgun", "event__delivered")["event-data"]
    event |= {
        "event": word,
        "id": f"{provider_id}-{word}",
        "user-variables": {"waystation_message": str(message_id)},
    }
    event["message"]["headers"]["message-id"] = provider_id
    return _event({"event-data": event})


def with_unknown_field(post: Post) -> Post:
    return replace(post, body=post.body + b"&field-of-next-year=1")


def _event(document: object) -> Post:
    return Post(json.dumps(document).encode(), {"Content-Type": "application/json"}, status_hook=True)


KIT = ChannelKit(
    provider="mailgun",
    channel=Channel.EMAIL,
    address=ADDRESS,
    credentials=CREDENTIALS,
    other=OTHER,
    sign=sign,
    message=message,
    status=status,
    delivered="delivered",
    unknown_event=_event({"event-data": {"event": "event_of_next_year", "id": "x", "timestamp": 1795770842}}),
    malformed=(
        Post(b"subject=a+form+without+a+mail", {"Content-Type": FORM_TYPE}),
        Post(b"body-mime=", {"Content-Type": FORM_TYPE}),
        _event({"no-event": {}}),
    ),
    with_unknown_field=with_unknown_field,
    rotated={
        **CREDENTIALS,
        "signing_key": "mg-signing-conformance-new",
        "signing_keys_previous": [CREDENTIALS["signing_key"]],
    },
    secrets=frozenset({CREDENTIALS["api_key"], CREDENTIALS["signing_key"], "mg-signing-conformance-new"}),
    hooks='A route that forwards to `inbound_url` (`forward("…")`); webhooks of all events to `status_url`. Both are signed with the HTTP webhook signing key.',
    limits="25 MB a mail. What was received is kept for three days at most, events as long as the plan says.",
    gaps="A signature covers its time and a token, not the mail: each token counts for one body. Its templates are not used.",
)
