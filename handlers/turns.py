"""One AI turn per burst: understand outside any transaction, then order, reply, record and events in one."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from channels.base import Channel, MessageStatus, MessageType
from channels.errors import GatewayError, Temporary
from db import sends, turns
from db.events import record_events
from db.lanes import ClaimedTurn
from db.tenant import Connection
from db.turns import BurstMessage, TurnRow
from handlers.ai.types import AIEngine, Catalogue, Extraction, ExtractionRequest, Intent, Language
from handlers.catalogues import CatalogueCache
from handlers.orders import Draft, OrderChange, OrderContext, OrderOutcome, apply_extraction, find_draft
from handlers.replies import Reply, render_reply
from handlers.runtime import Runtime
from handlers.statuses import status_rank
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import new_event_row

# One turn reads at most so many messages; the rest of a flood is the next turn's.
BURST_LIMIT = 50
# Claims of one burst, crashes included, before it is given to a person.
MAX_ATTEMPTS = 5
_RETRY_SECONDS = (2.0, 10.0, 30.0, 60.0)
_FILES = frozenset({MessageType.IMAGE, MessageType.AUDIO, MessageType.VIDEO, MessageType.FILE})
_HANDOFF_INTENTS = {Intent.HANDOFF: "customer_asked", Intent.COMPLAINT: "complaint"}
_WAITING = "WAITING_HUMAN"
# What is answered where no order changed. Advertising and automatic mail (OTHER) and a wish for silence get
# no answer.
_PLAIN_REPLIES = {
    Intent.BUY: Reply.NOT_FOUND,
    Intent.MODIFY: Reply.NOT_FOUND,
    Intent.CONFIRM: Reply.NO_ORDER,
    Intent.CANCEL: Reply.NO_ORDER,
    Intent.GREETING: Reply.GREETING,
    Intent.QUESTION: Reply.QUESTION,
    Intent.FOLLOW_UP: Reply.QUESTION,
    Intent.HANDOFF: Reply.HANDOFF,
    Intent.COMPLAINT: Reply.HANDOFF,
}


class TurnResult(StrEnum):
    """How a claimed turn ended."""

    DONE = "done"
    SUPERSEDED = "superseded"  # a message arrived meanwhile: the burst goes on
    LOST = "lost"  # the lease went to another worker
    POSTPONED = "postponed"  # a fault that may pass
    FAILED = "failed"  # given to a person


@dataclass(frozen=True, slots=True)
class TurnTools:
    """What turns need beside the runtime; ``monotonic`` gives seconds for the processing time."""

    engine: AIEngine
    catalogues: CatalogueCache
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that was read before understanding."""

    claimed: ClaimedTurn
    row: TurnRow
    burst: tuple[BurstMessage, ...]
    draft: Draft | None
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class _Understood:
    """The engine's answer and how long it took."""

    extraction: Extraction
    processing_ms: int


async def run_turn(runtime: Runtime, tools: TurnTools, claimed: ClaimedTurn) -> TurnResult:
    """Handles one claimed burst. Idempotent: a crash anywhere leaves the lease to run out and the burst to
    be done anew.

    Raises DatabaseUnavailable; then the lease runs out too.
    """
    prepared = await _prepare(runtime, tools, claimed)
    if prepared is None:
        return TurnResult.LOST
    if claimed.attempts > MAX_ATTEMPTS:
        return await _give_up(runtime, tools, prepared, "attempts_exhausted", 0)
    started = tools.monotonic()
    try:
        extraction = await _understand(tools, prepared, runtime.clock())
    except Temporary as error:
        if claimed.attempts < MAX_ATTEMPTS:
            return await _postpone(runtime, prepared, error)
        return await _give_up(runtime, tools, prepared, error.code, _elapsed_ms(tools, started))
    except GatewayError as error:
        return await _give_up(runtime, tools, prepared, error.code, _elapsed_ms(tools, started))
    return await _commit(runtime, prepared, _Understood(extraction, _elapsed_ms(tools, started)))


def _elapsed_ms(tools: TurnTools, started: float) -> int:
    return round((tools.monotonic() - started) * 1000)


