"""Mailgun's API: one mail out, and what Mailgun has of those that came and went.

Source: Mailgun docs, "Messages", "Events" and "Event Polling".
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from multidict import CIMultiDict

from channels.abilities import Downloads
from channels.base import ChannelAccount, InboundRequest, OutboundMessage, SendReceipt
from channels.basic_auth import basic_authorisation
from channels.errors import (
    BadCredentials,
    ContentRefused,
    EgressBlocked,
    GatewayError,
    InvalidRecipient,
    MalformedPayload,
    NotThere,
    OutcomeUnknown,
    ProviderUnavailable,
    TooLarge,
)
from channels.forms import FORM_TYPE
from channels.json_posts import object_of, read_json, text_of
from channels.mail_events import OUR_ID, error_code
from channels.mail_words import one_line
from channels.mail_writing import SUBJECT_LIMIT, header_fields, sender_field
from channels.mime import clean_filename
from channels.provider_api import ApiAnswer, ProviderApi, error_of_status

REGION_URLS: Mapping[str, str] = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}
PAGE_LIMIT = 300  # events of one page, the most there are
PAGES = 1000  # of one listing
RAW_FIELD = "body-mime"
RAW_MAIL = "message/rfc2822"  # the Accept header that asks for a stored mail as MIME
_KINDS: Mapping[str, type[GatewayError]] = {
    "recipient": InvalidRecipient,
    "size": TooLarge,
    "domain": BadCredentials,
}
_RECIPIENT = re.compile(r"^'?to'? parameter is not a valid address|^recipient ", re.IGNORECASE)
_TOO_LARGE, _NOT_FOUND = 413, 404
_OWN_FIELDS = frozenset({"from", "to", "cc", "bcc", "subject"})  # they are no headers to Mailgun

Event = Mapping[str, Any]


def authorisation(account: ChannelAccount) -> dict[str, str]:
    """The header that every request to Mailgun needs."""
    login = {"username": "api", "password": account.credentials["api_key"]}
    return {"Authorization": basic_authorisation(login)}


def mail_form(account: ChannelAccount, message: OutboundMessage) -> aiohttp.FormData:
    """The body of a send; raises ContentRefused where a file has no content."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    mail = message.mail
    for name, value in (
        ("from", sender_field(account)),
        ("to", message.recipient),
        ("subject", one_line(mail.subject)[:SUBJECT_LIMIT] if mail else ""),
        ("text", message.text or " "),
        (f"v:{OUR_ID}", str(message.id)),
        *_headers(message),
    ):
        form.add_field(name, value)
    for file in message.attachments:
        if file.content is None:
            raise ContentRefused("A file of the mail has no content.")
        # An inline file's name is what the HTML calls it.
        field, name = ("inline", file.content_id) if file.content_id else ("attachment", file.filename or "")
        kind = file.content_type.partition(";")[0].strip() or "application/octet-stream"
        form.add_field(
            field, BytesIO(file.content), filename=clean_filename(name) or "file", content_type=kind
        )
    return form


def send_error(answer: ApiAnswer) -> GatewayError:
    """The error that a refusal means. Mailgun has no error codes: two things are told by its words."""
    words = text_of(answer.document(), "message")
    if answer.status == _TOO_LARGE:
        code: str | None = "size"
    elif answer.status == _NOT_FOUND:
        code = "domain"
    elif answer.status < _NOT_FOUND and _RECIPIENT.match(words):
        code = "recipient"
    else:
        code = error_code(words) or None
    return error_of_status(answer, code, kinds=_KINDS)


def receipt_id(answer: ApiAnswer) -> str:
    """The Message-ID without brackets that a success names; raises OutcomeUnknown where it names none."""
    identifier = text_of(answer.document(), "id").strip("<> ")
    if not identifier:
        raise OutcomeUnknown
    return identifier


def receipt_of(message: OutboundMessage, identifier: str) -> SendReceipt:
    """The receipt under Mailgun's id, which is the Message-ID that the mail left with."""
    own = message.mail.message_id if message.mail else None
    return SendReceipt(identifier, "accepted", identifier if identifier != own else None)


