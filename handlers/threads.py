"""Which conversation a mail belongs to. What a mail says of it is written by its sender, so that nothing is found but the
account's own threads: a token by its MAC, a Message-ID among the account's own mails.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from channels.base import MailThread
from channels.mail_tokens import TOKEN, NamedMail, token_of_message_id
from db.sealing import Sealer

_KEY_DIGITS = 16
_MAC_DIGITS = 16
# What a mail may name: its direct parents and the newest of its line. A longer list is somebody's joke.
_MOST_PARENTS = 5
_MOST_REFERENCES = 30
_LONGEST_ID = 998  # RFC 5322 section 2.1.1: no line is longer
_PURPOSE = "mail thread"


@dataclass(frozen=True, slots=True)
class ThreadHint:
    """Where a mail belongs: to the thread of the first known mail of ``named``, else to ``key``."""

    key: str
    named: tuple[str, ...] = ()


def make_reply_token(sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, thread_key: str) -> str:
    """The mark of a thread, 32 hexadecimal digits, made with the first master key; good for this account only."""
    (mac, *_) = _macs(sealer, distributor_id, channel_account_id, thread_key)
    return thread_key + mac


def read_reply_token(
    sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, token: str
) -> str | None:
    """The thread that a token of this account names; None for one that none of the master keys made."""
    if not TOKEN.fullmatch(token):
        return None
    thread_key, told = token[:_KEY_DIGITS], token[_KEY_DIGITS:]
    macs = _macs(sealer, distributor_id, channel_account_id, thread_key)
    return thread_key if any(hmac.compare_digest(told, mac) for mac in macs) else None


def named_mail_of(
    sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, named: NamedMail | None
) -> dict[str, str | UUID | None] | None:
    """The mail that must have been sent for a word to hold, as the accept statements look for it: one under a mark that we
    did not make is in no thread. None where the word needs none.
    """
    if named is None:
        return None
    return {
        "message_id": named.message_id,
        "thread_key": read_reply_token(sealer, distributor_id, channel_account_id, named.token),
        "recipient": named.recipient,
    }


def _macs(sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, thread_key: str) -> list[str]:
    message = f"{distributor_id}:{channel_account_id}:{thread_key}".encode()
    return [mac.hex()[:_MAC_DIGITS] for mac in sealer.macs(message, _PURPOSE)]


def find_thread(
    sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, thread: MailThread, provider_key: str
) -> ThreadHint:
    """Where a mail belongs, by what is most to be trusted: the address it was sent to, the mails that it answers, our
    mark in its text. All others begin a thread that parallel answers to one mail agree on.
    """

    def key_of(tokens: Iterable[str | None]) -> str | None:
        keys = (
            read_reply_token(sealer, distributor_id, channel_account_id, token) for token in tokens if token
        )
        return next((key for key in keys if key), None)

    if key := key_of(thread.reply_tokens):
        return ThreadHint(key)
    named: list[str] = []
    for message_id in _named_ids(thread):
        if key := key_of([token_of_message_id(message_id)]):
            return ThreadHint(key, tuple(named))
        named.append(message_id)
    return ThreadHint(key_of(thread.body_tokens) or _new_key(thread.root_id or provider_key), tuple(named))


def is_of_another_gateway(
    sealer: Sealer, distributor_id: UUID, channel_account_id: UUID, thread: MailThread
) -> bool:
    """Whether a mail ends with a mark that this account did not make: it is another gateway's own, whatever was taken off
    its headers on the way. People only quote marks.
    """
    token = thread.closing_token
    return token is not None and read_reply_token(sealer, distributor_id, channel_account_id, token) is None


def _named_ids(thread: MailThread) -> tuple[str, ...]:
    """The mails that it answers, the nearest first, each once."""
    newest_first = tuple(reversed(thread.references[-_MOST_REFERENCES:]))
    named = (*thread.in_reply_to[:_MOST_PARENTS], *newest_first)
    return tuple(dict.fromkeys(filter(is_message_id, named)))


def is_message_id(text: str) -> bool:
    """Whether a mail's id can be one; others are not kept, nor looked for."""
    return 0 < len(text.encode(errors="replace")) <= _LONGEST_ID


def _new_key(root_id: str) -> str:
    return hashlib.sha256(root_id.encode(errors="replace")).hexdigest()[:_KEY_DIGITS]
