"""Orders: what a turn makes of the draft, and what people do with an order. One transaction each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from channels.errors import InvalidInput, NotFound, WrongState
from db import orders as rows
from db import sends
from db.orders import LineRow, NewLine, OrderRow
from db.tenant import Connection
from db.upkeep import refresh_customers
from handlers.ai.merge import MergedLine, order_after
from handlers.ai.text import content_words
from handlers.ai.types import Band, DraftLine, Extraction, Intent
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell

_LARGEST_QUANTITY = Decimal(999999999)
# What a customer stands by, and so what counts as ordered; customer_figures() in the schema counts the same.
FIRM = frozenset({"CONFIRMED", "DELIVERED"})
# An open order that nothing happened to for so long is not what today's message adds to: "tomorrow" has become another
# day, prices may have moved, and WhatsApp's window, in which we could have asked about it, is closed.
DRAFT_LIFETIME = timedelta(hours=24)
EXPIRED = "expired"  # among the reasons of a CANCELLED order: neither the customer nor a person cancelled it


class ReviewReason(StrEnum):
    """Why a person must look at an order."""

    LOW_CONFIDENCE = "low_confidence"
    UNMATCHED = "unmatched"
    CONSENT_UNASKED = "consent_unasked"  # the customer said yes, and was not shown this order by us
    CONSENT_LATE = "consent_late"  # the customer said yes after DRAFT_LIFETIME
    EARLIER_UNREVIEWED = (
        "earlier_unreviewed"  # it took the place of an expired order that waited for a person
    )


class OrderChange(StrEnum):
    """What a turn did to the conversation's order."""

    NONE = "none"
    CREATED = "created"
    UPDATED = "updated"
    CONFIRMED = "confirmed"
    CONSENTED = "consented"  # the customer agreed, a person still has to look
    CANCELLED = "cancelled"


