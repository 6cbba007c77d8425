"""One mail for SendGrid's v3 Mail Send, and what its refusals mean.

Source: SendGrid docs, "Mail Send" and "Errors" (v3).
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from channels.base import Attachment, ChannelAccount, OutboundMessage
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OutcomeUnknown,
    Throttled,
    TooLarge,
)
from channels.json_posts import text_of
from channels.mail_events import OUR_ID, error_code
from channels.mail_words import one_line
from channels.mail_writing import SUBJECT_LIMIT, header_fields, sender_field
from channels.mime import clean_filename
from channels.provider_api import ApiAnswer, error_of_status

# "You may not override the following headers" (docs); they are fields of their own.
RESERVED = frozenset(
    {
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    }
)
NO_SUBJECT = "(no subject)"  # an empty one is refused
# SendGrid has no error codes: the field at fault is what a refusal can be told by, and of two the words.
_RECIPIENT = re.compile(r"personalizations\.\d+\.to(?:\.\d+(?:\.email)?)?", re.ASCII)
_OUT_OF_CREDITS = "maximum-credits-exceeded"  # 401, until the plan's next period or a larger plan
_KINDS: Mapping[str, type[GatewayError]] = {
    _OUT_OF_CREDITS: Throttled,
    "from.email": BadCredentials,  # no verified sender
    "recipient": InvalidRecipient,
    "size": TooLarge,
}
_TOO_LARGE, _NOT_FOUND = 413, 404


def mail_payload(account: ChannelAccount, message: OutboundMessage) -> dict[str, Any]:
    """The body of the request; raises ContentRefused where a file has no content."""
    name, address = parseaddr(sender_field(account))
    mail = message.mail
    payload: dict[str, Any] = {
        "personalizations": [
            {"to": [{"email": message.recipient}], "custom_args": {OUR_ID: str(message.id)}}
        ],
        "from": {"email": address, "name": name} if name else {"email": address},
        "subject": (one_line(mail.subject)[:SUBJECT_LIMIT] if mail else "") or NO_SUBJECT,
        "content": [{"type": "text/plain", "value": message.text or " "}],
        "headers": {
            name: value
            for name, value in header_fields(message).items()
            if name.lower() not in RESERVED and value
        },
    }
    if mail and mail.reply_to:
        payload["reply_to"] = {"email": parseaddr(mail.reply_to)[1]}
    if message.attachments:
        payload["attachments"] = [_attachment(file) for file in message.attachments]
    return payload


def send_error(answer: ApiAnswer, now: datetime) -> GatewayError:
    """The error that a refusal means; ``now`` is for the time that a throttled sender shall wait until."""
    code = _code(answer)
    error = error_of_status(answer, code, kinds=_KINDS)
    if isinstance(error, Throttled | OutcomeUnknown) and error.retry_after is None:
        error.retry_after = _until_reset(answer, now)
    return error


def _attachment(file: Attachment) -> dict[str, str]:
    if file.content is None:
        raise ContentRefused("A file of the mail has no content.")
    inline = {"disposition": "inline", "content_id": file.content_id} if file.content_id else {}
    return {
        "content": base64.b64encode(file.content).decode("ascii"),
        "type": file.content_type.partition(";")[0].strip() or "application/octet-stream",
        "filename": clean_filename(file.filename or "") or "file",
        **(inline or {"disposition": "attachment"}),
    }


def _code(answer: ApiAnswer) -> str | None:
    if answer.status == _TOO_LARGE:
        return "size"
    errors = answer.document().get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    field, words = text_of(first, "field"), error_code(text_of(first, "message"))
    if words == _OUT_OF_CREDITS:
        return words
    return "recipient" if _RECIPIENT.fullmatch(field) else error_code(field) or None


def _until_reset(answer: ApiAnswer, now: datetime) -> float | None:
    """The seconds until ``X-RateLimit-Reset``, a Unix time; SendGrid sends no Retry-After."""
    text = answer.headers.get("X-RateLimit-Reset", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 11):  # noqa: PLR2004 - until the year 5138
        return None
    return max(0.0, int(text) - now.timestamp())
