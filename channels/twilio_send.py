"""A message of ours as Twilio takes it, and how it is known again in Twilio's list."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from channels.addresses import WHATSAPP_PREFIX
from channels.base import Channel, ChannelAccount, OutboundMessage, OutboundTemplate
from channels.errors import ContentRefused
from channels.forms import form_pairs, form_text, query_of
from channels.twilio_api import SentMessage
from channels.twilio_events import OUR_ID, OUR_PART

TRIAL_PREFIX = "Sent from your Twilio trial account - "  # put before the text of a trial account
# Twilio's times are whole seconds of another clock, and ours may be ahead of it. Minutes do no harm: our earlier messages of
# the same words are among the known ids.
CLOCK_TOLERANCE = timedelta(minutes=5)
LOOKUP_PAGE = 200
# docs, "Webhooks connection overrides": without them Twilio does not repeat a failed callback. A fragment is
# neither sent nor signed
CALLBACK_RETRIES = "#rc=5&rp=all"


def message_fields(account: ChannelAccount, message: OutboundMessage) -> dict[str, Any]:
    """What creates the message, as arguments of Twilio's client; raises ContentRefused for a template that Twilio does
    not know.
    """
    fields: dict[str, Any] = {"to": party(message.channel, message.recipient), **_sender(account, message)}
    if message.template is not None:
        fields |= _template_fields(message.template)
    elif message.text:
        fields["body"] = message.text
    if message.attachments:
        fields["media_url"] = [attachment.url for attachment in message.attachments]
    if message.status_url:
        fields["status_callback"] = status_callback(message.status_url, message)
    return fields


def status_callback(url: str, message: OutboundMessage) -> str:
    """The callback's URL with our message's id and the part in its query, and Twilio's retries in its fragment."""
    bare = url.partition("#")[0]
    if OUR_ID not in form_text(form_pairs(query_of(bare))):
        bare += f"{'&' if '?' in bare else '?'}{OUR_ID}={message.id}"
        bare += f"&{OUR_PART}={message.part}" if message.parts > 1 else ""
    return bare + CALLBACK_RETRIES


def lookup_query(account: ChannelAccount, message: OutboundMessage) -> Mapping[str, Any]:
    """What finds a message again, as arguments of Twilio's client. Twilio can filter by the date of sending only, which a
    queued message has not got; with a messaging service nobody knows the sender beforehand.
    """
    query = {"to": party(message.channel, message.recipient), "page_size": LOOKUP_PAGE}
    return query if _service(account) else {**query, **_sender(account, message)}


def is_same(sent: SentMessage, account: ChannelAccount, message: OutboundMessage, since: datetime) -> bool:
    """Whether the listed message is ours, sent since then."""
    service = _service(account)
    return (
        sent.direction.startswith("outbound")
        and sent.to == party(message.channel, message.recipient)
        and (service is None or sent.service == service)
        and sent.created >= since - CLOCK_TOLERANCE
        and _says_the_same(sent.body.removeprefix(TRIAL_PREFIX), message)
    )


def party(channel: Channel, address: str) -> str:
    """An address as Twilio writes it."""
    return WHATSAPP_PREFIX + address if channel is Channel.WHATSAPP else address


def _says_the_same(body: str, message: OutboundMessage) -> bool:
    """Blanks around a part are no part of its identity. Of a template Twilio shows the text it was made into: that has
    every variable in it.
    """
    if message.template is not None:
        return all(value in body for value in message.template.variables.values())
    return body.strip() == message.text.strip()


def _sender(account: ChannelAccount, message: OutboundMessage) -> dict[str, str]:
    service = _service(account)
    if service:
        return {"messaging_service_sid": service}
    return {"from_": party(message.channel, account.address)}


def _service(account: ChannelAccount) -> str | None:
    return account.credentials.get("messaging_service_sid")


def _template_fields(template: OutboundTemplate) -> dict[str, str]:
    if not template.provider_template_id:
        raise ContentRefused(f"The template {template.name} has no ContentSid.")
    variables = json.dumps(dict(template.variables), ensure_ascii=False)
    filled = {"content_variables": variables} if template.variables else {}
    return {"content_sid": template.provider_template_id, **filled}
