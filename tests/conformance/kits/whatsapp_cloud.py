"""Meta's WhatsApp Cloud API for the conformance suite. Meta has no library that signs; the signature here is made by
hmac alone, apart from the product's own.
"""

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.base import Channel
from tests.conformance.kit import ChannelKit, Credentials, Post
from tests.unit.channels.whatsapp_cloud_cases import ADDRESS, CREDENTIALS, NUMBER_ID, fixture

OTHER = {
    "phone_number_id": "106540352249999",
    "waba_id": "102290129349999",
    "app_secret": "app_secret_of_another",
    "access_token": "EAAJtoken-of-another",
    "verify_token": "verify-another",
}
JSON_TYPE = {"Content-Type": "application/json"}


def _sign(post: Post, credentials: Credentials, _url: str, _now: datetime) -> Post:
    secret = str(credentials["app_secret"]).encode()
    mac = hmac.new(secret, post.body, hashlib.sha256).hexdigest()
    return replace(post, headers={**post.headers, "X-Hub-Signature-256": f"sha256={mac}"})


def _post(document: Any) -> Post:
    """Meta escapes what is not ASCII before it signs."""
    return Post(json.dumps(document).encode(), JSON_TYPE)


def _value_of(document: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = document["entry"][0]["changes"][0]["value"]
    return value


def _message(word: str, text: str) -> Post:
    document = fixture("message__text")
    _value_of(document)["messages"][0] |= {"id": f"wamid.{word}", "text": {"body": text}}
    return _post(document)


def _status(message_id: UUID, provider_message_id: str, word: str) -> Post:
    document = fixture("status__delivered")
    told = {"id": provider_message_id, "status": word, "biz_opaque_callback_data": message_id.hex}
    _value_of(document)["statuses"][0] |= told
    return _post(document)


def _with_unknown_field(post: Post) -> Post:
    document = json.loads(post.body)
    value = _value_of(document)
    value["of_tomorrow"] = {"a": [1]}
    for item in (*value.get("messages", ()), *value.get("statuses", ())):
        item["of_tomorrow"] = "new"
    return replace(post, body=json.dumps(document).encode())


KIT = ChannelKit(
    provider="whatsapp_cloud",
    channel=Channel.WHATSAPP,
    address=ADDRESS,
    credentials={name: value for name, value in CREDENTIALS.items() if name != "app_secrets_previous"},
    other=OTHER,
    sign=_sign,
    message=_message,
    status=_status,
    delivered="delivered",
    unknown_event=_post(
        {
            "object": "whatsapp_business_account",
            "entry": [
                {"id": "0", "changes": [{"field": "of_tomorrow", "value": {"phone_number_id": NUMBER_ID}}]}
            ],
        }
    ),
    malformed=(
        Post(b"", JSON_TYPE),
        Post(b"not json", JSON_TYPE),
        Post(b'"\xff"', JSON_TYPE),
        _post([]),
        _post({"object": "page", "entry": []}),
        _post({"object": "whatsapp_business_account", "entry": {"id": "0"}}),
        Post(b'{"object": "whatsapp_business_account", "entry": ' + b"[" * 1000, JSON_TYPE),
    ),
    with_unknown_field=_with_unknown_field,
    rotated={**CREDENTIALS, "app_secret": "app_secret_2", "app_secrets_previous": ["app_secret_1"]},
    secrets=frozenset({"app_secret_1", "app_secret_2", "EAAJtoken-1", "verify-me-1"}),
    hooks="`inbound_url` as the app's webhook with the account's `verify_token`, subscribed to `messages` and `user_preferences`. Several numbers of one app share one webhook: each change goes to its number's account.",
    limits="4,096 characters a message, longer texts leave in parts; one file a message, with a text of 1,024 characters, none with a sound; a number sends 80 messages a second, one user gets about one in six seconds.",
    gaps="Messages in groups are not taken, and what is sent from the WhatsApp Business app is not seen. Variables of templates go into the body only. Meta cannot be asked what it sent or received.",
)
