"""A customer's mail as MIME, and as the providers of mail post it to a hook: the headers, the body and its signature."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, Policy
from email.utils import format_datetime
from typing import Any


class _IdsHeader(UnstructuredHeader, BaseHeader):
    """A header of Message-IDs, each on a line: the library would encode a long one like a word (RFC 2047)."""

    def fold(self, *, policy: "Policy[Any]") -> str:
        return f"{self.name}: {f'{policy.linesep} '.join(str(self).split())}{policy.linesep}"


def _policy() -> "EmailPolicy[Any]":
    registry = HeaderRegistry()
    for name in ("message-id", "in-reply-to", "references"):
        registry.map_to_type(name, _IdsHeader)
    return SMTP.clone(header_factory=registry)


_POLICY = _policy()


@dataclass(frozen=True, slots=True)
class SignedPost:
    """What a provider posts."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file of a mail."""

    filename: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CustomerMail:
    """What somebody writes with their mail program. Ids are without angle brackets."""

    sender: str
    recipient: str
    text: str
    message_id: str
    at: datetime
    subject: str = ""
    sender_name: str = ""
    in_reply_to: str | None = None
    references: Sequence[str] = ()
    files: Sequence[MailFile] = ()


@dataclass(frozen=True, slots=True)
class PostedMail:
    """A mail as a provider took it from the sending server: in whose name, for whom, byte for byte."""

    sender: str
    recipient: str
    raw: bytes = field(repr=False)


def written(mail: CustomerMail) -> PostedMail:
    """The mail as it comes to the recipient's server."""
    made = EmailMessage(policy=_POLICY)
    made["From"] = Address(mail.sender_name, addr_spec=mail.sender)
    made["To"] = mail.recipient
    made["Subject"] = mail.subject
    made["Date"] = format_datetime(mail.at)
    made["Message-ID"] = f"<{mail.message_id}>"
    if mail.in_reply_to:
        made["In-Reply-To"] = f"<{mail.in_reply_to}>"
    references = mail.references or ([mail.in_reply_to] if mail.in_reply_to else [])
    if references:
        made["References"] = " ".join(f"<{reference}>" for reference in references)
    made.set_content(mail.text)
    for file in mail.files:
        main, _, sub = file.content_type.partition("/")
        made.add_attachment(file.content, maintype=main, subtype=sub, filename=file.filename)
    return PostedMail(mail.sender, mail.recipient, made.as_bytes())


def form_post(fields: Mapping[str, str | bytes]) -> SignedPost:
    """The fields as ``multipart/form-data``."""
    boundary = f"xYzZY-{secrets.token_hex(12)}"
    parts = [_part(boundary, name, value) for name, value in fields.items()]
    body = b"".join((*parts, f"--{boundary}--\r\n".encode()))
    return SignedPost(body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def _part(boundary: str, name: str, value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
    )
