"""What one turn leaves behind, in one transaction: reply, record, events, and the end of the burst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from channels.base import Channel, MessageStatus, MessageType
from db import sends, turns
from db.events import record_events
from db.lanes import ClaimedTurn
from db.orders import OrderRow
from db.tenant import Connection
from db.turns import BurstMessage, ResponseRow, TurnRow
from handlers.ai.types import Catalogue, Extraction, Intent, Usage
from handlers.consent import is_help_word
from handlers.handoff import REASONS, Handoff, HandoffReason, answers_by_itself
from handlers.loops import would_loop
from handlers.orders import (
    Draft,
    OrderChange,
    OrderContext,
    OrderOutcome,
    apply_extraction,
    shown_order,
)
from handlers.replies import Reply, render_reply
from handlers.runtime import Runtime
from handlers.statuses import status_rank
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row

_FILES = frozenset({MessageType.IMAGE, MessageType.AUDIO, MessageType.VIDEO, MessageType.FILE})
# What is answered where no order changed. Advertising and automatic mail (OTHER) and a wish for silence get
# no answer.
_PLAIN_REPLIES: Mapping[Intent, Reply] = MappingProxyType(
    {
        Intent.BUY: Reply.NOT_FOUND,
        Intent.MODIFY: Reply.NOT_FOUND,
        Intent.CONFIRM: Reply.NO_ORDER,
        Intent.CANCEL: Reply.CANCEL_REQUESTED,
        Intent.GREETING: Reply.GREETING,
        Intent.QUESTION: Reply.QUESTION,
        Intent.FOLLOW_UP: Reply.QUESTION,
        Intent.HANDOFF: Reply.HANDOFF,
        Intent.COMPLAINT: Reply.HANDOFF,
    }
)
_ORDER_REPLIES: Mapping[OrderChange, Reply] = MappingProxyType(
    {
        OrderChange.CREATED: Reply.SUMMARY,
        OrderChange.UPDATED: Reply.SUMMARY,
        OrderChange.CONFIRMED: Reply.CONFIRMED,
        OrderChange.CONSENTED: Reply.CONFIRMED_REVIEW,
        OrderChange.CANCELLED: Reply.CANCELLED,
    }
)

_NO = frozenset({"no", "nop", "nope", "não", "nao"})
# A customer's yes can only be about what one of these showed them.
_SHOWS_LINES = frozenset({Reply.SUMMARY, Reply.REVIEW})


@dataclass(frozen=True, slots=True)
class Burst:
    """A claimed burst and all that was read for it; ``handoff`` is the conversation's under the lock, ``waits_for`` why it
    waits for a person, if it does.
    """

    claimed: ClaimedTurn
    row: TurnRow
    messages: tuple[BurstMessage, ...]
    draft: Draft | None
    catalogue: Catalogue
    handoff: str
    waits_for: str | None = None

    @property
    def last_message_id(self) -> UUID:
        return self.messages[-1].id

    @property
    def written_at(self) -> datetime:
        """When the customer began it."""
        return self.messages[0].created_at

    @property
    def is_with_bot(self) -> bool:
        return answers_by_itself(self.handoff, self.waits_for)


@dataclass(frozen=True, slots=True)
class Understood:
    """The engine's answer and how long it took."""

    extraction: Extraction
    processing_ms: int


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """The engine's name, the kind of its failure, how long it took and what it cost all the same."""

    engine: str
    error_class: str
    processing_ms: int
    usage: Usage


async def store_understood(
    connection: Connection, runtime: Runtime, burst: Burst, understood: Understood
) -> None:
    """Order, reply, record, events and consent of a burst; the caller holds the conversation's lock."""
    extraction = understood.extraction
    outcome = await apply_extraction(connection, runtime, _order_context(burst), extraction)
    loops = await _queue_reply(connection, runtime, burst, extraction, outcome)
    reason = _handoff_reason(extraction, outcome, loops=loops) if burst.is_with_bot else None
    response = _completed_response(runtime, burst, understood)
    await turns.save_response(connection, _noting(response, reason))
    await record_events(connection, _understood_events(runtime, burst, understood, outcome, reason))
    if extraction.intent is Intent.OPT_OUT:
        await _record_opt_out(connection, runtime, burst)
    await _finish(
        connection, runtime, burst, language=extraction.language, asks_for_person=reason is not None
    )


def _handoff_reason(extraction: Extraction, outcome: OrderOutcome, *, loops: bool) -> HandoffReason | None:
    """Why a person is asked for. Without an open order a wish to cancel is about one that was placed, perhaps a minute
    ago, perhaps already packed: that is for a person to decide, not for code, and not to be passed over.
    """
    if loops:
        return HandoffReason.LOOP  # whatever was asked: it must end the answers
    if extraction.intent is Intent.CANCEL and outcome.change is OrderChange.NONE:
        return HandoffReason.CANCEL_REQUESTED
    return REASONS.get(extraction.intent)


