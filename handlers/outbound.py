"""Messages to customers: rows first, then one careful attempt after another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    SendReceipt,
    SentLookup,
)
from channels.errors import (
    AttemptsExhausted,
    BadCredentials,
    GatewayError,
    InvalidInput,
    NotFound,
    OptedOut,
    OutcomeUnknown,
    Temporary,
)
from db import sends, turns
from db.lanes import ClaimedSend
from db.sends import SendRow, SettledSend
from db.tenant import Connection
from handlers.consent import check_may_send
from handlers.fetching import open_account
from handlers.runtime import Runtime
from handlers.statuses import apply_parked, status_rank
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell

# Waits in seconds after a fault that may pass; one attempt more than there are waits.
_RETRY_SECONDS = (2.0, 10.0, 60.0, 300.0, 900.0)
_LONGEST_WAIT = 3600.0  # whatever a provider asks for
# Claims of one message, those included that ended without a result (a crash, a fault of ours): then it is given up.
_MOST_CLAIMS = 12
# Longer than any one call to a provider (10 s) with room for the database; renewed before the request leaves.
SEND_LEASE = timedelta(seconds=20)
# Twilio, "Send a message": a longer body is refused (21617). Mails have no limit.
_LONGEST_TEXTS: Mapping[Channel, int] = MappingProxyType({Channel.SMS: 1600, Channel.WHATSAPP: 1600})
_SENT = MessageStatus.SENT


class SendResult(StrEnum):
    """How a claimed send ended."""

    SENT = "sent"
    POSTPONED = "postponed"
    FAILED = "failed"
    LOST = "lost"  # the lease went to another worker, or a callback settled the message


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A message that is to leave now, and which ids at the provider are other messages'."""

    row: SendRow
    message: OutboundMessage
    known_ids: frozenset[str]


async def queue_message(
    runtime: Runtime,
    distributor_id: UUID,
    conversation_id: UUID,
    *,
    text: str,
    attachments: Sequence[Attachment] = (),
) -> UUID:
    """A person's message to a conversation, stored QUEUED; the send lane sends it. Raises NotFound, OptedOut
    or WindowClosed.
    """
    now, message_id = runtime.clock(), runtime.new_id()
    async with runtime.database.tenant(distributor_id) as connection:
        target = await sends.find_reply_target(connection, conversation_id)
        if target is None:
            raise NotFound
        channel = Channel(target.channel)
        if len(text) > _LONGEST_TEXTS.get(channel, len(text)):
            raise InvalidInput(f"A text may have {_LONGEST_TEXTS[channel]} characters.", field="text")
        check_may_send(
            channel, opted_out_at=target.opted_out_at, last_inbound_at=target.last_inbound_at, now=now
        )
        await sends.queue_message(
            connection,
            conversation_id,
            message_id,
            type=MessageType.FILE if attachments and not text else MessageType.TEXT,
            status_rank=status_rank(channel, MessageStatus.QUEUED),
            text=text,
            turn_message_id=None,
            metadata={},
            now=now,
        )
        rows = [_attachment_row(runtime, position, file) for position, file in enumerate(attachments, 1)]
        await sends.insert_attachments(connection, message_id, rows, now)
    return message_id


def _attachment_row(runtime: Runtime, position: int, file: Attachment) -> dict[str, Any]:
    return {
        "id": runtime.new_id(),
        "position": position,
        "url": file.url,
        "content_type": file.content_type,
        "filename": file.filename,
    }


async def send_message(
    runtime: Runtime, adapters: Mapping[str, ChannelAdapter], claimed: ClaimedSend
) -> SendResult:
    """Makes one attempt at a claimed message.

    The attempt is on record before it leaves. One whose outcome is unknown (a crash, or a time-out after the
    request left) is looked up at the provider before a second try. Retries follow from the type of the
    error. Raises DatabaseUnavailable.
    """
    attempt = await _load(runtime, claimed)
    if attempt is None:
        return SendResult.LOST
    try:
        receipt = await _find_or_send(runtime, adapters, claimed, attempt)
    except GatewayError as error:
        return await _settle_error(runtime, claimed, attempt, error)
    await _settle_receipt(runtime, claimed, attempt, receipt)
    return SendResult.SENT


