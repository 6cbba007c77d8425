"""Amazon SES through SNS."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.base import Channel
from channels.mail_events import OUR_ID
from channels.signatures_sns import SIGNED_FIELDS
from gateway.dev.stand_ins import ses
from tests.conformance.kit import ChannelKit, Post
from tests.unit.channels.ses_cases import fixture

_HEADERS = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
_AT = "2026-11-27T15:04:05.000Z"


def credentials(account: str, secret: str) -> dict[str, Any]:
    return {
        "topic_arns": [f"arn:aws:sns:eu-west-1:{account}:mail"],
        "region": "eu-west-1",
        "access_key_id": "AKIAEXAMPLEEXAMPLE00",
        "secret_access_key": secret,
    }


def sign(post: Post, signer: Mapping[str, Any], _url: str, _at: datetime) -> Post:
    """With ``cryptography``, as SNS does: the topic is that of the signer's account."""
    try:
        document = json.loads(post.body)
    except ValueError:
        return post
    if not isinstance(document, dict) or document.get("Type") not in SIGNED_FIELDS:
        return post
    return replace(
        post, body=json.dumps(ses.signed({**document, "TopicArn": signer["topic_arns"][0]})).encode()
    )


def message(word: str, text: str) -> Post:
    event = fixture("received__text")
    event["mail"]["messageId"] = f"id-{word}"
    head, _, _ = event["content"].partition("\r\n\r\n")
    event["content"] = f"{head.replace('CAF1@', f'{word}@')}\r\n\r\n{text}\r\n"
    return _notification(f"sns-{word}", event)


def status(message_id: UUID, provider_id: str, word: str) -> Post:
    event = {**fixture("event__delivery"), "eventType": word}
    event["mail"] |= {"messageId": provider_id, "tags": {OUR_ID: [str(message_id)]}}
    return _notification(f"sns-{word}-{provider_id}", event)


def with_unknown_field(post: Post) -> Post:
    document = json.loads(post.body)
    event = {**json.loads(document["Message"]), "fieldOfNextYear": {"a": [1]}}
    return replace(
        post, body=json.dumps({**document, "Message": json.dumps(event), "NextYear": "x"}).encode()
    )


def _notification(identifier: str, event: Mapping[str, Any]) -> Post:
    return _post({"Message": json.dumps(event)}, identifier)


def _post(fields: Mapping[str, str], identifier: str = "sns-0") -> Post:
    document = {"Type": "Notification", "MessageId": identifier, "Timestamp": _AT, **fields}
    return Post(json.dumps(document).encode(), _HEADERS)


KIT = ChannelKit(
    provider="ses",
    channel=Channel.EMAIL,
    address="pedidos@bodega.example",
    credentials=credentials("111122223333", "ses-secret-1"),
    other=credentials("444455556666", "ses-secret-2"),
    sign=sign,
    message=message,
    status=status,
    delivered="Delivery",
    unknown_event=_notification("sns-new", fixture("event__of_a_later_kind")),
    malformed=(
        _post({"Message": "{"}),
        _post({"Message": "[]"}),
        _post({"Message": json.dumps({"eventType": "Bounce"})}),
        _post({"Message": json.dumps({"notificationType": "Received", "mail": {"messageId": "x"}})}),
    ),
    with_unknown_field=with_unknown_field,
    not_applicable={
        "rotated_signature": "SNS signs with keys of its own, whose certificates change by themselves.",
    },
    secrets=frozenset({"ses-secret-1"}),
    hooks="A receipt rule with an SNS action, or an S3 action that tells a topic; `inbound_url` subscribed to the topic by HTTPS, without raw message delivery; `status_url` subscribed to the topic of a configuration set's events. Subscriptions to the account's own topics are confirmed by themselves.",
    limits="150 KB a mail in a notification of SNS, larger ones need the S3 action; 40 MB out.",
    gaps="SNS posts again for about a minute only. Neither what was sent nor what was received can be asked for, but from S3. Its templates are not used.",
)
