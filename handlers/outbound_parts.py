"""A message of ours as the provider's messages that it leaves in, and a template as it is stored with its message."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from channels.abilities import Captions, FewFiles, OffersButtons, TextParts
from channels.base import Attachment, MessageType, OutboundMessage, OutboundTemplate, ReplyButton

MOST_PARTS = 10  # more would be a flood on a phone


def split_message(adapter: object, message: OutboundMessage) -> tuple[OutboundMessage, ...]:
    """The message in the parts that the adapter's provider takes, in order; itself where it fits, or where nobody knows
    the provider.

    The same message is always split in the same way: which parts have left is known by their numbers.
    """
    if message.template is not None:
        return (message,)
    message = with_buttons(adapter, message)
    texts = _texts(adapter, message)
    contents: list[tuple[str, tuple[Attachment, ...]]] = [(text, ()) for text in texts]
    for position, files in enumerate(_groups(adapter, message)):
        if position == 0 and (not message.text or _takes_caption(adapter, message, contents[0][0])):
            contents[0] = (contents[0][0], files)
        else:
            contents.append(("", files))
    return tuple(
        replace(message, text=text, attachments=files, part=number, parts=len(contents))
        for number, (text, files) in enumerate(contents, 1)
    )


def with_buttons(adapter: object, message: OutboundMessage) -> OutboundMessage:
    """The message itself where its provider shows its buttons, else with their titles as the last lines of its text:
    whoever writes one of them says the same.
    """
    if not message.buttons or (isinstance(adapter, OffersButtons) and adapter.takes_buttons(message)):
        return message
    lines = (f"• {button.title}" for button in message.buttons)
    return replace(message, text="\n".join((message.text, "", *lines)), buttons=())


def buttons_metadata(buttons: Sequence[ReplyButton]) -> dict[str, Any]:
    """Buttons as a message's metadata holds them."""
    return {"buttons": [{"id": button.id, "title": button.title} for button in buttons]} if buttons else {}


def read_buttons(metadata: Mapping[str, Any]) -> tuple[ReplyButton, ...]:
    """The buttons of a stored message."""
    return tuple(ReplyButton(kept["id"], kept["title"]) for kept in metadata.get("buttons", ()))


def _texts(adapter: object, message: OutboundMessage) -> Sequence[str]:
    """The text's parts. One of blanks alone shows nothing, and providers refuse it."""
    if not isinstance(adapter, TextParts):
        return (message.text,)
    parts = adapter.split_text(message.channel, message.text)
    return [part for part in parts if part.strip()] or parts[:1]


def _groups(adapter: object, message: OutboundMessage) -> Sequence[tuple[Attachment, ...]]:
    """The files as they may go together."""
    files = message.attachments
    size = adapter.files_at_once(message.channel) if isinstance(adapter, FewFiles) else max(len(files), 1)
    return [files[start : start + size] for start in range(0, len(files), size)]


def _takes_caption(adapter: object, message: OutboundMessage, text: str) -> bool:
    """Whether the text may go with the first file. A provider of one file at a time has captions for pictures, films and
    documents; with a voice note, a contact card or a sticker (WebP) a text would be lost.
    """
    if isinstance(adapter, Captions) and len(text) > adapter.longest_caption(message.channel):
        return False
    if not isinstance(adapter, FewFiles) or adapter.files_at_once(message.channel) > 1:
        return True
    kind = message.attachments[0].content_type.lower()
    return kind.startswith(("image/", "video/", "application/")) and kind != "image/webp"


def template_metadata(template: OutboundTemplate) -> dict[str, Any]:
    """A template as a message's metadata holds it; variables in a list, since objects of jsonb have no order."""
    return {
        "template": {
            "name": template.name,
            "language": template.language,
            "provider_template_id": template.provider_template_id,
            "variables": [{"name": name, "value": value} for name, value in template.variables.items()],
        }
    }


def read_template(message_type: str, metadata: Mapping[str, Any]) -> OutboundTemplate | None:
    """The template of a stored message; None where it is of another type."""
    if message_type != MessageType.TEMPLATE:
        return None
    kept = metadata["template"]
    return OutboundTemplate(
        name=kept["name"],
        language=kept["language"],
        provider_template_id=kept["provider_template_id"],
        variables={variable["name"]: variable["value"] for variable in kept["variables"]},
    )
