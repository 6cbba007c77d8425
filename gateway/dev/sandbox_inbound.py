"""A customer writes to a number of the sandbox: the message is kept and posted to the gateway, signed, as
Twilio does.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from channels.splitting import count_segments
from gateway.dev.sandbox_calls import WHATSAPP, Caller
from gateway.dev.sandbox_rules import ADDRESS, keyword_of
from gateway.dev.sandbox_state import API_VERSION, Media, SandboxMessage, SandboxState


class MalformedOrder(Exception):
    """The order for an inbound message is not of the documented form."""


@dataclass(frozen=True, slots=True)
class InboundOrder:
    """An inbound message to be made up. ``lost``: Twilio's record has it, the gateway is never called."""

    url: str
    account_sid: str
    sender: str
    recipient: str
    body: str = ""
    media: Sequence[Mapping[str, str]] = ()  # {content_type, url} or {content_type, content_base64}
    fields: Mapping[str, str] = field(default_factory=dict)  # added to the form, or put in a field's place
    advanced_opt_out: bool = False
    lost: bool = False


def order_of(asked: Any, accounts: Mapping[str, str]) -> InboundOrder:
    """The order in a JSON body: ``url, account_sid, from, to`` and more; raises MalformedOrder."""
    if not isinstance(asked, dict) or asked.get("account_sid") not in accounts:
        raise MalformedOrder("account_sid: no account of this sandbox")
    for name in ("from", "to"):
        if not ADDRESS.fullmatch(str(asked.get(name))):
            raise MalformedOrder(f"{name}: no address")
    return InboundOrder(
        url=str(asked.get("url", "")),
        account_sid=asked["account_sid"],
        sender=asked["from"],
        recipient=asked["to"],
        body=str(asked.get("body", "")),
        media=_media_of(asked.get("media", [])),
        fields=_texts_of(asked.get("fields", {})),
        advanced_opt_out=bool(asked.get("advanced_opt_out")),
        lost=bool(asked.get("lost")),
    )


def _media_of(asked: Any) -> Sequence[Mapping[str, str]]:
    items = [_texts_of(item) for item in asked] if isinstance(asked, list) else [{}]
    for item in items:
        if "content_type" not in item or not item.keys() & {"url", "content_base64"}:
            raise MalformedOrder("media: each item has content_type, and url or content_base64")
        _content(item)
    return items


def _texts_of(asked: Any) -> Mapping[str, str]:
    if not isinstance(asked, dict):
        raise MalformedOrder("fields, and each item of media, must be an object")
    return {str(name): str(value) for name, value in asked.items()}


def _content(item: Mapping[str, str]) -> bytes:
    try:
        return base64.b64decode(item.get("content_base64", ""), validate=True)
    except binascii.Error:
        raise MalformedOrder("media: content_base64 is not base64") from None


async def receive(state: SandboxState, caller: Caller, order: InboundOrder, origin: str) -> dict[str, Any]:
    """Keeps and posts the message; says its sid and what the gateway answered (the last try, status 0 for
    none).
    """
    message = _keep(state, order)
    fields = {**_form(order, message, origin), **order.fields}
    if order.lost:
        return {"message_sid": message.sid, "status": None, "body": "", "tries": 0}
    answers = await caller.post(order.account_sid, order.url, fields)
    return {
        "message_sid": message.sid,
        "status": answers[-1].status,
        "body": answers[-1].body,
        "tries": len(answers),
    }


def _keep(state: SandboxState, order: InboundOrder) -> SandboxMessage:
    now = state.clock()
    message = SandboxMessage(
        account_sid=order.account_sid,
        sid=str(order.fields.get("MessageSid") or state.new_sid("MM" if order.media else "SM")),
        to=order.recipient,
        sender=order.sender,
        body=order.body,
        created=now,
        sent=now,
        direction="inbound",
        status="received",
    )
    state.messages.append(message)
    message.media = tuple(_host(state, order, message, item) for item in order.media)
    _note_consent(state, order)
    return message


def _note_consent(state: SandboxState, order: InboundOrder) -> None:
    """Twilio itself blocks a number that sent STOP (SMS only), until START."""
    pair = (order.sender, order.recipient)
    keyword = None if order.sender.startswith(WHATSAPP) else keyword_of(order.body)
    if keyword == "STOP":
        state.opted_out.add(pair)
    elif keyword == "START":
        state.opted_out.discard(pair)


def _form(order: InboundOrder, message: SandboxMessage, origin: str) -> dict[str, str]:
    fields = {
        "SmsMessageSid": message.sid,
        "NumMedia": str(len(order.media)),
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "Body": order.body,
        "To": order.recipient,
        "NumSegments": str(count_segments(order.body)),
        "MessageSid": message.sid,
        "AccountSid": order.account_sid,
        "From": order.sender,
        "ApiVersion": API_VERSION,
    }
    keyword = keyword_of(order.body) if order.advanced_opt_out else None
    consent = {"OptOutType": keyword} if keyword else {}
    return {**fields, **_channel_fields(order), **consent, **_media_fields(order, message, origin)}


def _channel_fields(order: InboundOrder) -> dict[str, str]:
    if not order.sender.startswith(WHATSAPP):
        return {
            "ToCountry": "US",
            "ToState": "",
            "FromCountry": "US",
            "FromState": "CA",
            "FromCity": "",
            "ToZip": "",
        }
    number = order.sender.removeprefix(WHATSAPP).removeprefix("+")
    kind = order.media[0]["content_type"].partition("/")[0] if order.media else "text"
    return {"ProfileName": "Sandbox customer", "WaId": number, "MessageType": kind}


def _media_fields(order: InboundOrder, message: SandboxMessage, origin: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for index, (item, path) in enumerate(zip(order.media, message.media, strict=True)):
        fields[f"MediaContentType{index}"] = item["content_type"]
        fields[f"MediaUrl{index}"] = item.get("url") or origin + path
    return fields


def _host(state: SandboxState, order: InboundOrder, message: SandboxMessage, item: Mapping[str, str]) -> str:
    """Keeps a file and gives its path; one at another address is listed all the same."""
    sid = state.new_sid("ME")
    state.media[sid] = Media(
        order.account_sid, message.sid, item["content_type"], message.created, _content(item)
    )
    return f"{message.uri}/Media/{sid}"
