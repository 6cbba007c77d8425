"""What Twilio posts, turned into values: inbound SMS and WhatsApp messages, and status callbacks.

Source of the fields: Twilio docs, "Twilio's request to your incoming message webhook URL" and "Outbound
message status in status callbacks". Twilio adds fields without notice; unknown ones are ignored.
"""

import math
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from channels.addresses import USER_ID, WHATSAPP_PREFIX, is_same_party, provider_address
from channels.base import (
    Attachment,
    Channel,
    ChannelAccount,
    ConsentChange,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    MessageType,
    StatusUpdate,
)
from channels.errors import MalformedPayload, OptedOut
from channels.forms import form_pairs, form_text, path_of, query_of
from channels.signatures import is_form
from channels.twilio_errors import error_of_code

STATUSES: Mapping[str, MessageStatus] = {
    "accepted": MessageStatus.SENDING,
    "scheduled": MessageStatus.SENDING,
    "queued": MessageStatus.SENDING,
    "sending": MessageStatus.SENDING,
    "sent": MessageStatus.SENT,
    "partially_delivered": MessageStatus.SENT,  # not all parts arrived, so not delivered
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.READ,
    "undelivered": MessageStatus.FAILED,
    "failed": MessageStatus.FAILED,
    "canceled": MessageStatus.FAILED,
}
CONSENT: Mapping[str, ConsentChange] = {"STOP": ConsentChange.OUT, "START": ConsentChange.IN}
MEDIA_TYPES: Mapping[str, MessageType] = {
    "image": MessageType.IMAGE,
    "audio": MessageType.AUDIO,
    "video": MessageType.VIDEO,
}
CONTACT_CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
# WhatsApp's kinds that the other fields carry in full; any other kind is kept as UNSUPPORTED
UNDERSTOOD_KINDS = frozenset({"text", "button", "interactive"})
CONTENT = frozenset(
    {"Body", "NumMedia"}
)  # every message has both, empty or not; a status callback has neither
METADATA: Mapping[str, str] = {
    "ButtonPayload": "button_payload",
    "ButtonText": "button_text",
    "ExternalUserId": "external_user_id",
    "Forwarded": "forwarded",
    "FrequentlyForwarded": "frequently_forwarded",
    "MessageType": "provider_type",
    "MessagingServiceSid": "messaging_service_sid",
    "NumSegments": "segments",
    "OptOutType": "opt_out_type",
    "OriginalRepliedMessageSender": "reply_to_sender",
    "ReferralBody": "referral_body",
    "ReferralCtwaClid": "referral_click_id",
    "ReferralHeadline": "referral_headline",
    "ReferralSourceId": "referral_source_id",
    "ReferralSourceType": "referral_source_type",
    "ReferralSourceUrl": "referral_source_url",
    "WaId": "wa_id",
}
COUNT = re.compile(r"[0-9]{1,3}", re.ASCII)
# Twilio's are two letters and 32 hexadecimal digits; what counts here is that a dedupe key has an end
MESSAGE_SID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
# the query parameters of a status callback: our message's id and, of a text in parts, which one it is
OUR_ID, OUR_PART = "message", "part"
PART = re.compile(r"[1-9][0-9]?", re.ASCII)

Fields = Mapping[str, str]


