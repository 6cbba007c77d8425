"""Mails as values from the fields that a mail or a provider gives, and as messages of the inbox."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from channels.base import Attachment, Channel, ChannelAccount, InboundMessage, MailThread, MessageType
from channels.errors import MalformedPayload
from channels.mail import Headers, Mail, MailPart
from channels.mail_automated import automated_reason
from channels.mail_html import text_of_html
from channels.mail_replies import reply_of
from channels.mail_signatures import without_signature
from channels.mail_tokens import closing_token, token_of_address, tokens_in_text
from channels.mail_words import bare_addresses, clean, header_text, mail_address, one_line

MOST_REFERENCES, ID_LIMIT, HEADER_LIMIT, MOST_HEADERS, MOST_RECIPIENTS = 100, 255, 4096, 200, 100
TEXT_LIMIT = 2 * 1024 * 1024  # characters
ORIGINAL_LIMIT = (
    100_000  # characters of the text with its quotes that go beside the reply; the post has all of it
)
NAMELESS_DAEMON = (
    "mailer-daemon@nameless.invalid"  # of a notification whose From has no domain (Postfix, qmail)
)
_ID = re.compile(r"<([^<>\s]{1,255})>")
_BARE_ID = re.compile(r"[^<>\s@]{1,127}@[^<>\s@]{1,127}")
_PREFIX = re.compile(
    r"\s*(?:re|r|rv|fwd?|wg|aw|enc|res|resp|tr|i|sv|vs|ref)\s*(?:\[\d{1,3}\])?\s*:", re.IGNORECASE | re.ASCII
)
_FORWARD = re.compile(r"\s*(?:rv|fwd?|enc|wg|tr|reenv)\s*:", re.IGNORECASE | re.ASCII)
_TYPES: Mapping[str, MessageType] = {
    "image": MessageType.IMAGE,
    "audio": MessageType.AUDIO,
    "video": MessageType.VIDEO,
}
_RECIPIENTS = ("to", "cc", "delivered-to", "x-original-to", "envelope-to")


def mail_of_fields(
    *,
    headers: Headers,
    text: str,
    html: str,
    envelope_to: Sequence[str] = (),
    parts: Sequence[MailPart] = (),
    stripped_reply: str | None = None,
) -> Mail:
    """A mail from what was read of it: headers in their order, the text, the HTML (used where there is no text), who the
    envelope says it is for, its files, and the provider's own guess at the reply. Header values may hold encoded words.

    Raises MalformedPayload where no header names a sender.
    """
    named = _by_name(headers)
    sender, name = _sender(named)
    whole, is_cut = _whole_text(text, html)
    first = {header: header_text(values[0][:HEADER_LIMIT]) for header, values in named.items()}
    subject = first.get("subject", "")
    replied, referred = _ids(named, "in-reply-to"), _ids(named, "references")
    message_id = _own_id(named) or _synthetic_id(headers, whole)
    forwarding = bool(_FORWARD.match(subject))
    reply = reply_of(whole, replying=bool(replied or referred or is_reply(subject)), forwarding=forwarding)
    if stripped_reply is not None and reply == whole and clean(stripped_reply).strip():
        reply = clean(stripped_reply).strip()
    return Mail(
        sender=sender,
        sender_name=name,
        recipients=_recipients(named, envelope_to),
        text=whole,
        reply=reply,
        thread=MailThread(
            message_id,
            subject,
            replied[:MOST_REFERENCES],
            _bounded(referred),
            body_tokens=tokens_in_text(whole),
            closing_token=closing_token(whole, reply),
        ),
        parts=tuple(parts),
        automated=automated_reason(first, sender, message_id),
        headers=first,
        truncated=is_cut,
    )


def inbound_mail(account: ChannelAccount, mail: Mail, provider_key: str) -> InboundMessage:
    """The mail as a message to the account: its text is what the writer added, or the subject where there is none."""
    own = account.address.lower()
    tokens = (token_of_address(recipient, own) for recipient in mail.recipients)
    thread = replace(mail.thread, reply_tokens=tuple(dict.fromkeys(token for token in tokens if token)))
    text = _words(mail)
    return InboundMessage(
        provider_key=provider_key,
        sender=mail.sender,
        recipient=account.address,
        channel=Channel.EMAIL,
        type=_type(text, mail.parts),
        text=text,
        attachments=tuple(_attachment(part) for part in mail.parts),
        profile_name=mail.sender_name,
        metadata=_metadata(mail),
        thread=thread,
        automated=mail.automated or automated_reason(mail.headers, mail.sender, mail.thread.message_id, own),
    )


def _words(mail: Mail) -> str:
    """What the writer says: in the subject alone, where a first mail has at most a signature under it."""
    begins = not (mail.thread.in_reply_to or mail.thread.references)
    if mail.reply and not (begins and _is_signature(mail.reply)):
        return mail.reply
    return bare_subject(mail.thread.subject) or mail.reply


def _is_signature(text: str) -> bool:
    first, *rest = text.split("\n")
    below = first.rstrip() == "--"  # RFC 3676 section 4.3
    return below or not any(line.strip() for line in without_signature([first, *rest]))


def mail_key(mail: Mail) -> str:
    """A key for a provider that has none: the same for the same mail, however often and by whatever way it is posted,
    and another for another mail under the same Message-ID, which is its sender's to choose.
    """
    digest = hashlib.sha256(
        repr((mail.sender, mail.thread.subject, mail.text)).encode("utf-8", "surrogatepass")
    )
    for part in mail.parts:
        digest.update(hashlib.sha256(part.content).digest())
    return f"{mail.thread.message_id}:{digest.hexdigest()[:32]}"


def bare_subject(subject: str) -> str:
    """The subject without the prefixes of replies and forwards, by which threads are compared."""
    rest = subject
    while found := _PREFIX.match(rest):
        rest = rest[found.end() :]
    return rest.strip()


def is_reply(subject: str) -> bool:
    """Whether the subject says that the mail answers another."""
    return bool(_PREFIX.match(subject)) and not _FORWARD.match(subject)


def _whole_text(text: str, html: str) -> tuple[str, bool]:
    """The text, or that of the HTML where there is none; and whether it was cut."""
    plain = clean(text).strip()
    if plain or not html:
        return plain[:TEXT_LIMIT], len(plain) > TEXT_LIMIT
    shown, is_cut = text_of_html(clean(html))
    return shown.strip(), is_cut


def _by_name(headers: Headers) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name, value in headers:
        key = one_line(name).lower()
        if key and (key in named or len(named) < MOST_HEADERS):
            named.setdefault(key, []).append(value)
    return named


def _sender(named: Mapping[str, list[str]]) -> tuple[str, str | None]:
    for header in ("from", "sender", "reply-to", "return-path"):
        for name, address in bare_addresses(named.get(header, ())):
            return address, name[:255] or None
    if any("mailer-daemon" in value.lower() for value in named.get("from", ())):
        return NAMELESS_DAEMON, None
    raise MalformedPayload("The mail names no sender.")


def _recipients(named: Mapping[str, list[str]], envelope_to: Sequence[str]) -> tuple[str, ...]:
    written = [address for header in _RECIPIENTS for _, address in bare_addresses(named.get(header, ()))]
    envelope = [address for text in envelope_to if (address := mail_address(text.strip().strip("<>")))]
    return tuple(dict.fromkeys((*envelope, *written)))[:MOST_RECIPIENTS]


def _ids(named: Mapping[str, list[str]], header: str) -> tuple[str, ...]:
    # Some mailers (Python's library is one) encode a long id like a word of a subject.
    values = (header_text(value) if "=?" in value else value for value in named.get(header, ()))
    found = [clean(text) for value in values for text in _ID.findall(value)]
    return tuple(dict.fromkeys(text for text in found if text))


def _own_id(named: Mapping[str, list[str]]) -> str:
    """The mail's own id; some programs, and some providers, leave its brackets out."""
    bracketed = _ids(named, "message-id")
    bare = clean(next(iter(named.get("message-id", ())), "")).strip()
    return bracketed[0] if bracketed else bare if _BARE_ID.fullmatch(bare) else ""


def _bounded(references: tuple[str, ...]) -> tuple[str, ...]:
    """The oldest, which names the thread, and the latest."""
    if len(references) <= MOST_REFERENCES:
        return references
    return (references[0], *references[-(MOST_REFERENCES - 1) :])


def _synthetic_id(headers: Iterable[tuple[str, str]], text: str) -> str:
    """An id for a mail without one: the same for the same mail."""
    digest = hashlib.sha256(repr((tuple(headers), text)).encode("utf-8", "surrogatepass"))
    return f"{digest.hexdigest()[:40]}@synthesised.invalid"


def _attachment(part: MailPart) -> Attachment:
    return Attachment(f"part:{part.number}", part.content_type, part.filename, part.content_id)


def _type(text: str, parts: Sequence[MailPart]) -> MessageType:
    if text or not parts:
        return MessageType.TEXT
    return _TYPES.get(parts[0].content_type.partition("/")[0], MessageType.FILE)


def _metadata(mail: Mail) -> dict[str, object]:
    found: dict[str, object] = {"subject": mail.thread.subject}
    if mail.text != mail.reply:
        found["original_text"] = mail.text[:ORIGINAL_LIMIT]
    if mail.truncated:
        found["truncated"] = True
    return found
