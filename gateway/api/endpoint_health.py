"""``/v1/webhook-endpoints/{id}/attempts`` and ``/stats``: what an endpoint was sent, and how it does."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPMethod
from typing import Annotated
from uuid import UUID

from pydantic import Field

from channels.errors import FaultClass, NotFound
from db import delivery_log, endpoint_stats, endpoints
from db.delivery_log import AttemptFilter, AttemptPosition
from db.endpoint_stats import EndpointCondition, EndpointStats
from db.rows import EndpointAttemptRecord
from gateway.api.attempts import SHORT_EXCERPT, Attempt
from gateway.api.deliveries import EventId
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ATTEMPT, make_page, read_position
from gateway.api.problems import invalid
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText
from handlers.webhooks.delivery import Outcome
from handlers.webhooks.payloads import Number

_ONE = "/v1/webhook-endpoints/{id}"
_TAG = "webhook endpoints"
_LOOKS = 10_000  # attempts that a page looks at
_SAMPLE = 20_000  # attempts that figures are made of
_MOST_COUNTED = 10_000  # waiting deliveries of a kind
_DAY = timedelta(days=1)
_MOST_DAYS = 30  # as long as evidence is kept
_ABOUT_PAGES = (
    f"A page looks at {_LOOKS} attempts at most: with a filter that few match it may hold fewer than asked, or none, and"
    " `next_cursor` goes on."
)
_ABOUT_STATS = (
    f"Made of the newest {_SAMPLE} attempts (by event) at most; `is_sample` tells when there may be more. Retries of events"
    " up to four days older than `since` count."
)


class EndpointAttempt(Attempt):
    """One post to the endpoint, and of what."""

    delivery_id: UUID
    event_id: EventId
    event_type: str


class AttemptQuery(PageQuery):
    """Filters of the list."""

    outcome: Outcome | None = None
    error_class: FaultClass | None = None
    status_code: Annotated[str, Field(pattern=r"^[1-5](xx|[0-9]{2})$", examples=["5xx", "429"])] | None = (
        Field(default=None, description="One, or a class of them.")
    )
    event_type: SearchText | None = None
    since: Moment | None = Field(default=None, description="Of the event, inclusive.")
    until: Moment | None = Field(default=None, description="Of the event, exclusive.")


class StatsQuery(NoQuery):
    """Since when attempts count."""

    since: Moment | None = Field(
        default=None, description=f"Inclusive, at most {_MOST_DAYS} days ago; absent: 24 hours ago."
    )


class Latency(Answer):
    """Milliseconds that half of the attempts, 95 % and 99 % stayed within."""

    p50: Number
    p95: Number
    p99: Number


class Waiting(Answer):
    """Deliveries that wait for the endpoint, each kind counted up to 10,000."""

    due: int
    later: int = Field(description="Retries whose time has not come.")
    order: int = Field(description="Behind an older one of their conversation.")
    pull: int = Field(description="To be fetched.")


class EndpointState(Answer):
    """How the endpoint is treated now."""

    breaker: str = Field(description="CLOSED: posts go; OPEN: none; HALF_OPEN: one that tries.")
    breaker_until: datetime | None = Field(description="When an open breaker lets one post try.")
    consecutive_failures: int = Field(description="Events that failed in a row.")
    failed_attempts: int = Field(description="Attempts that failed since the last success.")
    failing_since: datetime | None
    blocked_until: datetime | None = Field(
        description="The receiver asked for no posts until then (Retry-After)."
    )
    paced_until: datetime | None = Field(description="When its rate allows the next post.")
    concurrency: int = Field(description="Posts that may be under way at once.")
    learned_rate: Number | None = Field(
        description="Posts a second that it was seen to take; null: no limit is known."
    )
    in_flight: int
    last_success_at: datetime | None


class EndpointStatistics(Answer):
    """Success and latency of recent attempts, and the endpoint's state."""

    since: datetime
    attempts: int = Field(description="Finished ones.")
    successes: int
    success_rate: Number | None = Field(description="Of those finished; null without any.")
    unfinished: int = Field(description="Running, or interrupted.")
    is_sample: bool
    errors: Mapping[str, int] = Field(description="Failed attempts by `error_class`.")
    total_ms: Latency | None = Field(description="Of those that were answered.")
    first_byte_ms: Latency | None
    state: EndpointState
    waiting: Waiting