def parse_request(account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
    """The one message or status of a verified request, whichever of the account's two hooks it came to. The
    signature already proves the account, so a missing AccountSid or To is no fault.

    Raises MalformedPayload where it is not of Twilio's form or is about another account: a signed post for a
    number that is not this account's is a wrong setting at Twilio, and an error shows it there where a 200
    would hide it.
    """
    fields = _fields(request)
    if fields.get("AccountSid", "") not in {"", account.credentials["account_sid"]}:
        raise MalformedPayload("AccountSid is not the account's.")
    return (_status(fields, request.url) if _is_status(fields, request.url) else _message(account, fields),)


def _is_status(fields: Fields, url: str) -> bool:
    """What a post says decides, and only then the hook: two URLs swapped at Twilio must lose nothing. The status
    of a received message is not that message again: it comes without the words and must not take their place.
    """
    if _status_word(fields) in STATUSES:
        return True
    if fields.keys() & CONTENT:
        return False
    return "MessageStatus" in fields or path_of(url).endswith("/status")


def _status_word(fields: Fields) -> str:
    return (fields.get("MessageStatus") or fields.get("SmsStatus", "")).lower()


def _fields(request: InboundRequest) -> Fields:
    if request.method == "GET":
        return form_text(form_pairs(query_of(request.url)))
    if not is_form(request):
        raise MalformedPayload("The body is not a form.")
    return form_text(form_pairs(request.body))


def _status(fields: Fields, url: str) -> StatusUpdate | Ignored:
    word = _status_word(fields)
    if not word:
        raise MalformedPayload("MessageStatus is missing.")
    status = STATUSES.get(word)
    if status is None:
        return Ignored("A status that says nothing about an outbound message.")
    code = fields.get("ErrorCode") or None
    failure = error_of_code(code) if status is MessageStatus.FAILED else None
    ours = form_text(form_pairs(query_of(url)))
    return StatusUpdate(
        provider_message_id=_sid(fields),
        status=status,
        message_id=_our_id(ours),
        provider_status=word,
        error_code=code,
        opted_out=failure is OptedOut,
        reason=failure.code if failure else None,
        part=int(ours[OUR_PART]) if PART.fullmatch(ours.get(OUR_PART, "")) else None,
    )


def _our_id(ours: Fields) -> UUID | None:
    """Our id from the callback's query, which the signature covers; None where the callback is not one of
    ours.
    """
    try:
        return UUID(ours.get(OUR_ID, ""))
    except ValueError:
        return None


def _message(account: ChannelAccount, fields: Fields) -> InboundMessage:
    _check_recipient(account, fields)
    attachments = _attachments(fields)
    return InboundMessage(
        provider_key=_sid(fields),
        sender=_sender(account, fields),
        recipient=account.address,
        channel=account.channel,
        type=_message_type(fields, attachments),
        text=fields.get("Body") or fields.get("ButtonText", ""),
        attachments=attachments,
        reply_to_provider_id=fields.get("OriginalRepliedMessageSid") or None,
        profile_name=fields.get("ProfileName") or None,
        consent=CONSENT.get(fields.get("OptOutType", "").upper()),
        metadata=_metadata(fields),
        sender_user_id=_user_id(fields),
    )


def _user_id(fields: Fields) -> str | None:
    """WhatsApp's id of the person, with or without a number beside it; one of another form is no reason to lose the
    message.
    """
    text = fields.get("ExternalUserId", "").removeprefix(WHATSAPP_PREFIX)
    return text if USER_ID.fullmatch(text) else None


def _sender(account: ChannelAccount, fields: Fields) -> str:
    sender = provider_address(account.channel, _required(fields, "From"))
    if is_same_party(sender, account.address):
        raise MalformedPayload("From is the account's own address.")
    return sender


def _check_recipient(account: ChannelAccount, fields: Fields) -> None:
    recipient = fields.get("To")
    if not recipient:
        return
    if recipient.startswith(WHATSAPP_PREFIX) != (account.channel is Channel.WHATSAPP):
        raise MalformedPayload("To is an address of another channel.")
    service = account.credentials.get("messaging_service_sid")
    if service and fields.get("MessagingServiceSid") == service:
        return
    if not is_same_party(provider_address(account.channel, recipient), account.address):
        raise MalformedPayload("To is not the account's address.")


def _message_type(fields: Fields, attachments: tuple[Attachment, ...]) -> MessageType:
    if "ButtonText" in fields or "ButtonPayload" in fields:
        return MessageType.BUTTON_REPLY
    if fields.get("Latitude") and fields.get("Longitude"):
        return MessageType.LOCATION
    if attachments:
        return _media_type(attachments[0].content_type)
    kind = fields.get("MessageType", "text")
    return MessageType.TEXT if kind in UNDERSTOOD_KINDS else MessageType.UNSUPPORTED


def _media_type(content_type: str) -> MessageType:
    mime = content_type.partition(";")[0].strip().lower()
    if mime in CONTACT_CARDS:
        return MessageType.CONTACT
    return MEDIA_TYPES.get(mime.partition("/")[0], MessageType.FILE)


def _attachments(fields: Fields) -> tuple[Attachment, ...]:
    count = fields.get("NumMedia") or "0"
    if not COUNT.fullmatch(count):
        raise MalformedPayload("NumMedia is not a count.")
    return tuple(
        Attachment(
            url=_required(fields, f"MediaUrl{index}"),
            content_type=fields.get(f"MediaContentType{index}") or "application/octet-stream",
        )
        for index in range(int(count))
    )


def _metadata(fields: Fields) -> dict[str, Any]:
    plain = {key: fields[name] for name, key in METADATA.items() if fields.get(name)}
    return {**plain, **_location(fields)}


def _location(fields: Fields) -> dict[str, Any]:
    if not (fields.get("Latitude") and fields.get("Longitude")):
        return {}
    place: dict[str, Any] = {
        "latitude": _degrees(fields["Latitude"], 90),
        "longitude": _degrees(fields["Longitude"], 180),
    }
    place |= {name.lower(): fields[name] for name in ("Address", "Label") if fields.get(name)}
    return {"location": place}


def _degrees(text: str, limit: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise MalformedPayload("A coordinate is not a number.") from None
    if not math.isfinite(value) or abs(value) > limit:
        raise MalformedPayload("A coordinate is out of range.")
    return value


def _sid(fields: Fields) -> str:
    sid = fields.get("MessageSid") or fields.get("SmsMessageSid") or fields.get("SmsSid", "")
    if not MESSAGE_SID.fullmatch(sid):
        raise MalformedPayload("MessageSid is missing or not of Twilio's form.")
    return sid


def _required(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not value:
        raise MalformedPayload(f"{name} is missing.")
    return value
