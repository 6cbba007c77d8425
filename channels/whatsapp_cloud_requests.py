"""The bodies of what is sent to Meta's WhatsApp Cloud API (docs: "Cloud API", messages and media)."""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp

from channels.addresses import USER_ID
from channels.base import Attachment, OutboundMessage, OutboundTemplate
from channels.errors import ContentRefused

LONGEST_BODY, MOST_BUTTONS, LONGEST_TITLE = 1024, 3, 20  # of a message with buttons
POSITION = re.compile(r"[1-9][0-9]?", re.ASCII)
CAPTIONED = frozenset({"image", "video", "document"})
# Docs, "Media": other formats of pictures, sounds and films go as documents.
KINDS: Mapping[str, str] = {
    "image/jpeg": "image",
    "image/png": "image",
    "audio/aac": "audio",
    "audio/amr": "audio",
    "audio/mpeg": "audio",
    "audio/mp4": "audio",
    "audio/ogg": "audio",
    "video/mp4": "video",
    "video/3gpp": "video",
}


def send_body(message: OutboundMessage, media_id: str | None = None) -> bytes:
    """The body of a send; ``media_id`` is the file's after an upload. Raises ContentRefused where WhatsApp has no form
    for it: it takes one file a message, and no text with a sound.
    """
    document = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **_recipient(message.recipient),
        "biz_opaque_callback_data": our_data(message),
        **_content(message, media_id),
    }
    if message.reply_to_provider_id:
        document["context"] = {"message_id": message.reply_to_provider_id}
    return json.dumps(document).encode()


def our_data(message: OutboundMessage) -> str:
    """What every status of the message shall carry: its id, and which part it is of several (docs: at most 512
    characters).
    """
    return message.id.hex if message.parts == 1 else f"{message.id.hex}:{message.part}"


def typing_body(provider_message_id: str) -> bytes:
    """Marks a customer's message as read and shows that an answer is being written, for 25 seconds at most (docs:
    "Typing indicators").
    """
    document = {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": provider_message_id,
        "typing_indicator": {"type": "text"},
    }
    return json.dumps(document).encode()


def upload_form(attachment: Attachment, content: bytes) -> aiohttp.FormData:
    """The form of an upload."""
    mime = _mime(attachment)
    form = aiohttp.FormData()
    form.add_field("messaging_product", "whatsapp")
    form.add_field("type", mime)
    # as a file, which is written piece by piece and holds nobody up
    form.add_field("file", BytesIO(content), content_type=mime, filename=_filename(attachment) or "file")
    return form


def _recipient(address: str) -> dict[str, str]:
    """Docs, "Business-scoped user IDs": a user without a number is named by ``recipient``."""
    return {"recipient": address} if USER_ID.fullmatch(address) else {"to": address}


def _content(message: OutboundMessage, media_id: str | None) -> dict[str, Any]:
    if message.template is not None:
        return {"type": "template", "template": _template(message.template)}
    if message.attachments:
        return _media(message, media_id)
    if message.buttons:
        return {"type": "interactive", "interactive": _buttons(message)}
    return {"type": "text", "text": {"preview_url": False, "body": message.text}}


def takes_buttons(message: OutboundMessage) -> bool:
    """Whether the message's buttons are within what WhatsApp takes, and nothing else is in it but a text."""
    titles = [button.title for button in message.buttons]
    return (
        not message.attachments
        and message.template is None
        and 0 < len(message.text) <= LONGEST_BODY
        and len(titles) <= MOST_BUTTONS
        and len(set(titles)) == len(titles)
        and all(len(title) <= LONGEST_TITLE for title in titles)
    )


def _buttons(message: OutboundMessage) -> dict[str, Any]:
    """Docs, "Interactive reply buttons messages"."""
    replies = [{"id": button.id, "title": button.title} for button in message.buttons]
    return {
        "type": "button",
        "body": {"text": message.text},
        "action": {"buttons": [{"type": "reply", "reply": reply} for reply in replies]},
    }


def _template(template: OutboundTemplate) -> dict[str, Any]:
    """Templates of named and of numbered variables are two kinds at Meta; numbered ones are told by their names."""
    numbered = all(POSITION.fullmatch(name) for name in template.variables)
    order = sorted(template.variables, key=int) if numbered else list(template.variables)
    parameters = [
        {"type": "text", **({} if numbered else {"parameter_name": name}), "text": template.variables[name]}
        for name in order
    ]
    components = [{"type": "body", "parameters": parameters}] if parameters else []
    return {"name": template.name, "language": {"code": template.language}, "components": components}


def _media(message: OutboundMessage, media_id: str | None) -> dict[str, Any]:
    if len(message.attachments) > 1:
        raise ContentRefused("WhatsApp takes one file a message.")
    (attachment,) = message.attachments
    kind = KINDS.get(_mime(attachment), "document")
    part: dict[str, str] = {"id": media_id} if media_id else {"link": attachment.url}
    if message.text:
        if kind not in CAPTIONED:
            raise ContentRefused("WhatsApp takes no text with a sound.")
        part["caption"] = message.text
    if kind == "document" and (filename := _filename(attachment)):
        part["filename"] = filename
    return {"type": kind, kind: part}


def _mime(attachment: Attachment) -> str:
    return attachment.content_type.partition(";")[0].strip().lower()


def _filename(attachment: Attachment) -> str:
    """The name of a document, else the last part of its URL: without one WhatsApp shows it as untitled."""
    return attachment.filename or unquote(urlsplit(attachment.url).path.rpartition("/")[2])
