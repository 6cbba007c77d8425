"""Postmark's part of the conformance suite."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from channels.base import Channel
from channels.basic_auth import basic_authorisation
from tests.conformance.kit import ChannelKit, Credentials, Post
from tests.unit.channels.postmark_cases import ADDRESS, CREDENTIALS, fixture

NAMES = UUID("0191d6a0-0000-7000-8000-0000000000f1")
OLD_LOGIN = {"username": "postmark", "password": "hook-password-0"}
OTHER_LOGIN = {"username": "postmark", "password": "hook-password-of-another"}


def _sign(post: Post, credentials: Credentials, _url: str, _now: datetime) -> Post:
    headers = {**post.headers, "Authorization": basic_authorisation(credentials["basic_auth"])}
    return replace(post, headers=headers)


def _posted(document: Any, *, status_hook: bool = False) -> Post:
    body = json.dumps(document, ensure_ascii=False).encode()
    return Post(body, {"Content-Type": "application/json"}, status_hook=status_hook)


def _message(word: str, text: str) -> Post:
    changed = {"MessageID": str(uuid5(NAMES, word)), "TextBody": text}
    return _posted({**fixture("inbound__text"), **changed})


def _status(message_id: UUID, provider_id: str, word: str) -> Post:
    label = {"Bounce": "bounce__soft", "Open": "open__first", "Click": "click__link"}.get(
        word, "delivery__delivered"
    )
    ids = {"MessageID": provider_id, "Metadata": {"waystation_message": str(message_id)}}
    return _posted({**fixture(label), **ids}, status_hook=True)


def _with_unknown_field(post: Post) -> Post:
    return replace(post, body=json.dumps({**json.loads(post.body), "FieldToCome": {"a": [1]}}).encode())


KIT = ChannelKit(
    provider="postmark",
    channel=Channel.EMAIL,
    address=ADDRESS,
    credentials=CREDENTIALS,
    other={"server_token": "server-token-0002", "basic_auth": OTHER_LOGIN},
    sign=_sign,
    message=_message,
    status=_status,
    delivered="Delivery",
    unknown_event=_posted(fixture("unknown__kind_to_come"), status_hook=True),
    malformed=(
        Post(b"{", {"Content-Type": "application/json"}),
        _posted([]),
        _posted({"RecordType": "Delivery"}, status_hook=True),
        _posted({**fixture("inbound__text"), "MessageID": ""}),
    ),
    with_unknown_field=_with_unknown_field,
    rotated={**CREDENTIALS, "basic_auth": OLD_LOGIN, "basic_auth_previous": CREDENTIALS["basic_auth"]},
    secrets=frozenset({"server-token-0001", "hook-password-1"}),
    hooks="`inbound_url` as the inbound webhook, best with the raw mail included; `status_url` for deliveries, bounces, complaints, subscription changes and opens. Both with name and password in the URL.",
    limits="A mail of 35 MB in, 10 MB out. What was received is listed for as long as Postmark keeps it (45 days unless set otherwise).",
    gaps="Postmark signs nothing: a name and a password are all that tells its posts from others. Its templates are not used.",
    not_applicable={
        "changed_body": "Basic authorisation covers no body: whoever knows the login may post anything."
    },
)
