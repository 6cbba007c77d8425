"""Our mails: as a whole MIME message, and as the header fields that a provider's API takes."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from channels.base import Attachment, ChannelAccount, MailHeaders, OutboundMessage
from channels.errors import ContentRefused, InvalidRecipient
from channels.mail_words import mail_address, one_line

MOST_REFERENCES = 20
SUBJECT_LIMIT = 255


def build_mime(account: ChannelAccount, message: OutboundMessage, *, at: datetime | None = None) -> bytes:
    """The whole mail with CRLF line ends; ``at`` is its date (without it the next server sets one).

    Raises InvalidRecipient for what is no address, and ContentRefused for a file without its content.
    """
    mail = EmailMessage(policy=SMTP)
    headers = headers_of(account, message)
    mail["From"] = _own_address(account)
    mail["To"] = _address("", message.recipient)
    mail["Subject"] = one_line(headers.subject)[:SUBJECT_LIMIT]
    if at is not None:
        mail["Date"] = format_datetime(at)
    if headers.reply_to:
        mail["Reply-To"] = _address(_sender_name(account), headers.reply_to)
    for name, value in _fields(headers).items():
        mail[name] = value
    mail.set_content(message.text, subtype="plain", charset="utf-8")
    for attachment in message.attachments:
        _attach(mail, attachment)
    return mail.as_bytes()


def header_fields(message: OutboundMessage) -> dict[str, str]:
    """The headers that a provider's API takes by name, beside those it has fields of its own for (From, To, Subject,
    Reply-To, Date). Empty for a message without mail headers.
    """
    return _fields(message.mail) if message.mail is not None else {}


def sender_field(account: ChannelAccount) -> str:
    """``"Name" <address>`` by ``settings.sender_name``, or the bare address."""
    name = _sender_name(account)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{account.address}>' if name else account.address


def headers_of(account: ChannelAccount, message: OutboundMessage) -> MailHeaders:
    """The message's mail headers, or the least that a mail must have."""
    domain = account.address.rpartition("@")[2]
    return message.mail or MailHeaders(subject="", message_id=f"{message.id.hex}@{domain}")


def _fields(headers: MailHeaders) -> dict[str, str]:
    fields = {"Message-ID": _bracketed(headers.message_id)}
    if headers.in_reply_to:
        fields["In-Reply-To"] = _bracketed(headers.in_reply_to)
    if headers.references:
        fields["References"] = " ".join(_bracketed(text) for text in _bounded(headers.references))
    if headers.automatic:
        fields["Auto-Submitted"] = "auto-replied"
        fields["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    return fields


def _bounded(references: tuple[str, ...]) -> tuple[str, ...]:
    """The first, which names the thread, and the latest (RFC 5537 section 3.4.4 allows to leave out between)."""
    if len(references) <= MOST_REFERENCES:
        return references
    return (references[0], *references[-(MOST_REFERENCES - 1) :])


def _bracketed(message_id: str) -> str:
    """The id in angle brackets; what could end the header or the id is taken out."""
    return "<" + "".join(sign for sign in message_id if sign.isprintable() and sign not in " <>") + ">"


def _own_address(account: ChannelAccount) -> Address:
    return _address(_sender_name(account), account.address)


def _sender_name(account: ChannelAccount) -> str:
    name = account.settings.get("sender_name")
    return one_line(name)[:128] if isinstance(name, str) else ""


def _address(name: str, text: str) -> Address:
    if mail_address(text) is None:
        raise InvalidRecipient
    return Address(display_name=name, addr_spec=text.strip())


def _attach(mail: EmailMessage, attachment: Attachment) -> None:
    if attachment.content is None:
        raise ContentRefused("The file's content is not at hand.")
    main, _, sub = attachment.content_type.partition(";")[0].strip().lower().partition("/")
    mail.add_attachment(
        attachment.content,
        maintype=main or "application",
        subtype=sub or "octet-stream",
        filename=one_line(attachment.filename or "") or None,
    )
