"""Messages to customers: rows first, then one careful attempt after another."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from channels.base import (
    Attachment,
    Channel,
    ChannelAccount,
    ChannelAdapter,
    MessageStatus,
    MessageType,
    OutboundMessage,
    OutboundTemplate,
    ReplyButton,
    SendReceipt,
)
from channels.errors import (
    AttemptsExhausted,
    BadCredentials,
    GatewayError,
    InvalidInput,
    NotFound,
)
from db import sends
from db.lanes import ClaimedSend
from db.sends import ReplyTarget, SendRow
from handlers.consent import check_may_send
from handlers.faults import OnFault, unheard
from handlers.fetching import DownloadSource, open_account
from handlers.mails import in_thread, with_files
from handlers.outbound_doubt import find_earlier, may_try_again_at
from handlers.outbound_outcome import (
    Attempt,
    SendResult,
    postpone,
    rate_of,
    settle_error,
    settle_part,
    settle_sent,
)
from handlers.outbound_parts import (
    MOST_PARTS,
    buttons_metadata,
    read_buttons,
    read_template,
    split_message,
    template_metadata,
)
from handlers.runtime import Runtime
from handlers.send_rates import AHEAD
from handlers.statuses import status_rank

# Claims of one message, those included that ended without a result (a crash, a fault of ours): then it is given up.
_MOST_CLAIMS = 12


class Priority(StrEnum):
    """Which messages of an account leave first."""

    NORMAL = "normal"
    BULK = "bulk"  # to many at once: replies overtake it, for ten minutes at most


SEND_PRIORITIES: Mapping[Priority, int] = MappingProxyType({Priority.NORMAL: 0, Priority.BULK: 10})
# Longer than any one call to a provider (10 s) with room for the database; renewed before each part leaves.
SEND_LEASE = timedelta(seconds=20)


async def queue_message(
    runtime: Runtime,
    adapters: Mapping[str, ChannelAdapter],
    distributor_id: UUID,
    conversation_id: UUID,
    *,
    text: str,
    attachments: Sequence[Attachment] = (),
    template: OutboundTemplate | None = None,
    buttons: Sequence[ReplyButton] = (),
    priority: Priority = Priority.NORMAL,
) -> UUID:
    """A person's message to a conversation, stored QUEUED; the send lane sends it. Of a template, ``text`` is what
    people read of it here. Raises NotFound, OptedOut, WindowClosed, or InvalidInput for a text that is too long.
    """
    now, message_id = runtime.clock(), runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        target = await sends.find_reply_target(connection, conversation_id)
        if target is None:
            raise NotFound
        channel = Channel(target.channel)
        _check_length(
            adapters,
            target,
            OutboundMessage(
                message_id, channel, "", text, "", tuple(attachments), template, buttons=tuple(buttons)
            ),
        )
        check_may_send(
            channel,
            opted_out_at=target.opted_out_at,
            last_inbound_at=target.last_inbound_at,
            now=now,
            approved=template is not None,
        )
        await sends.queue_message(
            connection,
            conversation_id,
            message_id,
            type=_message_type(text, attachments, template),
            status_rank=status_rank(channel, MessageStatus.QUEUED),
            text=text,
            turn_message_id=None,
            metadata=template_metadata(template) if template else buttons_metadata(buttons),
            now=now,
            priority=SEND_PRIORITIES[priority],
        )
        rows = [_attachment_row(runtime, position, file) for position, file in enumerate(attachments, 1)]
        await sends.insert_attachments(connection, message_id, rows, now)
    return message_id


def _check_length(
    adapters: Mapping[str, ChannelAdapter], target: ReplyTarget, message: OutboundMessage
) -> None:
    parts = len(split_message(adapters.get(target.provider), message))
    if parts > MOST_PARTS:
        problem = f"The message would leave in {parts} parts; {MOST_PARTS} are the most."
        raise InvalidInput(problem, field="text")


def _message_type(
    text: str, attachments: Sequence[Attachment], template: OutboundTemplate | None
) -> MessageType:
    if template is not None:
        return MessageType.TEMPLATE
    return MessageType.FILE if attachments and not text else MessageType.TEXT


def _attachment_row(runtime: Runtime, position: int, file: Attachment) -> dict[str, Any]:
    return {
        "id": runtime.new_id(),
        "position": position,
        "url": file.url,
        "content_type": file.content_type,
        "filename": file.filename,
    }


async def send_message(
    runtime: Runtime,
    adapters: Mapping[str, ChannelAdapter],
    claimed: ClaimedSend,
    downloads: DownloadSource | None = None,
    on_fault: OnFault = unheard,
) -> SendResult:
    """Makes one attempt at a claimed message, of which those parts leave that are not known to have left. ``downloads``
    bring the files of mails, whose bytes must be at hand; ``on_fault`` hears what a failed attempt failed of.

    Each part takes a place of its account's rate, is on record before it leaves, and its receipt before the next one does.
    One whose outcome is unknown (a crash, or a time-out after the request left) has its second try after what
    ``handlers.outbound_doubt`` says. Retries follow from the type of the error. Raises DatabaseUnavailable.
    """
    attempt = await _load(runtime, claimed)
    if attempt is None:
        return SendResult.LOST
    try:
        adapter, account = _find_sender(runtime, adapters, attempt)
    except GatewayError as error:
        on_fault(error)
        return await settle_error(runtime, attempt, error)
    parts = split_message(adapter, attempt.message)
    # Where callbacks have told of all of them, the last one's receipt is what was told.
    missing = [part for part in parts if part.part not in attempt.receipts] or [parts[-1]]
    for part in missing:
        try:
            receipt = await _find_or_send(runtime, adapter, account, attempt, part, downloads)
        except GatewayError as error:
            on_fault(error)
            return await settle_error(runtime, attempt, error, part)
        if isinstance(receipt, SendResult):
            return receipt
        if part is missing[-1]:
            await settle_sent(runtime, attempt, part, receipt)
        elif await settle_part(runtime, attempt, part, receipt):
            attempt = attempt.after(part, receipt)
        else:
            return SendResult.LOST
    return SendResult.SENT


def _find_sender(
    runtime: Runtime, adapters: Mapping[str, ChannelAdapter], attempt: Attempt
) -> tuple[ChannelAdapter, ChannelAccount]:
    """Raises AttemptsExhausted or BadCredentials."""
    if attempt.claimed.attempts > _MOST_CLAIMS:
        raise AttemptsExhausted
    adapter = adapters.get(attempt.row.provider)
    if adapter is None:
        # An account of a later release, or of a channel that was taken out: no try will ever find its adapter.
        raise BadCredentials(f"This release has no channel named {attempt.row.provider}.")
    return adapter, open_account(runtime, attempt.claimed.distributor_id, attempt.row)


async def _find_or_send(
    runtime: Runtime,
    adapter: ChannelAdapter,
    account: ChannelAccount,
    attempt: Attempt,
    part: OutboundMessage,
    downloads: DownloadSource | None,
) -> SendReceipt | SendResult:
    """The receipt of an earlier attempt, else of this one; or how the attempt ended without being made. Raises
    GatewayError.
    """
    known = attempt.receipts.get(part.part)
    if known is not None:
        return SendReceipt(known)
    if attempt.unknown_since is not None:
        receipt = await find_earlier(adapter, account, attempt, part, attempt.unknown_since)
        if receipt is not None:
            return receipt
        due_at = may_try_again_at(adapter, attempt, attempt.unknown_since, runtime.clock())
        if due_at is not None:
            await postpone(runtime, attempt.claimed, due_at=due_at, refused=False, counts=False)
            return SendResult.POSTPONED
    if downloads is not None:
        part = await with_files(downloads, attempt.claimed.distributor_id, part)
    ended = await _start(runtime, attempt, part)
    return await adapter.send(account, part) if ended is None else ended


async def _load(runtime: Runtime, claimed: ClaimedSend) -> Attempt | None:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await sends.find_send(connection, claimed.message_id, claimed.lease_token)
        if row is None:
            return None
        files = await sends.list_attachments(connection, row.message_id)
        receipts = await sends.list_part_receipts(connection, row.message_id) if row.parts > 1 else {}
        foreign: frozenset[str] = frozenset()
        if row.started_at is not None:
            foreign = await sends.list_known_provider_ids(connection, row.conversation_id, row.message_id)
        attachments = tuple(Attachment(file.url, file.content_type, file.filename) for file in files)
        plain = _outbound(runtime, row, attachments)
        message = await in_thread(connection, runtime, claimed.distributor_id, row, plain)
    return Attempt(claimed, row, message, receipts, row.started_at, foreign)


def _outbound(runtime: Runtime, row: SendRow, attachments: tuple[Attachment, ...]) -> OutboundMessage:
    return OutboundMessage(
        id=row.message_id,
        channel=Channel(row.channel),
        recipient=row.address,
        text=row.text,
        status_url=f"{runtime.public_url}/in/{row.provider}/{row.channel_account_id}/status",
        attachments=attachments,
        template=read_template(row.type, row.metadata),
        buttons=read_buttons(row.metadata),
    )


async def _start(runtime: Runtime, attempt: Attempt, part: OutboundMessage) -> SendResult | None:
    """The gate, the place in the account's rate and the mark that a part leaves, in one transaction; None when it may
    leave. LOST when the lease is, or a callback has settled the message; POSTPONED when the account has no place now: then
    the message keeps its own in line. Raises PolicyError or BadCredentials.
    """
    now, claimed = runtime.clock(), attempt.claimed
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await sends.find_send(connection, claimed.message_id, claimed.lease_token)
        if row is None:
            return SendResult.LOST
        if row.account_deleted_at is not None:
            raise BadCredentials("The channel account was deleted.")
        check_may_send(
            attempt.channel,
            opted_out_at=row.opted_out_at,
            last_inbound_at=row.last_inbound_at,
            now=now,
            approved=part.template is not None,
        )
        started = await sends.start_send(
            connection,
            row.message_id,
            claimed.lease_token,
            rank=status_rank(attempt.channel, MessageStatus.SENDING),
            now=now,
            lease_until=now + SEND_LEASE,
            parts=part.parts,
            interval=timedelta(seconds=1 / rate_of(row, now)),
            latest=now + AHEAD,
        )
        if started.held and not started.started:
            await sends.postpone_send(
                connection,
                row.message_id,
                claimed.lease_token,
                due_at=None,
                refused=False,
                counts=False,
                now=now,
            )
            return SendResult.POSTPONED
    return None if started.started else SendResult.LOST
