"""The mark by which a reply finds its thread: in a plus-address, in our Message-ID and in the text that mail programs
quote. ``handlers.threads`` makes and checks it; here is only its form.
"""

import re
from dataclasses import dataclass
from uuid import UUID

TOKEN = re.compile(r"[0-9a-f]{32}", re.ASCII)  # 16 digits of the thread's key, 16 of its MAC
_MARKER = re.compile(r"\[ref:([0-9a-f]{32})\]", re.ASCII)
_OUR_ID = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})@", re.ASCII)
_OUR_ID_IN_TEXT = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}\.[0-9a-f]{32}@[A-Za-z0-9.-]{1,253}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedMail:
    """A mail of ours that a word is about which anybody could have written, such as a failure notice that came as a mail.
    The word holds only if the account sent that message, in the thread whose mark ``token`` is, and to ``recipient``,
    where the word names one.
    """

    message_id: UUID
    token: str
    recipient: str | None


def plus_address(address: str, token: str) -> str:
    """The address with the token as its last plus part."""
    local, _, domain = address.rpartition("@")
    return f"{local}+{token}@{domain}"


def token_of_address(address: str, own: str) -> str | None:
    """The token of a plus-address of ``own``, both in lower case; None where it is another's or has none."""
    local, _, domain = address.rpartition("@")
    base, _, token = local.rpartition("+")
    return token if f"{base}@{domain}" == own and TOKEN.fullmatch(token) else None


def without_token(address: str) -> str:
    """The address without a plus part of ours."""
    local, _, domain = address.rpartition("@")
    base, _, token = local.rpartition("+")
    return f"{base}@{domain}" if base and TOKEN.fullmatch(token) else address


def body_marker(token: str) -> str:
    """The mark as it stands at the end of our mails."""
    return f"[ref:{token}]"


def tokens_in_text(text: str) -> tuple[str, ...]:
    """The marks in a text, in their order, each once."""
    return tuple(dict.fromkeys(_MARKER.findall(text)))


def closing_token(text: str, reply: str) -> str | None:
    """The mark that is the last line of a text of which nothing else was taken off as quoted: ``reply`` is what was left."""
    words, _, last = text.rstrip().rpartition("\n")
    found = _MARKER.fullmatch(last.strip())
    return found[1] if found and words.strip() == reply.strip() else None


def our_message_id(token: str, message: str, domain: str) -> str:
    """A Message-ID of ours without brackets; ``message`` is our message's id as 32 hexadecimal digits."""
    return f"{token}.{message}@{domain}"


def token_of_message_id(message_id: str) -> str | None:
    """The token of a Message-ID that is of our form."""
    found = _OUR_ID.match(message_id)
    return found[1] if found else None


def named_mail(our_id: str, recipient: str | None) -> NamedMail:
    """What a Message-ID of our form names; raises ValueError for any other."""
    token, message = our_id.partition("@")[0].split(".")
    return NamedMail(UUID(hex=message), token, recipient)


def our_ids_in_text(text: str) -> tuple[str, ...]:
    """The Message-IDs of our form in a text, such as a mail that came back; each once."""
    return tuple(dict.fromkeys(found[0] for found in _OUR_ID_IN_TEXT.finditer(text)))