_EVENTS = {
    OrderChange.CREATED: EventType.ORDER_CREATED,
    OrderChange.UPDATED: EventType.ORDER_UPDATED,
    OrderChange.CONFIRMED: EventType.ORDER_CONFIRMED,
    OrderChange.CONSENTED: EventType.ORDER_UPDATED,
    OrderChange.CANCELLED: EventType.ORDER_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation's open order with its lines."""

    order: OrderRow
    lines: tuple[LineRow, ...]

    def as_extraction_input(self) -> tuple[DraftLine, ...]:
        return tuple(
            DraftLine(line.sku, line.quantity, float(line.confidence), Band(line.band)) for line in self.lines
        )


@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """The order after a turn, if there is one, and what happened to it."""

    change: OrderChange
    draft: Draft | None
    replaced: bool = False  # an expired order made room for it


@dataclass(frozen=True, slots=True)
class OrderContext:
    """Whose order a turn may make, and whether the customer is talking with us."""

    distributor_id: UUID
    conversation_id: UUID
    customer_id: UUID | None
    channel: str
    currency: str
    threshold: Decimal
    source_message_id: UUID
    may_answer: bool  # the bot has the conversation and may reply: what the customer says is said to it
    written_at: datetime  # when the burst began


async def find_draft(connection: Connection, conversation_id: UUID) -> Draft | None:
    """The conversation's open order, locked for this transaction."""
    order = await rows.find_open_draft(connection, conversation_id)
    return await _with_lines(connection, order) if order else None


async def _with_lines(connection: Connection, order: OrderRow) -> Draft:
    return Draft(order, tuple(await rows.list_lines(connection, order.id)))


async def apply_extraction(
    connection: Connection, runtime: Runtime, context: OrderContext, extraction: Extraction
) -> OrderOutcome:
    """Merges what was understood into the draft, in the caller's transaction, under the conversation's
    lock.
    """
    draft = await find_draft(connection, context.conversation_id)
    match extraction.intent:
        case Intent.BUY | Intent.MODIFY if draft and is_expired(draft.order, context.written_at):
            return await _order_anew(connection, runtime, context, extraction, draft)
        case Intent.BUY | Intent.MODIFY:
            return await _change_lines(connection, runtime, context, extraction, draft)
        case Intent.CONFIRM if draft:
            return await _consent(connection, runtime, context, extraction, draft)
        case Intent.CANCEL if draft:
            cancelled = replace(
                draft.order, status="CANCELLED", requires_review=False, updated_at=runtime.clock()
            )
            return await _store(
                connection, runtime, context.distributor_id, OrderChange.CANCELLED, draft.order, cancelled
            )
        case _:
            return OrderOutcome(OrderChange.NONE, draft)


def is_expired(order: OrderRow, written_at: datetime) -> bool:
    """Whether an open order was too old to be added to when the customer wrote."""
    return written_at - order.updated_at > DRAFT_LIFETIME


async def _order_anew(
    connection: Connection, runtime: Runtime, context: OrderContext, extraction: Extraction, old: Draft
) -> OrderOutcome:
    """Closes the expired order, its lines kept, where something is ordered; what is ordered makes a new one."""
    if not order_after((), extraction):
        return OrderOutcome(OrderChange.NONE, None)
    reasons = [*old.order.review_reasons, EXPIRED]
    closed = replace(
        old.order,
        status="CANCELLED",
        requires_review=False,
        review_reasons=reasons,
        updated_at=runtime.clock(),
    )
    await _store(connection, runtime, context.distributor_id, OrderChange.CANCELLED, old.order, closed)
    # Whoever still had to look at the old one must not miss it because it left the open orders.
    owed = [ReviewReason.EARLIER_UNREVIEWED] if old.order.requires_review else []
    outcome = await _change_lines(connection, runtime, context, extraction, None, owed)
    return replace(outcome, replaced=True)


async def _change_lines(
    connection: Connection,
    runtime: Runtime,
    context: OrderContext,
    extraction: Extraction,
    draft: Draft | None,
    owed: Sequence[ReviewReason] = (),
) -> OrderOutcome:
    """The order with the burst's operations; ``owed`` are reasons for a review that a new order begins with."""
    before = draft.as_extraction_input() if draft else ()
    merged = order_after(before, extraction)
    if not merged and draft is None:
        return OrderOutcome(OrderChange.NONE, None)
    if not merged and draft is not None:
        emptied = replace(
            draft.order,
            status="CANCELLED",
            requires_review=False,
            confirmed_at=None,
            updated_at=runtime.clock(),
        )
        await rows.replace_lines(connection, draft.order.id, [])
        return await _store(
            connection, runtime, context.distributor_id, OrderChange.CANCELLED, draft.order, emptied
        )
    order = (
        draft.order
        if draft
        else replace(await _begin_order(connection, runtime, context), review_reasons=list(owed))
    )
    spans = {operation.sku: operation.span for operation in extraction.operations}
    lines = _new_lines(runtime, merged, draft, spans)
    await rows.replace_lines(connection, order.id, lines)
    changed = _reviewed(order, lines, extraction, context.threshold, runtime.clock())
    change = OrderChange.UPDATED if draft else OrderChange.CREATED
    return await _store(connection, runtime, context.distributor_id, change, order, changed)


async def _begin_order(connection: Connection, runtime: Runtime, context: OrderContext) -> OrderRow:
    order_id = runtime.new_id()
    await rows.insert_order(
        connection,
        order_id,
        conversation_id=context.conversation_id,
        customer_id=context.customer_id,
        channel=context.channel,
        currency=context.currency,
        source_message_id=context.source_message_id,
        now=runtime.clock(),
    )
    order = await rows.lock_order(connection, order_id)
    assert order is not None, "it was inserted in this transaction"
    return order


def _new_lines(
    runtime: Runtime, merged: Sequence[MergedLine], draft: Draft | None, spans: Mapping[str, str]
) -> list[NewLine]:
    known = {line.sku: line for line in draft.lines} if draft else {}
    return [_new_line(runtime.new_id(), line, known.get(line.sku), spans.get(line.sku)) for line in merged]


def _new_line(line_id: UUID, line: MergedLine, known: LineRow | None, span: str | None) -> NewLine:
    """A line that the burst did not touch (no span) keeps the words that it began with."""
    words = span if span is not None else known.original_text if known else ""
    return NewLine(line_id, line.sku, line.quantity, line.confidence, line.band, words)


def _reviewed(
    order: OrderRow, lines: Sequence[NewLine], extraction: Extraction, threshold: Decimal, now: datetime
) -> OrderRow:
    """The order with its review decision: a line under the tenant's threshold or words that matched nothing
    need a person. Lines that the engine only marks to be confirmed are asked of the customer.
    """
    unmatched = _still_open(order.unmatched, extraction)
    confidence = min(Decimal(str(round(line.confidence, 3))) for line in lines)
    reasons: list[str] = [
        *([ReviewReason.LOW_CONFIDENCE] if confidence < threshold else []),
        *([ReviewReason.UNMATCHED] if unmatched else []),
        *(reason for reason in order.review_reasons if reason == ReviewReason.EARLIER_UNREVIEWED),
    ]
    return replace(
        order,
        status="REVIEW" if reasons else "PENDING",
        requires_review=bool(reasons),
        review_reasons=reasons,
        unmatched=list(unmatched),
        delivery_date=extraction.delivery_date or order.delivery_date,
        confidence=confidence,
        confirmed_at=None,  # what the customer agreed to was another order
        updated_at=now,
    )


def _still_open(earlier: Sequence[str], extraction: Extraction) -> tuple[str, ...]:
    """The words that matched nothing: this burst's, and earlier ones that it did not come back to. "3 de coca" is
    answered by a line for "coca 600", not by one for rice.
    """
    said = " ".join([*(operation.span for operation in extraction.operations), *extraction.unmatched])
    answered = content_words(said)
    return (*(span for span in earlier if not content_words(span) & answered), *extraction.unmatched)


async def _consent(
    connection: Connection, runtime: Runtime, context: OrderContext, extraction: Extraction, draft: Draft
) -> OrderOutcome:
    """The customer agrees. It binds where it answers our own question; otherwise it is for a person, as is an order
    that needs one anyway.
    """
    order, now = draft.order, runtime.clock()
    asked = await _was_asked(connection, context, order)
    reasons = [
        *order.review_reasons,
        *([] if asked else [ReviewReason.CONSENT_UNASKED]),
        *([ReviewReason.CONSENT_LATE] if is_expired(order, context.written_at) else []),
    ]
    for_person = order.requires_review or bool(reasons)
    agreed = replace(
        order,
        status="REVIEW" if for_person else "CONFIRMED",
        requires_review=for_person,
        review_reasons=list(dict.fromkeys(reasons)),
        delivery_date=extraction.delivery_date or order.delivery_date,
        confirmed_at=now if asked else None,
        updated_at=now,
    )
    change = OrderChange.CONSENTED if for_person else OrderChange.CONFIRMED
    return await _store(connection, runtime, context.distributor_id, change, order, agreed)


async def _was_asked(connection: Connection, context: OrderContext, order: OrderRow) -> bool:
    """Whether the yes is about this order as it is: we showed it before the customer wrote, and talk with them still.
    A "yes" to a person, or to nothing that we said, is none. An earlier yes to the same lines still counts.
    """
    if order.confirmed_at is not None:
        return True
    return context.may_answer and await sends.was_shown(
        connection, context.conversation_id, shown_order(order), context.written_at
    )


def shown_order(order: OrderRow) -> dict[str, Any]:
    """What a reply that shows an order's lines notes of it; with any change the order is another one."""
    return {"shows": {"order_id": str(order.id), "as_of": order.updated_at.isoformat()}}


async def _store(
    connection: Connection,
    runtime: Runtime,
    distributor_id: UUID,
    change: OrderChange,
    before: OrderRow,
    after: OrderRow,
) -> OrderOutcome:
    """Stores the head, tells what happened, and gives back the order as it is now."""
    await rows.save_order(connection, after)
    if after.customer_id and FIRM & {before.status, after.status}:
        await refresh_customers(connection, [after.customer_id], after.updated_at)
    stored = await rows.lock_order(connection, after.id)
    assert stored is not None, "it is locked by this transaction"
    draft = await _with_lines(connection, stored)
    types = [_EVENTS[change]]
    if stored.requires_review and (not before.requires_review or change is OrderChange.CREATED):
        types.append(EventType.ORDER_REVIEW_REQUIRED)
    for event_type in types:
        data = _order_data(draft)
        await tell(
            connection, runtime, distributor_id, event_type, data, conversation_id=stored.conversation_id
        )
    return OrderOutcome(change, draft)


def _order_data(draft: Draft) -> dict[str, object]:
    order = draft.order
    return {
        "order_id": order.id,
        "status": order.status,
        "conversation_id": order.conversation_id,
        "customer_id": order.customer_id,
        "channel": order.channel,
        "lines": [_line_data(line) for line in draft.lines],
        "total_amount": order.total_amount,
        "currency": order.currency,
        "delivery_date": order.delivery_date,
        "requires_review": order.requires_review,
        "review_reasons": order.review_reasons,
        "unmatched": order.unmatched,
    }


def _line_data(line: LineRow) -> dict[str, object]:
    return {
        "sku": line.sku,
        "product_name": line.product_name,
        "unit": line.unit,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "line_total": line.line_total,
    }


async def confirm_order(runtime: Runtime, distributor_id: UUID, order_id: UUID) -> None:
    """A person confirms an open order; raises NotFound, or WrongState for one that is not open or has no
    line.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        draft = await _open_order(connection, order_id)
        if not draft.lines:
            raise WrongState("An order without lines cannot be confirmed.")
        now = runtime.clock()
        confirmed = replace(
            draft.order,
            status="CONFIRMED",
            requires_review=False,
            confirmed_at=draft.order.confirmed_at or now,
            updated_at=now,
        )
        await _store(connection, runtime, distributor_id, OrderChange.CONFIRMED, draft.order, confirmed)


async def cancel_order(runtime: Runtime, distributor_id: UUID, order_id: UUID) -> None:
    """A person cancels an open or confirmed order; raises NotFound or WrongState."""
    async with runtime.database.tenant(distributor_id) as connection:
        order = await rows.lock_order(connection, order_id)
        if order is None:
            raise NotFound
        if order.status not in {"PENDING", "REVIEW", "CONFIRMED"}:
            raise WrongState(f"An order that is {order.status} cannot be cancelled.")
        cancelled = replace(order, status="CANCELLED", requires_review=False, updated_at=runtime.clock())
        await _store(connection, runtime, distributor_id, OrderChange.CANCELLED, order, cancelled)


async def patch_order_lines(
    runtime: Runtime,
    distributor_id: UUID,
    order_id: UUID,
    lines: Sequence[tuple[str, Decimal]],
    delivery_date: date | None = None,
) -> None:
    """A person sets an open order's lines: (sku, quantity in the sale unit). What they set is sure.

    Raises NotFound, WrongState, or InvalidInput for an unknown SKU, a SKU given twice or a quantity that is
    not positive. An order that a person has edited needs no review any more.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        draft = await _open_order(connection, order_id)
        await _check_lines(connection, lines)
        new = [NewLine(runtime.new_id(), sku, quantity, 1.0, Band.AUTO, "") for sku, quantity in lines]
        await rows.replace_lines(connection, order_id, new)
        changed = replace(
            draft.order,
            status="PENDING",
            requires_review=False,
            review_reasons=[],
            unmatched=[],
            delivery_date=delivery_date or draft.order.delivery_date,
            confidence=Decimal(1),
            confirmed_at=None,
            updated_at=runtime.clock(),
        )
        await _store(connection, runtime, distributor_id, OrderChange.UPDATED, draft.order, changed)


async def _open_order(connection: Connection, order_id: UUID) -> Draft:
    order = await rows.lock_order(connection, order_id)
    if order is None:
        raise NotFound
    if order.status not in {"PENDING", "REVIEW"}:
        raise WrongState(f"An order that is {order.status} cannot be changed.")
    return await _with_lines(connection, order)


async def _check_lines(connection: Connection, lines: Sequence[tuple[str, Decimal]]) -> None:
    skus = [sku for sku, _ in lines]
    if not lines or len(set(skus)) != len(skus):
        raise InvalidInput("An order needs at least one line, and each SKU once.", field="lines")
    if any(not 0 < quantity <= _LARGEST_QUANTITY for _, quantity in lines):
        raise InvalidInput("A quantity must be above zero and below a billion.", field="lines")
    unknown = set(skus) - await rows.list_known_skus(connection, skus)
    if unknown:
        raise InvalidInput(f"No product has the SKU {min(unknown)}.", field="lines")
