"""What is asked of Postmark's API and what its answers mean; the codes are in ``email_postmark_errors.toml``.

Source: Postmark docs, "Email API", "Messages API" and "API error codes".
"""

import base64
import json
import mimetypes
from datetime import datetime, timedelta, timezone
from typing import Any

from channels.base import Attachment, ChannelAccount, OutboundMessage
from channels.error_tables import error_types, read_meanings
from channels.errors import ContentRefused, GatewayError, InvalidRecipient, OutcomeUnknown
from channels.mail_events import OUR_ID
from channels.mail_words import one_line
from channels.mail_writing import header_fields, headers_of, sender_field
from channels.provider_api import ApiAnswer, error_of_status

DEFAULT_STREAM = "outbound"
ERRORS = read_meanings("email_postmark_errors.toml")
_ERROR_TYPES = error_types(ERRORS)
INVALID_REQUEST = "300"
ABOUT_RECIPIENT = "'To'"  # how the words of an invalid request name the field
# Postmark reads times as those of its own zone, New York. Winter's offset is the larger one, so that in summer an hour
# too much is listed, and never one too little.
PROVIDER_ZONE = timezone(timedelta(hours=-5))


def api_headers(account: ChannelAccount) -> dict[str, str]:
    """The headers of every request: the token of the account's server."""
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "X-Postmark-Server-Token": account.credentials["server_token"],
    }


def email_document(account: ChannelAccount, message: OutboundMessage) -> bytes:
    """The body of ``POST /email``. Our id goes along as metadata, which every event and the search bring back. Raises
    ContentRefused for a file without content: Postmark fetches none.
    """
    mail = headers_of(account, message)
    headers = {**header_fields(message), "X-PM-KeepID": "true"}  # else Postmark replaces our Message-ID
    document: dict[str, Any] = {
        "From": sender_field(account),
        "To": message.recipient,
        "Subject": one_line(mail.subject),
        "TextBody": message.text,
        "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
        "Metadata": {OUR_ID: str(message.id)},
        "MessageStream": account.credentials.get("message_stream", DEFAULT_STREAM),
    }
    if mail.reply_to:
        document["ReplyTo"] = mail.reply_to
    if message.attachments:
        document["Attachments"] = [_file(number, one) for number, one in enumerate(message.attachments, 1)]
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def provider_time(moment: datetime) -> str:
    """A time as Postmark's searches take it."""
    return moment.astimezone(PROVIDER_ZONE).strftime("%Y-%m-%dT%H:%M:%S")


def error_of(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error of an answer without success. Postmark's own words are not kept: they quote addresses."""
    document = answer.document()
    found = document.get("ErrorCode")
    code = str(found) if isinstance(found, int) and found else None
    if code == INVALID_REQUEST and ABOUT_RECIPIENT in str(document.get("Message")):
        return InvalidRecipient(provider_code=code)
    error = error_of_status(answer, code, creates=creates, kinds=_ERROR_TYPES)
    if isinstance(error, ContentRefused) and answer.ok:
        return OutcomeUnknown()
    return error


def file_name(number: int, attachment: Attachment) -> str:
    """The name of a file that goes out; one that has none is named by its place and type."""
    return attachment.filename or f"file-{number}{mimetypes.guess_extension(attachment.content_type) or ''}"


def _file(number: int, attachment: Attachment) -> dict[str, str]:
    if attachment.content is None:
        raise ContentRefused("A file of the message has no content.")
    found = {
        "Name": file_name(number, attachment),
        "Content": base64.b64encode(attachment.content).decode("ascii"),
        "ContentType": attachment.content_type,
    }
    return found | ({"ContentID": f"cid:{attachment.content_id}"} if attachment.content_id else {})
