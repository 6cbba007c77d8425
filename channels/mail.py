"""A mail as values, whatever a provider makes of it; ``channels.mime`` reads them from MIME."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from channels.base import MailThread

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MailPart:
    """A file of a mail. ``number`` counts the mail's files from 0: ``part:N`` as an attachment's address."""

    number: int
    content_type: str
    filename: str | None
    content_id: str | None
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that was read. ``text`` is all of it, ``reply`` what its writer added: without quotes and signature.

    ``sender`` is the bare address of From in lower case, ``recipients`` those of To, Cc and the envelope. ``automated``
    says why a machine must have written it. ``truncated``: a cap on parts, depth or size cut something off.
    """

    sender: str
    sender_name: str | None
    recipients: tuple[str, ...]
    text: str
    reply: str
    thread: MailThread
    parts: tuple[MailPart, ...] = ()
    automated: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case, the first of each
    truncated: bool = False