async def _prepare(runtime: Runtime, tools: TurnTools, claimed: ClaimedTurn) -> _Prepared | None:
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await turns.find_turn(connection, claimed.conversation_id, claimed.lease_token)
        if row is None:
            return None
        burst = await turns.list_burst(connection, claimed.conversation_id, BURST_LIMIT)
        if not burst:
            await turns.finish_turn(
                connection, row.conversation_id, [], language=None, handoff=None, now=runtime.clock()
            )
            return None
        draft = await find_draft(connection, row.conversation_id)
        catalogue = tools.catalogues.find(claimed.distributor_id, row.catalogue_version)
        products = None if catalogue else await turns.list_catalogue(connection)
    if products is not None:
        # Indexing ten thousand products takes a moment: not in the transaction, and not in the event loop.
        keep = tools.catalogues.keep
        catalogue = await asyncio.to_thread(keep, claimed.distributor_id, row.catalogue_version, products)
    assert catalogue is not None
    return _Prepared(claimed, row, tuple(burst), draft, catalogue)


async def _understand(tools: TurnTools, prepared: _Prepared, now: datetime) -> Extraction:
    texts = tuple(message.text for message in prepared.burst if message.text.strip())
    language = Language(prepared.row.language or prepared.row.locale)
    if not texts:
        return Extraction("none", "1", Intent.OTHER, language, (), (), None, 1.0)
    request = ExtractionRequest(
        texts=texts,
        catalogue=prepared.catalogue,
        draft=prepared.draft.as_extraction_input() if prepared.draft else (),
        now=now.astimezone(ZoneInfo(prepared.row.time_zone)),
        language_hint=language,
    )
    return await tools.engine.extract(request)


async def _postpone(runtime: Runtime, prepared: _Prepared, error: Temporary) -> TurnResult:
    wait = max(
        _RETRY_SECONDS[min(prepared.claimed.attempts, len(_RETRY_SECONDS)) - 1], error.retry_after or 0
    )
    async with runtime.database.tenant(prepared.claimed.distributor_id) as connection:
        due = runtime.clock() + timedelta(seconds=wait)
        await turns.release_turn(connection, prepared.row.conversation_id, prepared.row.lease_token, due)
    return TurnResult.POSTPONED


async def _commit(runtime: Runtime, prepared: _Prepared, understood: _Understood) -> TurnResult:
    """Stores what follows, unless a message arrived since or the lease is another's: then only the bill is
    kept.
    """
    async with runtime.database.tenant(prepared.claimed.distributor_id) as connection:
        state = await _check_lease(connection, prepared)
        if state is TurnResult.LOST:
            return state
        if state is TurnResult.SUPERSEDED:
            await _release_superseded(connection, runtime, prepared, understood)
            return state
        outcome = await apply_extraction(connection, runtime, _order_context(prepared), understood.extraction)
        await _answer(connection, runtime, prepared, understood.extraction, outcome)
        await _save_completed(connection, runtime, prepared, understood)
        await _tell(connection, runtime, prepared, understood, outcome)
        await _record_opt_out(connection, runtime, prepared, understood.extraction)
        await _finish(connection, runtime, prepared, understood.extraction)
    return TurnResult.DONE


async def _check_lease(connection: Connection, prepared: _Prepared) -> TurnResult | None:
    generation, lease_token = await turns.lock_turn(connection, prepared.row.conversation_id)
    if lease_token != prepared.claimed.lease_token:
        return TurnResult.LOST
    # Messages that arrived between the claim and the read are in the burst: the read counts, not the claim.
    return TurnResult.SUPERSEDED if generation != prepared.row.generation else None


async def _release_superseded(
    connection: Connection, runtime: Runtime, prepared: _Prepared, understood: _Understood
) -> None:
    if understood.extraction.usage.cost_micro_usd or understood.extraction.usage.input_tokens:
        await _save_completed(connection, runtime, prepared, understood)
    await turns.release_turn(
        connection, prepared.row.conversation_id, prepared.row.lease_token, runtime.clock()
    )


def _order_context(prepared: _Prepared) -> OrderContext:
    row = prepared.row
    return OrderContext(
        distributor_id=prepared.claimed.distributor_id,
        conversation_id=row.conversation_id,
        customer_id=row.customer_id,
        channel=row.channel,
        currency=row.currency,
        threshold=row.ai_confidence_threshold,
        source_message_id=prepared.burst[-1].id,
    )


