"""Mails of ours in their threads: subject, Message-ID, what they answer, and the marks by which a reply finds back."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID

from channels.base import Channel, MailHeaders, OutboundMessage
from channels.errors import (
    BadCredentials,
    ContentRefused,
    DeliveryFault,
    FaultClass,
    NotThere,
    ProviderUnavailable,
    Throttled,
)
from channels.mail_reading import bare_subject
from channels.mail_tokens import body_marker, our_message_id, plus_address
from db import mails
from db.mails import ThreadMail, ThreadRow
from db.sends import SendRow
from db.tenant import Connection
from handlers.ai.types import Language
from handlers.fetching import DownloadSource
from handlers.media import load_outbound_files
from handlers.runtime import Runtime
from handlers.threads import make_reply_token

_MOST_REFERENCES = 20
_LONGEST_LOCAL_PART = 64  # RFC 5321 section 4.5.3.1.1
_FILE_WAITS = "The server of a file that goes with the message does not give it now."
_FILE_REFUSED = "The server of a file that goes with the message does not give it to us."
_FILES_SECONDS = 15.0  # shorter than the lease of a send, or others would begin the same
# Of a thread whose first mail had no subject, or that we begin.
_SUBJECTS: Mapping[Language, str] = MappingProxyType(
    {
        Language.ES: "Tu mensaje a {tenant}",
        Language.EN: "Your message to {tenant}",
        Language.PT: "Sua mensagem para {tenant}",
    }
)


async def in_thread(
    connection: Connection, runtime: Runtime, distributor_id: UUID, row: SendRow, message: OutboundMessage
) -> OutboundMessage:
    """The message with its headers and its mark, if it is a mail; its Message-ID is on record before it leaves. Each try
    gives the same mail, or a provider that knows our id would refuse the second.
    """
    if message.channel is not Channel.EMAIL:
        return message
    thread = await mails.find_thread(connection, message.id)
    before = await mails.list_thread_ids(
        connection, row.conversation_id, message.id, thread.created_at, _MOST_REFERENCES - 1
    )
    token = make_reply_token(runtime.sealer, distributor_id, row.channel_account_id, thread.thread_key)
    headers = _headers(row, thread, before, token, message.id)
    await mails.name_mail(connection, message.id, headers.message_id)
    return replace(message, text=_marked(message.text, token), mail=headers)


def _headers(
    row: SendRow, thread: ThreadRow, before: Sequence[ThreadMail], token: str, message_id: UUID
) -> MailHeaders:
    address = row.account_address
    inbound = [mail.mail_message_id for mail in before if mail.inbound]
    answered = inbound or [mail.mail_message_id for mail in before]
    own = our_message_id(token, message_id.hex, address.rpartition("@")[2])
    return MailHeaders(
        subject=_subject(thread),
        message_id=thread.mail_message_id or own,
        reply_to=_reply_to(row, token),
        in_reply_to=answered[-1] if answered else None,
        references=_chain(before, answered),
        automatic=thread.automatic,
    )


def _subject(thread: ThreadRow) -> str:
    bare = bare_subject(thread.subject or "")
    return f"Re: {bare}" if bare else _SUBJECTS[Language(thread.language)].format(tenant=thread.tenant)


def _chain(before: Sequence[ThreadMail], answered: Sequence[str]) -> tuple[str, ...]:
    """The thread's mails with the one that is answered last (RFC 5322 section 3.6.4)."""
    ids = dict.fromkeys(mail.mail_message_id for mail in before)
    last = answered[-1:]
    return (*(one for one in ids if one not in last), *last)


def _reply_to(row: SendRow, token: str) -> str | None:
    """The account's address with the thread's mark, unless its server does not take such, or it would be too long."""
    marked = plus_address(row.account_address, token)
    if not row.account_settings.get("plus_addressing", True):
        return None
    return marked if len(marked.rpartition("@")[0]) <= _LONGEST_LOCAL_PART else None


def _marked(text: str, token: str) -> str:
    return f"{text}\n\n{body_marker(token)}" if text else body_marker(token)


async def with_files(
    downloads: DownloadSource, distributor_id: UUID, message: OutboundMessage
) -> OutboundMessage:
    """A mail with its files' bytes, which no mail server fetches; every other message as it is. Never called inside a
    transaction. Raises what ``load_outbound_files`` does, but for what would be said of the account's provider: the file's
    server is another one, whose wish to slow down slows no other message, and whose login is not the account's.
    """
    if message.channel is not Channel.EMAIL or not message.attachments:
        return message
    source = downloads.from_anywhere(str(distributor_id))
    try:
        async with asyncio.timeout(_FILES_SECONDS):
            return replace(message, attachments=await load_outbound_files(message.attachments, source))
    except TimeoutError:
        raise DeliveryFault(FaultClass.TIMEOUT) from None
    except (Throttled, ProviderUnavailable) as error:
        raise NotThere(_FILE_WAITS, retry_after=error.retry_after) from None
    except BadCredentials as error:
        raise ContentRefused(_FILE_REFUSED, provider_code=error.provider_code) from None
