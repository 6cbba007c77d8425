"""Posts as Meta makes them: a customer's messages, and what became of ours, signed with an app's secret."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from channels.addresses import USER_ID
from channels.signatures_meta import META_SIGNATURE, meta_signature

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BusinessNumber:
    """A tenant's number as Meta names it; ``display`` is digits."""

    waba_id: str
    phone_number_id: str
    display: str


def post_of(number: BusinessNumber, field: str = "messages", **value: Any) -> Json:
    """A post with one change of this number; ``value`` is what the change holds beside its metadata."""
    metadata = {"display_phone_number": number.display, "phone_number_id": number.phone_number_id}
    change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": field}
    return {"object": "whatsapp_business_account", "entry": [{"id": number.waba_id, "changes": [change]}]}


def message_post(
    number: BusinessNumber,
    sender: str,
    message_id: str,
    at: datetime,
    content: Mapping[str, Any],
    name: str = "Customer",
) -> Json:
    """A customer's message; ``sender`` is E.164 or a user id, ``content`` its type and what goes with it."""
    is_user_id = USER_ID.fullmatch(sender) is not None
    who = {"from_user_id": sender} if is_user_id else {"from": sender.lstrip("+")}
    contact = {"user_id": sender} if is_user_id else {"wa_id": sender.lstrip("+")}
    message = {**who, "id": message_id, "timestamp": _seconds(at), **content}
    return post_of(number, contacts=[{"profile": {"name": name}, **contact}], messages=[message])


def text_content(text: str) -> Json:
    """The content of a text."""
    return {"type": "text", "text": {"body": text}}


def status_post(
    number: BusinessNumber,
    sent: Mapping[str, Any],
    provider_message_id: str,
    word: str,
    at: datetime,
    error_code: int | None = None,
) -> Json:
    """What became of a message; ``sent`` is the document that was sent."""
    status: Json = {
        "id": provider_message_id,
        "status": word,
        "timestamp": _seconds(at),
        **(
            {"recipient_id": sent["to"].lstrip("+")}
            if "to" in sent
            else {"recipient_user_id": sent["recipient"]}
        ),
    }
    if "biz_opaque_callback_data" in sent:
        status["biz_opaque_callback_data"] = sent["biz_opaque_callback_data"]
    if error_code is not None:
        status["errors"] = [{"code": error_code, "title": "Failed", "message": "Failed"}]
    return post_of(number, statuses=[status])


def status_words(*, read_at_once: bool) -> Sequence[str]:
    """The words of a message that arrives and is read. Docs, "Status messages": where it is read at once, no
    ``delivered`` comes.
    """
    return ("sent", "read") if read_at_once else ("sent", "delivered", "read")


def signed_event(document: Mapping[str, Any], app_secret: str) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a post. Meta escapes what is not ASCII, and slashes, before it signs."""
    body = json.dumps(document, separators=(",", ":")).replace("/", "\\/").encode()
    return body, {"Content-Type": "application/json", META_SIGNATURE: meta_signature(app_secret, body)}


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