async def list_events(
    api: ProviderApi, base: str, account: ChannelAccount, terms: Mapping[str, str]
) -> AsyncIterator[Event]:
    """The events that ``terms`` ask for, the oldest first, page by page. Raises Temporary or Permanent."""
    url = f"{base}/v3/{account.credentials['domain']}/events"
    params: Mapping[str, str] | None = {"ascending": "yes", "limit": str(PAGE_LIMIT), **terms}
    for _ in range(PAGES):
        answer = await api.exchange("GET", url, headers=authorisation(account), params=params)
        if not answer.ok:
            raise error_of_status(answer, creates=False)
        document = _document(answer)
        items = document["items"]
        for item in items:
            if isinstance(item, dict):
                yield item
        url, params = text_of(object_of(document, "paging"), "next"), None
        # Pages go on until one is empty; another origin than the API's gets no key.
        if not items or not url.startswith(f"{base}/"):
            return


def stored_recipients(event: Event) -> Iterator[str]:
    """Whom a received mail was taken for, of the two kinds of event that tell of one; nobody of any other event."""
    kind = text_of(event, "event")
    if kind == "accepted" and object_of(event, "flags").get("is-routed") is True:
        yield text_of(event, "recipient")
    if kind == "stored":
        listed = object_of(event, "message").get("recipients")
        yield from (text for text in listed if isinstance(text, str)) if isinstance(listed, list) else ()


async def fetch_stored(
    base: str, account: ChannelAccount, event: Event, recipient: str, downloads: Downloads
) -> InboundRequest | None:
    """A received mail as the raw route would post it, but without a signature; None where Mailgun has it no more."""
    url = text_of(object_of(event, "storage"), "url")
    headers = {**trusted_authorisation(base, account, url), "Accept": RAW_MAIL}
    try:
        found = await downloads.get(url, headers)
    except NotThere:
        return None
    stored = _stored(found.content)
    fields = {
        "recipient": recipient,
        "sender": text_of(stored, "sender"),
        RAW_FIELD: text_of(stored, RAW_FIELD),
    }
    body = urlencode(fields, errors="replace").encode("ascii")
    return InboundRequest("POST", url, CIMultiDict({"Content-Type": FORM_TYPE}), body)


def trusted_authorisation(base: str, account: ChannelAccount, url: str) -> dict[str, str]:
    """The authorisation for an address that a post or an event named; raises EgressBlocked unless it is Mailgun's: what
    a route posts is not covered by its signature, and the key would go to whoever wrote the address.
    """
    if not is_mailgun(base, url):
        raise EgressBlocked
    return authorisation(account)


def is_mailgun(base: str, url: str) -> bool:
    """Whether an address is Mailgun's own, or below the base URL that the operator set."""
    try:
        scheme, host, port = _origin(url)
        own = _origin(base)
    except ValueError:
        return False
    return (scheme, host, port) == own or (
        scheme == "https" and host.endswith(".mailgun.net") and port in {None, 443}
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("a login in the address")
    return parts.scheme, parts.hostname or "", parts.port


def _headers(message: OutboundMessage) -> Iterator[tuple[str, str]]:
    fields = header_fields(message)
    names = {name.lower() for name in fields}
    if message.mail and message.mail.reply_to and "reply-to" not in names:
        yield "h:Reply-To", message.mail.reply_to
    for name, value in fields.items():
        if name.lower() not in _OWN_FIELDS and value:
            yield f"h:{name}", value


def _document(answer: ApiAnswer) -> Mapping[str, Any]:
    document = answer.document()
    if not isinstance(document.get("items"), list):
        raise ProviderUnavailable
    return document


def _stored(content: bytes) -> Mapping[str, Any]:
    try:
        found = read_json(content)
    except MalformedPayload:
        raise ProviderUnavailable from None
    if not isinstance(found, dict):
        raise ProviderUnavailable
    return found


def epoch(moment: datetime) -> str:
    """A time as Mailgun's listings take it."""
    return str(int(moment.timestamp()))
