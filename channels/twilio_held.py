"""What Twilio received for an account, from its message list, as the posts that it would have made.

A list says less than a post: WhatsApp's profile name, buttons, places and quotes are not in it, nor is a carrier's
opt-out word beside the text itself.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from multidict import CIMultiDict

from channels.abilities import HeldPost
from channels.base import ChannelAccount, InboundItem, InboundMessage, InboundRequest
from channels.errors import MalformedPayload
from channels.forms import FORM_TYPE
from channels.twilio_api import API_VERSION, SentMessage
from channels.twilio_events import parse_request
from channels.twilio_send import party

if TYPE_CHECKING:
    from channels.twilio_messages import TwilioMessages

PAGE = 200  # of texts of 1600 characters, escaped as JSON, it stays below what is read of an answer


async def held_posts(
    messages: "TwilioMessages", account: ChannelAccount, since: datetime
) -> AsyncIterator[HeldPost]:
    """The account's inbound messages since then, the oldest first; each has the provider key that its post would have.
    Raises Temporary or Permanent.

    Twilio lists the newest first, and a customer's words must come in the order in which they were written: all are
    read before the first is given.
    """
    received = [
        message
        async for message in messages.listed(account, _query(account, since))
        if _is_for(account, message) and message.created >= since.replace(microsecond=0)
    ]
    for message in reversed(received):
        files = await messages.files(account, message.sid) if message.num_media else []
        request = _as_posted(account, message, files)
        try:
            items = parse_request(account, request)
        except MalformedPayload:  # its post would have been refused, too
            continue
        yield HeldPost(request, tuple(_dated(item, message.created) for item in items))


def _query(account: ChannelAccount, since: datetime) -> dict[str, Any]:
    """A messaging service receives for all its numbers."""
    query = {"date_sent_after": since.astimezone(UTC), "page_size": PAGE}
    if account.credentials.get("messaging_service_sid"):
        return query
    return {**query, "to": party(account.channel, account.address)}


def _is_for(account: ChannelAccount, message: SentMessage) -> bool:
    if message.direction != "inbound":
        return False
    service = account.credentials.get("messaging_service_sid")
    return message.to == party(account.channel, account.address) or (
        service is not None and message.service == service
    )


def _as_posted(account: ChannelAccount, message: SentMessage, files: list[tuple[str, str]]) -> InboundRequest:
    fields = {
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsMessageSid": message.sid,
        "AccountSid": account.credentials["account_sid"],
        "From": message.sender,
        "To": message.to,
        "Body": message.body,
        "NumMedia": str(len(files)),
        "NumSegments": message.num_segments,
        "SmsStatus": "received",
        "ApiVersion": API_VERSION,
        **({"MessagingServiceSid": message.service} if message.service else {}),
    }
    for index, (url, content_type) in enumerate(files):
        fields[f"MediaUrl{index}"] = url
        fields[f"MediaContentType{index}"] = content_type
    headers = CIMultiDict({"Content-Type": FORM_TYPE})
    return InboundRequest("POST", "", headers, urlencode(fields).encode())


def _dated(item: InboundItem, received: datetime) -> InboundItem:
    return replace(item, sent_at=received) if isinstance(item, InboundMessage) else item
