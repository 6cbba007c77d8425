"""What is asked of Resend's API and what its answers mean.

Source: Resend docs, "Send email", "Idempotency keys", "Errors" and "Usage limits".
"""

import base64
import json
import mimetypes
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from channels.base import Attachment, ChannelAccount, OutboundMessage
from channels.errors import BadCredentials, ContentRefused, GatewayError, OutcomeUnknown, Throttled
from channels.json_posts import text_of
from channels.mail_events import OUR_ID
from channels.mail_words import one_line
from channels.mail_writing import header_fields, headers_of, sender_field
from channels.provider_api import ApiAnswer, error_of_status

VALIDATION = "validation_error"  # of a field, of the key or of the domain: the status tells
# By ``name``.
ERRORS: Mapping[str, type[GatewayError]] = {
    **dict.fromkeys(
        ("missing_api_key", "restricted_api_key", "invalid_api_key", "suspended_api_key"), BadCredentials
    ),
    **dict.fromkeys(("invalid_from_address", "invalid_access", "invalid_region"), BadCredentials),
    **dict.fromkeys(
        ("invalid_attachment", "invalid_parameter", "missing_required_field", "invalid_idempotency_key"),
        ContentRefused,
    ),
    **dict.fromkeys(("security_error", "not_found", "method_not_allowed"), ContentRefused),
    # Another body went out under the key, so that this one never will.
    "invalid_idempotent_request": ContentRefused,
    # The first try under the key is still on its way: what became of it the next one tells.
    "concurrent_idempotent_requests": OutcomeUnknown,
    **dict.fromkeys(("rate_limit_exceeded", "daily_quota_exceeded", "monthly_quota_exceeded"), Throttled),
}


def authorisation(account: ChannelAccount) -> dict[str, str]:
    """The header of every request."""
    return {"Authorization": f"Bearer {account.credentials['api_key']}"}


def email_document(account: ChannelAccount, message: OutboundMessage) -> bytes:
    """The body of ``POST /emails``, the same for the same message: under one key Resend takes no other. Our id goes
    along as a tag, which the events bring back.

    Resend sends through Amazon SES, which puts a Message-ID of its own in the place of any other and leaves References
    alone. So ours goes out as the last of those: a reply repeats it.
    """
    mail = headers_of(account, message)
    headers = header_fields(message)
    own = headers.pop("Message-ID", "")
    headers["References"] = " ".join(filter(None, (headers.get("References", ""), own)))
    document: dict[str, Any] = {
        "from": sender_field(account),
        "to": [message.recipient],
        "subject": one_line(mail.subject),
        "text": message.text,
        "headers": {name: value for name, value in headers.items() if value},
        "tags": [{"name": OUR_ID, "value": str(message.id)}],
    }
    if mail.reply_to:
        document["reply_to"] = mail.reply_to
    if message.attachments:
        document["attachments"] = [_file(number, one) for number, one in enumerate(message.attachments, 1)]
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def error_of(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error of an answer without success. Resend's own words are not kept: they may quote addresses."""
    document = answer.document()
    name = text_of(document, "name")[:64] or None
    if (
        name == VALIDATION
        and answer.status == HTTPStatus.BAD_REQUEST
        and "API key" in text_of(document, "message")
    ):
        return BadCredentials(provider_code=name)
    return error_of_status(answer, name, creates=creates, kinds=ERRORS)


def _file(number: int, attachment: Attachment) -> dict[str, str]:
    extension = mimetypes.guess_extension(attachment.content_type) or ""
    found = {
        "filename": attachment.filename or f"file-{number}{extension}",
        "content_type": attachment.content_type,
    }
    if attachment.content_id:
        found["content_id"] = attachment.content_id
    if attachment.content is None:
        return found | {"path": attachment.url}
    return found | {"content": base64.b64encode(attachment.content).decode("ascii")}