async def _answer(
    connection: Connection,
    runtime: Runtime,
    prepared: _Prepared,
    extraction: Extraction,
    outcome: OrderOutcome,
) -> None:
    """Queues the one reply of this burst, if the tenant and the customer let us."""
    row = prepared.row
    kind = _reply_kind(prepared, extraction, outcome)
    if kind is None or row.auto_reply == "off" or row.handoff != "BOT" or row.opted_out_at is not None:
        return
    draft = outcome.draft
    await sends.queue_message(
        connection,
        row.conversation_id,
        runtime.new_id(),
        type=MessageType.TEXT,
        status_rank=status_rank(Channel(row.channel), MessageStatus.QUEUED),
        text=render_reply(
            kind,
            extraction.language,
            draft.order if draft else None,
            draft.lines if draft else (),
            extraction.unmatched,
        ),
        turn_message_id=prepared.burst[-1].id,
        now=runtime.clock(),
    )


def _reply_kind(prepared: _Prepared, extraction: Extraction, outcome: OrderOutcome) -> Reply | None:
    if outcome.change is not OrderChange.NONE:
        return _order_reply(outcome)
    if extraction.intent is Intent.OTHER and any(
        MessageType(message.type) in _FILES for message in prepared.burst
    ):
        return Reply.TEXT_ONLY
    return _PLAIN_REPLIES.get(extraction.intent)


def _order_reply(outcome: OrderOutcome) -> Reply:
    assert outcome.draft is not None
    review = outcome.draft.order.requires_review
    match outcome.change:
        case OrderChange.CONFIRMED:
            return Reply.CONFIRMED
        case OrderChange.CONSENTED:
            return Reply.CONFIRMED_REVIEW
        case OrderChange.CANCELLED:
            return Reply.CANCELLED
        case _:
            return Reply.REVIEW if review else Reply.SUMMARY


async def _save_completed(
    connection: Connection, runtime: Runtime, prepared: _Prepared, understood: _Understood
) -> None:
    extraction = understood.extraction
    await turns.save_response(
        connection,
        turns.ResponseRow(
            id=runtime.new_id(),
            message_id=prepared.burst[-1].id,
            conversation_id=prepared.row.conversation_id,
            status="COMPLETED",
            engine=extraction.engine,
            engine_version=extraction.version,
            model=extraction.model,
            intent=extraction.intent,
            language=extraction.language,
            confidence=Decimal(str(round(extraction.confidence, 3))),
            extracted_data=_extracted_data(extraction, prepared.burst),
            error_class=None,
            input_tokens=extraction.usage.input_tokens,
            cached_tokens=extraction.usage.cached_tokens,
            output_tokens=extraction.usage.output_tokens,
            cost_micro_usd=extraction.usage.cost_micro_usd,
            request_id=extraction.usage.request_id,
            processing_ms=understood.processing_ms,
            created_at=runtime.clock(),
        ),
    )