async def _find_or_send(
    runtime: Runtime, adapters: Mapping[str, ChannelAdapter], claimed: ClaimedSend, attempt: _Attempt
) -> SendReceipt:
    """The receipt of an earlier attempt, else of this one; raises GatewayError."""
    if claimed.attempts > _MOST_CLAIMS:
        raise AttemptsExhausted
    adapter = adapters.get(attempt.row.provider)
    if adapter is None:
        # An account of a later release, or of a channel that was taken out: no try will ever find its adapter.
        raise BadCredentials(f"This release has no channel named {attempt.row.provider}.")
    account = open_account(runtime, claimed.distributor_id, attempt.row)
    receipt = await _find_earlier(adapter, account, attempt)
    if receipt is None:
        await _start(runtime, claimed)
        receipt = await adapter.send(account, attempt.message)
    return receipt


async def _load(runtime: Runtime, claimed: ClaimedSend) -> _Attempt | None:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await sends.find_send(connection, claimed.message_id, claimed.lease_token)
        if row is None:
            return None
        files = await sends.list_attachments(connection, row.message_id)
        known: frozenset[str] = frozenset()
        if row.started_at is not None:
            known = await sends.list_known_provider_ids(connection, row.conversation_id, row.message_id)
    attachments = tuple(Attachment(file.url, file.content_type, file.filename) for file in files)
    return _Attempt(row, _outbound(runtime, row, attachments), known)


def _outbound(runtime: Runtime, row: SendRow, attachments: tuple[Attachment, ...]) -> OutboundMessage:
    return OutboundMessage(
        id=row.message_id,
        channel=Channel(row.channel),
        recipient=row.address,
        text=row.text,
        status_url=f"{runtime.public_url}/in/{row.provider}/{row.channel_account_id}/status",
        attachments=attachments,
    )


async def _find_earlier(
    adapter: ChannelAdapter, account: ChannelAccount, attempt: _Attempt
) -> SendReceipt | None:
    """What the provider has of an earlier attempt whose outcome nobody knows."""
    since = attempt.row.started_at
    if since is None or not isinstance(adapter, SentLookup):
        return None
    try:
        return await adapter.find_sent(account, attempt.message, since, attempt.known_ids)
    except Temporary as error:
        # Not being able to ask leaves the outcome as unknown as it was.
        raise OutcomeUnknown(retry_after=error.retry_after) from error


async def _start(runtime: Runtime, claimed: ClaimedSend) -> None:
    """The gate, and the mark that an attempt leaves, in one transaction; raises PolicyError or
    BadCredentials.
    """
    now = runtime.clock()
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await sends.find_send(connection, claimed.message_id, claimed.lease_token)
        if row is None:
            raise OutcomeUnknown("The lease was lost.")
        if row.account_deleted_at is not None:
            raise BadCredentials("The channel account was deleted.")
        channel = Channel(row.channel)
        check_may_send(channel, opted_out_at=row.opted_out_at, last_inbound_at=row.last_inbound_at, now=now)
        started = await sends.start_send(
            connection,
            row.message_id,
            claimed.lease_token,
            rank=status_rank(channel, MessageStatus.SENDING),
            now=now,
            lease_until=now + SEND_LEASE,
        )
        if not started:
            raise OutcomeUnknown("The lease was lost.")


async def _settle_receipt(
    runtime: Runtime, claimed: ClaimedSend, attempt: _Attempt, receipt: SendReceipt
) -> None:
    now = runtime.clock()
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        settled = await sends.settle_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            status=_SENT,
            rank=status_rank(Channel(attempt.row.channel), _SENT),
            provider_message_id=receipt.provider_message_id,
            error_code=None,
            sent_at=now,
            due_at=None,
            now=now,
        )
        if settled is None:
            return
        await _add_history(connection, runtime, settled, _SENT, receipt.provider_status, None)
        if settled.first_sent:
            more = {"provider_message_id": receipt.provider_message_id, "address": attempt.row.address}
            await _tell(connection, runtime, claimed.distributor_id, EventType.MESSAGE_SENT, settled, more)
    account_id = attempt.row.channel_account_id
    await apply_parked(runtime, claimed.distributor_id, account_id, receipt.provider_message_id)


