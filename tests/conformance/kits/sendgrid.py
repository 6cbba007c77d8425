"""SendGrid: Inbound Parse signed by its key, the Event Webhook by another."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from channels.base import Channel
from gateway.dev.stand_ins.sendgrid_posts import new_signing_key
from tests.conformance.kit import ChannelKit, Post
from tests.mail_forms import BOUNDARY, changed, fields_of, multipart
from tests.unit.channels.mail_cases import document_of

ADDRESS = "orders@mail.acme.example"
_PRIVATE: dict[str, ec.EllipticCurvePrivateKey] = {}


def _new_key() -> str:
    """The public half as SendGrid shows it; the private one is kept for signing."""
    key, public = new_signing_key()
    _PRIVATE[public] = key
    return public


CREDENTIALS = {
    "api_key": "SG.conformance-1",
    "inbound_public_key": _new_key(),
    "event_public_key": _new_key(),
}
OTHER = {"api_key": "SG.conformance-2", "inbound_public_key": _new_key(), "event_public_key": _new_key()}


def sign(post: Post, credentials: Mapping[str, Any], _url: str, at: datetime) -> Post:
    """As SendGrid's pages say: ECDSA with SHA-256 over the timestamp and the raw body."""
    is_json = post.headers["Content-Type"] == "application/json"
    key = _PRIVATE[credentials["event_public_key" if is_json else "inbound_public_key"]]
    timestamp = str(int(at.timestamp()))
    signature = key.sign(timestamp.encode() + post.body, ec.ECDSA(hashes.SHA256()))
    signed = {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode("ascii"),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }
    return replace(post, headers={**post.headers, **signed})


def message(word: str, text: str) -> Post:
    """In raw mode; SendGrid has no id for a mail, its Message-ID and content are what tells two apart."""
    fields = fields_of("sendgrid", "raw__pdf_and_reply")
    (mail,) = (field["text"] for field in fields if field["name"] == "email")
    mail = mail.replace("raw-1@", f"{word}@").replace("2 cajas de piñas, por favor", text)
    headers, body = multipart(changed(fields, email=mail))
    return Post(body, headers)


def status(message_id: UUID, provider_id: str, word: str) -> Post:
    (event,) = document_of("sendgrid", "event__delivered")
    event |= {
        "event": word,
        "waystation_message": str(message_id),
        "sg_message_id": f"{provider_id}.recvd-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
        "sg_event_id": f"{provider_id}-{word}",
    }
    return _events([event])


def with_unknown_field(post: Post) -> Post:
    end = f"--{BOUNDARY}--".encode()
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="next_year"\r\n\r\n1\r\n'.encode()
    return replace(post, body=post.body.replace(end, part + end))


def _events(document: object) -> Post:
    return Post(json.dumps(document).encode(), {"Content-Type": "application/json"}, status_hook=True)


def _form(*fields: Mapping[str, str]) -> Post:
    headers, body = multipart(fields)
    return Post(body, headers)


KIT = ChannelKit(
    provider="sendgrid",
    channel=Channel.EMAIL,
    address=ADDRESS,
    credentials=CREDENTIALS,
    other=OTHER,
    sign=sign,
    message=message,
    status=status,
    delivered="delivered",
    unknown_event=_events(
        [{"event": "event_of_next_year", "sg_message_id": "x.recvd-1", "email": "a@b.example"}]
    ),
    malformed=(
        _form({"name": "subject", "text": "a form without a mail"}),
        Post(b"--other\r\n\r\n--other--", {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}),
        Post(b"hello", {"Content-Type": "text/plain"}),
        _events({"event": "delivered"}),
        Post(b"[", {"Content-Type": "application/json"}, status_hook=True),
    ),
    with_unknown_field=with_unknown_field,
    rotated={
        **CREDENTIALS,
        "inbound_public_key": _new_key(),
        "inbound_public_keys_previous": [CREDENTIALS["inbound_public_key"]],
        "event_public_key": _new_key(),
        "event_public_keys_previous": [CREDENTIALS["event_public_key"]],
    },
    secrets=frozenset({CREDENTIALS["api_key"]}),
    hooks=(
        '`inbound_url` as the URL of Inbound Parse, best with "POST the raw, full MIME message" and a security policy that '
        "signs (else a login in the URL); `status_url` as the URL of a signed Event Webhook with all events."
    ),
    limits="Mails of 30 MB, in and out.",
    gaps=(
        "What was sent cannot be asked for on most plans, so a send without an answer is settled by its events alone; "
        "received mail is not kept by SendGrid, so there is nothing to reconcile."
    ),
)
