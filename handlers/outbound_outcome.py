"""What becomes of an attempt: its receipt or its fault, on the message, in its history and in events."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from channels.base import Channel, MessageStatus, OutboundMessage, SendReceipt
from channels.errors import (
    GatewayError,
    OptedOut,
    OutcomeUnknown,
    RecipientThrottled,
    Temporary,
    Throttled,
)
from db import mails, sends, turns
from db.lanes import ClaimedSend
from db.sends import SendRow, SettledSend
from db.tenant import Connection
from handlers.handoff import HandoffReason
from handlers.runtime import Runtime
from handlers.send_rates import current_rate, slower, usual_rate
from handlers.statuses import apply_parked, status_rank
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell

# Waits in seconds after a fault that may pass; one attempt more than there are waits.
_RETRY_SECONDS = (2.0, 10.0, 60.0, 300.0, 900.0)
_LONGEST_WAIT = 3600.0  # whatever a provider asks for
# How old a message may be and still wait for a provider that asks to slow down; Twilio keeps its own queue as long.
_LONGEST_THROTTLING = timedelta(hours=4)
_SENT = MessageStatus.SENT


class SendResult(StrEnum):
    """How a claimed send ended."""

    SENT = "sent"
    POSTPONED = "postponed"
    FAILED = "failed"
    LOST = "lost"  # the lease went to another worker, or a callback settled the message


@dataclass(frozen=True, slots=True)
class Attempt:
    """A message that is to leave now: what is known to have left of it, since when something of it is on its way with
    nobody knowing whether it arrived, and which ids at the provider are other messages'.
    """

    claimed: ClaimedSend
    row: SendRow
    message: OutboundMessage
    receipts: dict[int, str]
    unknown_since: datetime | None
    foreign_ids: frozenset[str]

    @property
    def known_ids(self) -> frozenset[str]:
        return self.foreign_ids | frozenset(self.receipts.values())

    @property
    def channel(self) -> Channel:
        return Channel(self.row.channel)

    def after(self, part: OutboundMessage, receipt: SendReceipt) -> "Attempt":
        """The attempt once that part has left."""
        receipts = {**self.receipts, part.part: receipt.provider_message_id}
        return replace(self, receipts=receipts, unknown_since=None)


async def settle_part(
    runtime: Runtime, attempt: Attempt, part: OutboundMessage, receipt: SendReceipt
) -> bool:
    """Records one part's receipt, others being still to leave; False when the lease is lost."""
    claimed, now = attempt.claimed, runtime.clock()
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        if not await sends.record_part(
            connection, claimed.message_id, claimed.lease_token, receipt.provider_message_id, now
        ):
            return False
        await _add_history(
            connection,
            runtime,
            claimed.message_id,
            _SENT,
            receipt.provider_status,
            None,
            part=part,
            provider_message_id=receipt.provider_message_id,
        )
    await _apply_parked(runtime, attempt, receipt)
    return True


async def settle_sent(
    runtime: Runtime, attempt: Attempt, part: OutboundMessage, receipt: SendReceipt
) -> None:
    """Records the receipt of the last part, and so of the message, whose id at the provider is its first part's."""
    claimed, now = attempt.claimed, runtime.clock()
    provider_id = attempt.receipts.get(1, receipt.provider_message_id)
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        if part.parts > 1:
            await sends.record_part(
                connection, claimed.message_id, claimed.lease_token, receipt.provider_message_id, now
            )
        settled = await sends.settle_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            status=_SENT,
            rank=status_rank(attempt.channel, _SENT),
            provider_message_id=provider_id,
            error_code=None,
            sent_at=now,
            due_at=None,
            now=now,
        )
        if settled is None:
            return
        if receipt.mail_message_id:
            await mails.name_mail(connection, settled.id, receipt.mail_message_id)
        await _add_history(
            connection,
            runtime,
            settled.id,
            _SENT,
            receipt.provider_status,
            None,
            applied=settled.applied,
            part=part,
            provider_message_id=receipt.provider_message_id,
        )
        if settled.first_sent:
            more = {"provider_message_id": provider_id, "address": attempt.row.address}
            await _tell(connection, runtime, claimed.distributor_id, EventType.MESSAGE_SENT, settled, more)
    await _apply_parked(runtime, attempt, receipt)


async def _apply_parked(runtime: Runtime, attempt: Attempt, receipt: SendReceipt) -> None:
    """What was told of the message before its id was known."""
    distributor_id, account_id = attempt.claimed.distributor_id, attempt.row.channel_account_id
    await apply_parked(runtime, distributor_id, account_id, receipt.provider_message_id)


