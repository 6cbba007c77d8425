"""How an endpoint's health follows from what it does: what counts as failing, when a breaker opens, when it is slowed
down, when it is given up.

Pure: the facts of a batch and the policy. ``db/queries/delivery_lane.sql`` folds them into the endpoint's
row, under its lock.
Rules: Standard Webhooks spec 1.0.0, "Webhook sending" (throttle on 429, 502 and 504; disable what fails for days, and say
so before); RFC 9110 §10.2.3 (Retry-After), §15.6.4 (503).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from uuid import UUID

from channels.errors import FaultClass
from db.delivery_lane import EndpointKey
from handlers.webhooks.delivery import AttemptResult, DeliveryStatus, FinishedDelivery, Outcome

THROTTLES = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
# Nothing was posted, for a reason that is not the receiver's.
OURS = frozenset({FaultClass.CONFIGURATION, FaultClass.INTERRUPTED, FaultClass.DEFERRED})
DISABLE_AFTER = timedelta(days=5)
DISABLE_AFTER_ATTEMPTS = 20
WARNINGS = (50, 70, 90)  # percent of the way to being disabled
DISABLED = 100


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What a state row is changed by. Pauses are seconds; rates are posts a second.

    The breaker opens after ``breaker_failures`` events in a row failed; its pauses double from ``breaker_pause`` to
    ``longest_pause``. Each cut, at most one in ``throttle_pause``, halves the posts under way and, after a 429, sets the
    rate to ``rate_cut`` of what was taken. It grows again by the cube of the time since: hardly at first, so that the limit
    is seldom met, e-fold after ``rate_recovery`` seconds, a thousandfold after twice as many. A 429 opens the breaker only
    where the rate is as low as it gets.
    """

    breaker_failures: int = 10
    breaker_pause: float = 30.0
    longest_pause: float = 300.0
    concurrency: int = 10
    throttle_pause: float = 1.0
    rate_cut: float = 0.9
    lowest_rate: float = 1.0
    highest_rate: float = 1_000.0
    rate_recovery: float = 50.0

    def pause(self, failed_probes: int) -> float:
        """How long an open breaker waits before its next probe, after so many failed ones."""
        return min(self.breaker_pause * 2.0 ** min(failed_probes, 30), self.longest_pause)

    def as_row(self) -> Mapping[str, Any]:
        return asdict(self)


POLICY = HealthPolicy()


class Verdict(StrEnum):
    """What an attempt says of its endpoint."""

    SUCCESS = "success"
    FAILURE = "failure"
    NOTHING = "nothing"


def verdict(result: AttemptResult) -> Verdict:
    """What an attempt says of its endpoint: any failure but our own."""
    if result.outcome is Outcome.SUCCESS:
        return Verdict.SUCCESS
    return Verdict.NOTHING if result.error_class in OURS else Verdict.FAILURE


def blocked_until(result: AttemptResult) -> datetime | None:
    """Until when the endpoint asked us to send it nothing; ``Retry-After`` is for all of it, not for one event."""
    if result.retry_after is None:
        return None
    return result.ended_at + timedelta(seconds=result.retry_after)


def facts_of(finished: Iterable[FinishedDelivery]) -> list[dict[str, Any]]:
    """One row per endpoint: what its state needs to know of a batch."""
    groups: dict[EndpointKey, list[FinishedDelivery]] = {}
    for item in finished:
        groups.setdefault(item.claimed.endpoint, []).append(item)
    return [_facts(endpoint, items) for endpoint, items in groups.items()]


def _facts(endpoint: EndpointKey, items: Sequence[FinishedDelivery]) -> dict[str, Any]:
    if all(item.result.outcome is Outcome.SUCCESS for item in items):  # nearly always
        return _row(endpoint, items, [item.result.ended_at for item in items], [])
    verdicts = [(verdict(item.result), item) for item in items]
    succeeded = [item.result.ended_at for said, item in verdicts if said is Verdict.SUCCESS]
    failed = [item for said, item in verdicts if said is Verdict.FAILURE]
    return _row(endpoint, items, succeeded, failed)


def _row(
    endpoint: EndpointKey,
    items: Sequence[FinishedDelivery],
    succeeded: Sequence[datetime],
    failed: Sequence[FinishedDelivery],
) -> dict[str, Any]:
    last_success = max(succeeded, default=None)
    tail = sorted(
        (item for item in failed if last_success is None or item.result.ended_at > last_success),
        key=lambda item: item.result.ended_at,
    )
    throttled = [item.result for item in failed if item.result.status_code in THROTTLES]
    return {
        "distributor_id": endpoint.distributor_id,
        "endpoint_id": endpoint.endpoint_id,
        "successes": len(succeeded),
        "succeeded_at": last_success,
        "failures": len(tail),
        "failed_ids": _distinct(item.claimed.event_id for item in tail if not _is_limit(item.result)),
        "limited_ids": _distinct(item.claimed.event_id for item in tail if _is_limit(item.result)),
        "failing_from": tail[0].result.ended_at if tail else None,
        "probe_failed": any(item.claimed.probes is not None for item in failed),
        "throttled_from": min((result.started_at for result in throttled), default=None),
        "rate_limited": any(_is_limit(result) for result in throttled),
        "blocked_until": _latest(blocked_until(item.result) for item in failed),
        "next_due_at": _earliest(
            item.settlement.due_at for item in items if item.settlement.status is DeliveryStatus.RETRYING
        ),
        "finished_at": max(item.result.ended_at for item in items),
    }


def _is_limit(result: AttemptResult) -> bool:
    return result.status_code == HTTPStatus.TOO_MANY_REQUESTS


def _distinct(ids: Iterable[UUID]) -> list[UUID]:
    return list(dict.fromkeys(ids))


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _earliest(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def way_to_disabling(failing_since: datetime | None, failed_attempts: int, now: datetime) -> int:
    """How far a row of failures is on its way to disabling its endpoint, in percent: both the time and the attempts
    must be full, so that neither a quiet endpoint goes for one bad event nor a busy one for a bad hour.
    """
    if failing_since is None:
        return 0
    time_part = (now - failing_since) / DISABLE_AFTER
    return max(0, int(DISABLED * min(time_part, failed_attempts / DISABLE_AFTER_ATTEMPTS, 1.0)))


def warning_due(percent: int, warned_percent: int) -> int | None:
    """The highest warning that is reached and not given yet."""
    return max((mark for mark in WARNINGS if warned_percent < mark <= percent), default=None)