async def _settle_error(
    runtime: Runtime, claimed: ClaimedSend, attempt: _Attempt, error: GatewayError
) -> SendResult:
    """A fault that may pass is tried again later; everything else ends the message as FAILED."""
    attempts = claimed.attempts
    if isinstance(error, Temporary) and attempts <= len(_RETRY_SECONDS):
        # A refusal speaks for this attempt only: an earlier one of unknown outcome is asked after all the same.
        nothing_left = attempt.row.started_at is None and not isinstance(error, OutcomeUnknown)
        await _postpone(runtime, claimed, error, _RETRY_SECONDS[attempts - 1], nothing_left=nothing_left)
        return SendResult.POSTPONED
    await _fail(runtime, claimed, attempt, error)
    return SendResult.FAILED


async def _postpone(
    runtime: Runtime, claimed: ClaimedSend, error: Temporary, wait: float, *, nothing_left: bool
) -> None:
    now = runtime.clock()
    due_at = now + timedelta(seconds=min(max(wait, error.retry_after or 0), _LONGEST_WAIT))
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        await sends.postpone_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            due_at=due_at,
            nothing_left=nothing_left,
            now=now,
        )


async def _fail(runtime: Runtime, claimed: ClaimedSend, attempt: _Attempt, error: GatewayError) -> None:
    now = runtime.clock()
    failed = MessageStatus.FAILED
    code = error.provider_code or error.code
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        settled = await sends.settle_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            status=failed,
            rank=status_rank(Channel(attempt.row.channel), failed),
            provider_message_id=None,
            error_code=code,
            sent_at=None,
            due_at=None,
            now=now,
        )
        if settled is None or not settled.applied:
            return
        await _add_history(connection, runtime, settled, failed, "", code)
        more = {"error_code": error.provider_code, "reason": error.code, "address": attempt.row.address}
        await _tell(connection, runtime, claimed.distributor_id, EventType.MESSAGE_FAILED, settled, more)
        if isinstance(error, OptedOut) and error.provider_code:
            await _learn_opt_out(connection, runtime, claimed.distributor_id, settled)


async def _learn_opt_out(
    connection: Connection, runtime: Runtime, distributor_id: UUID, settled: SettledSend
) -> None:
    """The provider knows of a STOP that never reached us."""
    contact = await turns.set_opted_out(connection, settled.conversation_id, runtime.clock())
    if contact is None:
        return
    data = {
        "customer_id": settled.customer_id,
        "conversation_id": settled.conversation_id,
        "channel": settled.channel,
        "address": contact[0],
        "display_name": contact[1],
    }
    await tell(
        connection,
        runtime,
        distributor_id,
        EventType.CUSTOMER_OPTED_OUT,
        data,
        conversation_id=settled.conversation_id,
    )


async def _add_history(
    connection: Connection,
    runtime: Runtime,
    settled: SettledSend,
    status: MessageStatus,
    provider_status: str,
    error_code: str | None,
) -> None:
    await sends.insert_status_event(
        connection,
        runtime.new_id(),
        settled.id,
        status=status,
        provider_status=provider_status,
        error_code=error_code,
        applied=settled.applied,
        now=runtime.clock(),
    )


async def _tell(
    connection: Connection,
    runtime: Runtime,
    distributor_id: UUID,
    event_type: EventType,
    settled: SettledSend,
    more: dict[str, Any],
) -> None:
    data = {
        "message_id": settled.id,
        "conversation_id": settled.conversation_id,
        "customer_id": settled.customer_id,
        "channel": settled.channel,
        "type": settled.type,
        "status": settled.status,
        "text": settled.text,
        **more,
    }
    await tell(connection, runtime, distributor_id, event_type, data, conversation_id=settled.conversation_id)