def _extracted_data(extraction: Extraction, burst: Sequence[BurstMessage]) -> dict[str, Any]:
    return {
        "message_ids": [str(message.id) for message in burst],
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


async def _tell(
    connection: Connection,
    runtime: Runtime,
    prepared: _Prepared,
    understood: _Understood,
    outcome: OrderOutcome,
) -> None:
    extraction = understood.extraction
    events = [
        _event(
            runtime,
            prepared,
            EventType.AI_COMPLETED,
            {
                **_ai_data(prepared, extraction.engine, understood.processing_ms),
                "intent": extraction.intent,
                "language": extraction.language,
                "confidence": extraction.confidence,
                "order_id": outcome.draft.order.id if outcome.draft else None,
                "unmatched": extraction.unmatched,
            },
        )
    ]
    reason = _HANDOFF_INTENTS.get(extraction.intent)
    if reason and prepared.row.handoff == "BOT":
        events.append(_handoff_event(runtime, prepared, reason))
    await record_events(connection, events)


def _ai_data(prepared: _Prepared, engine: str, processing_ms: int) -> dict[str, Any]:
    return {
        "message_id": prepared.burst[-1].id,
        "conversation_id": prepared.row.conversation_id,
        "customer_id": prepared.row.customer_id,
        "channel": prepared.row.channel,
        "engine": engine,
        "processing_ms": processing_ms,
    }


def _handoff_event(runtime: Runtime, prepared: _Prepared, reason: str) -> dict[str, Any]:
    data = {
        "conversation_id": prepared.row.conversation_id,
        "customer_id": prepared.row.customer_id,
        "channel": prepared.row.channel,
        "reason": reason,
        "message_id": prepared.burst[-1].id,
    }
    return _event(runtime, prepared, EventType.CONVERSATION_HANDOFF_REQUESTED, data)


def _event(
    runtime: Runtime, prepared: _Prepared, event_type: EventType, data: dict[str, Any]
) -> dict[str, Any]:
    return new_event_row(
        runtime,
        prepared.claimed.distributor_id,
        event_type,
        data,
        conversation_id=prepared.row.conversation_id,
    )


async def _record_opt_out(
    connection: Connection, runtime: Runtime, prepared: _Prepared, extraction: Extraction
) -> None:
    """A wish in a sentence ("please stop writing to me") counts like the keyword."""
    if extraction.intent is not Intent.OPT_OUT:
        return
    contact = await turns.set_opted_out(connection, prepared.row.conversation_id, runtime.clock())
    if contact is None:
        return
    address, display_name = contact
    data = {
        "customer_id": prepared.row.customer_id,
        "conversation_id": prepared.row.conversation_id,
        "channel": prepared.row.channel,
        "address": address,
        "display_name": display_name,
    }
    await record_events(connection, [_event(runtime, prepared, EventType.CUSTOMER_OPTED_OUT, data)])


async def _finish(
    connection: Connection, runtime: Runtime, prepared: _Prepared, extraction: Extraction
) -> None:
    await turns.finish_turn(
        connection,
        prepared.row.conversation_id,
        _message_ids(prepared),
        language=extraction.language,
        handoff=_WAITING if extraction.intent in _HANDOFF_INTENTS and prepared.row.handoff == "BOT" else None,
        now=runtime.clock(),
    )


def _message_ids(prepared: _Prepared) -> list[UUID]:
    return [message.id for message in prepared.burst]


async def _give_up(
    runtime: Runtime, tools: TurnTools, prepared: _Prepared, error_class: str, processing_ms: int
) -> TurnResult:
    """The engine cannot do it: the messages stay, a person is asked, and the failure is on record."""
    async with runtime.database.tenant(prepared.claimed.distributor_id) as connection:
        state = await _check_lease(connection, prepared)
        if state is TurnResult.LOST:
            return state
        await turns.save_response(
            connection, _failed_response(runtime, tools, prepared, error_class, processing_ms)
        )
        data = {**_ai_data(prepared, tools.engine.name, processing_ms), "error_class": error_class}
        events = [_event(runtime, prepared, EventType.AI_FAILED, data)]
        if prepared.row.handoff == "BOT":
            events.append(_handoff_event(runtime, prepared, "engine_error"))
        await record_events(connection, events)
        await turns.finish_turn(
            connection,
            prepared.row.conversation_id,
            _message_ids(prepared),
            language=None,
            handoff=_WAITING if prepared.row.handoff == "BOT" else None,
            now=runtime.clock(),
        )
    return TurnResult.FAILED


def _failed_response(
    runtime: Runtime, tools: TurnTools, prepared: _Prepared, error_class: str, processing_ms: int
) -> turns.ResponseRow:
    return turns.ResponseRow(
        id=runtime.new_id(),
        message_id=prepared.burst[-1].id,
        conversation_id=prepared.row.conversation_id,
        status="FAILED",
        engine=tools.engine.name,
        engine_version="",
        model=None,
        intent=None,
        language=None,
        confidence=None,
        extracted_data={"message_ids": [str(message_id) for message_id in _message_ids(prepared)]},
        error_class=error_class,
        input_tokens=0,
        cached_tokens=0,
        output_tokens=0,
        cost_micro_usd=0,
        request_id=None,
        processing_ms=processing_ms,
        created_at=runtime.clock(),
    )
