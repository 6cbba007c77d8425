"""``/v1/ai``: what engines have to do, did, cost and failed at."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from http import HTTPMethod
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from db import ai_reads
from db.ai_reads import UsageRow
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.periods import PeriodQuery, read_period
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText
from handlers.usage import read_calls
from handlers.webhooks.payloads import Number

_PATH = "/v1/ai"
_TAG = "ai"
_MOST_DAYS = 366
_SUMS = ("requests", "failures", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")


class OldestMessage(Answer):
    """The message that has waited the longest."""

    message_id: UUID
    conversation_id: UUID
    created_at: datetime


class AiQueue(Answer):
    """Messages that await their turn."""

    messages: int
    conversations: int
    in_progress: int = Field(description="Conversations whose turn a worker is at.")
    oldest: OldestMessage | None


class UsageSums(Answer):
    """Calls with what they took."""

    requests: int
    failures: int
    input_tokens: int
    cached_tokens: int = Field(description="Of the input tokens, those that the model had cached.")
    output_tokens: int
    cost_micro_usd: int


class UsagePeriod(UsageSums):
    """Calls of one engine and model in an hour, a day or a month."""

    period: datetime = Field(description="When it begins, UTC.")
    engine: str
    model: str | None = Field(description="Null where no model was asked.")
    success_rate: Number
    mean_confidence: Number | None
    mean_processing_ms: int


class AiUsage(Answer):
    """Calls of a time, and their sums."""

    since: datetime
    until: datetime
    totals: UsageSums
    data: Sequence[UsagePeriod] = Field(description="Newest first, then by engine and model.")


class CallsQuery(PeriodQuery):
    """Which time, cut into what; an hour that it touches counts as a whole."""

    period: Literal["hour", "day", "month"] = "day"


class AiError(Answer):
    """A burst that no engine understood, at its last message."""

    id: UUID
    message_id: UUID
    conversation_id: UUID
    engine: str
    model: str | None
    error_class: str | None
    processing_ms: int
    cost_micro_usd: int
    request_id: str | None
    created_at: datetime


class ErrorQuery(PageQuery):
    """Filters of the list."""

    error_class: SearchText | None = None
    since: Moment | None = Field(default=None, description="Inclusive.")
    until: Moment | None = Field(default=None, description="Exclusive.")


class ErrorClass(Answer):
    """How often a kind of failure happened."""

    error_class: str | None
    failures: int
    last_at: datetime


class ErrorSummary(Answer):
    """Failures among all turns of a time."""

    since: datetime
    until: datetime
    requests: int
    failures: int
    error_rate: Number | None = Field(description="Null without a turn.")
    classes: Sequence[ErrorClass] = Field(description="The most frequent first.")


async def read_ai_queue(call: Call[None, NoQuery]) -> AiQueue:
    async with call.transaction() as connection:
        row = await ai_reads.read_queue(connection, call.runtime.clock())
    oldest = {
        "message_id": row.oldest_message_id,
        "conversation_id": row.oldest_conversation_id,
        "created_at": row.oldest_at,
    }
    return AiQueue.model_validate(
        {
            "messages": row.messages,
            "conversations": row.conversations,
            "in_progress": row.in_progress,
            "oldest": None if row.oldest_message_id is None else OldestMessage.model_validate(oldest),
        }
    )


async def read_ai_usage(call: Call[None, CallsQuery]) -> AiUsage:
    since, until = _period(call)
    rows = await read_calls(call.runtime, call.distributor_id, since, until, call.query.period)
    return AiUsage(since=since, until=until, totals=_totals(rows), data=[_usage(row) for row in rows])


async def list_ai_errors(call: Call[None, ErrorQuery]) -> Page[AiError]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await ai_reads.list_errors(
            connection,
            before,
            error_class=query.error_class,
            since=query.since,
            until=query.until,
            limit=query.limit + 1,
        )
    return make_page(call, BY_ID, rows, map(AiError.model_validate, rows), Page[AiError])


async def summarise_ai_errors(call: Call[None, PeriodQuery]) -> ErrorSummary:
    since, until = _period(call)
    async with call.transaction() as connection:
        requests = await ai_reads.count_responses(connection, since, until)
        classes = await ai_reads.count_errors(connection, since, until)
    failures = sum(row.failures for row in classes)
    return ErrorSummary.model_validate(
        {
            "since": since,
            "until": until,
            "requests": requests,
            "failures": failures,
            "error_rate": _share(failures, requests) if requests else None,
            "classes": [ErrorClass.model_validate(row) for row in classes],
        }
    )


def _period(call: Call[Any, Any]) -> tuple[datetime, datetime]:
    query: PeriodQuery = call.query
    return read_period(query.since, query.until, call.runtime.clock(), most_days=_MOST_DAYS)


def _usage(row: UsageRow) -> UsagePeriod:
    fields = {name: getattr(row, name) for name in UsageRow.__slots__}
    succeeded = row.requests - row.failures
    return UsagePeriod.model_validate({**fields, "success_rate": _share(succeeded, row.requests)})


def _totals(rows: Iterable[UsageRow]) -> UsageSums:
    kept = list(rows)
    return UsageSums.model_validate({name: sum(getattr(row, name) for row in kept) for name in _SUMS})


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/queue",
        tag=_TAG,
        summary="Read how much awaits its turn, and since when",
        handle=read_ai_queue,
        response=AiQueue,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/usage",
        tag=_TAG,
        summary="Read what engines did and cost",
        description=f"By hour, day or month of UTC, engine and model; at most {_MOST_DAYS} days. Not older than a minute.",
        handle=read_ai_usage,
        query=CallsQuery,
        response=AiUsage,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/errors",
        tag=_TAG,
        summary="List bursts that no engine understood",
        handle=list_ai_errors,
        query=ErrorQuery,
        response=Page[AiError],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_PATH}/errors/summary",
        tag=_TAG,
        summary="Count failures by kind",
        handle=summarise_ai_errors,
        query=PeriodQuery,
        response=ErrorSummary,
    ),
)