def _noting(response: ResponseRow, reason: HandoffReason | None) -> ResponseRow:
    """The response with why a person is asked for: later turns and people look there."""
    if reason is None:
        return response
    return replace(response, extracted_data={**response.extracted_data, "handoff_reason": reason})


async def store_not_understood(
    connection: Connection, runtime: Runtime, burst: Burst, failure: NotUnderstood
) -> None:
    """The messages stay, a person is asked, and the failure is on record; the caller holds the lock."""
    reason = HandoffReason.ENGINE_ERROR if burst.is_with_bot else None
    await turns.save_response(connection, _noting(_failed_response(runtime, burst, failure), reason))
    data = {**_ai_data(burst, failure.engine, failure.processing_ms), "error_class": failure.error_class}
    events = [_event(runtime, burst, EventType.AI_FAILED, data)]
    if reason:
        events.append(_handoff_event(runtime, burst, reason))
    await record_events(connection, events)
    await _finish(connection, runtime, burst, language=None, asks_for_person=reason is not None)


async def save_bill(
    connection: Connection, runtime: Runtime, burst: Burst, result: Understood | NotUnderstood
) -> None:
    """Records what the engine cost where its result is not used: the burst went on, or another worker has it."""
    response = (
        _completed_response(runtime, burst, result)
        if isinstance(result, Understood)
        else _failed_response(runtime, burst, result)
    )
    if response.input_tokens or response.cost_micro_usd:
        await turns.add_bill(connection, response)


def _order_context(burst: Burst) -> OrderContext:
    return OrderContext(
        distributor_id=burst.claimed.distributor_id,
        conversation_id=burst.row.conversation_id,
        customer_id=burst.row.customer_id,
        channel=burst.row.channel,
        currency=burst.row.currency,
        threshold=burst.row.ai_confidence_threshold,
        source_message_id=burst.last_message_id,
        may_answer=may_reply(burst),
        written_at=burst.written_at,
    )


async def _queue_reply(
    connection: Connection, runtime: Runtime, burst: Burst, extraction: Extraction, outcome: OrderOutcome
) -> bool:
    """Queues the one reply of this burst, if the tenant and the customer let us. True: it was kept back, for it would be
    one too many.
    """
    kind = await _choose_reply(connection, burst, extraction, outcome)
    if kind is None or not may_reply(burst):
        return False
    draft = outcome.draft
    order, lines = (draft.order, draft.lines) if draft else (None, ())
    text = render_reply(
        kind,
        extraction.language,
        order,
        lines,
        extraction.unmatched,
        replaced=outcome.replaced,
        tenant=burst.row.tenant,
    )
    channel = Channel(burst.row.channel)
    if await would_loop(connection, runtime, channel, burst.row.conversation_id, text):
        return True
    await sends.queue_message(
        connection,
        burst.row.conversation_id,
        runtime.new_id(),
        type=MessageType.TEXT,
        status_rank=status_rank(channel, MessageStatus.QUEUED),
        text=text,
        turn_message_id=burst.last_message_id,
        metadata=_noted(kind, order),
        now=runtime.clock(),
    )
    return False


def may_reply(burst: Burst) -> bool:
    """Whether the burst may be answered by itself: the tenant, the customer and whoever took over let us."""
    return burst.is_with_bot and burst.row.auto_reply != "off" and burst.row.opted_out_at is None


async def _choose_reply(
    connection: Connection, burst: Burst, extraction: Extraction, outcome: OrderOutcome
) -> Reply | None:
    """The answer's kind; what to change is asked once about an order, and not at every "no"."""
    kind = _reply_kind(burst, extraction, outcome)
    if kind is not Reply.WHAT_TO_CHANGE or burst.draft is None:
        return kind
    asked = await sends.was_shown(
        connection, burst.row.conversation_id, _noted(kind, burst.draft.order), burst.written_at
    )
    return None if asked else kind


def _noted(kind: Reply, order: OrderRow | None) -> dict[str, Any]:
    """What a reply keeps of the order that it is about."""
    if order is None:
        return {}
    if kind is Reply.WHAT_TO_CHANGE:
        return {"asks_about": str(order.id)}
    return shown_order(order) if kind in _SHOWS_LINES else {}


def _reply_kind(burst: Burst, extraction: Extraction, outcome: OrderOutcome) -> Reply | None:
    if outcome.draft is not None and outcome.change is not OrderChange.NONE:
        kind = _ORDER_REPLIES[outcome.change]
        return Reply.REVIEW if kind is Reply.SUMMARY and outcome.draft.order.requires_review else kind
    if all(is_help_word(item.text) for item in burst.messages):
        return Reply.HELP
    if extraction.intent is Intent.OTHER and any(MessageType(item.type) in _FILES for item in burst.messages):
        return Reply.TEXT_ONLY
    if extraction.intent is Intent.OTHER and burst.draft and _is_bare_no(burst):
        return Reply.WHAT_TO_CHANGE
    return _PLAIN_REPLIES.get(extraction.intent)


def _is_bare_no(burst: Burst) -> bool:
    """To the question whether to confirm: not this order, but perhaps another."""
    return all(item.text.strip(" .!\n").casefold() in _NO for item in burst.messages)


