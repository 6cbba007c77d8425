"""The accounts and signed posts that the tests of SendGrid and Mailgun share."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.email_mailgun import MailgunAdapter
from channels.email_sendgrid import SendGridAdapter
from channels.signatures_mail import (
    SENDGRID_SIGNATURE,
    SENDGRID_TIMESTAMP,
    mailgun_signature,
    sendgrid_signature,
)
from tests.mail_forms import FIXTURES, Field, changed, fields_of, multipart, urlencoded

NOW = datetime.fromtimestamp(1795770842, UTC) + timedelta(seconds=30)
SIGNED_AT = "1795770842"
ADDRESS = "orders@mail.acme.example"
TOKEN = "0123456789abcdef" * 2
KINDS = frozenset({"event", "severity", "reason", "type"})  # fields of an event whose words decide
OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
CUSTOMER = "marta@cantina.example"
INBOUND_KEY, EVENT_KEY, FOREIGN_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
SIGNING_KEY = "key-abc"
LOGIN = {"username": "sendgrid", "password": "p4ss:word"}


def public(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key as SendGrid shows it."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode("ascii")


SENDGRID: Mapping[str, Any] = {
    "api_key": "SG.test-key",
    "event_public_key": public(EVENT_KEY),
    "inbound_public_key": public(INBOUND_KEY),
}
MAILGUN: Mapping[str, Any] = {
    "api_key": "mg-api-key",
    "signing_key": SIGNING_KEY,
    "domain": "mail.acme.example",
}


def clock() -> datetime:
    return NOW


def sendgrid() -> SendGridAdapter:
    return SendGridAdapter("https://api.sendgrid.com", clock)


def mailgun() -> MailgunAdapter:
    return MailgunAdapter(None, clock)


def account(provider: str, credentials: Mapping[str, Any], **settings: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=Channel.EMAIL,
        provider=provider,
        address=ADDRESS,
        credentials=credentials,
        settings=settings,
    )


def request(provider: str, headers: Mapping[str, str], body: bytes) -> InboundRequest:
    url = f"https://gw.example.test/in/{provider}/0191d6a0-0000-7000-8000-000000000001"
    return InboundRequest("POST", url, CIMultiDict(headers), body)


def sendgrid_mail(
    posted_fields: Sequence[Field], key: ec.EllipticCurvePrivateKey | None = INBOUND_KEY, at: str = SIGNED_AT
) -> InboundRequest:
    return _signed_by(key, at, *multipart(posted_fields))


def sendgrid_events(
    events: object, key: ec.EllipticCurvePrivateKey | None = EVENT_KEY, at: str = SIGNED_AT
) -> InboundRequest:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    return _signed_by(key, at, {"Content-Type": "application/json"}, body)


def mailgun_mail(
    posted_fields: Sequence[Field], key: str = SIGNING_KEY, at: str = SIGNED_AT
) -> InboundRequest:
    token = "a" * 50
    signed = changed(posted_fields, timestamp=at, token=token, signature=mailgun_signature(key, at, token))
    encode = multipart if any("filename" in field for field in posted_fields) else urlencoded
    return request("mailgun", *encode(signed))


def mailgun_event(document: Mapping[str, Any], key: str = SIGNING_KEY, at: str = SIGNED_AT) -> InboundRequest:
    token = "b" * 50
    signature = {"timestamp": at, "token": token, "signature": mailgun_signature(key, at, token)}
    body = json.dumps({**document, "signature": signature}).encode()
    return request("mailgun", {"Content-Type": "application/json"}, body)


def document_of(provider: str, name: str) -> Any:
    return json.loads((FIXTURES / provider / f"{name}.json").read_text(encoding="utf-8"))


def is_mail(name: str) -> bool:
    return not name.startswith("event__")


def fixture_names(provider: str) -> list[str]:
    return sorted(path.stem for path in (FIXTURES / provider).glob("*.json"))


def posted(provider: str, name: str) -> InboundRequest:
    """A fixture as a signed post."""
    if provider == "sendgrid":
        return (
            sendgrid_mail(fields_of(provider, name))
            if is_mail(name)
            else sendgrid_events(document_of(provider, name))
        )
    return (
        mailgun_mail(fields_of(provider, name))
        if is_mail(name)
        else mailgun_event(document_of(provider, name))
    )


def _signed_by(
    key: ec.EllipticCurvePrivateKey | None, at: str, headers: Mapping[str, str], body: bytes
) -> InboundRequest:
    signature = {SENDGRID_SIGNATURE: sendgrid_signature(key, at, body), SENDGRID_TIMESTAMP: at} if key else {}
    return request("sendgrid", {**headers, **signature}, body)


def texts_of(value: Any) -> Iterator[str]:
    """Every text of an item, however deep."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from texts_of([getattr(value, each.name) for each in fields(value)])
    elif isinstance(value, Mapping):
        yield from texts_of([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_of(each)


def soiled(document: Any) -> Any:
    """A JSON document whose every text ends in what no database's text can hold."""
    if isinstance(document, str):
        return document + "\x00\ud800"
    if isinstance(document, dict):
        return {name: value if name in KINDS else soiled(value) for name, value in document.items()}
    return [soiled(each) for each in document] if isinstance(document, list) else document


def is_storable(item: Any) -> bool:
    """Whether a database's text can hold all that an item says."""
    return all(
        "\x00" not in text and text.encode("utf-8", "replace").decode() == text for text in texts_of(item)
    )