async def settle_error(
    runtime: Runtime, attempt: Attempt, error: GatewayError, part: OutboundMessage | None = None
) -> SendResult:
    """A fault that may pass is tried again later; everything else ends the message as FAILED. ``part`` is what could
    not be sent, where it came to that.
    """
    if isinstance(error, Throttled) and runtime.clock() - attempt.row.created_at < _LONGEST_THROTTLING:
        await _wait_for_provider(runtime, attempt, error)
        return SendResult.POSTPONED
    attempts = attempt.claimed.attempts
    if isinstance(error, Temporary) and attempts <= len(_RETRY_SECONDS):
        wait = min(max(_RETRY_SECONDS[attempts - 1], error.retry_after or 0), _LONGEST_WAIT)
        # A refusal speaks for this attempt only: an earlier one of unknown outcome is asked after all the same.
        refused = not isinstance(error, OutcomeUnknown)
        due_at = runtime.clock() + timedelta(seconds=wait)
        await postpone(runtime, attempt.claimed, due_at=due_at, refused=refused, counts=True)
        return SendResult.POSTPONED
    await _fail(runtime, attempt, error, part)
    return SendResult.FAILED


async def _wait_for_provider(runtime: Runtime, attempt: Attempt, error: Throttled) -> None:
    """Nothing of the account is tried for a while, and then more slowly. The message keeps its place in line, and its
    attempts: it did nothing wrong. Where only its recipient is meant, it alone waits.
    """
    now, claimed = runtime.clock(), attempt.claimed
    rate, own_wait = slower(_usual(attempt.row), rate_of(attempt.row, now))
    until = now + timedelta(seconds=min(error.retry_after or own_wait, _LONGEST_WAIT))
    if isinstance(error, RecipientThrottled):
        await postpone(runtime, claimed, due_at=until, refused=True, counts=False)
        return
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        await sends.throttle_account(
            connection, attempt.row.channel_account_id, now=now, rate=rate, until=until
        )
    await postpone(runtime, claimed, due_at=None, refused=True, counts=False)


def _usual(row: SendRow) -> float:
    return usual_rate(row.provider, row.channel, row.account_settings)


def rate_of(row: SendRow, now: datetime) -> float:
    """Messages a second that the message's account may send now."""
    return current_rate(_usual(row), row.account_rate, row.throttled_until, now)


async def postpone(
    runtime: Runtime, claimed: ClaimedSend, *, due_at: datetime | None, refused: bool, counts: bool
) -> None:
    """Puts a claimed message off, as ``db.sends.postpone_send`` says."""
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        await sends.postpone_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            due_at=due_at,
            refused=refused,
            counts=counts,
            now=runtime.clock(),
        )


async def _fail(
    runtime: Runtime, attempt: Attempt, error: GatewayError, part: OutboundMessage | None
) -> None:
    claimed, now = attempt.claimed, runtime.clock()
    failed = MessageStatus.FAILED
    code = error.provider_code or error.code
    silences = isinstance(error, OptedOut) and bool(error.provider_code)
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        if silences:  # before the message, as everybody locks them
            await turns.lock_contact(connection, attempt.row.conversation_id)
        settled = await sends.settle_send(
            connection,
            claimed.message_id,
            claimed.lease_token,
            status=failed,
            rank=status_rank(attempt.channel, failed),
            provider_message_id=None,
            error_code=code,
            sent_at=None,
            due_at=None,
            now=now,
        )
        if settled is None or not settled.applied:
            return
        await _add_history(connection, runtime, settled.id, failed, "", code, part=part)
        # Before anything is told, which locks the conversation's numbers: whoever writes has the conversation first.
        asks = error.code == OutcomeUnknown.code and await sends.ask_for_person(
            connection, settled.conversation_id
        )
        more = {"error_code": error.provider_code, "reason": error.code, "address": attempt.row.address}
        await _tell(connection, runtime, claimed.distributor_id, EventType.MESSAGE_FAILED, settled, more)
        if silences:
            await _learn_opt_out(connection, runtime, claimed.distributor_id, settled)
        if asks:
            await _tell_asking(connection, runtime, claimed.distributor_id, settled)


async def _learn_opt_out(
    connection: Connection, runtime: Runtime, distributor_id: UUID, settled: SettledSend
) -> None:
    """The provider knows of a STOP that never reached us. The caller has locked the contact."""
    contact = await turns.set_opted_out(connection, settled.conversation_id, runtime.clock(), "provider")
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


async def _tell_asking(
    connection: Connection, runtime: Runtime, distributor_id: UUID, settled: SettledSend
) -> None:
    """Perhaps the customer has the message: a person finds out, code would send another copy."""
    data = {
        "conversation_id": settled.conversation_id,
        "customer_id": settled.customer_id,
        "channel": settled.channel,
        "reason": HandoffReason.OUTCOME_UNKNOWN,
        "message_id": settled.id,
    }
    await tell(
        connection,
        runtime,
        distributor_id,
        EventType.CONVERSATION_HANDOFF_REQUESTED,
        data,
        conversation_id=settled.conversation_id,
    )


async def _add_history(
    connection: Connection,
    runtime: Runtime,
    message_id: UUID,
    status: MessageStatus,
    provider_status: str,
    error_code: str | None,
    *,
    applied: bool = True,
    part: OutboundMessage | None = None,
    provider_message_id: str | None = None,
) -> None:
    await sends.insert_status_event(
        connection,
        runtime.new_id(),
        message_id,
        status=status,
        provider_status=provider_status,
        error_code=error_code,
        applied=applied,
        now=runtime.clock(),
        part=part.part if part is not None and part.parts > 1 else None,
        provider_message_id=provider_message_id,
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