async def list_endpoint_attempts(call: Call[None, AttemptQuery]) -> Page[EndpointAttempt]:
    after = AttemptPosition(*read_position(call, BY_ATTEMPT))
    query = call.query
    wanted = AttemptFilter(
        outcome=query.outcome,
        error_class=query.error_class,
        statuses=_statuses(query.status_code),
        event_type=query.event_type,
        since=query.since,
        until=query.until,
    )
    async with call.transaction() as connection:
        if await endpoints.read_endpoint(connection, call.id) is None:
            raise NotFound
        rows, resume = await delivery_log.list_attempts_of_endpoint(
            connection, call.id, after, wanted, excerpt=SHORT_EXCERPT, looks=_LOOKS, limit=query.limit + 1
        )
    return make_page(call, BY_ATTEMPT, rows, map(_attempt, rows), Page[EndpointAttempt], resume=resume)


def _attempt(row: EndpointAttemptRecord) -> EndpointAttempt:
    return EndpointAttempt.model_validate(row)


def _statuses(text: str | None) -> range | None:
    """The codes that ``4xx`` or ``404`` means."""
    if text is None:
        return None
    if text.endswith("xx"):
        return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
    return range(int(text), int(text) + 1)


async def read_endpoint_stats(call: Call[None, StatsQuery]) -> EndpointStatistics:
    now = call.runtime.clock()
    since = call.query.since or now - _DAY
    if not timedelta(0) <= now - since <= timedelta(days=_MOST_DAYS):
        raise invalid("query", "since", f"must lie in the last {_MOST_DAYS} days")
    async with call.transaction() as connection:
        condition = await endpoint_stats.read_condition(connection, call.id, now, _MOST_COUNTED)
        if condition is None:
            raise NotFound
        stats = await endpoint_stats.read_stats(connection, call.id, since, _SAMPLE)
    return _statistics(since, stats, condition)


def _statistics(since: datetime, stats: EndpointStats, condition: EndpointCondition) -> EndpointStatistics:
    rate = round(stats.successes / stats.attempts, 4) if stats.attempts else None
    return EndpointStatistics.model_validate(
        {
            "since": since,
            "attempts": stats.attempts,
            "successes": stats.successes,
            "success_rate": rate,
            "unfinished": stats.unfinished,
            "is_sample": stats.is_sample,
            "errors": stats.failures,
            "total_ms": _latency(stats.total_ms),
            "first_byte_ms": _latency(stats.first_byte_ms),
            "state": condition,
            "waiting": _waiting(condition),
        }
    )


def _latency(percentiles: Sequence[float] | None) -> dict[str, float] | None:
    if percentiles is None or percentiles[0] is None:
        return None
    return dict(zip(("p50", "p95", "p99"), percentiles, strict=True))


def _waiting(condition: EndpointCondition) -> dict[str, int]:
    is_pulled = condition.transport == "pull"
    return {
        "due": min(condition.due, _MOST_COUNTED),
        "later": min(condition.later, _MOST_COUNTED),
        "order": 0 if is_pulled else condition.waiting,
        "pull": condition.waiting if is_pulled else 0,
    }


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=f"{_ONE}/attempts",
        tag=_TAG,
        summary="List the attempts at a webhook endpoint, those of the newest events first",
        description=_ABOUT_PAGES,
        handle=list_endpoint_attempts,
        query=AttemptQuery,
        response=Page[EndpointAttempt],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_ONE}/stats",
        tag=_TAG,
        summary="Read how a webhook endpoint does: success, latency, breaker, what waits",
        description=_ABOUT_STATS,
        handle=read_endpoint_stats,
        query=StatsQuery,
        response=EndpointStatistics,
    ),
)