def _completed_response(runtime: Runtime, burst: Burst, understood: Understood) -> ResponseRow:
    extraction, usage = understood.extraction, understood.extraction.usage
    return ResponseRow(
        id=runtime.new_id(),
        message_id=burst.last_message_id,
        conversation_id=burst.row.conversation_id,
        status="COMPLETED",
        engine=extraction.engine,
        engine_version=extraction.version,
        model=extraction.model,
        intent=extraction.intent,
        language=extraction.language,
        confidence=Decimal(str(round(extraction.confidence, 3))),
        extracted_data=_extracted_data(extraction, burst.messages),
        error_class=None,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        cost_micro_usd=usage.cost_micro_usd,
        request_id=usage.request_id,
        processing_ms=understood.processing_ms,
        created_at=runtime.clock(),
    )


def _failed_response(runtime: Runtime, burst: Burst, failure: NotUnderstood) -> ResponseRow:
    return ResponseRow(
        id=runtime.new_id(),
        message_id=burst.last_message_id,
        conversation_id=burst.row.conversation_id,
        status="FAILED",
        engine=failure.engine,
        engine_version="",
        model=None,
        intent=None,
        language=None,
        confidence=None,
        extracted_data={"message_ids": [str(message.id) for message in burst.messages]},
        error_class=failure.error_class,
        input_tokens=failure.usage.input_tokens,
        cached_tokens=failure.usage.cached_tokens,
        output_tokens=failure.usage.output_tokens,
        cost_micro_usd=failure.usage.cost_micro_usd,
        request_id=failure.usage.request_id,
        processing_ms=failure.processing_ms,
        created_at=runtime.clock(),
    )


def _extracted_data(extraction: Extraction, messages: Sequence[BurstMessage]) -> dict[str, Any]:
    return {
        "message_ids": [str(message.id) for message in messages],
        "operations": [
            {
                "kind": operation.kind,
                "sku": operation.sku,
                "quantity": None if operation.quantity is None else str(operation.quantity),
                "confidence": round(operation.confidence, 3),
                "band": operation.band,
                "span": operation.span,
                "parts": operation.parts,
            }
            for operation in extraction.operations
        ],
        "unmatched": list(extraction.unmatched),
        "delivery_date": extraction.delivery_date.isoformat() if extraction.delivery_date else None,
    }


def _understood_events(
    runtime: Runtime,
    burst: Burst,
    understood: Understood,
    outcome: OrderOutcome,
    reason: HandoffReason | None,
) -> list[dict[str, Any]]:
    extraction = understood.extraction
    data = {
        **_ai_data(burst, extraction.engine, understood.processing_ms),
        "intent": extraction.intent,
        "language": extraction.language,
        "confidence": extraction.confidence,
        "order_id": outcome.draft.order.id if outcome.draft else None,
        "unmatched": extraction.unmatched,
    }
    completed = _event(runtime, burst, EventType.AI_COMPLETED, data)
    return [completed, *([_handoff_event(runtime, burst, reason)] if reason else [])]


def _ai_data(burst: Burst, engine: str, processing_ms: int) -> dict[str, Any]:
    return {
        **_party(burst),
        "message_id": burst.last_message_id,
        "engine": engine,
        "processing_ms": processing_ms,
    }


def _party(burst: Burst) -> dict[str, Any]:
    return {
        "conversation_id": burst.row.conversation_id,
        "customer_id": burst.row.customer_id,
        "channel": burst.row.channel,
    }


def _handoff_event(runtime: Runtime, burst: Burst, reason: HandoffReason) -> dict[str, Any]:
    data = {**_party(burst), "reason": reason, "message_id": burst.last_message_id}
    return _event(runtime, burst, EventType.CONVERSATION_HANDOFF_REQUESTED, data)


def _event(runtime: Runtime, burst: Burst, event_type: EventType, data: dict[str, Any]) -> dict[str, Any]:
    return new_event_row(
        runtime, burst.claimed.distributor_id, event_type, data, conversation_id=burst.row.conversation_id
    )


async def _record_opt_out(connection: Connection, runtime: Runtime, burst: Burst) -> None:
    """A wish in a sentence ("please stop writing to me") counts like the keyword, from when it was written: a START
    that came while the burst was waiting or being read is the newer word.
    """
    said_at = burst.messages[-1].created_at
    contact = await turns.set_opted_out(connection, burst.row.conversation_id, said_at, "keyword")
    if contact is not None:
        data = {**_party(burst), "address": contact[0], "display_name": contact[1]}
        await record_events(connection, [_event(runtime, burst, EventType.CUSTOMER_OPTED_OUT, data)])


async def _finish(
    connection: Connection, runtime: Runtime, burst: Burst, *, language: str | None, asks_for_person: bool
) -> None:
    await turns.finish_turn(
        connection,
        burst.row.conversation_id,
        [message.id for message in burst.messages],
        language=language,
        handoff=Handoff.WAITING_HUMAN if asks_for_person else None,
        now=runtime.clock(),
    )
